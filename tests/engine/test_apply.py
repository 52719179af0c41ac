"""What `apply` does on a simulated machine: consent, failure, proof, interruption."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import replace

import pytest

from cxlstate.core.action import Action, Risk, Run
from cxlstate.core.address import Address, ScopedAddress
from cxlstate.core.consent import Consents, parse_consents
from cxlstate.core.diagnostic import CxlstateError
from cxlstate.engine import apply as engine
from cxlstate.engine.apply import Converger
from cxlstate.engine.plan import Exit, Status, worst
from cxlstate.engine.promise import Promise
from cxlstate.engine.record import wanted_of
from cxlstate.engine.turns import group
from cxlstate.engine.writing import Writers
from cxlstate.resources import kinds
from cxlstate.simulator.world import Unit
from cxlstate.simulator.writer import SimWriter
from tests.assessing import answering
from tests.laws.bench import DROP_IN, EVERYTHING, GRUB_CFG, OURS, Bench, Quiet

NOTHING = Consents()
TERMINAL = "GRUB_TIMEOUT=0\nGRUB_TERMINAL=serial"
SSH, CRON, GRUB = Address("service", "ssh"), Address("service", "cron"), Address("grub")


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def codes(applied):
    return [d.code for d in (*applied.diagnostics, *applied.plan.all_diagnostics)]


def done(bench):
    """What the journal says that was done, by resource."""
    return {one.removeprefix("bench/") for line in bench.journal() for one in line["addresses"]}


# Consent ---------------------------------------------------------------------------------------------


def test_what_interrupts_is_refused_whole_and_the_rest_is_done(bench):
    spec = bench.spec({"services": {"ssh": {"enabled": False, "running": False}, "cron": {"running": False}}})
    applied = bench.apply(spec, NOTHING)
    assert applied.exit is Exit.REFUSED
    assert applied.refused == {ScopedAddress("bench", SSH): (Risk.NETWORK_BLIP,)}
    assert done(bench) == {"service.cron"}, "not even the disabling of ssh, which interrupts nothing"
    assert bench.machine()["units"]["ssh.service"]["state"] == "enabled"
    assert applied.plan.at(CRON).status is Status.IN_SYNC


def test_what_was_refused_and_is_in_sync_at_the_end_is_not_refused(bench):
    """Somebody does it by hand meanwhile."""
    spec = bench.spec({"services": {"ssh": {"running": False}, "cron": {"running": False}}})
    bench.watcher.begins = lambda _: bench.run("systemctl", "stop", "ssh")
    applied = bench.apply(spec, NOTHING)
    assert applied.exit is Exit.IN_SYNC
    assert not applied.refused


def test_what_was_refused_while_it_was_done_and_is_in_sync_at_the_end_is_not_refused(bench):
    """Somebody generates grub.cfg with his own edit, which no plan foresees, and ours is in it."""
    bench.edit("etc/default/grub.d/50-cloudimg-settings.cfg", "GRUB_TIMEOUT=0", TERMINAL)
    spec = bench.spec({"grub": {"args": ["a=1"]}, "users": {"admin": {"groups": ["kvm"]}}})

    def somebody(plans):
        if plans[0].address.kind == "user":
            bench.write("etc/default/grub.d/60-site.cfg", 'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX a=1"\n')
            bench.regenerate()
            bench.power_cut()

    bench.watcher.begins = somebody
    applied = bench.apply(spec, NOTHING)
    assert [line["event"] for line in bench.journal() if line["effect"] == "generate"] == ["begin", "foreign"]
    assert applied.exit is Exit.IN_SYNC, applied.diagnostics
    assert not applied.diagnostics


@pytest.mark.parametrize(
    ("allowed", "exit_"),
    [
        ("network-blip", Exit.IN_SYNC),
        ("network-blip=bench", Exit.IN_SYNC),
        ("network-blip=bench/service.ssh", Exit.IN_SYNC),
        ("network-blip=bench/service.cron", Exit.REFUSED),
        ("network-blip=another", Exit.REFUSED),
        ("reboot-host,restart-vm,power-off-vm,foreign-boot", Exit.REFUSED),
    ],
)
def test_consent_is_to_a_class_and_may_be_narrowed(bench, allowed, exit_):
    spec = bench.spec({"services": {"ssh": {"running": False}}})
    assert bench.apply(spec, parse_consents((allowed,))).exit is exit_


def test_a_reboot_that_was_not_allowed_is_pending_and_all_else_is_written(bench):
    spec = bench.spec({"grub": {"args": ["a=1"]}})
    applied = bench.apply(spec, NOTHING)
    assert applied.exit is Exit.PENDING
    assert not applied.refused
    assert applied.plan.at(GRUB).status is Status.PENDING_REBOOT
    assert "a=1" in bench.path(GRUB_CFG).read_text()
    journal = bench.journal()
    assert bench.apply(spec, NOTHING).exit is Exit.PENDING
    assert bench.journal() == journal, "what is written is not written again"


def test_a_reboot_that_does_not_help_is_tried_once_for_each_and_then_named(bench):
    """kvm_intel is loaded at boot and brings kvm along, whatever the blacklist says."""
    spec = bench.spec({"modules": {"kvm": "absent"}})
    with SimWriter(bench.directory, "bench") as writer:
        only = {"bench": frozenset({Address("module", "kvm")})}  # alone, it is not told beforehand
        opened, allowed = Writers(lambda *_: writer), EVERYTHING.with_live()
        converger = Converger(spec, opened, bench.kinds, allowed, "r", "1", Quiet(), only=only)
        applied = converger.converge(converger.plan())
    assert applied.exit is Exit.ERROR
    assert codes(applied) == ["CXE204"]
    reboots = [line["addresses"] for line in bench.journal() if line["effect"] == "reboot"]
    assert reboots == [["bench/grub"], ["bench/module.kvm"]]


# Exit statuses ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", range(6))
def test_with_several_the_first_of_1_5_4_2_3_0_is_the_exit(place):
    order = [1, 5, 4, 2, 3, 0]
    assert worst(map(Exit, reversed(order[place:]))) == order[place]
    assert worst([]) is Exit.IN_SYNC


REFUSED = {"services": {"ssh": {"running": False}}}
PENDING = {"grub": {"args": ["a=1"]}}
UNKNOWN = {"users": {"admin": {"groups": ["no-such-group"]}}}
ERROR = {"modules": {"virtio": "absent"}}


@pytest.mark.parametrize(
    ("hosts", "exit_"),
    [
        ((PENDING,), 3),
        ((PENDING, REFUSED), 4),
        ((PENDING, REFUSED, UNKNOWN), 5),
        ((REFUSED, UNKNOWN, ERROR), 1),
        ((UNKNOWN,), 5),
    ],
)
def test_an_apply_exits_with_the_worst_of_its_resources(bench, hosts, exit_):
    spec = bench.spec({key: value for host in hosts for key, value in host.items()})
    assert bench.apply(spec, NOTHING).exit == exit_


# Packages together -----------------------------------------------------------------------------------


@pytest.mark.parametrize("unless", ["", "/run/in-the-way"])
def test_only_what_is_run_under_one_condition_is_run_together(bench, unless):
    first, second = bench.plan(bench.spec({"packages": ["hello", "tree"]})).resources
    conditional = tuple(
        replace(action, effect=replace(action.effect, unless=unless)) for action in second.actions
    )
    together = group([first, replace(second, actions=conditional)])
    assert len(together) == (1 if unless else 2)


def test_packages_are_installed_in_one_run(bench):
    names = ["ndctl", "daxctl", "hello", "tree", "ovmf"]
    applied = bench.apply(bench.spec({"packages": names}))
    assert applied.exit is Exit.IN_SYNC
    runs = [line["argv"] for line in bench.journal() if line["event"] == "done"]
    assert [argv[0] for argv in runs] == ["apt-get", "apt-get"]
    assert runs[0][-1] == "update"
    assert sorted(runs[1][-5:]) == sorted(names)


def test_one_package_that_nobody_has_is_named_and_the_others_are_installed(bench):
    applied = bench.apply(bench.spec({"packages": ["hello", "no-such-package", "tree"]}))
    assert applied.exit is Exit.ERROR
    assert [(d.code, str(d.address)) for d in applied.diagnostics] == [("CXE203", "package.no-such-package")]
    assert "Unable to locate package no-such-package" in applied.diagnostics[0].found
    assert {"hello", "tree"} <= set(bench.machine()["installed"])
    assert applied.plan.at(Address("package", "tree")).status is Status.IN_SYNC


# Edits of others -------------------------------------------------------------------------------------


def test_somebody_elses_pending_edit_is_shown_and_refused_and_the_drop_in_is_taken_back(bench):
    bench.edit("etc/default/grub.d/50-cloudimg-settings.cfg", "GRUB_TIMEOUT=0", TERMINAL)
    spec, grub_cfg = bench.spec({"grub": {"args": ["a=1"]}}), bench.path(GRUB_CFG).read_text()
    applied = bench.apply(spec, parse_consents(("reboot-host",)))
    assert applied.exit is Exit.REFUSED
    assert applied.refused == {ScopedAddress("bench", GRUB): (Risk.FOREIGN_BOOT,)}
    assert codes(applied) == ["CXE202"]
    (told,) = applied.diagnostics
    assert "terminal_input serial" in told.found
    assert "foreign-boot=bench/grub" in told.hint
    assert not bench.path(DROP_IN).exists()
    assert bench.path(GRUB_CFG).read_text() == grub_cfg


def test_with_consent_somebody_elses_edit_comes_into_force_with_ours(bench):
    bench.edit("etc/default/grub.d/50-cloudimg-settings.cfg", "GRUB_TIMEOUT=0", "GRUB_TIMEOUT=7")
    spec = bench.spec({"grub": {"args": ["a=1"]}})
    applied = bench.apply(spec, parse_consents(("foreign-boot=bench/grub,reboot-host",)))
    assert applied.exit is Exit.IN_SYNC
    assert {"timeout=7", "a=1"} <= set(
        bench.path(GRUB_CFG).read_text().replace("\t", " ").replace("\n", " ").split()
    )


def test_a_pending_edit_of_kernel_arguments_is_known_before_and_needs_the_consent_by_name(bench):
    bench.write("etc/default/grub.d/60-site.cfg", 'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX site=1"\n')
    spec = bench.spec({"grub": {"args": ["a=1"]}})
    (action,) = [one for one in bench.plan(spec).at(GRUB).actions if one.risk is Risk.FOREIGN_BOOT]
    assert "site=1" in action.why
    assert bench.apply(spec, NOTHING).exit is Exit.REFUSED
    assert done(bench) == set()


def test_an_edit_between_plan_and_action_is_never_overwritten(bench):
    """The file is no longer what was seen: planned again from what is there now."""
    spec = bench.spec({"grub": {"args": ["a=1"]}})
    bench.apply(spec)
    changed = bench.spec({"grub": {"args": ["a=2"]}})
    applied = bench.apply(changed, before=lambda: bench.edit(DROP_IN, "# Made", "# Mine"))
    events = [line["event"] for line in bench.journal()]
    assert "stale" in events
    assert applied.exit is Exit.IN_SYNC
    assert "a=2" in bench.path(DROP_IN).read_text()
    kept = [path.read_text() for path in bench.path(f"{OURS}/blobs").iterdir()]
    assert any("# Mine" in text for text in kept), "the edit that was replaced is in the store"


# A plan file ---------------------------------------------------------------------------------------


def keep_to(bench, spec, consents=EVERYTHING):
    """As `cxlstate apply plan.json`, where the machine is as the file says."""
    with SimWriter(bench.directory, "bench") as writer:
        converger = Converger(
            spec, Writers(lambda *_: writer), bench.kinds, consents.with_live(), "run", "1", bench.watcher,
            sleep=lambda _: None,
        )  # fmt: skip
        plan = converger.plan()
        converger.promise = Promise.of(plan)
        return converger.converge(plan)


def test_what_a_plan_file_shows_in_sync_is_not_done_though_it_is_not_any_more(bench):
    spec = bench.spec(
        {
            "services": {"cron": {"running": True}},
            "packages": ["hello"],
            "users": {"admin": {"groups": ["kvm"]}},
        }
    )
    bench.watcher.begins = lambda plans: bench.run("systemctl", "stop", "cron")
    applied = keep_to(bench, spec)
    assert applied.exit is Exit.CHANGES
    assert done(bench) == {"package.hello", "user.admin"}
    assert applied.left == (ScopedAddress("bench", CRON),)
    assert applied.diagnostics == []
    assert "cron.service" not in bench.machine()["running"]["units"]


def test_what_moved_after_the_plan_file_was_made_is_not_done_though_its_actions_have_the_same_words(bench):
    spec = bench.spec({"packages": ["hello"], "services": {"cron": {"running": True}}})
    with bench.world() as world:
        world.running.units.pop("cron.service")

    def fails(plans):
        with bench.world() as world:
            world.running.units["cron.service"] = "failed"

    bench.watcher.begins = fails
    applied = keep_to(bench, spec)
    assert done(bench) == {"package.hello"}
    assert codes(applied) == ["CXE205"]


def test_a_plan_file_ends_at_the_first_reboot_also_where_that_is_allowed(bench):
    spec = bench.spec({"grub": {"args": ["a=1"]}})
    applied = keep_to(bench, spec)
    assert applied.exit is Exit.PENDING
    assert [line for line in bench.journal() if line["effect"] == "reboot"] == []


def test_a_plan_file_of_a_bare_host_is_done_as_far_as_the_first_reboot(bench):
    """Much of it is blocked in the file, and planned as far as it can be seen."""
    services = {"libvirtd": {"enabled": True, "running": True}}
    packages = ["libvirt-daemon-system", "qemu-utils"]
    users = {"admin": {"groups": ["libvirt"]}}
    spec = bench.spec({**COVERED, "packages": packages, "services": services, "users": users})
    applied = keep_to(bench, spec)
    assert applied.exit is Exit.PENDING, applied.diagnostics
    again = keep_to(bench, spec, NOTHING)
    assert again.exit is Exit.PENDING


# Two that undo each other ----------------------------------------------------------------------------


def in_conflict(bench, *names, said=False):
    """To start the one stops the next; `said` by Conflicts= (systemd.unit(5)), or else by nothing."""
    with bench.world() as world:
        for name, other in zip(names, (*names[1:], names[0]), strict=True):
            unit = world.units.setdefault(f"{name}.service", Unit())
            (unit.conflicts if said else unit.stops).append(f"{other}.service")
            world.running.units.pop(f"{name}.service", None)


@pytest.mark.parametrize("apart", [False, True])
def test_two_that_undo_each_other_end_the_run_and_both_are_named(bench, apart):
    """Started by one command, and by two."""
    in_conflict(bench, "cron", "ssh")
    with bench.world() as world:
        world.units["ssh.service"].state = "disabled" if apart else world.units["cron.service"].state
    spec = bench.spec({"services": {"cron": {"running": True}, "ssh": {"running": True, "enabled": True}}})
    applied = bench.apply(spec, NOTHING)
    assert applied.exit is Exit.ERROR
    (told,) = applied.diagnostics
    assert told.code == "CXE211"
    said = f"{told.message} {told.found} {told.hint}"
    assert "service.cron" in said
    assert "service.ssh" in said
    starts = [line for line in bench.journal() if line["event"] == "done" and "start" in line["does"]]
    assert len(starts) <= 3


def test_two_that_say_so_are_refused_before_the_first_action(bench):
    in_conflict(bench, "cron", "ssh", said=True)
    applied = bench.apply(
        bench.spec({"services": {"cron": {"running": True}, "ssh": {"running": True}, "rsync": {}}})
    )
    assert applied.exit is Exit.ERROR
    assert [(d.code, str(d.address)) for d in applied.plan.all_diagnostics] == [
        ("CXV330", "service.cron"), ("CXV330", "service.ssh")
    ]  # fmt: skip
    assert len({d.source.line for d in applied.plan.all_diagnostics}) == 2
    assert bench.journal() == []


def test_three_in_a_ring_end_the_run_too_and_all_are_named(bench):
    in_conflict(bench, "cron", "ssh", "systemd-networkd")
    wanted = {name: {"running": True} for name in ("cron", "ssh", "systemd-networkd")}
    applied = bench.apply(bench.spec({"services": wanted}))
    assert applied.exit is Exit.ERROR
    assert codes(applied)[0] == "CXE211"


def test_what_somebody_else_changes_back_each_time_ends_the_run(bench):
    """Another value each time: the bound is how often it is done."""
    count = iter(range(1000))

    def otherwise(found):
        return replace(
            found, changes=tuple(replace(one, old=f"other {next(count)}") for one in found.changes)
        )

    bench.kinds = {**bench.kinds, "service": answering(kinds()["service"].reconciler, otherwise)}
    in_conflict(bench, "cron", "ssh")
    with bench.world() as world:
        world.units["ssh.service"].state = "disabled"
    spec = bench.spec({"services": {"cron": {"running": True}, "ssh": {"running": True, "enabled": True}}})
    applied = bench.apply(spec, NOTHING)
    assert [d.code for d in applied.diagnostics] == ["CXE211"]


def test_what_a_reboot_forgets_is_done_again_and_is_no_conflict(bench):
    spec = bench.spec({"modules": {"dummy": "present"}, "services": {"cron": {"running": True}},
                       "grub": {"args": ["a=1"]}})  # fmt: skip
    with bench.world() as world:
        world.units["cron.service"].state = "disabled"
        world.running.units.pop("cron.service", None)
    assert bench.apply(spec).exit is Exit.IN_SYNC
    starts = [line for line in bench.journal() if line["does"] == "start cron.service"]
    assert len([line for line in starts if line["event"] == "done"]) == 2


# Failure ---------------------------------------------------------------------------------------------


def test_where_an_action_fails_what_came_before_it_in_that_resource_is_undone(bench):
    with bench.world() as world:
        world.units["ssh.service"].state = "disabled"
        world.units["ssh.service"].starts = False
        del world.running.units["ssh.service"]
    spec = bench.spec({"services": {"ssh": {"enabled": True, "running": True}, "cron": {"running": False}}})
    applied = bench.apply(spec)
    assert applied.exit is Exit.ERROR
    (failed,) = applied.diagnostics
    assert (failed.code, failed.address) == ("CXE203", SSH)
    assert "Job for ssh.service failed" in failed.found
    assert failed.hint.endswith("apply again; taken back: enable ssh.service")
    assert bench.machine()["units"]["ssh.service"]["state"] == "disabled"
    its = [line for line in bench.journal() if line["addresses"] == ["bench/service.ssh"]]
    told = [(line["event"], line["does"]) for line in its]
    assert ("done", "undo enable ssh.service: systemctl disable ssh.service") in told
    assert applied.plan.at(CRON).status is Status.IN_SYNC, "others go on"


def test_a_unit_file_that_is_taken_back_is_gone_before_systemd_reads_its_unit_files_again(bench):
    """`systemctl enable` cannot make its link where a folder has the name of the link."""
    wants = "etc/systemd/system/multi-user.target.wants"
    bench.write(f"{wants}/cxlstate-restore.service/of-others", "")
    spec = bench.spec({"mtrr": {"a": {"ranges": [{"start": "900GiB", "size": "1GiB"}]}}})
    applied = bench.apply(spec)
    assert codes(applied)[0] == "CXE203", applied.diagnostics
    undone = [line for line in bench.journal() if line["event"] == "done" and "undo" in line["does"]]
    assert [line["effect"] for line in undone] == ["remove-file", "run", "remove-file"]


def test_the_boot_script_does_not_hold_what_could_not_be_done(bench):
    """The kernel's log has lost the number of registers, and the second range finds none free."""
    with bench.world() as world:
        world.mtrr.registers = 2
    bench.power_cut()
    with bench.world() as world:
        world.running.log = []
    ranges = {
        name: {"ranges": [{"start": f"{at}GiB", "size": "1GiB"}]} for name, at in (("a", 900), ("b", 902))
    }
    spec = bench.spec({"mtrr": ranges})
    applied = bench.apply(spec)
    assert codes(applied) == ["CXE203", "CXT304"]
    assert applied.diagnostics[0].address == Address("mtrr", "b")
    assert not bench.path("/etc/cxlstate/restore").exists()
    assert applied.plan.at(Address("boot")).status is Status.CHANGE


