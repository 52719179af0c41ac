"""What may be said of the boot unit: nothing. What it does, other resources say."""

from __future__ import annotations

from cxlstate.core.model import Model


class BootSpec(Model):
    """The boot unit; there is nothing to say. It is there where dax devices or MTRR ranges are."""
