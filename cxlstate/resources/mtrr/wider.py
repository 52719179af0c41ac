"""A window in which fewer registers do."""

from __future__ import annotations

from cxlstate.formats.iomem import Range
from cxlstate.formats.mtrr import PAGE
from cxlstate.resources.mtrr import goal, under
from cxlstate.resources.mtrr.under import Others


def wider(device: Range, iomem: tuple[Range, ...], known: Others, free: int) -> tuple[Range, int] | None:
    """The narrowest window for a device that needs no more than the free registers, and how many.

    Its edges are multiples of powers of two: others cannot save a register. There is nothing in it
    that would be refused.
    """
    steps = [PAGE << power for power in range((2 * device.size // PAGE).bit_length())]
    lows = {device.start - device.start % step for step in steps}
    highs = {device.end + -device.end % step for step in steps}
    windows = sorted((high - low, low, high) for low in lows for high in highs)
    for _, low, high in windows:
        reach = Range(low, high)
        blocks = goal.covering(device, reach)
        if blocks and len(blocks) <= free:
            parts = under.overshoot(blocks, (device,), known)
            refused = under.ram(blocks, iomem, known) or under.foreign(parts, iomem)
            if not refused and not under.memory_of_devices(parts, iomem):
                return reach, len(blocks)
    return None
