"""Huge pages on the kernel command line: which number belongs to which size.

Source: Linux 6.12 `mm/hugetlb.c` (`hugepages_setup`, `hugepagesz_setup`, `default_hugepagesz_setup`,
`hugetlb_init`): a number belongs to the size before it, and to the default size where none is before it.
A size is taken once, a number once for each size; what breaks these rules is ignored with a warning.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from cxlstate.formats.memparse import PREFIXES, memparse

NAMES: Final = frozenset({"hugepages", "hugepagesz", "default_hugepagesz"})
DEFAULT: Final = 2 << 20
"""HPAGE_SIZE of x86."""
SIZES: Final = frozenset({DEFAULT, 1 << 30})
"""`arch_hugetlb_valid_size()` of x86 (`arch/x86/mm/hugetlbpage.c`); any other is ignored."""

_DECIMAL: Final = re.compile(r"[0-9]{1,19}", re.ASCII)

_Kept = tuple[str, str, int, bool]
"""Slot, value, index of the argument, whether it is implied."""


@dataclass
class _State:
    """The static variables of `mm/hugetlb.c`; `last` is `last_mhp`, 0 stands for the default size.

    `again` are sizes that are the default one already: `default_hugepagesz=1G hugepagesz=1G` is how most
    people write it, and the kernel takes it without a word.
    """

    sizes: dict[int, int] = field(default_factory=dict)
    again: dict[int, int] = field(default_factory=dict)
    pages: dict[int, tuple[str, int]] = field(default_factory=dict)
    default: tuple[int, int] | None = None
    current: int = 0
    valid: bool = True
    last: int | None = None

    @property
    def default_size(self) -> int:
        """Of pages whose size is not said."""
        return self.default[0] if self.default else DEFAULT

    def take(self, index: int, name: str, value: str) -> None:
        """One argument."""
        if name == "hugepages":
            self._number(index, value)
        else:
            self.valid = False
            size = memparse(value)[0]
            if size in SIZES and name == "hugepagesz":
                self._size(index, size)
            elif size in SIZES and self.default is None:
                self._default(index, size)

    def _number(self, index: int, value: str) -> None:
        if not self.valid:
            self.valid = True
        elif self.current != self.last:
            self.pages[self.current] = (value, index)
            self.last = self.current

    def _size(self, index: int, size: int) -> None:
        again_default = self.default is not None and size == self.default[0] and size not in self.pages
        if size not in self.sizes or again_default:
            (self.again if size in self.sizes else self.sizes)[size] = index
            self.current, self.valid = size, True

    def _default(self, index: int, size: int) -> None:
        if size not in self.sizes:  # hugetlb_add_hstate() leaves parsed_hstate where the size is known
            self.sizes[size], self.current = index, size
        self.default, self.valid = (size, index), True
        if 0 in self.pages:
            self.pages[size] = self.pages.pop(0)


def in_force(arguments: Sequence[tuple[str, str | None]]) -> Iterator[_Kept]:
    """What is kept. The default size's pages are told by both names, the other one as implied."""
    state = _read(arguments)
    default = state.default_size
    if state.default:
        yield "default huge page size", size_text(default), state.default[1], False
    for size, index in (*state.sizes.items(), *state.again.items()):
        yield f"huge pages of {size_text(size)}", "supported", index, False
    for size, (number, index) in state.pages.items():
        yield _slot(size), number, index, False
        if size in (0, default):
            yield _slot(default if size == 0 else 0), number, index, True


def reserved(arguments: Sequence[tuple[str, str | None]]) -> Iterator[tuple[int, int]]:
    """Bytes that each number takes from RAM at boot (`hugetlb_hstate_alloc_pages`), by its argument's index.

    A number is that of all nodes, or of some: `NODE:NUMBER,…`. It is decimal, and what stands behind it is
    not looked at (`sscanf` in `hugepages_setup`).
    """
    state = _read(arguments)
    for size, (number, index) in state.pages.items():
        each = (_DECIMAL.match(word.rpartition(":")[2]) for word in number.split(","))
        yield index, (size or state.default_size) * sum(int(one[0]) for one in each if one)


def _read(arguments: Sequence[tuple[str, str | None]]) -> _State:
    """What is left of all of them in the end."""
    state = _State()
    for index, (name, value) in enumerate(arguments):
        if name in NAMES and value is not None:
            state.take(index, name, value)
    if 0 in state.pages:  # hugetlb_init(): "Using hugepages=… for number of default huge pages"
        state.pages.pop(state.default_size, None)
    return state


def size_text(size: int) -> str:
    """A size as administrators write it: `2M`, `1G`."""
    for power in range(len(PREFIXES), 0, -1):
        if size and size % (1 << 10 * power) == 0:
            return f"{size >> 10 * power}{PREFIXES[power - 1]}"
    return str(size)


def _slot(size: int) -> str:
    return f"number of huge pages of {size_text(size) if size else 'the default size'}"
