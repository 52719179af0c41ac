"""The script that makes again what a reboot forgets, and its single steps.

`restore.sh` is plain POSIX sh and constant: what differs between hosts is a table of words in front of
it. `apply` runs the same steps one by one. Nothing of a spec is ever part of the code.

Verbs, words in hex with `0x` (bytes), SELECTOR as made by `selector`:

    mtrr-add BASE SIZE TYPE         nothing where the effect is there already; keeps BEFORE first
    mtrr-remove BASE SIZE TYPE      by content; refuses what BEFORE lists
    dax-bind SELECTOR ALIGN|-       to device_dax, at an alignment
    dax-unbind SELECTOR             refuses while a process holds the device
    dax-reclaim SELECTOR            from kmem: takes every block of it offline, and unbinds it
    dax-link NAME SELECTOR          LINKS/NAME -> ../daxX.Y, replaced in one step; refuses memory that is
                                    uncachable by its MTRRs and known to be mapped write-back
    dax-unlink NAME
    dax-check SELECTOR              maps the device shared and reads, with python3 where there is one; refuses
                                    what dax-link refuses
    vm-stop NAME SECONDS            asks a guest to shut down and waits until it is off
    vm-start NAME
    restore                         the table, with everything it needs
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Final

from cxlstate.core.action import Step
from cxlstate.core.exports import RestoreStep
from cxlstate.core.units import format_address
from cxlstate.formats.iomem import Range, joined
from cxlstate.formats.mtrr import Block

SCRIPT: Final = "/etc/cxlstate/restore"
UNIT: Final = "cxlstate-restore.service"
UNIT_FILE: Final = f"/etc/systemd/system/{UNIT}"
BEFORE: Final = "/run/cxlstate/mtrr"
"""A copy of /proc/mtrr from before our first write since the machine started: what is not ours."""
LINKS: Final = "/dev/cxlstate"
NOTED: Final = "/run/cxlstate/write-back"
"""Memory, as `selector` writes it, that was mapped write-back when it was bound under uncachable MTRRs."""

Words = tuple[str, ...]

_MTRR, _DAX = 1, 2
_HEAD: Final = """\
#!/bin/sh
# Written by cxlstate, and run at boot by {unit}. Edits are undone by the next apply.
table='
{table}'
"""
_WORD = re.compile(r"[A-Za-z0-9_.:=+-]+", re.ASCII)


@cache
def library() -> str:
    """The constant part: functions and, at the end, `main`."""
    return files("cxlstate.formats").joinpath("restore.sh").read_text()


@cache
def map_and_read() -> str:
    """The program in Python of `dax-check`, for those that only read.

    Its arguments are path, align and size of a device.
    """
    return library().partition("<<'PYTHON'\n")[2].partition("PYTHON\n")[0]


def script(steps: Iterable[RestoreStep]) -> bytes:
    """The script for the steps of all resources, MTRRs first. ValueError for a word that is not plain."""
    lines = [one.words for one in sorted(steps, key=lambda step: (step.rank, step.words))]
    for words in lines:
        if not all(map(_WORD.fullmatch, words)):
            raise ValueError(f"not plain words: {words}")
    table = "".join(f"{' '.join(words)}\n" for words in lines)
    return (_HEAD.format(unit=UNIT, table=table) + library()).encode()


def table(text: str) -> tuple[Words, ...] | None:
    """The lines of the table of a script that is on a machine, of whatever version; None: it has none."""
    match = re.search(r"^table='\n((?:[A-Za-z0-9_.:=+ -]*\n)*)'$", text, re.MULTILINE | re.ASCII)
    if match is None:
        return None
    return tuple(tuple(line.split()) for line in match[1].splitlines() if line.strip())


def unit() -> bytes:
    """The systemd unit: after what brings the devices, before every socket of libvirt."""
    return files("cxlstate.formats").joinpath("restore.service").read_bytes()


def selector(ranges: Iterable[Range] = (), *, node: int | None = None, name: str = "") -> str:
    """What finds a device again: `range=0xSTART+0xSIZE:…` by address, `node=N` or `name=daxX.Y`."""
    if written := ":".join(f"{one.start:#x}+{one.size:#x}" for one in joined(ranges)):
        return f"range={written}"
    return f"node={node}" if node is not None else f"name={name}"


def mapped_write_back(noted: str, ranges: Iterable[Range]) -> bool:
    """Whether `NOTED` says that the kernel maps a device so whatever its MTRRs are."""
    return selector(ranges).removeprefix("range=") in noted.splitlines()


def mtrr_at_boot(name: str, block: Block, kind: str) -> RestoreStep:
    """A register of mtrr.NAME, for the table."""
    return RestoreStep(_MTRR, ("mtrr", name, f"{block.base:#x}", f"{block.size:#x}", kind))


def dax_at_boot(name: str, selected: str, align: int | None) -> RestoreStep:
    """dax.NAME, bound and linked, for the table."""
    return RestoreStep(_DAX, ("dax", name, selected, f"{align:#x}" if align else "-"))


def mtrr_add(block: Block, kind: str) -> Step:
    """Write a register."""
    shown = f"echo 'base={block.base:#x} size={block.size:#x} type={kind}' > /proc/mtrr"
    return Step(("mtrr-add", f"{block.base:#x}", f"{block.size:#x}", kind), shown)


def mtrr_remove(block: Block, kind: str) -> Step:
    """Clear the register of just this content."""
    shown = f"echo 'disable=N' > /proc/mtrr  # N: {kind} {format_address(block.base)}"
    return Step(("mtrr-remove", f"{block.base:#x}", f"{block.size:#x}", kind), shown)


def dax_bind(device: str, selected: str, align: int | None) -> Step:
    """Bind to device_dax, at an alignment if one is given. `device` is its name of today, for people."""
    first = f"echo {align} > /sys/bus/dax/devices/{device}/align; " if align else ""
    shown = f"{first}echo {device} > /sys/bus/dax/drivers/device_dax/new_id"
    return Step(("dax-bind", selected, f"{align:#x}" if align else "-"), shown)


def dax_unbind(device: str, selected: str) -> Step:
    """Take device_dax off it."""
    return Step(("dax-unbind", selected), f"echo {device} > /sys/bus/dax/drivers/device_dax/unbind")


def dax_reclaim(device: str, selected: str) -> Step:
    """Take it back from kmem."""
    return Step(
        ("dax-reclaim", selected), f"daxctl offline-memory {device}; unbind it from kmem", timeout=1800
    )


def dax_link(name: str, device: str, selected: str) -> Step:
    """Make the stable path."""
    return Step(("dax-link", name, selected), f"ln -sfn ../{device} {LINKS}/{name}")


def dax_unlink(name: str) -> Step:
    """Take the stable path away."""
    return Step(("dax-unlink", name), f"rm -f {LINKS}/{name}")


def dax_check(device: str, selected: str) -> Step:
    """Map and read it."""
    return Step(("dax-check", selected), f"# map /dev/{device} shared, and read it")