def test_registers_are_counted_over_all_before_the_first_is_written(bench):
    """Each alone would fit into the seven that are free."""
    before = bench.machine()["running"]["mtrr"]
    ranges = {
        name: {"ranges": [{"start": f"{at + 2 * number}GiB", "size": "1GiB"} for number in range(4)]}
        for name, at in (("a", 900), ("b", 950))
    }
    applied = bench.apply(bench.spec({"mtrr": ranges}))
    assert codes(applied) == ["CXT303", "CXT303"]
    assert applied.plan.at(Address("mtrr", "a")).status is Status.BLOCKED
    assert bench.machine()["running"]["mtrr"] == before
    del ranges["b"]
    assert bench.apply(bench.spec({"mtrr": ranges})).exit is Exit.IN_SYNC


def test_what_failed_is_not_tried_again_in_the_same_run(bench):
    bench.apply(bench.spec({"packages": ["no-such-package"]}))
    installs = [line for line in bench.journal() if line["event"] == "begin" and "install" in line["argv"]]
    assert len(installs) == 1


def test_a_machine_without_its_archive_says_so_and_stays_as_it_is(bench):
    with bench.world() as world:
        world.archive.online = False
    applied = bench.apply(bench.spec({"packages": ["hello"]}))
    assert codes(applied) == ["CXE203"]
    assert applied.diagnostics[0].hint.endswith("mend the cause and apply again")
    assert "hello" not in bench.machine()["installed"]


