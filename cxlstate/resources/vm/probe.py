"""What libvirt says of a domain, and what there is of the host for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from hashlib import sha256
from typing import Final

from cxlstate.core.address import Address, AllOf
from cxlstate.core.answers import Answers, ReadFailed
from cxlstate.core.domain import CpuNumbers, Domain
from cxlstate.core.first_boot import Provisioning
from cxlstate.core.guest import GuestAccess
from cxlstate.core.observation import Observation, Present, Unknown
from cxlstate.core.read import Attributes, File, LibvirtAddresses, LibvirtDomain, Links, Names, Read
from cxlstate.core.reconciler import Resource
from cxlstate.core.units import parse_cpus
from cxlstate.formats import cloud_init, dax, domain_xml, restore
from cxlstate.formats.dax import Holder
from cxlstate.resources.vm import access, paths
from cxlstate.resources.vm.paths import Opened
from cxlstate.resources.vm.spec import VmSpec
from cxlstate.resources.vm.states import RUNS

ONLINE: Final = File("/sys/devices/system/cpu/online")
NODES: Final = Attributes("/sys/devices/system/node/node*/cpulist")
HUGE_PAGES: Final = Attributes("/sys/kernel/mm/hugepages/hugepages-*/nr_*hugepages")
"""`nr_hugepages`, `nr_overcommit_hugepages` (Documentation/admin-guide/mm/hugetlbpage.rst)."""
LINKS: Final = Links(f"{restore.LINKS}/*")

PROVIDERS: Final = (
    Address("package", "libvirt-daemon-system"),
    Address("service", "libvirtd"),
    AllOf("package"),
)
"""What, once there, lets libvirt be asked."""


@dataclass(frozen=True, slots=True)
class Host:
    """What a VM can be pinned to: the CPUs that are on, and those of each NUMA node.

    `links` leads from the stable paths to devices, `holders` says who has those open, if the VM is to have
    an NVDIMM; None with `hidden` saying why that cannot be told. `opened` is what the VM opens by a path.
    """

    cpus: CpuNumbers
    nodes: Mapping[int, CpuNumbers]
    links: Mapping[str, str]
    holders: tuple[Holder, ...] | None
    hidden: str = ""
    opened: Mapping[str, Opened] = field(default_factory=dict)
    seed: bool = False
    """A seed of ours for its guest's first boot is there."""
    huge_pages: Mapping[int, int] = field(default_factory=dict)
    """How many there may be at most, by their size, for a VM that is to have them; empty: not known."""


@dataclass(frozen=True, slots=True)
class Missing:
    """libvirt knows no such domain."""

    host: Host
    way: GuestAccess | None = None


@dataclass(frozen=True, slots=True)
class Live:
    """A domain as it is. `inactive` is None of a transient one, `active` while it does not run.

    `xml` is the persistent definition as it was read, without secrets. `affinity` is what the kernel lets
    the thread of each vCPU run on.
    """

    host: Host
    state: str
    autostart: bool
    xml: str
    inactive: Domain | None
    active: Domain | None
    affinity: Mapping[int, CpuNumbers]
    managed_save: bool
    keeps: str
    addresses: tuple[str, ...]
    way: GuestAccess | None = None
    """Into its guest, by leases, if the spec describes that."""

    @property
    def digest(self) -> str:
        """SHA-256 of the definition: whether it is still the one that the plan has seen."""
        return sha256(self.xml.encode()).hexdigest()

    @property
    def runs(self) -> bool:
        """Whether there is a process that a change of the definition does not reach."""
        return self.state in RUNS


Seen = Live | Missing


def reads(me: Resource[VmSpec]) -> tuple[Read, ...]:
    """The domain, the host around it, what it opens by a path, the way into its guest, and its seed."""
    name, spec = me.name, me.spec
    way = access.reads(name) if me.has_guest else ()
    seed = _seed(me) if has_seed(me) else ()
    memory = (*([dax.HOLDERS] if spec.nvdimm else []), *([HUGE_PAGES] if spec.hugepages else []))
    return (LibvirtDomain(name), ONLINE, NODES, LINKS, *memory, *paths.reads(spec), *way, *seed)


