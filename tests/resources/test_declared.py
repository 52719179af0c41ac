"""What a kind declares is all that is loaded of it where no spec names it, and it agrees with the rest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cxlstate.core.reconciler import Implied, Leaves
from cxlstate.resources import kinds

HEAD = "apiVersion: cxlstate/v1\nhost:\n  name: box\n  connect: local\n"
PLAIN = "  packages: [dash]\n  services: {cron: {running: true}}\n"
MODULES = "  modules: {loop: present}\n"
FORMATS = ("guest_files", "host_keys", "iomem", "ours", "restore", "sh")
VM = "vms: {g: {state: running, memory: 1GiB, vcpu: 1}}\n"
ASK = """
import sys
from pathlib import Path
import cxlstate.machine.posix.reader
from cxlstate.core.answers import Answer, Answers
from cxlstate.core.read import Exists
from cxlstate.engine.survey import survey
from cxlstate.core.read import conditions
from cxlstate.resources import kinds
from cxlstate.rules import load

class Says:
    def read(self, questions):
        return Answers({one: answer(one) for one in conditions(questions)})
    def lacks(self, effect):
        return None
    def close(self):
        pass

def answer(one):
    if not isinstance(one, Exists):
        return Answer(1, stderr="cannot be read")
    return Answer(0, b"yes" if set(one.patterns) & set(sys.argv[2:]) else b"")

loaded = load([Path(sys.argv[1])])
assert loaded.trees, loaded.diagnostics
survey(loaded.trees, kinds(), opener=lambda *_: Says())
print(*sys.modules)
"""


def loaded(folder, text, *there):
    """The modules that a plan of a spec loads, of a machine where these traces are."""
    (folder / "spec.yaml").write_text(HEAD + text)
    argv = [sys.executable, "-c", ASK, str(folder / "spec.yaml"), *there]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def reconciled(modules):
    """The kinds of which all was loaded."""
    return {
        module.split(".")[2]
        for module in modules
        if module.startswith("cxlstate.resources.") and module.endswith(".reconcile")
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "there", "expected"),
    [
        (PLAIN, (), {"package", "service"}),
        (PLAIN + MODULES, (), {"package", "service", "module", "grub"}),
        (VM, (), {"vm"}),
        (PLAIN, ("/etc/cxlstate/restore",), {"package", "service", "boot", "dax", "mtrr"}),
        (PLAIN, ("/etc/default/grub.d/zz-cxlstate.cfg",), {"package", "service", "grub"}),
        (PLAIN, ("/etc/ssh/sshd_config.d/00-cxlstate.conf",), {"package", "service", "sshd"}),
    ],
    ids=["packages and services", "a module", "a VM", "a boot script", "a drop-in of GRUB", "one of sshd"],
)
def test_a_plan_loads_the_kinds_that_the_spec_names_and_those_that_left_something(
    tmp_path, text, there, expected
):
    assert reconciled(loaded(tmp_path, text, *there)) == expected


@pytest.mark.slow
def test_a_plan_of_packages_and_services_loads_nothing_that_it_has_no_use_for(tmp_path):
    modules = loaded(tmp_path, PLAIN)
    assert modules & {"lxml", "paramiko", "fabric", "libvirt", "deepdiff"} == set()
    assert modules & {"cxlstate.core.libvirt", "cxlstate.engine.caching"} == set()
    formats = {one for one in modules if one.startswith("cxlstate.formats.")}
    assert formats <= {f"cxlstate.formats.{name}" for name in FORMATS}
    assert {one for one in modules if one.startswith("cxlstate.rules.")} == set()
    ours = {one for one in modules if one.startswith("cxlstate.resources.")}
    specs = {one.split(".")[2] for one in ours if one.endswith(".spec")}
    assert specs == {"package", "service"}


@pytest.mark.parametrize("name", sorted(kinds()))
def test_a_kind_declares_what_the_rest_of_it_needs(name):
    declared = kinds()[name]
    rest = declared.reconciler
    assert isinstance(rest, type(declared))
    assert declared.kind == name == Path(sys.modules[type(declared).__module__].__file__).parent.name
    assert isinstance(rest, Implied) is (declared.gathers is not None)
    assert (declared.traces is not None) is (isinstance(rest, Leaves) or declared.gathers is not None)