class WithoutEffect:
    """Kinds of which `user` names an action that does nothing."""

    def __new__(cls):
        nothing = (Action("do nothing", Run(("systemctl", "daemon-reload"))),)
        return {
            **kinds(),
            "user": answering(kinds()["user"].reconciler, lambda found: replace(found, actions=nothing)),
        }


def test_what_was_done_and_does_not_hold_is_not_converged_after_a_bounded_number_of_looks(tmp_path):
    bench, slept = Bench(tmp_path, WithoutEffect()), []
    spec = bench.spec({"users": {"admin": {"groups": ["kvm"]}}, "services": {"cron": {"running": False}}})
    with SimWriter(bench.directory, "bench") as writer:
        converger = Converger(
            spec, Writers(lambda *_: writer), bench.kinds, NOTHING.with_live(), "run", "1", Quiet(),
            sleep=slept.append,
        )  # fmt: skip
        applied = converger.converge(converger.plan())
    assert applied.exit is Exit.ERROR
    assert len(slept) == engine.LOOKS - 1
    (told,) = applied.diagnostics
    assert (told.code, str(told.address), told.expected) == ("CXE204", "user.admin", "groups.0: kvm")
    assert len([line for line in bench.journal() if line["does"] == "do nothing"]) == 2, (
        "begun and done, once"
    )
    assert applied.plan.at(CRON).status is Status.IN_SYNC


