"""Numbers in what a machine sends. It may be broken or hostile: nothing is taken that cannot be right."""

from __future__ import annotations

import re

_DIGITS = re.compile(r"[0-9]{1,12}")


def number(word: str, most: int) -> int:
    """A count, a size, an index or a status, at most `most`. ValueError: it is none."""
    if not _DIGITS.fullmatch(word) or int(word) > most:
        raise ValueError(f"{word[:40]!a} is not a number up to {most}")
    return int(word)
