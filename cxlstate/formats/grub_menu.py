"""GRUB's whole menu in `grub.cfg`: every entry of every script, the chosen one, and the variables.

Sources: GRUB 2.12 `grub-core/commands/menuentry.c` (options, `$1` is the title), `normal/menu.c`
(`get_entry_number`: a number, a title or an id; `>` leads into a submenu; what is not found is the first
entry), `normal/main.c` and `docs/grub.texi` (variables that GRUB itself sets).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from cxlstate.formats import grub_script
from cxlstate.formats.grub_script import GrubSyntaxError, Values

_SECTION: Final = re.compile(r"### (BEGIN|END) (?:\S*/)?(\S+) ###")
_ITEM: Final = re.compile(r"(menuentry|submenu)\s++((?:.*?\S)??)\s*+\{\s*(?:#.*)?")
ONE_LINE: Final = re.compile(
    r"menuentry\s++((?:\"(?:[^\"\\]|\\.)*\"|'[^']*'|\\.|[^\"'\\{])*)\{(.*)\}\s*(?:#.*)?", re.ASCII
)
_KERNEL: Final = re.compile(r"(linux|linux16|linuxefi|module|module2|xen_module)\s+(.*)")
_SET: Final = re.compile(
    r"(?:^|[;\s])(?:set\s+)?([A-Za-z_]\w*)=((?:\"[^\"]*\"|'[^']*'|\\.|[^\s;\"'\\])*)", re.ASCII
)
_FILLED: Final = re.compile(
    r"(?:--set[= ]+|\s-s\s+)(?:\d+:)?([A-Za-z_]\w*)|\bfor\s+([A-Za-z_]\w*)\s+in\b|\bread\s+([A-Za-z_]\w*)",
    re.ASCII,
)
_WITH_VALUE: Final = frozenset({"--class", "--users", "--hotkey", "--source", "--id"})
_ELSEWHERE: Final = re.compile(
    r"^[^\S\n]*+(?:load_env\s++(?:-f|--file)|(?:source|\.)\s++(?!\S*/custom\.cfg))", re.MULTILINE
)

GRUBS_OWN: Final = frozenset(
    {
        *(
            "biosnum",
            "check_appended_signatures",
            "check_signatures",
            "chosen",
            "cmdpath",
            "config_directory",
        ),
        *("config_file", "debug", "default", "fallback", "gfxmode", "gfxpayload", "gfxterm_font", "grub_cpu"),
        *("grub_platform", "icondir", "lang", "locale_dir", "lockdown", "menuentry_id_option", "pager"),
        *("prefix", "pxe_default_server", "root", "secondary_locale_dir", "shim_lock", "superusers", "theme"),
        *("timeout", "timeout_style", "have_grubenv", "boot_once", "recordfail", "initrdfail", "match"),
    }
)
"""Variables that GRUB, its commands or 00_header fill. So do `net_*` and `feature_*`."""

Variables = Mapping[str, list[str] | None]


@dataclass(slots=True)
class Item:
    """A menu entry with its `linux` lines (number and words), or a submenu with its items."""

    title: str
    id: str
    section: str
    kernels: list[tuple[int, tuple[str, ...]]] = field(default_factory=list)
    items: list[Item] | None = None

    @property
    def name(self) -> str:
        """The title, and the script that wrote the entry where it is known."""
        return f"{self.title!r} of {self.section}" if self.section else repr(self.title)


def lines(text: str, section: str = "") -> Iterator[tuple[int, str, str]]:
    """Number, script that wrote it, and text of each line that is no comment."""
    for number, line in enumerate(map(str.strip, text.split("\n")), 1):
        if mark := _SECTION.fullmatch(line):
            section = mark[2] if mark[1] == "BEGIN" else ""
        elif not line.startswith("#"):
            yield number, section, line


def menu(text: str) -> list[Item]:
    """The entries and submenus of a grub.cfg, in order."""
    top = Item("", "", "", items=[])
    open_blocks: list[Item] = [top]
    for number, section, line in lines(text):
        parent = open_blocks[-1]
        if whole := ONE_LINE.fullmatch(line):
            if parent.items is not None:
                parent.items.append(_whole_item(whole[1], whole[2], section, number))
        elif entry := _ITEM.fullmatch(line):
            item = _item(entry[2], section, submenu=entry[1] == "submenu")
            if parent.items is not None:
                parent.items.append(item)
            open_blocks.append(item)
        elif line.endswith("{"):
            open_blocks.append(Item("", "", section))  # a function
        elif line == "}" and len(open_blocks) > 1:
            open_blocks.pop()
        elif (kernel := _KERNEL.fullmatch(line)) and parent.items is None:
            parent.kernels.append((number, _words(kernel[2])))
    return top.items or []


def _whole_item(source: str, commands: str, section: str, number: int) -> Item:
    """An entry on a line of its own: `menuentry 'Reboot' { reboot }`."""
    item = _item(source, section, submenu=False)
    for command in map(str.strip, commands.split(";")):
        if kernel := _KERNEL.fullmatch(command):
            item.kernels.append((number, _words(kernel[2])))
    return item


def _item(source: str, section: str, *, submenu: bool) -> Item:
    title, identity = "", ""
    words = iter(_words(source))
    for word in words:
        if word == "$menuentry_id_option" or word in _WITH_VALUE:
            value = next(words, "")
            if word in ("$menuentry_id_option", "--id"):
                identity = plain(value)
        elif word.startswith("--id="):
            identity = plain(word.removeprefix("--id="))
        elif not word.startswith("--") and not title:
            title = plain(word)
    return Item(title, identity, section, items=[] if submenu else None)


@lru_cache(1024)
def _words(source: str) -> tuple[str, ...]:
    """The words of a line as they are written; of a line that is more than a command, none."""
    try:
        words = grub_script.split(source)
        for word in words:
            grub_script.expand(word)
    except GrubSyntaxError:
        return ()
    return words


def plain(word: str) -> str:
    """A word without its quotes, as `menuentry` gets it."""
    return re.sub(r"\\(.)|['\"]", lambda found: found[1] or "", word)


def entries(items: Iterable[Item]) -> list[Item]:
    """The boot entries, those of submenus included."""
    found: list[Item] = []
    for item in items:
        found += [item] if item.items is None else entries(item.items)
    return found


def chosen(items: list[Item], default: str) -> Item | None:
    """The entry that `default` means; None for an empty menu."""
    first, rest = _path(default)
    item = next((item for item in items if first and first in (item.title, item.id)), None)
    if first.isdigit():
        item = items[int(first)] if int(first) < len(items) else None
    item = item or next(iter(items), None)
    return item if item is None or item.items is None else chosen(item.items, rest)


def _path(default: str) -> tuple[str, str]:
    """The first step of a path and the rest; `>>` stands for a `>` in a title."""
    parts = re.split(r"(?<!>)>(?!>)", default, maxsplit=1)
    return parts[0].replace(">>", ">"), parts[1] if len(parts) > 1 else ""


def regenerated(text: str, custom: str) -> str:
    """A grub.cfg with what `/etc/grub.d/40_custom` holds by now, where the script is of the usual form."""
    _, _, rest = custom.partition("\n")
    command, _, body = rest.partition("\n")
    begin, end = (f"### {word} /etc/grub.d/40_custom ###" for word in ("BEGIN", "END"))
    before, found, behind = text.partition(f"{begin}\n")
    if command.strip() != "exec tail -n +3 $0" or not found:
        return text
    return f"{before}{begin}\n{body}\n{end}{behind.partition(end)[2]}"


def environment(text: str) -> dict[str, str]:
    """`grubenv`: NAME=VALUE lines behind a header, filled up with `#` (`grub-core/lib/envblk.c`)."""
    lines = re.split(r"(?<!\\)\n", text)
    pairs = (line.partition("=") for line in lines if "=" in line and not line.startswith("#"))
    return {name: re.sub(r"\\(.)", r"\1", value, flags=re.DOTALL) for name, _, value in pairs}


def variables(text: str, environment: Mapping[str, str]) -> Variables:
    """Every value that grub.cfg and grubenv give each variable; None where only GRUB can tell.

    Where grub.cfg reads another file than custom.cfg, any other variable may be set there: the key is empty.
    """
    known: dict[str, list[str] | None] = {name: [value] for name, value in environment.items()}
    if _ELSEWHERE.search(text):
        known[""] = None
    for line in text.split("\n"):
        if not line.lstrip().startswith("#"):
            _collect(line, known)
    return known


def values(known: Variables, title: str = "") -> Values:
    """What a variable may hold when an entry of this title boots.

    A variable that nothing sets is empty. Of one that is set by conditions, each value is possible.
    """
    positional = {"#": ("1",), "?": ("0",), "1": (title,), "*": (title,), "@": (title,)}

    def possible(name: str) -> tuple[str, ...] | None:
        if not (name[:1].isalpha() or name[:1] == "_"):
            return positional.get(name, ("",))
        if name in known:
            found = known[name]
            return None if found is None else tuple(dict.fromkeys((*found, "")))
        told_elsewhere = "" in known or name in GRUBS_OWN or name.startswith(("net_", "feature_"))
        return None if told_elsewhere else ("",)

    return possible


def eaten(word: str, known: Variables) -> tuple[str, ...]:
    """Variables in a word that nothing fills, and positional ones: the trace of a `$` without backslash."""
    possible = values(known)
    return tuple(
        name
        for name in grub_script.variables(word)
        if not (name[:1].isalpha() or name[:1] == "_") or possible(name) == ("",)
    )


def text(word: str, known: Variables, title: str) -> str:
    """A word as the kernel will most probably read it."""
    reading = grub_script.readings(word, values(known, title))[0]
    return " ".join(reading).replace(grub_script.UNEXPANDED, "$") or word


def _collect(line: str, known: dict[str, list[str] | None]) -> None:
    for found in _FILLED.finditer(line):
        known[next(filter(None, found.groups()))] = None
    for name, source in _SET.findall(line):
        try:
            is_plain = not grub_script.variables(source)
        except GrubSyntaxError:
            is_plain = False
        if not is_plain:
            known[name] = None
        elif (before := known.setdefault(name, [])) is not None:
            before.append(plain(source))
