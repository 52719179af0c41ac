"""The hash of a password, as crypt(5) has it. The home of libpass, the passlib that is kept up."""

from __future__ import annotations

from cxlstate.core.secret import Secret

_ROUNDS = 100_000  # a tenth of a second a guess; crypt(5)'s 5000 are of 2007


def sha512_crypt(password: Secret) -> str:
    """`$6$…`, with a salt of its own each time: every libc of a guest takes it, as not all do `$y$`.

    ValueError for a NUL, which no password can hold.
    """
    from passlib.hash import sha512_crypt as made  # noqa: PLC0415  # slow to load, and seldom needed

    hashed: str = made.using(rounds=_ROUNDS).hash(password.reveal())
    return hashed