# Interruption and the lock ---------------------------------------------------------------------------


def test_ctrl_c_ends_after_the_running_action_and_the_next_apply_goes_on(bench):
    spec = bench.spec({"packages": ["hello"], "services": {"cron": {"running": False}}})
    began = []
    bench.watcher.begins = began.append
    applied = bench.apply(spec, stop=lambda: bool(began))
    assert applied.interrupted
    assert applied.exit is Exit.ERROR
    assert len(began) == 1
    assert done(bench) == {"package.hello"}
    assert [line["event"] for line in bench.journal()] == ["begin", "done"] * 2
    assert bench.apply(spec).exit is Exit.IN_SYNC


def test_a_second_apply_is_refused_while_the_first_holds_the_lock_and_changes_nothing(bench):
    spec = bench.spec({"packages": ["hello"]})
    with SimWriter(bench.directory, "bench"):
        before = bench.snapshot()
        with pytest.raises(CxlstateError) as error:
            bench.apply(spec)
        assert [d.code for d in error.value.diagnostics] == ["CXC302"]
        assert "process" in error.value.diagnostics[0].found
        assert bench.snapshot() == before
        assert bench.plan(spec).exit is Exit.CHANGES, "reading needs no lock"
    assert bench.apply(spec).exit is Exit.IN_SYNC


