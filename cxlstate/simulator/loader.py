"""The boot loader: which entry of grub.cfg it boots, and what the kernel gets as its command line.

Sources: GRUB 2.12 `grub-core/normal/menu.c`, `grub-core/script/yylex.l`, `grub-core/script/execute.c`,
`grub-core/lib/envblk.c` and `grub-core/lib/cmdline.c`.
Written apart from `formats/grub_script.py`, so that the one does not share the errors of the other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from cxlstate.simulator.files import Files

CONFIGURATION = "/boot/grub/grub.cfg"
ENVIRONMENT = "/boot/grub/grubenv"
KERNEL = "/boot/vmlinuz-"

_DEFAULT = re.compile(r'\s*set default="([^"$]*|\$\{saved_entry\})"')
_SETTING = re.compile(r"\s*set (\w+)=(.+)")
_ENTRY = re.compile(r"(menuentry|submenu)\s+(.*)\{")
_VARIABLE = re.compile(r"\$(?:\{\w+\}|[A-Za-z_]\w*|\d+|[?#*@])", re.ASCII)
_WRONG = "{}|&<>$"


class GrubSyntaxError(ValueError):
    """A line that GRUB does not take."""


class NoBoot(Exception):
    """The machine does not come up, and why."""


@dataclass
class _Item:
    """A menu entry with its `linux` line, or a submenu with its items."""

    title: str
    name: str
    linux: str | None = None
    items: list[_Item] = field(default_factory=list)


def boot(files: Files) -> tuple[str, str]:
    """Kernel release and command line of the entry that is its turn. Raises NoBoot.

    `next_entry` of the environment block is for one boot: 00_header takes it away (`save_env`).
    """
    text = files.text(CONFIGURATION)
    environment = _environment(files)
    chosen = _chosen(_menu(text), _default(text, environment))
    if environment.get("next_entry"):
        _forget_next(files)
    if chosen is None or chosen.linux is None:
        raise NoBoot(f"GRUB finds no entry to boot in {CONFIGURATION}")
    try:
        _, image, *arguments = [
            *words(chosen.linux, {**environment, **_settings(text), "1": chosen.title}),
            "",
        ]
    except GrubSyntaxError as error:
        raise NoBoot(str(error)) from None
    if not image.startswith(KERNEL) or not files.is_file(image):
        raise NoBoot(f"GRUB finds no kernel at '{image}'")
    handed_over = map(_for_kernel, arguments[:-1])
    return image.removeprefix(KERNEL), " ".join([f"BOOT_IMAGE={image}", *handed_over])


def _environment(files: Files) -> dict[str, str]:
    if not files.is_file(ENVIRONMENT):
        return {}
    lines = (line.partition("=") for line in files.text(ENVIRONMENT).splitlines() if not line.startswith("#"))
    return {name: value for name, equals, value in lines if equals}


def _forget_next(files: Files) -> None:
    text = re.sub(r"(?m)^next_entry=.*$", "next_entry=", files.text(ENVIRONMENT))
    files.write(ENVIRONMENT, text.encode("utf-8", "surrogateescape"))


def _settings(text: str) -> dict[str, str]:
    """Variables that the lines outside of entries set; a value of other variables is left out."""
    depth, found = 0, {}
    for line in text.splitlines():
        setting = _SETTING.fullmatch(line)
        if setting and depth == 0 and "$" not in setting[2]:
            found[setting[1]] = (
                "".join(words(setting[2])) if " " not in setting[2] else setting[2].strip("\"'")
            )
        depth += line.rstrip().endswith("{")
        depth -= line.strip() == "}"
    return found


def _default(text: str, environment: dict[str, str]) -> str:
    if environment.get("next_entry"):
        return environment["next_entry"]
    found = [match[1] for line in text.splitlines() if (match := _DEFAULT.match(line))]
    default = found[-1] if found else ""
    return (environment.get("saved_entry", "") if default == "${saved_entry}" else default) or "0"


def _menu(text: str) -> list[_Item]:
    """The menu. Whatever else has braces (functions) is an item without a title, and dropped."""
    top = _Item("", "")
    open_items = [top]
    for raw in text.splitlines():
        line = raw.strip()
        if line.endswith("{") and not line.startswith("#"):
            entry = _ENTRY.match(line)
            words = re.findall(r"'([^']*)'", entry[2]) if entry else []
            item = _Item(words[0] if words else "", words[-1] if words else "")
            if entry:
                open_items[-1].items.append(item)
            open_items.append(item)
        elif line == "}" and len(open_items) > 1:
            open_items.pop()
        elif line.startswith(("linux\t", "linux ")) and open_items[-1].linux is None:
            open_items[-1].linux = line
    return top.items


def _chosen(items: list[_Item], default: str) -> _Item | None:
    """The item that `default` means: its place, title or id; `>` goes into a submenu."""
    first, _, rest = default.partition(">")
    found = [item for item in items if first in (item.title, item.name)]
    if first.isdigit() and int(first) < len(items):
        found = [items[int(first)]]
    item = found[0] if found else next(iter(items), None)
    if item is None or not item.items:
        return item
    return _chosen(item.items, rest or "0")


def words(line: str, variables: dict[str, str] | None = None) -> list[str]:
    """The words of a line's first command. A variable that is not given is empty.

    A value outside quotes is cut at its blanks. Raises GrubSyntaxError, where grub-script-check fails too.
    """
    found: list[str] = []
    word: str | None = None
    at = 0
    while at < len(line):
        char = line[at]
        if char in " \t":
            found += [] if word is None else [word]
            word, at = None, at + 1
            continue
        if char == ";" or (char == "#" and word is None):
            break
        if variable := _VARIABLE.match(line, at):
            first, *rest = re.split("[ \t]+", _value(variable[0], variables or {}))
            word = (word or "") + first if first or word is not None else None
            for part in rest:
                found += [] if word is None else [word]
                word = part or None
            at = variable.end()
            continue
        text, at = _piece(line, at, variables or {})
        word = (word or "") + text
    return found if word is None else [*found, word]


def _value(variable: str, variables: dict[str, str]) -> str:
    """What stands for a variable; `$@` and `$*` are the one argument of an entry, its title."""
    name = variable.strip("${}")
    return variables.get({"@": "1", "*": "1"}.get(name, name), {"#": "1", "?": "0"}.get(name, ""))


def _piece(line: str, at: int, variables: dict[str, str]) -> tuple[str, int]:
    """What the character, escape or quoted text at a place means, and where it ends."""
    match line[at]:
        case "\\":
            return line[at + 1 : at + 2], at + 2
        case "'":
            end = line.find("'", at + 1)
            inner = line[at + 1 : end]
        case '"':
            found = re.compile(r'((?:\\.|[^"\\])*)"').match(line, at + 1)
            end = found.end() - 1 if found else -1
            inner = _in_double_quotes(found[1], variables) if found else ""
        case char if char in _WRONG:
            raise GrubSyntaxError(f"GRUB stops at the {char} of: {line}")
        case char:
            return char, at + 1
    if end < 0:
        raise GrubSyntaxError(f"GRUB finds no end of the {line[at]} in: {line}")
    return inner, end + 1


def _in_double_quotes(text: str, variables: dict[str, str]) -> str:
    """Only `$`, `"` and the backslash can be escaped there."""
    pattern = re.compile(rf'\\([$"\\])|{_VARIABLE.pattern}', re.ASCII)
    return pattern.sub(lambda found: found[1] or _value(found[0], variables), text)


def _for_kernel(word: str) -> str:
    """`grub_create_loader_cmdline`: quotes around a word with a blank, and a backslash before some."""
    text = re.sub(r"""([\\'"])""", r"\\\1", word)
    return f'"{text}"' if " " in word else text
