"""The cure that an error names is tried: with it, there is no error left."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from cxlstate.core.address import Address
from cxlstate.core.answers import Answer, Answers
from cxlstate.core.diagnostic import Severity
from cxlstate.core.exports import Inputs
from cxlstate.core.libvirt import Update, UpdateNetwork
from cxlstate.core.read import LibvirtNetwork
from cxlstate.core.reconciler import Resource
from cxlstate.formats import xml
from cxlstate.resources.network.reconcile import reconciler
from cxlstate.resources.network.spec import NetworkSpec
from cxlstate.simulator.libvirt import dhcp

IP = "<ip address='192.168.122.1' prefix='24'><dhcp>{}</dhcp></ip>"
RANGE = "<range start='192.168.122.2' end='192.168.122.254'/>"
THEIRS = "<host mac='52:54:00:00:00:99' name='t' ip='192.168.122.9'/>"
NAMELESS = "<host name='t' ip='192.168.122.9'/>"
SEVEN = {"mac": "52:54:00:00:00:07", "ip": "192.168.122.9"}


@dataclass
class Case:
    """A network that is off (None: not there), a spec, and the codes that it has errors of."""

    inside: str | None
    spec: dict[str, Any]
    codes: tuple[str, ...]


CASES = {
    "an entry of somebody": Case(IP.format(THEIRS), {"reservations": [SEVEN]}, ("CXN301",)),
    "an entry without a MAC": Case(IP.format(NAMELESS), {"reservations": [SEVEN]}, ("CXN301",)),
    "a name of somebody": Case(
        IP.format(THEIRS), {"reservations": [SEVEN | {"ip": "192.168.122.7", "name": "t"}]}, ("CXN301",)
    ),
    "outside": Case(IP.format(RANGE), {"reservations": [SEVEN | {"ip": "10.0.0.1"}]}, ("CXN302",)),
    "the host's own": Case(
        IP.format(RANGE), {"reservations": [SEVEN | {"ip": "192.168.122.1"}]}, ("CXN302",)
    ),
    "a range outside": Case(
        IP.format(RANGE), {"dhcp": {"start": "10.0.0.1", "end": "10.0.0.9"}}, ("CXN302", "CXN302")
    ),
    "no address": Case("", {"reservations": [SEVEN]}, ("CXN303",)),
    "no address, another network": Case(
        "",
        {"reservations": [SEVEN | {"ip": "10.1.0.1"}], "dhcp": {"start": "10.1.2.3", "end": "10.1.4.5"}},
        ("CXN303",),
    ),
    "no address on a bridge": Case(
        "<forward mode='bridge'/><bridge name='br0'/>", {"reservations": [SEVEN]}, ("CXN307",)
    ),
    "a bridge": Case(
        "<forward mode='bridge'/><bridge name='br0'/>", {"forward": "nat", "domain": "lab"}, ("CXN307",) * 2
    ),
    "missing": Case(None, {"active": True}, ("CXN304",)),
    "missing, with entries": Case(None, {"reservations": [SEVEN | {"ip": "10.0.0.1"}]}, ("CXN304",)),
    "a range that stays behind": Case(IP.format(RANGE), {"address": "10.9.0.1/8"}, ("CXN306",)),
    "a range that stays behind a last address": Case(
        IP.format(RANGE), {"address": "10.9.0.254/24"}, ("CXN306",)
    ),
    "forwarding without an address": Case("", {"forward": "nat"}, ("CXN303",)),
    "DHCP on another address": Case(
        IP.format(RANGE) + "<ip address='10.2.2.1' prefix='24'/>",
        {"address": "10.2.2.1/24", "dhcp": {"start": "10.2.2.2", "end": "10.2.2.9"}},
        ("CXN310",),
    ),
    "not to be told apart": Case(
        IP.format(NAMELESS + "<host mac='52:54:00:00:00:07' ip='192.168.122.9'/>"),
        {"reservations": [{"mac": "52:54:00:00:00:07", "state": "absent"}]},
        ("CXN308",),
    ),
}


def errors(text: str | None, spec: dict[str, Any]):
    resource = Resource(Address("network", "lab"), NetworkSpec.model_validate(spec, strict=False))
    parts = (
        {} if text is None else {"inactive.xml": Answer(0, text.encode()), "facts": Answer(0, b"active=no")}
    )
    asked = dict.fromkeys(reconciler.reads(resource), Answer(1, b"", "No such file or directory"))
    answers = asked | {one: Answer(0) for one in asked if not hasattr(one, "path")}
    seen = reconciler.observe(resource, Answers(answers | {LibvirtNetwork("lab"): Answer(0, files=parts)}))
    problems = reconciler.assess(resource, seen, Inputs({})).problems
    return [one for one in problems if one.severity is Severity.ERROR]


def cured(text: str | None, spec: dict[str, Any], found) -> tuple[str | None, dict[str, Any]]:
    """As somebody would do who reads the hint, or what was expected where there is none."""
    hint = found.hint or ""
    if hint.startswith("virsh net-update lab delete ip-dhcp-host "):
        words = shlex.split(hint.partition(" takes ")[0])
        assert words[6:] == ["--config"]
        root = xml.parse(text or "")
        dhcp.update(
            root, UpdateNetwork("lab", Update.DELETE, "ip-dhcp-host", words[5], live=False, config=True)
        )
        return xml.plain(root), spec
    if declared := re.search(r"take it away: (\{.*\})", hint):
        return text, spec | {"reservations": [*spec["reservations"], yaml.safe_load(declared[1])]}
    if hint.startswith("add "):
        return text, spec | yaml.safe_load(hint.removeprefix("add ").partition(" (")[0])
    if hint.startswith("leave out dhcp and reservations, "):
        return text, {key: value for key, value in spec.items() if key not in ("dhcp", "reservations")}
    if hint.startswith("leave out "):
        return text, {key: value for key, value in spec.items() if key != found.path[0]}
    allowed = (found.expected or "").split()[0]
    if found.path[0] == "dhcp":
        last = (found.expected or "").split()[-1]
        return text, spec | {"dhcp": spec["dhcp"] | {"start": allowed, "end": last}}
    assert found.path[::2] == ("reservations", "ip")
    return text, spec | {"reservations": [one | {"ip": allowed} for one in spec["reservations"]]}


@pytest.mark.parametrize("name", CASES)
def test_a_cure_leads_into_no_other_error(name: str) -> None:
    case = CASES[name]
    text = None if case.inside is None else f"<network><name>lab</name>{case.inside}</network>"
    spec, found = case.spec, errors(text, case.spec)
    assert tuple(one.code for one in found) == case.codes
    for one in found:
        text, spec = cured(text, spec, one)
    assert errors(text, spec) == []