# Records ---------------------------------------------------------------------------------------------


def test_what_is_in_force_is_recorded_even_where_there_was_nothing_to_do(bench):
    spec = bench.spec({"services": {"cron": {"running": True}}})
    bench.apply(spec)
    assert set(bench.records()) == {"service.cron"}
    assert bench.journal() == []
    with bench.world() as world:
        del world.running.units["cron.service"]
    assert bench.plan(spec).at(CRON).cause.value == "drifted"


@pytest.mark.parametrize("kept", [None, "", '{"wanted": {"spec', "[]", '{"tool": "1"}', "half a rec"])
def test_what_has_no_record_or_a_damaged_one_is_undetermined(bench, kept):
    spec = bench.spec({"services": {"cron": {"running": False}}})
    if kept is not None:
        bench.write(f"{OURS}/applied/service.cron", f"{kept}\n")
    assert bench.plan(spec).at(CRON).cause.value == "undetermined"


def test_a_record_is_what_was_written(bench):
    bench.apply(bench.spec({"services": {"cron": {"running": True}}, "modules": {"dummy": "present"}}))
    files = bench.path(f"{OURS}/applied").glob("*")
    records = {file.name: json.loads(file.read_text()) for file in files}
    assert {name: one["wanted"]["spec"] for name, one in records.items()} == {
        "service.cron": {"running": True},
        "module.dummy": "present",
    }
    for one in records.values():
        assert one["tool"] == "1"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", one["at"])


