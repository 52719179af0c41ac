"""`/boot/grub/grub.cfg`: the boot entries that `/etc/grub.d/10_linux` wrote, and their arguments.

Source: GRUB 2.12 `util/grub.d/10_linux.in` with Debian's and Ubuntu's patches: each entry has one line
`linux PATH root=… ro ARGUMENTS`. `20_linux_xen` writes `module2 PATH placeholder root=… ro ARGUMENTS` for the
kernel of dom0, and tboot's scripts write the same without `placeholder`. Entries of other sections
(`30_os-prober`, `40_custom`) are not made from these settings.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from cxlstate.formats import grub_script, kernel_cmdline
from cxlstate.formats.kernel_cmdline import Argument

_BEGIN = re.compile(r"### BEGIN \S*/10_linux ###")
_END = re.compile(r"### END \S*/10_linux ###")
_ENTRY = re.compile(r"\s*menuentry '((?:[^']|'\\'')*)'(.*)")
_LINUX = re.compile(r"\s*linux(?:efi|16)?\s")
_AS_WRITTEN = re.compile(
    r"(\s*(?:linux(?:efi|16)?|module2?)\s+(\S+(?:\s+placeholder)?\s+root=\S+\s+ro)\s?)(.*)"
)
_OF_MODULES = re.compile(r"### (BEGIN|END) \S*/(20_linux_xen|20_linux_tboot|20_linux_xen_tboot) ###")
RECOVERY: Final = "-recovery-"
"""What 10_linux puts into the id of a recovery entry."""


class UnexpectedLine(ValueError):
    """A `linux` line that is not what 10_linux writes. `line` counts from 1."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(why)
        self.line = line
        self.why = why


@dataclass(frozen=True, slots=True)
class Entry:
    """One `linux` line. `words` are its arguments as GRUB's script has them, after `ro`."""

    title: str
    recovery: bool
    line: int
    fixed: str
    words: tuple[str, ...]

    @property
    def arguments(self) -> tuple[Argument, ...]:
        """The same as the kernel gets them."""
        return arguments(self.words)

    def length(self, words: tuple[str, ...]) -> int:
        """Bytes of the kernel's command line, were these its arguments."""
        texts = ("BOOT_IMAGE=" + self.fixed, *map(grub_script.expand, words))
        return len(" ".join(texts).encode("utf-8", "surrogateescape"))


def arguments(words: tuple[str, ...]) -> tuple[Argument, ...]:
    """GRUB words as the kernel gets them."""
    return kernel_cmdline.for_kernel(kernel_cmdline.read(grub_script.expand(word)) for word in words)


def entries(text: str) -> tuple[Entry, ...]:
    """Every boot entry of 10_linux, in order; UnexpectedLine where one has another form."""
    found: list[Entry] = []
    inside, title, recovery = False, "", False
    for number, line in enumerate(text.split("\n"), 1):
        if _BEGIN.fullmatch(line):
            inside = True
        elif _END.fullmatch(line):
            inside = False
        elif inside and (entry := _ENTRY.match(line)):
            title, recovery = entry[1].replace("'\\''", "'"), RECOVERY in entry[2]
        elif inside and _LINUX.match(line):
            found.append(_entry(line, number, title, recovery=recovery))
    return tuple(found)


def module_entries(text: str, *scripts: str) -> tuple[Entry, ...]:
    """The kernels that Xen or tboot starts, in the entries of these scripts, as far as they can be read.

    Recovery entries of tboot have no id: their arguments begin with `single`.
    """
    found: list[Entry] = []
    inside, title, recovery = False, "", False
    for number, line in enumerate(text.split("\n"), 1):
        if mark := _OF_MODULES.fullmatch(line):
            inside = mark[1] == "BEGIN" and mark[2] in scripts
        elif inside and (entry := _ENTRY.match(line)):
            title, recovery = entry[1], RECOVERY in entry[2]
        elif inside and line.lstrip().startswith("module") and _AS_WRITTEN.fullmatch(line):
            with suppress(UnexpectedLine):
                made = _entry(line, number, title, recovery=recovery)
                found.append(replace(made, recovery=recovery or made.words[:1] == ("single",)))
    return tuple(found)


def _entry(line: str, number: int, title: str, *, recovery: bool) -> Entry:
    parts = _AS_WRITTEN.fullmatch(line)
    if parts is None:
        raise UnexpectedLine(number, "it is not `linux PATH root=… ro ARGUMENTS`")
    try:
        words = grub_script.split(parts[3])
        for word in words:
            grub_script.expand(word)
    except grub_script.GrubSyntaxError as error:
        raise UnexpectedLine(number, f"its arguments have {error}") from None
    return Entry(title, recovery, number, parts[2], words)


def rewritten(text: str, words: Mapping[int, tuple[str, ...]]) -> str:
    """The text with other arguments on the `linux` lines of the given numbers."""
    lines = text.split("\n")
    for number, new in words.items():
        parts = _AS_WRITTEN.fullmatch(lines[number - 1])
        if parts is None:
            raise UnexpectedLine(number, "it is not `linux PATH root=… ro ARGUMENTS`")
        lines[number - 1] = parts[1] + " ".join(new)
    return "\n".join(lines)
