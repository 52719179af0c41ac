"""Who performs an effect is looked up by its type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn, TypeVar

from cxlstate.core.diagnostic import CxlstateError, Diagnostic
from cxlstate.core.effect import Effect

P = TypeVar("P")


def find_performer(table: Mapping[type[Effect], P], effect: type[Effect]) -> P | None:
    """That of the type, or of the nearest class that it is derived from; None: nobody."""
    return next((table[one] for one in effect.__mro__ if one in table), None)


def performer(table: Mapping[type[Effect], P], effect: type[Effect]) -> P:
    """The same. Raises CxlstateError CXE900 for nobody."""
    found = find_performer(table, effect)
    if found is None:
        raise CxlstateError((nobody_performs(effect),))
    return found


def waited_for(_effect: Effect, _session: object) -> NoReturn:
    """In place of a performer of `Reboot`, which is more than an effect."""
    raise TypeError("a reboot is waited for: call `reboot`")


def nobody_performs(effect: type[Effect]) -> Diagnostic:
    """An effect that no table of the machine names: a kind was added without its second half."""
    return Diagnostic(
        "CXE900",
        "cxlstate has a defect",
        found=f"nobody performs {effect.__module__}.{effect.__qualname__} on this machine",
        expected="a performer in its table of effects",
        hint="please report this; nothing of this resource was done",
    )
