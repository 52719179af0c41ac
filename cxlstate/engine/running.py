"""VMs that run on a host, declared or not: what a reboot of it stops, and for how long one has run.

libvirt keeps a file of each domain that runs, and removes it when the domain ends
(qemuProcessRemoveDomainStatus in src/qemu/qemu_process.c). Whether one starts with the host is a link
to its definition, named NAME.xml, or NAME.xml.once for the next boot alone. Both can be told without
libvirt's library, and on a host without libvirt.
The process of a VM is in NAME.pid beside that file (qemuProcessPrepareHost), and when it started, in clock
ticks since the host's boot, is field 22 of its `stat` (proc_pid_stat(5)).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from posixpath import basename, join, normpath

from cxlstate.core.answers import Answers, ReadFailed
from cxlstate.core.read import File, Links, Names, Read
from cxlstate.machine.reader import Reader

_DEFINED, _RUNNING = "/etc/libvirt/qemu", "/run/libvirt/qemu"
_AUTOSTART = f"{_DEFINED}/autostart"
RUNNING = Names(f"{_RUNNING}/*.xml")
AUTOSTART = Links(f"{_AUTOSTART}/*")
_UPTIME = File("/proc/uptime")
_STARTED = 22 - 3  # counted from the field behind the command, which may hold anything in its parentheses
_TICKS = 100  # a second, wherever the kernel has USER_HZ of its own (include/asm-generic/param.h)


@dataclass(frozen=True, slots=True)
class RunningVm:
    """A VM that runs; `autostart` is None where it cannot be told whether it starts with the host."""

    name: str
    autostart: bool | None


@dataclass(frozen=True, slots=True)
class Running:
    """The VMs that run, by name. `unknown` is why they cannot be told."""

    vms: tuple[RunningVm, ...] = ()
    unknown: str | None = None


def running_reads() -> tuple[Read, ...]:
    """What to ask to know them."""
    return (RUNNING, AUTOSTART)


def running(answers: Answers) -> Running:
    """The VMs that run."""
    try:
        paths = answers.files(RUNNING)
    except ReadFailed as failed:
        return Running(unknown=failed.reason)
    starts = _autostart(answers)
    names = sorted(basename(path).removesuffix(".xml") for path in paths)
    return Running(tuple(RunningVm(name, starts(name)) for name in names))


def _autostart(answers: Answers) -> Callable[[str], bool | None]:
    """Whether a VM starts with the host. A link to anything but its definition is not followed by libvirt."""
    try:
        links = answers.files(AUTOSTART)
    except ReadFailed:
        return lambda _: None
    on = {(basename(path), normpath(join(_AUTOSTART, target))) for path, target in links.items()}
    return lambda name: any((f"{name}.xml{once}", f"{_DEFINED}/{name}.xml") in on for once in ("", ".once"))


def seconds_since_start(host: Reader, vm: str) -> float | None:
    """How long the process of a VM has run; None where that cannot be told."""
    pid_file = File(f"{_RUNNING}/{vm}.pid")
    try:
        process = File(f"/proc/{int(host.read([pid_file]).text(pid_file))}/stat")
        answers = host.read([process, _UPTIME])
        started = int(answers.text(process).rpartition(")")[2].split()[_STARTED])
        return float(answers.text(_UPTIME).split()[0]) - started / _TICKS
    except (ReadFailed, ValueError, IndexError):
        return None
