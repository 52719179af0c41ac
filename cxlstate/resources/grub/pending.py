"""What comes with grub.cfg besides the kernel's arguments: the default entry, the time limit, custom entries.

Sources: GRUB 2.12 `util/grub.d/00_header.in` (0 and 5 where nothing is set), `grub-core/normal/menu.c`
(`grub_menu_get_timeout`: what is no number, such as -1, is no limit).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from cxlstate.core.diagnostic import Diagnostic, Severity
from cxlstate.formats import grub_default, grub_menu
from cxlstate.formats.grub_cfg import Entry
from cxlstate.formats.grub_defaults import Defaults

_HEADER: Final = "00_header"
_CUSTOM: Final = "/etc/grub.d/40_custom"
_SET: Final = re.compile(r"set (default|timeout)=\"?([^\"]*)\"?")
_TWICE: Final = ("GRUB_BUTTON_CMOS_ADDRESS", "GRUB_HIDDEN_TIMEOUT")
"""With these 00_header writes other values, too."""
_SETTINGS: Final = {"default": ("GRUB_DEFAULT", "0"), "timeout": ("GRUB_TIMEOUT", "5")}


def pending(
    defaults: Defaults, sources: str, grub_cfg: str, custom_script: str, found: Iterable[Entry]
) -> Iterator[str]:
    """What generating grub.cfg would bring or take. `sources` is all text of the defaults."""
    if defaults["GRUB_DISABLE_RECOVERY"] == "true" and any(one.recovery for one in found):
        yield "- recovery entries"
    for name, (setting, unset) in _SETTINGS.items():
        wanted = defaults[setting] or ("" if setting in sources else unset)  # empty: not known
        wanted = "${saved_entry}" if name == "default" and wanted == "saved" else wanted
        there = [value for value in _header(grub_cfg, name) if value != "${next_entry}"]
        if wanted and there and wanted not in there and not any(map(defaults.__getitem__, _TWICE)):
            yield f"{name} {there[-1]} → {wanted}"
    if _custom(grub_menu.regenerated(grub_cfg, custom_script)) != _custom(grub_cfg):
        yield f"what {_CUSTOM} holds"


def _header(grub_cfg: str, name: str) -> Iterator[str]:
    for _, section, line in grub_menu.lines(grub_cfg):
        if section == _HEADER and (setting := _SET.fullmatch(line)) and setting[1] == name:
            yield setting[2]


def _custom(grub_cfg: str) -> list[str]:
    _, _, rest = grub_cfg.partition(f"### BEGIN {_CUSTOM} ###\n")
    return rest.partition(f"### END {_CUSTOM} ###")[0].split()


def waiting(defaults: Defaults, menus: Iterable[str]) -> Iterator[Diagnostic]:
    """A menu without a time limit: nothing boots by itself. What comes after 00_header counts."""
    for value, section in dict.fromkeys(one for menu in menus for one in grub_default.limits(menu)):
        ours = section == _HEADER
        limit = defaults["GRUB_TIMEOUT"].strip() or "5" if ours else grub_menu.plain(value)
        if limit[:1].isdigit() or "$" in limit:
            continue
        place = f"/etc/grub.d/{section}" if section else "/boot/grub/custom.cfg"
        cure = "set GRUB_TIMEOUT=5 in /etc/default/grub" if ours else f"take timeout={limit} out of {place}"
        yield Diagnostic(
            "CXG347",
            "GRUB waits at its menu until somebody chooses an entry",
            Severity.WARNING,
            found=f"GRUB_TIMEOUT={limit}" if ours else f"timeout={limit} in {place}",
            expected="a number of seconds, after which the default entry boots",
            hint=f"{cure}, unless somebody is at the console at each reboot",
        )
        return
