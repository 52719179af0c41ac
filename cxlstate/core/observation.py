"""What a probe found. *Unknown is not absent*: the three are different types."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar

from cxlstate.core.address import Address, Target

L_co = TypeVar("L_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Present(Generic[L_co]):
    """The resource is there, and this is its live state."""

    live: L_co


@dataclass(frozen=True, slots=True)
class Absent:
    """It was proven that the resource is not there.

    With `until`, it is only planned so: what there really is, is known after these.
    """

    reason: str = ""
    until: tuple[Address, ...] = ()


@dataclass(frozen=True, slots=True)
class Unknown:
    """It could not be told. `cured_by` names what, once applied, would let it be told.

    A declared resource of `cured_by` that is about to change makes this one *blocked*; otherwise it
    is *unknown*, and `hint` says what a person can do. `partly` is what could be read all the
    same, in the kind's own words: nothing is planned on it; it can show a problem, and forbid a reboot.
    """

    reason: str
    cured_by: tuple[Target, ...] = ()
    hint: str | None = None
    partly: object = field(default=None, compare=False)


Observation = Present[L_co] | Absent | Unknown
