"""Who goes away, once, for whom, and who comes back."""

from __future__ import annotations

import pytest

from cxlstate.core.action import Risk
from cxlstate.core.consent import Consents
from cxlstate.core.diagnostic import CxlstateError, fail
from cxlstate.engine.assess import missing_consents
from cxlstate.engine.plan import Exit
from tests.engine.fake_tree import HOST, Bench, Vm, VmWish, Wish, World, at, of_vm, requires

GUEST = "h/g1"

MEMORY = Wish("new", holds="g1")


def switched(**guest):
    """The device below a running VM is to be another, and so is the definition of the VM."""
    world = World(vms={"g1": Vm()}, things={HOST: {"thing.dax": "old"}})
    host = {"thing.dax": MEMORY, "vm.g1": VmWish(definition="2", needs=(requires("thing.dax"),))}
    return Bench(world, host, g1=guest or {"thing.a": Wish(needs=(of_vm("g1"),))})


def test_a_vm_is_an_interruption_once_for_all_that_need_it_away():
    plan = switched().plan()
    (one,) = plan.interruptions
    assert (one.risk, str(one.subject)) == (Risk.RESTART_VM, "h/vm.g1")
    assert one.because == (at("thing.dax"), at("vm.g1"))
    assert [vm.name for vm in one.stops] == ["g1"]
    assert [step.action.effect.shown() for step in (*one.begin, *one.end)] == [
        "virsh shutdown g1",
        "virsh start g1",
    ]
    assert [turn.within for turn in plan.turns if at("vm.g1") in turn.resources] == [one]


def test_it_goes_away_once_and_all_is_done_meanwhile_as_far_as_its_own_definition():
    bench = switched()
    assert bench.apply("restart-vm=h/vm.g1").exit is Exit.IN_SYNC
    assert bench.did() == [
        "h: lock",
        "h: virsh shutdown g1",
        "h: set thing.dax new",
        "h: define g1 2",
        "h: virsh start g1",
        "h/g1: lock",
        "h/g1: set thing.a on",
        "h/g1: unlock",
        "h: unlock",
    ]


def test_the_lock_of_a_guest_is_given_up_before_it_goes_away():
    bench = switched(**{"thing.a": Wish()})
    bench.apply("restart-vm")
    did = bench.did()
    assert did.index("h/g1: set on thing.a") < did.index("h/g1: unlock") < did.index("h: virsh shutdown g1")


def test_without_consent_it_is_not_begun_and_what_needs_nobody_away_is_done():
    bench = switched(**{"thing.a": Wish()})
    applied = bench.apply()
    assert applied.exit is Exit.REFUSED
    assert applied.refused == {at("thing.dax"): (Risk.RESTART_VM,)}
    assert "h/g1: set on thing.a" in bench.did()
    assert bench.world.vms["g1"].active == "1"


def test_consents_are_judged_over_the_whole_tree_before_the_first_effect():
    bench = Bench(
        World(vms={"g1": Vm(definition="2", active="1")}),
        {"vm.g1": VmWish(definition="2")},
        g1={"thing.a": Wish(risk=Risk.DESTROY_DATA, needs=(of_vm("g1"),))},
    )
    missing = missing_consents(bench.plan(), Consents().with_live())
    assert [(str(one.at), one.risk.value) for one in missing] == [
        ("h/vm.g1", "restart-vm"),
        ("h/g1:thing.a", "destroy-data"),
    ]


def test_a_resource_without_consent_does_not_join():
    world = World(vms={"g1": Vm()}, things={HOST: {"thing.a": "old", "thing.b": "old"}})
    bench = Bench(world, {"thing.a": MEMORY, "thing.b": MEMORY})
    applied = bench.apply("restart-vm=h/thing.a")
    assert applied.refused == {at("thing.b"): (Risk.RESTART_VM,)} or not applied.refused
    assert [line for line in bench.did() if "virsh" in line] == ["h: virsh shutdown g1", "h: virsh start g1"]