def is_provisioned(me: Resource[VmSpec]) -> bool:
    """Whether the spec says what the first boot of its guest makes of it."""
    return "provision" in (me.guest or ())


def has_seed(me: Resource[VmSpec]) -> bool:
    """Whether that is by a seed, which the VM is given."""
    first: Provisioning | None = (me.guest or {}).get("provision")
    return first is not None and first.seeded


def _seed(me: Resource[VmSpec]) -> tuple[Names, Names]:
    """The seed, and what says that it is ours."""
    return Names(cloud_init.seed(me.name)), Names(cloud_init.made_from(me.name))


def observe(me: Resource[VmSpec], answers: Answers) -> Observation[Seen]:
    """What libvirt says, whatever the spec wants."""
    name, host = me.name, _host(me.spec, answers)
    if has_seed(me):
        host = replace(host, seed=all(map(answers.files, _seed(me))))
    try:
        parts = answers.files(LibvirtDomain(name))
        way = access.access(name, answers) if me.has_guest else None
    except ReadFailed as failed:
        return Unknown(
            failed.reason, PROVIDERS, "on the machine: `virsh -r list --all` tells what libvirt says", host
        )
    if not parts:
        return Present(Missing(host, way))
    try:
        return Present(replace(_live(name, parts, host, answers), way=way))
    except (KeyError, ValueError) as odd:
        return Unknown(f"what libvirt says of {name} is not understood: {odd}")


def _live(name: str, parts: Mapping[str, str], host: Host, answers: Answers) -> Live:
    facts = dict(line.partition("=")[::2] for line in parts["facts"].splitlines())
    inactive, active = parts.get("inactive.xml"), parts.get("active.xml")
    kept = {word: facts[word] for word in ("snapshots", "checkpoints") if facts.get(word, "0") != "0"}
    return Live(
        host=host,
        state=facts["state"],
        autostart=facts["autostart"] == "yes",
        xml=inactive or "",
        inactive=None if inactive is None else domain_xml.read(inactive),
        active=None if active is None else domain_xml.read(active),
        affinity=_affinity(parts.get("affinity", "")),
        managed_save=facts["managed-save"] == "yes",
        keeps=", ".join(f"{number} {word}" for word, number in kept.items()),
        addresses=_addresses(name, answers),
    )


def _affinity(text: str) -> Mapping[int, CpuNumbers]:
    rows = (line.split(" ", 1) for line in text.splitlines())
    return {int(number): parse_cpus(cpus) for number, cpus in rows}


def _addresses(name: str, answers: Answers) -> tuple[str, ...]:
    """Only where they were asked for, and libvirt knows them: nothing is decided by them."""
    try:
        text = answers.text(LibvirtAddresses(name))
    except ReadFailed:
        return ()
    return tuple(line.split(" ")[-1].partition("/")[0] for line in text.splitlines())


def _host(spec: VmSpec, answers: Answers) -> Host:
    online = answers.text(ONLINE).strip()
    files = answers.files(NODES)
    nodes = {
        int(match[1]): parse_cpus(text.strip()) if text.strip() else frozenset[int]()
        for path, text in files.items()
        if (match := re.search(r"/node(\d+)/", path))
    }
    links = {path: target.rpartition("/")[2] for path, target in answers.files(LINKS).items()}
    try:
        holders, hidden = _holders(answers.text(dax.HOLDERS)) if spec.nvdimm else (), ""
    except ReadFailed as failed:
        holders, hidden = None, failed.reason
    pages = _huge_pages(answers.files(HUGE_PAGES)) if spec.hugepages else {}
    opened = paths.seen(spec, answers)
    return Host(parse_cpus(online), nodes, links, holders, hidden, opened, huge_pages=pages)


def _huge_pages(files: Mapping[str, str]) -> Mapping[int, int]:
    """Those that were made at once, and those that may be made when they are needed."""
    found: dict[int, int] = {}
    for path, text in files.items():
        match = re.search(r"/hugepages-(\d+)kB/nr_(?:overcommit_)?hugepages$", path)
        if match and text.strip().isdecimal():
            size = int(match[1]) << 10
            found[size] = found.get(size, 0) + int(text)
    return found


@lru_cache(maxsize=4)
def _holders(text: str) -> tuple[Holder, ...]:
    return dax.holders(text)
