"""What the laws found once: each with its smallest reproduction."""

from __future__ import annotations

import itertools

from cxlstate.engine.plan import Exit
from tests.laws.bench import bench

RANGES = [{"size": "1GiB", "start": f"{16 * number}GiB", "type": "reserved"} for number in range(1, 7)]


def test_ranges_can_be_exchanged_for_others():
    with bench() as one:
        assert one.apply(one.spec({"memmap": RANGES[:3]})).exit is Exit.IN_SYNC
        assert one.apply(one.spec({"memmap": RANGES[3:]})).exit is Exit.IN_SYNC


def test_a_module_that_modprobe_d_keeps_from_being_loaded_at_boot_is_told():
    with bench() as one:
        plan = one.plan(one.spec({"modules": {"iTCO_wdt": "present"}}))
        assert [d.code for d in plan.all_diagnostics] == ["CXO301"]


def test_mtrr_ranges_can_get_another_name():
    ranges = {"ranges": [{"start": "512GiB", "size": "64GiB"}]}
    with bench() as one:
        assert one.apply(one.spec({"mtrr": {"old": ranges}})).exit is Exit.IN_SYNC
        rounds = itertools.count()
        done = one.apply(one.spec({"mtrr": {"new": ranges}}), stop=lambda: next(rounds) > 20)
        assert not done.interrupted
        assert done.exit is Exit.IN_SYNC