@pytest.mark.parametrize(
    "host",
    [
        {"thing.dax": MEMORY, "vm.g1": VmWish(error="it could not come back")},
        {"thing.dax": MEMORY, "thing.b": Wish(error="no"), "vm.g1": VmWish(needs=(requires("thing.b"),))},
    ],
    ids=["subject", "what the subject requires"],
)
def test_no_interruption_leads_into_a_known_error(host):
    world = World(vms={"g1": Vm()}, things={HOST: {"thing.dax": "old"}})
    bench = Bench(world, host)
    (one,) = bench.plan().interruptions
    assert one.barred
    assert bench.apply("restart-vm").exit is Exit.ERROR
    assert not [line for line in bench.did() if "virsh" in line]


def test_who_does_not_start_again_is_started_as_it_ran_and_that_is_told():
    bench = switched()
    bench.world.vms["g1"].starts = False
    applied = bench.apply("restart-vm")
    assert applied.exit is Exit.ERROR
    assert applied.diagnostics[0].code == "CXE203"
    assert bench.world.vms["g1"].active
    assert [line for line in bench.did() if "virsh start" in line] == ["h: virsh start g1"] * 2


def test_what_fails_meanwhile_undoes_its_own_and_the_vm_comes_back():
    bench = switched()
    bench.world.fails.add("set thing.dax new")
    assert bench.apply("restart-vm").exit is Exit.ERROR
    assert bench.did()[1:4] == ["h: virsh shutdown g1", "h: set thing.dax new", "h: virsh start g1"]


def test_ctrl_c_leaves_nobody_away():
    bench = switched()
    asked = []
    bench.stops = lambda: bool(asked)
    bench.world.before["set thing.dax new"] = lambda: asked.append(1)
    applied = bench.apply("restart-vm")
    assert applied.interrupted
    assert bench.world.vms["g1"].active


def test_only_the_data_that_was_named_is_destroyed():
    world = World(things={HOST: {"thing.a": "old"}})
    bench = Bench(
        world, {"thing.b": Wish(), "thing.a": Wish(risk=Risk.DESTROY_DATA, needs=(requires("thing.b"),))}
    )
    wish = bench.tree.host.resources[1].spec
    world.before["set on thing.b"] = lambda: object.__setattr__(wish, "value", "another")
    applied = bench.apply("destroy-data=h/thing.a")
    assert [one.code for one in applied.diagnostics] == ["CXE262"]
    assert world.things[HOST]["thing.a"] == "old"


def test_what_is_destroyed_in_a_guest_is_looked_at_after_what_was_done_on_its_host():
    world = World(vms={"g1": Vm()}, things={GUEST: {"thing.a": "old"}})
    bench = Bench(world, {"thing.b": Wish(), "vm.g1": VmWish()}, g1={"thing.a": Wish(risk=Risk.DESTROY_DATA)})
    world.before["set on thing.b"] = lambda: world.things[GUEST].update({"thing.a": "on"})
    assert bench.apply(f"destroy-data={GUEST}:thing.a").exit is Exit.IN_SYNC
    assert "h/g1: set thing.a on" not in bench.world.log
    world.things[GUEST]["thing.a"] = "old"
    assert bench.apply(f"destroy-data={GUEST}:thing.a").exit is Exit.IN_SYNC
    assert "h/g1: set thing.a on" in bench.world.log


# Reboots ----------------------------------------------------------------------------------------------


def rebooted(**vms):
    world = World(vms=vms)
    return Bench(world, {"thing.grub": Wish(reboots=True), "vm.g1": VmWish(runs=None)})


THREE = {"g1": Vm(autostart=True), "g2": Vm(), "build7": Vm()}


def test_a_reboot_names_every_vm_that_it_stops():
    (one,) = rebooted(**THREE).plan().interruptions
    assert (one.risk, one.subject) == (Risk.REBOOT_HOST, HOST)
    assert [(vm.name, vm.declared, vm.autostart, vm.again) for vm in one.stops] == [
        ("build7", False, False, True),
        ("g1", True, True, False),
        ("g2", False, False, True),
    ]


