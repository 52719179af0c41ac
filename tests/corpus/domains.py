"""The domains of the corpus, which of them are looked at, and the words that can be said of each."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterator
from dataclasses import fields
from functools import lru_cache

import pytest

from cxlstate.core.domain import Cell, Disk, Domain, Interface, Nvdimm, Topology
from cxlstate.formats.domain_xml import read
from tests.corpus.apt import NoCorpusError
from tests.corpus.source import texts

GIB, MIB = 1 << 30, 1 << 20
SEED = 20_260_714
CMDLINE = "console=ttyS0 x='1 2' <>&\""
KEYS = {"nvdimm": ("slot", "path"), "disks": ("target",), "interfaces": ("mac",)}
"""By what an entry of a list is found."""
DEVICES = frozenset({*KEYS, "console"})


@lru_cache(maxsize=1)
def domains() -> dict[str, str]:
    """All that is a domain to us; skipped without the corpus, but not in CI."""
    try:
        found = texts()
    except NoCorpusError as error:
        if "CI" in os.environ:
            raise
        pytest.skip(f"libvirt's own test files cannot be had: {error}")
    return {name: text for name, text in found.items() if _is_domain(text)}


def _is_domain(text: str) -> bool:
    try:
        read(text)
    except ValueError:
        return False
    return True


def sample(count: int | None) -> list[tuple[str, str]]:
    """So many of them, always the same ones; all with None."""
    everything = list(domains().items())
    random.Random(SEED).shuffle(everything)
    return everything[:count]


def equal(live: Domain) -> Iterator[tuple[str, Domain]]:
    """Every word that says what is so already."""
    for field in fields(Domain):
        value = getattr(live, field.name)
        if field.name in KEYS:
            yield from _entries(field.name, value or ())
        elif value is not None:
            yield field.name, Domain(**{field.name: value})
    for one in live.disks or ():
        yield "disks.cache", Domain(disks=(Disk(one.target, cache=one.cache or "default"),))
        yield "disks.readonly", Domain(disks=(Disk(one.target, readonly=bool(one.readonly)),))
    if live.topology:
        plain = Topology(live.topology.sockets, live.topology.cores, live.topology.threads)
        yield "topology", Domain(topology=plain)
    if live.machine and (alias := re.fullmatch(r"pc-(q35|i440fx)-[\d.]+", live.machine)):
        yield "machine", Domain(machine={"q35": "q35", "i440fx": "pc"}[alias[1]])
    yield "max_vcpu", Domain(max_vcpu=live.max_vcpu or live.vcpu)
    yield "iothreads", Domain(iothreads=live.iothreads or 0)
    yield "kernel", Domain(kernel=live.kernel or "")
    yield "initrd", Domain(initrd=live.initrd or "")
    yield "cmdline", Domain(cmdline=live.cmdline or "")
    yield "disks", Domain(disks=(Disk("vdzz", absent=True),))
    yield "interfaces", Domain(interfaces=(Interface("52:54:00:ff:ff:fe", absent=True),))
    yield "nvdimm", Domain(nvdimm=(Nvdimm("/nowhere", absent=True),))


def _entries(word: str, entries: tuple[Nvdimm | Disk | Interface, ...]) -> Iterator[tuple[str, Domain]]:
    for one in entries:
        key = next((key for key in KEYS[word] if getattr(one, key) is not None), None)
        for field in fields(one) if key else ():
            value = getattr(one, field.name)
            if field.name != "absent" and value is not None:
                said = type(one)(**{str(key): getattr(one, str(key)), field.name: value})
                yield f"{word}.{field.name}", Domain(**{word: (said,)})


def other(live: Domain) -> Iterator[tuple[str, Domain]]:
    """Every word that says something else."""
    yield from _other_memory(live)
    yield from _other_cpus(live)
    yield from _other_devices(live)
    for firmware in ("efi", "bios"):
        yield "firmware", Domain(firmware=firmware)
    yield "machine", Domain(machine="q35")
    yield "kernel", Domain(kernel="/boot/vmlinuz")
    yield "initrd", Domain(kernel="/boot/vmlinuz", initrd="/boot/initrd")
    yield "cmdline", Domain(kernel="/boot/vmlinuz", cmdline=CMDLINE)
    yield "os_variant", Domain(os_variant="http://debian.org/debian/12")
    yield "console", Domain(console=not live.console)


def _other_memory(live: Domain) -> Iterator[tuple[str, Domain]]:
    zero = frozenset({0})
    yield "memory", Domain(memory=(live.memory or 0) + GIB)
    for mode in ("strict", "preferred", "interleave", "restrictive"):
        yield "numa_mode", Domain(numa_mode=mode, numa_nodeset=zero)
        yield "numa_mode", Domain(numa_mode=mode)
    yield "numa_nodeset", Domain(numa_nodeset=zero)
    yield "hugepages", Domain(hugepages=0)
    yield "hugepages", Domain(hugepages=2 * MIB)
    yield "nvdimm", Domain(nvdimm=(Nvdimm("/nv", size=GIB, access="shared"),))
    yield "nvdimm", Domain(nvdimm=(Nvdimm("/nv", size=GIB, label=2 * MIB, pmem=True, slot=5),))


def _other_cpus(live: Domain) -> Iterator[tuple[str, Domain]]:
    vcpus, zero = live.vcpu or 1, frozenset({0})
    for count in dict.fromkeys((vcpus + 1, max(1, vcpus - 1), 1, 2 * vcpus)):
        yield "vcpu", Domain(vcpu=count)
        yield "topology", Domain(vcpu=count, max_vcpu=count, topology=Topology(count, 1, 1, 1, 1))
    yield "max_vcpu", Domain(max_vcpu=(live.max_vcpu or vcpus) + 2)
    yield "cells", Domain(cells=(Cell(0, frozenset(range(live.max_vcpu or vcpus)), live.memory or GIB),))
    yield "vcpupin", Domain(vcpupin=((0, zero),))
    yield "vcpupin", Domain(vcpupin=tuple((number, zero) for number in range(live.max_vcpu or vcpus)))
    yield "emulatorpin", Domain(emulatorpin=frozenset({0, 3}))
    yield "iothreads", Domain(iothreads=(live.iothreads or 0) + 1)
    yield "iothreads", Domain(iothreads=max(0, (live.iothreads or 0) - 1))
    yield "iothreadpin", Domain(iothreadpin=((1, zero),))
    yield "iothreadpin", Domain(iothreads=2, iothreadpin=((1, zero), (2, zero)))
    for mode in ("host-passthrough", "host-model", "maximum"):
        yield "cpu_mode", Domain(cpu_mode=mode)


def _other_devices(live: Domain) -> Iterator[tuple[str, Domain]]:
    yield "disks", Domain(disks=(Disk("vdq", "/q.raw", "raw"),))
    yield "disks", Domain(disks=(Disk("sdz", device="cdrom"),))
    for one in (live.disks or ())[:2]:
        for bus in ("virtio", "scsi", "sata", "usb"):
            yield "disks.bus", Domain(disks=(Disk(one.target, bus=bus),))
        for format_ in ("raw", "qcow2"):
            yield "disks.format", Domain(disks=(Disk(one.target, format=format_),))
        for cache in ("none", "writeback", "unsafe"):
            yield "disks.cache", Domain(disks=(Disk(one.target, cache=cache),))
        for device in ("cdrom", "disk"):
            yield "disks.device", Domain(disks=(Disk(one.target, device=device),))
        yield "disks.path", Domain(disks=(Disk(one.target, path="/other.img"),))
        yield "disks.readonly", Domain(disks=(Disk(one.target, readonly=True),))
        yield "disks", Domain(disks=(Disk(one.target, absent=True),))
    yield "interfaces", Domain(interfaces=(Interface("52:54:00:ff:ff:fe", network="default"),))
    for plug in (live.interfaces or ())[:2]:
        yield "interfaces.network", Domain(interfaces=(Interface(plug.mac, network="default"),))
        yield "interfaces.bridge", Domain(interfaces=(Interface(plug.mac, bridge="br9"),))
        yield "interfaces.model", Domain(interfaces=(Interface(plug.mac, model="e1000e"),))
        yield "interfaces.link", Domain(interfaces=(Interface(plug.mac, link=False),))
        yield "interfaces", Domain(interfaces=(Interface(plug.mac, absent=True),))


def together(one: Domain, two: Domain) -> Domain | None:
    """Both wishes as one; None where they say something of the same word."""
    said = {}
    for field in fields(Domain):
        values = [value for wish in (one, two) if (value := getattr(wish, field.name)) is not None]
        if len(values) == 2:
            return None
        said[field.name] = values[0] if values else None
    return Domain(**said)
