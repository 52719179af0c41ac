"""A value that is never shown. Deliberately not a `str`: every way to print it gives a mask."""

from __future__ import annotations

import hmac


class Secret:
    """Holds a secret. Only `reveal()` gives it back, and only the executor may call that."""

    __slots__ = ("_value",)
    MASK = "(secret)"

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value itself."""
        return self._value

    def __repr__(self) -> str:
        return self.MASK

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(self.MASK, spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(type(self))

    def __reduce__(self) -> str:
        raise TypeError("a secret cannot be serialised")
