"""The kernel's command line: how it is cut into arguments, and when two of them are the same.

Source: Linux `lib/cmdline.c` (`next_arg`) and `kernel/params.c` (`parameq`, `parse_args`).
Double quotes keep blanks together and cannot be escaped; there is no other quoting. In names, `-`
and `_` are the same. What follows a lone `--` is for init.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from cxlstate.formats import kernel_rules

MAX_LENGTH: Final = 2047
"""Bytes that x86 keeps: COMMAND_LINE_SIZE (`arch/x86/include/asm/setup.h`) less the final NUL."""

_WORD = re.compile(r'(?:[^\s"]|"[^"]*(?:"|$))+', re.ASCII)


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument. Two are equal when the kernel takes them for the same."""

    name: str
    """With every `-` as `_`."""
    value: str | None
    """Without the quotes around it; None where there is no `=`."""
    text: str = field(compare=False)
    """As it was written."""

    def __str__(self) -> str:
        return self.text


def split(line: str) -> tuple[str, ...]:
    """The words of a command line, quotes and all."""
    return tuple(_WORD.findall(line))


@lru_cache(4096)
def read(word: str) -> Argument:
    """One word as the kernel takes it: quotes around the whole or around the value fall away."""
    whole = word.startswith('"')
    inner = word[1:] if whole else word
    equals = inner.find("=", 1)  # one in the first place is part of the name
    name, value = (inner, None) if equals < 0 else (inner[:equals], inner[equals + 1 :])
    if value is not None and value.startswith('"'):
        value = value[1:].removesuffix('"')
        whole = False
    if whole and value is None:
        name = name.removesuffix('"')
    elif whole and value is not None:
        value = value.removesuffix('"')
    return Argument(name.replace("-", "_"), value, word)


def parse(line: str) -> tuple[Argument, ...]:
    """Every argument that is for the kernel."""
    return for_kernel(map(read, split(line)))


def for_kernel(arguments: Iterable[Argument]) -> tuple[Argument, ...]:
    """Those before a lone `--`."""
    taken: list[Argument] = []
    for argument in arguments:
        if argument.name == "__" and argument.value is None:
            break
        taken.append(argument)
    return tuple(taken)


def holds(present: Sequence[Argument], wanted: Sequence[Argument]) -> bool:
    """Whether all wanted ones are there, in this order, and the others leave what they set in force."""
    rest = iter(present)
    return all(argument in rest for argument in wanted) and not kernel_rules.lacking(present, wanted)


def names(pattern: Argument, argument: Argument) -> bool:
    """Whether a pattern means an argument: `name` means it with any value or none, as for grubby."""
    return pattern.name == argument.name and pattern.value in (None, argument.value)
