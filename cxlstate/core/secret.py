"""A value that is never shown. Deliberately not a `str`: every way to print it gives a mask."""

from __future__ import annotations

import hmac
import secrets
from hashlib import blake2b
from typing import Any

_KEY = secrets.token_bytes(32)
"""Of this process, and never stored: a digest only says whether two secrets of one plan are equal.

A plain hash of a short password, or one whose salt is known, is guessed from any log within minutes.
"""


class Secret:
    """Holds a secret. Only `reveal()` gives it back, and only what writes it to a machine may call that."""

    __slots__ = ("_value", "reference")
    MASK = "(secret)"

    def __init__(self, value: bytes, reference: str = "") -> None:
        """`reference` is where it was said to be, as `env PASSWORD`; empty for what was read of a machine."""
        self._value = value
        self.reference = reference

    def reveal(self) -> bytes:
        """The value itself."""
        return self._value

    def digest(self) -> str:
        """Eight hex digits to tell secrets of one run apart. Another run has others for the same secret."""
        return blake2b(self._value, key=_KEY, digest_size=4).hexdigest()

    def __repr__(self) -> str:
        return self.MASK

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(self.MASK, spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value, other._value)

    def __hash__(self) -> int:
        return hash(type(self))

    def __getstate__(self) -> Any:
        raise TypeError("a secret cannot be serialised")

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("a secret cannot be serialised")

    __reduce__ = __getstate__
