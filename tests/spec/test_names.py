"""What a name on the command line means."""

from __future__ import annotations

import pytest

from cxlstate.core.action import Risk
from cxlstate.core.address import Address, ScopedAddress
from cxlstate.core.consent import Consent, Consents
from cxlstate.resources import kinds
from cxlstate.spec.load import load
from cxlstate.spec.names import Names

ONE = """\
apiVersion: cxlstate/v1
host:
  name: one
  packages: [ndctl, tree]
  services: {'a:b.c': {running: true}}
vms:
  g1: {guest: {packages: [ndctl], services: {cron: {running: true}}}}
  a.b:c: {guest: {packages: [ndctl], users: {me: {}}}}
  vm.g1: {guest: {packages: [tree]}}
  grub: {guest: {packages: [tree]}}
  package: {guest: {}}
  service.a: {guest: {packages: [tree]}}
"""
TWO = """\
apiVersion: cxlstate/v1
host:
  name: two.lab
  packages: [ndctl]
  grub: {args: [quiet]}
"""


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    folder = tmp_path_factory.mktemp("specs")
    for name, text in (("one", ONE), ("two", TWO)):
        (folder / f"{name}.yaml").write_text(text)
    loaded = load([folder])
    assert not loaded.diagnostics
    return Names(loaded.trees, kinds())


def said(meant):
    return sorted(one.whole for one in meant)


WHOLE = {
    "one": ["one"],
    "two.lab": ["two.lab"],
    "one/package.ndctl": ["one/package.ndctl"],
    "one/g1": ["one/g1"],
    "one/g1:package.ndctl": ["one/g1:package.ndctl"],
    "one/a.b:c": ["one/a.b:c"],
    "one/a.b:c:user.me": ["one/a.b:c:user.me"],
    "one/service.a:b.c": ["one/service.a:b.c"],
    "one/package": ["one/package"],
    # what a machine has without a word in its spec
    "one/grub": ["one/grub"],
    "one/boot": ["one/boot"],
    "one/g1:grub": ["one/g1:grub"],
    # a VM that is called like a resource: the resource; its own guest by what is in it
    "one/vm.g1": ["one/vm.g1"],
    "one/grub:package.tree": ["one/grub:package.tree"],
    "one/vm.g1:package.tree": ["one/vm.g1:package.tree"],
    "one/service.a:package.tree": ["one/service.a:package.tree"],
    # what is not there
    "grub": [],
    "g1": [],
    "g1:package.ndctl": [],
    "package.ndctl": [],
    "one/package.nctl": [],
    "one/g2": [],
    "one/g1:boot": [],
    "one/g1:package.tree": [],
    "one/g1/package.ndctl": [],
    "ONE": [],
    "": [],
    "one/": [],
    "/grub": [],
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_name_means_one_thing_or_nothing(names, name):
    assert said(names.whole.get(name, ())) == WHOLE[name]


def test_where_a_guest_and_a_resource_share_a_name_the_resource_is_meant(names):
    (grub,), (vm,), (service,) = (names.whole[f"one/{name}"] for name in ("grub", "vm.g1", "service.a:b.c"))
    assert (grub.machine, grub.address) == ("one", Address("grub"))
    assert (vm.machine, vm.address) == ("one", Address("vm", "g1"))
    assert (service.machine, service.address) == ("one", Address("service", "a:b.c"))


TARGETS = {
    "package.ndctl": {"one": {"package.ndctl"}, "two.lab": {"package.ndctl"}},
    "grub": {"two.lab": {"grub"}},
    "one/package.ndctl": {"one": {"package.ndctl"}},
    "g1:package.ndctl": {"one/g1": {"package.ndctl"}},
    "a.b:c:user.me": {"one/a.b:c": {"user.me"}},
    "vm.g1": {"one": {"vm.g1"}},
    "one/g1": {"one/g1": None},
    "two.lab": {"two.lab": None},
    "service.a:b.c": {"one": {"service.a:b.c"}},
    "service.a:package.tree": {"one/service.a": {"package.tree"}},
}


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_may_leave_its_host_out(names, target):
    only = names.only([target])
    found = {machine: its if its is None else {str(one) for one in its} for machine, its in only.items()}
    assert found == TARGETS[target]


@pytest.mark.parametrize("target", ["boot", "one/grub", "g1", "g1:grub", "package.nctl", "one/g9", "one/vm"])
def test_what_is_not_declared_is_no_target(names, target):
    assert target not in names.targets


def test_a_host_as_a_target_is_with_its_guests_and_wins_over_a_part_of_it(names):
    machines = {"one", *(f"one/{vm}" for vm in ("g1", "a.b:c", "vm.g1", "grub", "package", "service.a"))}
    for targets in (["one"], ["package.tree", "one"], ["one", "g1:package.ndctl"]):
        assert names.only(targets) == dict.fromkeys(machines)


def test_several_targets_are_taken_together(names):
    address = Address.parse
    assert names.only(["package.tree", "one/package.ndctl", "g1:service.cron"]) == {
        "one": {address("package.tree"), address("package.ndctl")},
        "one/g1": {address("service.cron")},
    }


NDCTL = Address("package", "ndctl")
COVERED = [
    (Consent(Risk.LIVE), "one", True),
    (Consent(Risk.LIVE), "one/g1", True),
    (Consent(Risk.LIVE, "one"), "one", True),
    (Consent(Risk.LIVE, "one"), "one/g1", True),
    (Consent(Risk.LIVE, "one"), "onetwo", False),
    (Consent(Risk.LIVE, "one/g1"), "one/g1", True),
    (Consent(Risk.LIVE, "one/g1"), "one", False),
    (Consent(Risk.LIVE, "one/g1"), "one/g11", False),
    (Consent(Risk.LIVE, "one", NDCTL), "one", True),
    (Consent(Risk.LIVE, "one", NDCTL), "one/g1", False),
    (Consent(Risk.LIVE, "one", Address("package")), "one", False),
    (Consent(Risk.REBOOT_GUEST, "one"), "one/g1", False),
]


@pytest.mark.parametrize(("consent", "machine", "covered"), COVERED)
def test_a_consent_for_a_host_holds_in_its_guests_and_that_for_a_resource_nowhere_else(
    consent, machine, covered
):
    assert Consents(frozenset({consent})).allow(Risk.LIVE, machine, NDCTL) is covered


def test_an_address_says_whose_it_is():
    assert str(ScopedAddress("one", NDCTL)) == "one/package.ndctl"
    assert str(ScopedAddress("one/g1", NDCTL)) == "one/g1:package.ndctl"


def test_a_vm_that_no_spec_declares_can_be_named_for_consent(names):
    """A plan shows it: who stops with a device or with the host, and whose seed is left."""
    assert "one/vm.build7" not in names.whole
    assert names.undeclared("one/provision.build7").address == Address("provision", "build7")
    assert names.undeclared("one/vm.build7").address == Address("vm", "build7")
    assert names.undeclared("two.lab/vm.a.b:c").machine == "two.lab"
    for name in ("one/vm.", "one/package.tree", "one/dax.cxl9", "three/vm.build7", "vm.build7"):
        assert names.undeclared(name) is None
