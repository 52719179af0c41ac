"""Numbers as the kernel reads them on its command line.

Source: Linux 6.12 `lib/cmdline.c` (`memparse`) and `lib/kstrtox.c` (`_parse_integer_fixup_radix`).
"""

from __future__ import annotations

import re
from typing import Final

PREFIXES: Final = "KMGTPE"

_NUMBER = re.compile(r"0[xX][0-9a-fA-F]+|[0-9]+", re.ASCII)
_MASK: Final = (1 << 64) - 1


def memparse(text: str) -> tuple[int, str]:
    """A number (base by its prefix, 0 for octal) with at most one suffix, and what follows it."""
    match = _NUMBER.match(text)
    if match is None:
        return 0, text
    digits, rest = match[0], text[match.end() :]
    if digits[:2].lower() == "0x":
        number = int(digits, 16)
    elif digits[0] == "0":
        octal = re.match("[0-7]*", digits, re.ASCII)
        length = octal.end() if octal else 0
        number, rest = int(digits[:length], 8), text[length:]
    else:
        number = int(digits)
    if rest[:1].upper() in tuple(PREFIXES):
        number <<= 10 * (PREFIXES.index(rest[0].upper()) + 1)
        rest = rest[1:]
    return number & _MASK, rest
