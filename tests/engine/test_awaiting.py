"""Guests that do not answer, or let us not in, after their start: on the simulator."""

from __future__ import annotations

import copy

import pytest

from cxlstate.engine.awaiting import FIRST_LOOKS, LOOKS, PAUSE, REFUSALS
from cxlstate.engine.plan import Exit
from cxlstate.simulator.world import Guest
from tests.laws.bench import bench
from tests.strategies import LIBVIRT, VM

SPEC = {"packages": [LIBVIRT], "vms": {"g": VM | {"state": "running", "guest": {"packages": ["hello"]}}}}


class Clock:
    """Time passes while somebody sleeps; `phases` are what becomes of a login, and for how many sleeps."""

    def __init__(self, machine, *phases):
        self.machine, self.slept = machine, 0
        self._states = [state for state, times in phases for _ in range(times)]
        self._set()

    def sleep(self, seconds):
        assert seconds == PAUSE
        self.slept += 1
        self._set()

    def _set(self):
        state = self._states[self.slept] if self.slept < len(self._states) else "answers"
        with self.machine.world() as world:
            world.guests["g"] = Guest(ssh=state)


@pytest.fixture
def machine():
    with bench() as one:
        yield one


def applied(machine, clock):
    return machine.apply(machine.spec(SPEC), sleep=clock.sleep)


@pytest.mark.parametrize(
    "phases",
    [
        [("refuses", REFUSALS)],
        [("silent", LOOKS - 1), ("refuses", 1)],
        [("refuses", REFUSALS), ("silent", 1), ("refuses", REFUSALS)],
    ],
    ids=["refuses at first", "silent for long", "restarts its server"],
)
def test_a_guest_that_lets_us_in_late_is_waited_for(machine, phases):
    clock = Clock(machine, *phases)
    done = applied(machine, clock)
    assert done.exit is Exit.IN_SYNC, (done.diagnostics, done.plan)
    assert clock.slept == sum(times for _, times in phases)
    assert not done.diagnostics


def test_one_that_goes_on_refusing_is_told_as_that_and_not_waited_for_to_the_end(machine):
    clock = Clock(machine, ("silent", 3), ("refuses", 1000))
    done = applied(machine, clock)
    assert done.exit is Exit.UNKNOWN
    assert clock.slept == 3 + REFUSALS
    (problem,) = done.diagnostics
    assert (problem.code, problem.machine) == ("CXC126", "bench/g")
    assert "authentication failed" in problem.found
    assert "60 s" in problem.found
    waits = dict.fromkeys(what for how, what in machine.watcher.told if how == "waits")
    assert list(waits) == ["waiting for bench/g to answer", "waiting for bench/g to accept the login"]


def test_one_that_never_answers_is_waited_for_to_the_end(machine):
    clock = Clock(machine, ("silent", 1000))
    done = applied(machine, clock)
    assert (done.exit, clock.slept, done.diagnostics) == (Exit.UNKNOWN, LOOKS, [])


def first_boot():
    """A VM that the spec makes with its disk; its guest tells who it is at the end of its first boot."""
    image = {"path": "/var/lib/libvirt/images/g.qcow2", "format": "qcow2", "size": "1GiB"}
    spec = copy.deepcopy(SPEC) | {"images": {"system": image}}
    spec["packages"].append("qemu-utils")
    spec["vms"]["g"] |= {"disks": [{"target": "vda", "image": "image.system"}]}
    spec["vms"]["g"]["guest"]["provision"] = {"method": "cloud-init"}
    return spec


def test_a_first_boot_may_take_longer(machine):
    clock = Clock(machine, ("silent", LOOKS + 5))
    done = machine.apply(machine.spec(first_boot()), sleep=clock.sleep)
    assert done.exit is Exit.IN_SYNC, (done.diagnostics, done.plan)
    assert clock.slept == LOOKS + 5


def test_a_first_boot_that_never_ends_is_not_waited_for_for_ever(machine):
    clock = Clock(machine, ("silent", 1000))
    done = machine.apply(machine.spec(first_boot()), sleep=clock.sleep)
    assert (done.exit, clock.slept) == (Exit.UNKNOWN, FIRST_LOOKS)


# Started before this run -------------------------------------------------------------------------------


@pytest.fixture
def running(machine):
    """The guest runs, and misses something."""
    spec = {**SPEC, "vms": {"g": {**SPEC["vms"]["g"], "guest": {}}}}
    assert machine.apply(machine.spec(spec)).exit is Exit.IN_SYNC
    return machine


def runs_for(machine, seconds):
    with machine.world() as world:
        world.running.uptime += seconds


@pytest.mark.parametrize("seconds", [0, 200])
def test_one_that_was_just_started_is_waited_for_as_long_as_is_left(running, seconds):
    runs_for(running, seconds)
    clock = Clock(running, ("silent", 1000))
    assert applied(running, clock).exit is Exit.UNKNOWN
    assert clock.slept == LOOKS - seconds / PAUSE


def test_one_that_runs_for_long_is_not_waited_for(running):
    runs_for(running, int(LOOKS * PAUSE))
    clock = Clock(running, ("silent", 1000))
    assert applied(running, clock).exit is Exit.UNKNOWN
    assert clock.slept == 0


def test_one_that_starts_with_its_host_is_waited_for_after_a_power_cut(running):
    spec = copy.deepcopy(SPEC)
    spec["vms"]["g"]["autostart"] = True
    assert running.apply(running.spec(spec)).exit is Exit.IN_SYNC
    runs_for(running, 10_000)
    running.power_cut()
    clock = Clock(running, ("silent", 5), ("refuses", 5))
    spec["vms"]["g"]["guest"]["packages"] = ["tree"]
    done = running.apply(running.spec(spec), sleep=clock.sleep)
    assert done.exit is Exit.IN_SYNC, (done.diagnostics, done.plan)
    assert clock.slept == 10


def test_a_plan_waits_for_nobody(running):
    clock = Clock(running, ("silent", 1000))
    plan = running.plan(running.spec(SPEC))
    assert (plan.exit, clock.slept) == (Exit.UNKNOWN, 0)
