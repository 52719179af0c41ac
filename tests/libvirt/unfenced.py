"""A writer without an agent, for tests of what libvirt makes of effects."""

from __future__ import annotations

from cxlstate.machine.libvirt.writing import LibvirtWriter


class Unfenced(LibvirtWriter):
    """Whose lock is always held."""

    def perform(self, effect, fence=lambda: None):
        return super().perform(effect, fence)