def test_of_what_is_too_long_for_a_line_the_record_is_a_digest(bench):
    def args(last):
        return bench.spec({"grub": {"args": [*(f"{n}=" + "x" * 1000 for n in range(40)), last]}})

    resource = args("a").host.resources[0]
    assert len(wanted_of(resource, {})) < 200
    assert wanted_of(resource, {}) != wanted_of(args("b").host.resources[0], {})


COVERED = {
    "memmap": [{"size": "2GiB", "start": "320GiB", "type": "reserved"}],
    "modules": {"kmem": "absent"},
    "dax": {"cxl0": {"range": {"start": "322GiB", "size": "96GiB"}, "align": "2MiB"}},
    "mtrr": {
        "cxl0": {"cover": "dax.cxl0", "type": "uncachable", "within": {"start": "320GiB", "end": "448GiB"}}
    },
}


def covered(align="2MiB"):
    host = copy.deepcopy(COVERED)
    host["dax"]["cxl0"]["align"] = align
    return host


def by_hand(bench):
    """A register is lost, and the device has another align."""
    bench.disturb("our registers are gone")
    with bench.world() as world:
        (device,) = world.running.dax.values()
        device.align = 1 << 30


def causes(plan):
    return {str(one.address): one.cause.value for one in plan.resources if one.changes}


