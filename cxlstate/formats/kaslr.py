"""Where Linux may put itself when it is placed at random (KASLR), as far as `memmap=` is concerned.

Booted by EFI, Linux is placed by its EFI stub since a1b87d54f4e4 ("x86/efistub: Avoid legacy decompressor
when doing EFI boot": 6.6, and 6.1.81), which did not look at `memmap=` before 15aa8fb852f9 ("x86/efistub:
Omit physical KASLR when memory reservations exist": 6.10, and 6.9.4, 6.6.33 and 6.1.93). Otherwise the
decompressor places it (`arch/x86/boot/compressed/kaslr.c`), which keeps out of four regions.
"""

from __future__ import annotations

import re
from typing import Final

LOAD_ADDRESS: Final = 16 << 20
"""CONFIG_PHYSICAL_START as upstream and the distributions have it: where a kernel lies with `nokaslr`."""

_RELEASE = re.compile(r"(\d+)\.(\d+)\.(\d+)", re.ASCII)
_IGNORES: Final = (((6, 1, 81), (6, 1, 93)), ((6, 6, 0), (6, 6, 33)), ((6, 7, 0), (6, 9, 4)))


def stub_may_ignore_memmap(release: str) -> bool:
    """Whether the EFI stub of a kernel may place it into a `memmap=` range.

    Distributions number their builds 6.1.0-28 or 6.8.0-49, whatever stable release they are made from: of
    these only the series is known.
    """
    match = _RELEASE.match(release)
    if match is None:
        return False
    major, minor, patch = map(int, match.groups())
    series = patch == 0 and release[match.end() : match.end() + 1] == "-"
    return any(
        (low[:2] <= (major, minor) <= high[:2]) if series else low <= (major, minor, patch) < high
        for low, high in _IGNORES
    )
