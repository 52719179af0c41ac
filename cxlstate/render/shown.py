"""Text of others as it can be shown: it cannot steer the terminal, and cannot be taken for a line of ours.

Consent is given on what a plan shows, so whatever comes from a machine, a spec or a file name goes through
`field` (one line) or `block` (several lines, which the caller indents deeper than any line of a plan).
"""

from __future__ import annotations

import re
from typing import Any

# Printable by the Unicode database, and yet nothing is seen of them: Default_Ignorable_Code_Point of
# DerivedCoreProperties.txt (Unicode 15) that are letters or marks. The other ones are format characters
# (Cf: zero width, direction), which `str.isprintable` knows.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
_LONE = re.compile("[\ud800-\udfff]")


def field(text: str) -> str:
    """Text on one line: every character that is not seen as itself is written out, as Python writes it."""
    if text.isprintable() and not _INVISIBLE.search(text):
        return text
    return "".join(_escaped(char) for char in text)


def block(text: str) -> list[str]:
    """The lines of a text, each as a field; a tab stays a tab."""
    return ["\t".join(map(field, line.split("\t"))) for line in text.split("\n")]


def unicode_only(value: Any) -> Any:
    """JSON data without lone surrogates: a byte that is no UTF-8 is written out, as in a field.

    JSON is UTF-8 (RFC 8259, section 8.1), and many readers refuse a lone one.
    """
    match value:
        case str():
            return _LONE.sub(lambda found: _escaped(found[0]), value)
        case dict():
            return {unicode_only(key): unicode_only(one) for key, one in value.items()}
        case list() | tuple():
            return [unicode_only(one) for one in value]
        case _:
            return value


def _escaped(char: str) -> str:
    if char.isprintable() and not _INVISIBLE.match(char):
        return char
    if "\udc80" <= char <= "\udcff":  # a byte that was no UTF-8 (PEP 383)
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape").decode()