def test_what_was_changed_by_hand_on_both_sides_of_an_export_is_drifted(bench):
    """A record holds what was wanted: what its device is like now makes a cover wanted no less."""
    assert bench.apply(bench.spec(covered())).exit is Exit.IN_SYNC
    by_hand(bench)
    found = causes(bench.plan(bench.spec(covered())))
    assert {"dax.cxl0", "mtrr.cxl0"} <= found.keys()
    assert set(found.values()) == {"drifted"}


def test_another_wish_for_what_it_is_told_of_makes_it_unapplied(bench):
    assert bench.apply(bench.spec(covered())).exit is Exit.IN_SYNC
    by_hand(bench)
    assert set(causes(bench.plan(bench.spec(covered("4KiB")))).values()) == {"unapplied"}


def test_what_a_service_only_waits_for_does_not_change_its_record(bench):
    services = {"services": {"cron": {"running": True}}}
    bench.apply(bench.spec({**services, "packages": ["hello"]}))
    bench.run("systemctl", "stop", "cron")
    plan = bench.plan(bench.spec({**services, "packages": ["hello", "tree"]}))
    assert causes(plan)["service.cron"] == "drifted"


@pytest.mark.parametrize("form", ["", "2:"])
def test_a_record_of_an_earlier_form_tells_nothing_and_is_made_anew(bench, form):
    spec = bench.spec({"services": {"cron": {"running": True}}})
    bench.write(f"{OURS}/applied/service.cron", f"{form}{'0123456789abcdef' * 2} 0.1.0\n")
    bench.run("systemctl", "stop", "cron")
    assert bench.plan(spec).at(CRON).cause.value == "undetermined"
    bench.apply(spec)
    bench.run("systemctl", "stop", "cron")
    assert bench.plan(spec).at(CRON).cause.value == "drifted"


