"""libvirt's objects with a fence: before every call that may change something, the lock is looked at again.

libvirt knows nothing of our lock. A client that slept (a suspended laptop, a stopped process) must not go
on where another apply has begun meanwhile: what may be called without a look is a closed list.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Fence = Callable[[], None]
"""Returns while the lock is ours. Raises what ends the effect otherwise."""

_READING = frozenset(
    {
        *("ID", "UUIDString", "XMLDesc", "name", "state", "isActive", "isPersistent", "autostart"),
        *("hasManagedSaveImage", "snapshotNum", "listAllCheckpoints"),
        *("isAlive", "getCPUMap", "getLibVersion"),
    }
)
_LOOKING_UP = frozenset({"lookupByName", "networkLookupByName"})


class Fenced:
    """A connection, domain or network: what it returns from a look-up is fenced, too."""

    def __init__(self, behind: Any, fence: Fence) -> None:
        self._behind = behind
        self._fence = fence

    def __getattr__(self, name: str) -> Any:
        """The method of that name, behind the fence where it may change something."""
        method = getattr(self._behind, name)
        if name in _READING:
            return method
        if name in _LOOKING_UP:
            return lambda *words: Fenced(method(*words), self._fence)

        def fenced(*words: Any) -> Any:
            self._fence()
            return method(*words)

        return fenced
