"""What must hold of every file, guests in it or not: what is read is what was written, and where."""

from __future__ import annotations

import copy
import json
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from cxlstate import rules
from cxlstate.core.address import ScopedAddress
from cxlstate.core.machine import Scope
from cxlstate.resources import kinds
from cxlstate.spec import schema
from cxlstate.spec.load import dump, load
from cxlstate.spec.names import Names
from tests.strategies import trees

EXAMPLES = settings(
    max_examples=int(os.environ.get("CXLSTATE_EXAMPLES", "20")),
    deadline=None,
    derandomize="CXLSTATE_RANDOM" not in os.environ,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
VALIDATOR = Draft7Validator(schema.schema())


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("trees") / "spec.yaml"


def whole(host):
    """A file as data; `networks` and so on stand beside `host`."""
    beside = {key: host[key] for key in ("networks", "images", "vms") if key in host}
    inside = {key: value for key, value in host.items() if key not in beside}
    return {"apiVersion": "cxlstate/v1", "host": {"name": "one", **inside}, **beside}


def write(file, document):
    """Each value in a line of its own."""
    file.write_text(json.dumps(document, indent=1))
    return file


def guests(document):
    return {name: vm["guest"] for name, vm in document["vms"].items() if "guest" in vm}


@EXAMPLES
@given(host=trees())
def test_what_is_read_is_what_was_written(file, host):
    document = whole(host)
    VALIDATOR.validate(document)
    loaded = rules.load([write(file, document)])
    assert not [one for one in loaded.diagnostics if one.severity == "error"]
    (tree,) = loaded.trees
    sections = guests(document)
    assert [one.id for one in tree.machines] == ["one", *(f"one/{name}" for name in sections)]
    for guest, section in zip(tree.guests, sections.values(), strict=True):
        one = {"grub", "provision"} & section.keys()
        several = [its for key, its in section.items() if key not in (*one, "connect")]
        assert len(guest.resources) == len(one) + sum(map(len, several))
    text = dump(tree)
    file.write_text(text)
    (again,) = load([file]).trees
    assert again == tree
    assert dump(again) == text


@EXAMPLES
@given(host=trees())
def test_everything_is_where_it_was_written(file, host):
    document = whole(host)
    (tree,) = load([write(file, document)]).trees
    lines = file.read_text().splitlines()
    for machine in tree.machines:
        for resource in machine.resources:
            found = document
            for step in resource.path:
                found = found[step]
            at = tree.locate(resource.path)
            said = resource.path[-1] if isinstance(resource.path[-1], str) else found
            shown = json.dumps(said) if isinstance(said, str) else "{"
            assert shown in lines[at.line - 1], resource.address
            if machine.scope is Scope.GUEST:
                assert resource.path[:3] == ("vms", machine.id.partition("/")[2], "guest")


@EXAMPLES
@given(host=trees())
def test_everything_has_a_name_that_means_it(file, host):
    loaded = load([write(file, whole(host))])
    names = Names(loaded.trees, kinds())
    for machine in loaded.trees[0].machines:
        for resource in machine.resources:
            name = str(ScopedAddress(machine.id, resource.address))
            found = [(one.machine, one.address) for one in names.whole[name]]
            hidden = [one for one in names.whole[name] if one.rank < (machine.scope is Scope.GUEST)]
            assert (machine.id, resource.address) in found or hidden
            assert resource.address in (names.only([name]).get(machine.id) or ()) or hidden


@EXAMPLES
@given(host=trees(), data=st.data())
def test_a_slip_in_a_guest_is_told_where_it_is_and_ends_nothing(file, host, data):
    document = copy.deepcopy(whole(host))
    sections = [section for section in guests(document).values() if section]
    if not sections:
        return
    section = data.draw(st.sampled_from(sections))
    key = data.draw(st.sampled_from(sorted(section)))
    if data.draw(st.booleans()):
        section[f"{key}_"] = section.pop(key)
        expected = {"CXS201"}
        shown = f'"{key}_"'
    else:
        section[key] = data.draw(st.sampled_from([None, 7, "text", True, {"~": 1}, [{"~": 1}]]))
        expected, shown = None, None
    loaded = load([write(file, document)])
    assert not loaded.trees
    assert loaded.diagnostics
    lines = file.read_text().splitlines()
    for problem in loaded.diagnostics:
        assert problem.path[0] == "vms"
        assert problem.path[2] == "guest"
        assert expected is None or problem.code in expected
        assert shown is None or lines[problem.source.line - 1].lstrip().startswith(shown)
