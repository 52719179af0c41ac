"""A machine's libvirt, as transports hold it: opened and loaded when something is asked or told."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from cxlstate.core.diagnostic import CxlstateError
from cxlstate.machine.libvirt.tunnel import Tunnel
from cxlstate.machine.posix.launcher import LIBVIRT_READ, LIBVIRT_WRITE
from cxlstate.machine.posix.transport import Stream

if TYPE_CHECKING:
    from cxlstate.core.answers import Answer
    from cxlstate.core.read import LibvirtRead
    from cxlstate.machine.libvirt.agent import LibvirtAgents
    from cxlstate.machine.libvirt.reading import LibvirtReader
    from cxlstate.machine.libvirt.way import Way
    from cxlstate.machine.libvirt.writing import LibvirtWriter


class Access:
    """Connections for each purpose, made when first needed: nothing that reads can write."""

    def __init__(self, for_reading: Callable[[], Way], for_writing: Callable[[], Way]) -> None:
        self._for_reading = for_reading
        self._for_writing = for_writing
        self._reader: LibvirtReader | None = None
        self._writer: LibvirtWriter | None = None
        self._agents: LibvirtAgents | None = None

    def read(self, reads: Collection[LibvirtRead]) -> dict[LibvirtRead, Answer]:
        """An answer to each. Raises Lost, and CXC501 without the library."""
        if self._reader is None:
            try:
                from cxlstate.machine.libvirt.reading import LibvirtReader  # noqa: PLC0415  # slow, and optional
            except ImportError as missing:
                raise _without(missing) from missing
            self._reader = LibvirtReader(self._for_reading)
        return self._reader.read(reads)

    def writer(self) -> LibvirtWriter:
        """What changes things. Raises CXC501 without the library."""
        if self._writer is None:
            try:
                from cxlstate.machine.libvirt.writing import LibvirtWriter  # noqa: PLC0415  # slow, and optional
            except ImportError as missing:
                raise _without(missing) from missing
            self._writer = LibvirtWriter(self._for_writing)
        return self._writer

    def agent(self, vm: str, command: str, patience: int) -> str:
        """What a guest's agent answers. Raises Silent, Denied, Lost, and CXC501 without the library."""
        if self._agents is None:
            try:
                from cxlstate.machine.libvirt.agent import LibvirtAgents  # noqa: PLC0415  # slow, and optional
            except ImportError as missing:
                raise _without(missing) from missing
            self._agents = LibvirtAgents(self._for_writing)
        return self._agents.ask(vm, command, patience)

    def close(self) -> None:
        """End all of them. May be called twice."""
        for one in (self._reader, self._writer, self._agents):
            if one:
                one.close()


def through(start: Callable[[str], Stream]) -> Access:
    """The libvirt of a machine on which programs can be started."""
    return Access(lambda: Tunnel(start(LIBVIRT_READ)), lambda: Tunnel(start(LIBVIRT_WRITE)))


def _without(missing: ImportError) -> Exception:
    if not (missing.name or "").startswith("libvirt"):
        return missing
    from cxlstate.machine.lacking import without_libvirt  # noqa: PLC0415  # of use in this case only

    return CxlstateError((without_libvirt(str(missing)),))
