"""Laws of a host and its guests, over generated sections of guests in VMs that run."""

from __future__ import annotations

import fcntl
import os

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from cxlstate.engine.plan import Exit
from cxlstate.simulator.writer import LOCK
from tests.laws.bench import bench
from tests.strategies import running_guests

EXAMPLES = int(os.environ.get("CXLSTATE_EXAMPLES", "10"))


def reading_changes_nothing_and_one_apply_is_enough(named):
    """For host and guests alike; and at the end no lock is held, of the host or of a guest."""
    with bench() as one:
        spec = one.named(named)
        fresh = one.snapshot()
        one.plan(spec)
        assert one.snapshot() == fresh
        applied = one.apply(spec)
        assert applied.exit is Exit.IN_SYNC, (applied.diagnostics, applied.plan)
        machines = [one, *one.guests().values()]
        assert len(machines) == len(spec.machines)
        assert not list(filter(_is_locked, machines))
        held = one.snapshot()
        assert one.plan(spec).exit is Exit.IN_SYNC
        assert one.snapshot() == held
        journals = [machine.journal() for machine in machines]
        assert one.apply(spec).done == []
        assert [machine.journal() for machine in machines] == journals


def _is_locked(machine):
    path = machine.directory / LOCK
    if not path.exists():  # a guest of which nothing is asked is never entered
        return False
    with path.open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@pytest.mark.slow
def test_law():
    check = settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize="CXLSTATE_RANDOM" not in os.environ,
        database=None,
        phases=[Phase.generate, *([Phase.shrink] if "CXLSTATE_SHRINK" in os.environ else [])],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    check(given(running_guests())(reading_changes_nothing_and_one_apply_is_enough))()
