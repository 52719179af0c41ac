"""A window in which fewer registers do."""

from __future__ import annotations

from collections.abc import Sequence

from cxlstate.formats.iomem import Range
from cxlstate.formats.mtrr import PAGE
from cxlstate.resources.mtrr import goal, under
from cxlstate.resources.mtrr.probe import Live
from cxlstate.resources.mtrr.under import Others


def wider(device: Sequence[Range], live: Live, known: Others, free: int) -> tuple[Range, int] | None:
    """The narrowest window for a device that needs no more than the free registers, and how many.

    Its edges are multiples of powers of two: others cannot save a register. There is nothing in it
    that would be refused.
    """
    start, end = device[0].start, device[-1].end
    steps = [PAGE << power for power in range((2 * (end - start) // PAGE).bit_length())]
    lows = {start - start % step for step in steps}
    highs = {end + -end % step for step in steps}
    if live.top is not None:
        highs = {min(high, live.top) for high in highs}
    windows = sorted((high - low, low, high) for low in lows for high in highs)
    for _, low, high in windows:
        reach = Range(low, high)
        blocks = goal.covering(device, reach)
        if blocks and len(blocks) <= free:
            parts = under.overshoot(blocks, device, known)
            refused = under.ram(blocks, live.iomem, known) or under.foreign(parts, live.iomem)
            if not refused and not under.memory_of_devices(parts, live.iomem):
                return reach, len(blocks)
    return None
