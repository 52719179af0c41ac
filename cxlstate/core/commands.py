"""An effect as the command a person would have typed."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from cxlstate.core.action import Effect, Generate, Reboot, RemoveFile, Run, Step, WriteFile
from cxlstate.core.image import FetchFile, GrowImage, ImageEffect, MakeImage, PermitImage, RemoveImage
from cxlstate.core.libvirt import (
    AutostartDomain,
    AutostartNetwork,
    DefineDomain,
    DefineNetwork,
    DomainEffect,
    EditDomain,
    LinkInterface,
    NetworkEffect,
    PinDomain,
    PinOf,
    RestoreDomain,
    StartDomain,
    StartNetwork,
    StopDomain,
    StopNetwork,
    TuneNuma,
    UndefineDomain,
    UndefineNetwork,
    UpdateNetwork,
)
from cxlstate.core.units import format_cpus, format_size


def command(effect: Effect, *, whole: bool = False) -> str:
    """One line. What only matters to a program is left out, unless `whole`."""
    match effect:
        case WriteFile(path=path):
            return f"write {shlex.quote(path)}"
        case RemoveFile(path=path):
            return f"rm {shlex.quote(path)}"
        case Run(argv=argv, operands=operands, shown=shown):
            said = shlex.join(argv) if whole or not shown else shown
            return " ".join((said, *map(shlex.quote, operands)))
        case Step(shown=shown):
            return shown
        case Generate(path=path, argv=argv):
            return shlex.join((*argv, path))
        case Reboot():
            return "systemctl reboot"
        case _ if isinstance(effect, DomainEffect):
            return _domain(effect)
        case _ if isinstance(effect, NetworkEffect):
            return _network(effect)
        case _:
            return _image(effect) if isinstance(effect, ImageEffect) else effect.shown()


def _domain(effect: DomainEffect) -> str:
    """In virsh's words. The XML of a definition is too long for a line; the changes tell what is in it.

    An edit has no command: `virsh edit` opens an editor, and what is done is to read, change and define.
    """
    name = shlex.quote(effect.name)
    match effect:
        case DefineDomain():
            return f"virsh define {shlex.quote(f'{effect.name}.xml')}"
        case EditDomain():
            return f"edit the definition of {name}"
        case UndefineDomain():
            return f"virsh undefine {name} --keep-nvram"
        case StartDomain() | RestoreDomain():
            return f"virsh start {name}"
        case StopDomain():
            return f"virsh shutdown {name}"
        case AutostartDomain(on=on):
            return f"virsh autostart {name}" + ("" if on else " --disable")
        case _:
            return _while_it_runs(effect, name)


def _while_it_runs(effect: PinDomain | TuneNuma | LinkInterface, name: str) -> str:
    match effect:
        case PinDomain(of=PinOf.EMULATOR, cpus=cpus):
            return f"virsh emulatorpin {name} {format_cpus(cpus)} --live"
        case PinDomain(of=of, number=number, cpus=cpus):
            return f"virsh {of.value}pin {name} {number} {format_cpus(cpus)} --live"
        case TuneNuma(nodeset=nodeset):
            return f"virsh numatune {name} --nodeset {format_cpus(nodeset)} --live"
        case LinkInterface(mac=mac, up=up):
            return f"virsh domif-setlink {name} {mac} {'up' if up else 'down'}"


def _network(effect: NetworkEffect) -> str:
    """In virsh's words; an edit has no command, as that of a domain."""
    name = shlex.quote(effect.name)
    match effect:
        case DefineNetwork(expected=None):
            return f"virsh net-define {shlex.quote(f'{effect.name}.xml')}"
        case DefineNetwork():
            return f"edit the definition of the network {name}"
        case UpdateNetwork():
            return f"virsh net-update {name} {' '.join(_update(effect))}"
        case StartNetwork():
            return f"virsh net-start {name}"
        case StopNetwork():
            return f"virsh net-destroy {name}"
        case AutostartNetwork(on=on):
            return f"virsh net-autostart {name}" + ("" if on else " --disable")
        case UndefineNetwork():
            return f"virsh net-undefine {name}"


def _update(effect: UpdateNetwork) -> Iterator[str]:
    yield from (effect.command.value, effect.section, shlex.quote(effect.xml))
    if effect.parent >= 0:
        yield f"--parent-index {effect.parent}"
    if effect.live:
        yield "--live"
    if effect.config:
        yield "--config"


def _image(effect: ImageEffect) -> str:
    """In qemu-img's words. That a draft is made first, and only put in place whole, is not told."""
    path = shlex.quote(effect.path)
    match effect:
        case FetchFile():
            return f"curl --location --output {path} {shlex.quote(effect.shown)}"
        case MakeImage():
            return " && ".join(_make(effect, path))
        case GrowImage(format=format_, size=size):
            return f"qemu-img resize -f {format_} {path} {_short(size)}"
        case RemoveImage():
            return f"rm {path}"
        case PermitImage():
            return " && ".join(_permit(effect, path))


def _make(effect: MakeImage, path: str) -> Iterator[str]:
    source = shlex.quote(effect.source) if effect.source else None
    size = "" if effect.size is None else f" {_short(effect.size)}"
    if source is None:
        yield f"qemu-img create -f {effect.format} {path}{size}"
    elif effect.overlay:
        of = f" -F {effect.source_format}" if effect.source_format else ""
        yield f"qemu-img create -f {effect.format} -b {source}{of} {path}{size}"
    else:
        of = f" -f {effect.source_format}" if effect.source_format else ""
        yield f"qemu-img convert{of} -O {effect.format} {source} {path}"
        if size:
            yield f"qemu-img resize -f {effect.format} {path}{size}"
    yield from _permit(effect, path)


def _permit(effect: MakeImage | PermitImage, path: str) -> Iterator[str]:
    if effect.whose:
        yield f"chown {effect.whose} {path}"
    if effect.mode is not None:
        yield f"chmod {effect.mode:04o} {path}"


def _short(size: int) -> str:
    """As qemu-img takes it: its K, M, G and T are powers of 1024."""
    return format_size(size).removesuffix("iB")