def test_a_target_is_done_with_what_it_needs_and_nothing_else(bench):
    spec = bench.spec(
        {
            "packages": ["hello"],
            "services": {"cron": {"running": False}},
            "users": {"admin": {"groups": ["kvm"]}},
        }
    )
    with SimWriter(bench.directory, "bench") as writer:
        only = {"bench": frozenset({CRON})}
        opened = Writers(lambda *_: writer)
        converger = Converger(spec, opened, bench.kinds, NOTHING.with_live(), "r", "1", Quiet(), only=only)
        applied = converger.converge(converger.plan())
    assert applied.exit is Exit.IN_SYNC
    assert done(bench) == {"package.hello", "service.cron"}


def test_what_the_spec_dropped_is_taken_away(bench):
    bench.apply(bench.spec({"modules": {"dummy": "present", "kmem": "absent"}, "grub": {"args": ["a=1"]}}))
    assert bench.path(DROP_IN).exists()
    spec = bench.spec({"packages": ["hello"]})
    assert bench.plan(spec).at(Address("module", "dummy")).reason == "no longer in the spec"
    assert bench.apply(spec).exit is Exit.IN_SYNC
    assert list(bench.path("etc/modules-load.d").glob("cxlstate-*")) == []
    assert not bench.path(DROP_IN).exists()
    assert "a=1" not in bench.path(GRUB_CFG).read_text()
