"""What can be done to a machine: the contract of every effect, wherever its class stands.

An effect is a value. Who does it is looked up by its type, in the table of the machine that it is for
(`machine/posix/performers.py`, `machine/libvirt/writing.py`, `simulator/performers.py`).
"""

from __future__ import annotations

import json
import re
from abc import abstractmethod
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from enum import Enum
from hashlib import sha256
from typing import Any, Protocol

from cxlstate.core.secret import Secret


class Effect(Protocol):
    """A frozen dataclass that says what is to be done. A kind may bring one of its own.

    Fields that do not change what is done (a text for people) are `field(compare=False)`.
    """

    __slots__ = ()

    @abstractmethod
    def shown(self) -> str:
        """What a person would have typed, in one line; never a secret."""
        ...

    def exact(self) -> str:
        """The same for programs: without anything left out for the eye."""
        return self.shown()

    def journalled(self) -> dict[str, object]:
        """What the journal keeps of it, besides whose it is and how it ended; never a secret."""
        return {"effect": re.sub(r"(?<!^)(?=[A-Z])", "-", type(self).__name__).lower()}

    def fingerprint(self) -> str:
        """SHA-256 in hex, equal for equal doing, in any process; a secret counts by its reference."""
        text = json.dumps(_canonical(self), sort_keys=True, separators=(",", ":"))
        return sha256(text.encode()).hexdigest()


def _canonical(value: Any) -> object:
    """As JSON can hold it. TypeError for what has no canonical form."""
    match value:
        case None | bool() | int() | str():
            return value
        case Enum():
            return value.value
        case bytes():
            return ["bytes", sha256(value).hexdigest()]
        case Secret():
            return ["secret", value.reference]
        case Mapping():
            return ["mapping", sorted([_canonical(key), _canonical(one)] for key, one in value.items())]
        case AbstractSet():
            return ["set", sorted(map(_canonical, value), key=json.dumps)]
        case tuple() | list():
            return [_canonical(one) for one in value]
        case _ if is_dataclass(value):
            compared = [one.name for one in fields(value) if one.compare]
            name = f"{type(value).__module__}.{type(value).__qualname__}"
            return [name, {one: _canonical(getattr(value, one)) for one in compared}]
    raise TypeError(f"{type(value).__name__} has no canonical form")
