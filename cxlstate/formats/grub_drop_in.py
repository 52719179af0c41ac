"""Our one file: `/etc/default/grub.d/zz-cxlstate.cfg`, a shell script that grub-mkconfig sources.

It appends to `GRUB_CMDLINE_LINUX`, which stands in every entry, recovery included, and filters words
out of the three `GRUB_CMDLINE_LINUX*` variables, so that files written by hand stay as they are. A
marker line lists what is in it: a file that is not exactly what its marker makes was edited.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cxlstate.formats import grub_script, kernel_cmdline, ours
from cxlstate.formats.sh import quote

PATH: Final = ours.GRUB_DROP_IN

_MARKER: Final = "# cxlstate drop-in 1 "
_HEADER: Final = """\
# Made by cxlstate from the specification of this host: kernel arguments of every boot entry.
# Other files of this folder are left as they are. An edit of this one is taken back.
"""

# Words end at blanks outside double quotes. Nothing here expands or runs what it is given. A recovery
# value that the filter empties becomes 10_linux's own default, so that it stays foreseeable.
_FILTER: Final = """
# Sets cxlstate_kept to the words of $1 that are wanted.
cxlstate_filter() {
    cxlstate_kept='' cxlstate_word='' cxlstate_open='' cxlstate_rest="$1 "
    while [ -n "$cxlstate_rest" ]; do
        cxlstate_char=${cxlstate_rest%"${cxlstate_rest#?}"}
        cxlstate_rest=${cxlstate_rest#?}
        case $cxlstate_open$cxlstate_char in
            ' ' | '\t') cxlstate_keep; continue ;;
            '"') cxlstate_open=x ;;
            'x"') cxlstate_open='' ;;
        esac
        cxlstate_word=$cxlstate_word$cxlstate_char
    done
    cxlstate_keep
}

cxlstate_keep() {
    if [ -n "$cxlstate_word" ] && ! cxlstate_unwanted "$cxlstate_word"; then
        cxlstate_kept=$cxlstate_kept${cxlstate_kept:+ }$cxlstate_word
    fi
    cxlstate_word=''
}

cxlstate_filter "${GRUB_CMDLINE_LINUX-}"
GRUB_CMDLINE_LINUX=$cxlstate_kept
cxlstate_filter "${GRUB_CMDLINE_LINUX_DEFAULT-}"
GRUB_CMDLINE_LINUX_DEFAULT=$cxlstate_kept
if [ -n "${GRUB_CMDLINE_LINUX_RECOVERY-}" ]; then
    cxlstate_filter "$GRUB_CMDLINE_LINUX_RECOVERY"
    GRUB_CMDLINE_LINUX_RECOVERY=${cxlstate_kept:-single}
fi
"""


@dataclass(frozen=True, slots=True)
class CommandLines:
    """The values of `GRUB_CMDLINE_LINUX`, `_DEFAULT` and `_RECOVERY`: GRUB words, not yet expanded."""

    linux: str = ""
    default: str = ""
    recovery: str = ""


@dataclass(frozen=True, slots=True)
class DropIn:
    """`add` and `drop` are in force. `retired` and `released` were in `add` and `drop` before.

    The latter only tell the next run what grub.cfg and the running kernel may still show of them.
    """

    add: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    retired: tuple[str, ...] = ()
    released: tuple[str, ...] = ()

    def render(self) -> str:
        """The file."""
        marker = json.dumps([self.add, self.drop, self.retired, self.released])
        text = f"{_HEADER}{_MARKER}{marker}\n"
        if self.drop:
            text += f"\n{_unwanted(self.drop)}{_FILTER}"
        if self.add:
            words = " ".join(map(grub_script.quote, self.add))
            text += f'\nGRUB_CMDLINE_LINUX="${{GRUB_CMDLINE_LINUX:+$GRUB_CMDLINE_LINUX }}"{quote(words)}\n'
        return text

    def apply(self, lines: CommandLines) -> CommandLines:
        """What it makes of the variables, as a shell would."""
        if self.drop:
            recovery = (self._filtered(lines.recovery) or "single") if lines.recovery else ""
            lines = CommandLines(self._filtered(lines.linux), self._filtered(lines.default), recovery)
        words = " ".join(map(grub_script.quote, self.add))
        linux = " ".join(filter(None, (lines.linux, words)))
        return CommandLines(linux, lines.default, lines.recovery)

    def _filtered(self, value: str) -> str:
        return " ".join(word for word in _words(value) if not any(_matches(one, word) for one in self.drop))

    def drops_from(self, lines: CommandLines) -> bool:
        """Whether the filter takes anything away."""
        words = [word for value in (lines.linux, lines.default, lines.recovery) for word in _words(value)]
        return any(_matches(pattern, word) for pattern in self.drop for word in words)


def recognise(text: str) -> DropIn | None:
    """What a file holds, if it is exactly one that we make; None for an edited one."""
    for line in text.splitlines():
        if line.startswith(_MARKER):
            try:
                found = json.loads(line.removeprefix(_MARKER))
                drop_in = DropIn(*(tuple(map(str, part)) for part in found))
                return drop_in if drop_in.render() == text else None
            except (ValueError, TypeError, RecursionError):
                return None
    return None


def _words(value: str) -> Iterable[str]:
    """The filter's words: cut at blanks outside double quotes."""
    word, is_open = "", False
    for char in f"{value} ":
        if char in " \t" and not is_open:
            if word:
                yield word
            word = ""
            continue
        is_open ^= char == '"'
        word += char
    if word:
        yield word


def _matches(pattern: str, word: str) -> bool:
    wanted = kernel_cmdline.read(pattern)
    name, equals, value = word.partition("=")
    if name.replace("-", "_") != wanted.name:
        return False
    return wanted.value is None or (bool(equals) and value == wanted.value)


def _unwanted(patterns: tuple[str, ...]) -> str:
    """A shell function: is `$1` one of those to go? `-` and `_` are the same in a name."""
    lines = []
    for pattern in patterns:
        argument = kernel_cmdline.read(pattern)
        name = "[-_]".join(map(quote, argument.name.split("_")))
        if argument.value is None:
            lines.append(f"        {name} | {name}'='*) ;;")
        else:
            lines.append(f"        {name}{quote('=' + argument.value)}) ;;")
    return "\n".join(
        ["cxlstate_unwanted() {", "    case $1 in", *lines, "        *) return 1 ;;", "    esac", "}", ""]
    )