def test_vms_are_shut_down_before_and_those_that_do_not_start_with_the_host_are_started_again():
    bench = rebooted(**THREE)
    assert bench.apply("reboot-host").exit is Exit.IN_SYNC
    assert bench.did()[1:-1] == [
        "h: write thing.grub",
        "h: virsh shutdown build7",
        "h: virsh shutdown g1",
        "h: virsh shutdown g2",
        "h: reboot",
        "h: virsh start build7",
        "h: virsh start g2",
    ]
    assert all(vm.active for vm in bench.world.vms.values())


def test_one_that_goes_on_running_ends_it_and_the_others_are_started_again():
    bench = rebooted(**{**THREE, "g2": Vm(deaf=True)})
    applied = bench.apply("reboot-host")
    assert applied.exit is Exit.REFUSED
    assert [one.code for one in applied.diagnostics] == ["CXE207"]
    assert "h: reboot" not in bench.world.log
    assert all(vm.active for vm in bench.world.vms.values())


def test_a_vm_that_appeared_since_is_not_stopped():
    bench = rebooted(g1=Vm(autostart=True))
    applied = bench.apply("reboot-host", before=lambda: bench.world.vms.update(late=Vm()))
    assert applied.exit is Exit.ERROR
    (told,) = applied.diagnostics
    assert (told.code, told.found) == ("CXE260", "running since: late")
    assert "h: reboot" not in bench.world.log
    assert bench.world.vms["late"].active


def test_a_connection_that_is_lost_between_says_who_is_off():
    bench = rebooted(g1=Vm(autostart=True), g2=Vm())

    def lost():
        raise fail("CXC303", "connection lost")

    bench.world.before["virsh shutdown g2"] = lost
    with pytest.raises(CxlstateError) as ended:
        bench.apply("reboot-host")
    assert [one.code for one in ended.value.diagnostics] == ["CXC303", "CXE261"]
    assert ended.value.diagnostics[1].hint == "on h: virsh start g2"


def test_an_error_elsewhere_does_not_bar_a_reboot():
    world = World(vms={"g1": Vm(autostart=True)})
    host = {"thing.grub": Wish(reboots=True), "vm.g1": VmWish(runs=None)}
    bench = Bench(world, host, g1={"thing.a": Wish(error="a slip")})
    assert bench.apply("reboot-host").exit is Exit.ERROR
    assert "h: reboot" in bench.world.log


def test_the_kernel_of_a_guest_is_rebooted_by_another_class_and_the_host_is_not():
    bench = Bench(World(vms={"g1": Vm()}), {"vm.g1": VmWish()}, g1={"thing.grub": Wish(reboots=True)})
    (one,) = bench.plan().interruptions
    assert (one.risk, one.subject) == (Risk.REBOOT_GUEST, "h/g1")
    assert bench.apply("reboot-host").exit is Exit.PENDING
    assert bench.apply("reboot-guest=h/g1").exit is Exit.IN_SYNC
    assert [line for line in bench.did() if "reboot" in line] == ["h/g1: reboot"]


# Undoing each other -----------------------------------------------------------------------------------


def test_two_that_undo_each_other_end_the_run_with_both_names():
    world = World(undoes={"thing.a": "thing.b", "thing.b": "thing.a"})
    bench = Bench(world, {"thing.a": Wish(value="x"), "thing.b": Wish()})
    applied = bench.apply()
    assert [one.code for one in applied.diagnostics] == ["CXE211"]
    assert applied.diagnostics[0].message == "thing.a and thing.b undo each other"


def test_what_is_undone_once_is_done_again():
    """A script of a package stops what was started before."""
    world = World(undoes={"thing.b": "thing.a"})
    bench = Bench(world, {"thing.a": Wish(value="x"), "thing.b": Wish(needs=(requires("thing.a"),))})
    assert bench.apply().exit is Exit.IN_SYNC
    assert [line for line in bench.did() if "thing.a" in line] == ["h: set x thing.a"] * 2


def test_three_in_a_ring_are_all_named():
    ring = {"thing.a": "thing.b", "thing.b": "thing.c", "thing.c": "thing.a"}
    bench = Bench(World(undoes=ring), {name: Wish(value=name) for name in ring})
    (told,) = bench.apply().diagnostics
    assert told.code == "CXE211"
    assert len([line for line in bench.did() if "set" in line]) < 12
