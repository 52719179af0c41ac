"""`machine.json`: what lives in a kernel, a daemon or a package database, as a person would edit it.

Files that a real machine has as files are not here; they stand in the folder `root` beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cxlstate.simulator.netfilter import IptChain, NftTable

FORMAT = 1
_FIRST_PID = 4200


@dataclass
class Login:
    """Who we are on the machine, and whether `sudo -n` (or being root) works."""

    user: str = "admin"
    root: bool = True


@dataclass
class Region:
    """A range of the firmware's memory map, bounds in hex and both inclusive, as the kernel names them."""

    start: str
    end: str
    type: str


@dataclass
class Loaded:
    """A loaded module: who else uses it, by name, and how many do without a name."""

    used_by: list[str] = field(default_factory=list)
    references: int = 0


@dataclass
class Unit:
    """A unit file of systemd. `state` is what `systemctl is-enabled` says while it is not masked.

    No state at all: there is no such file, and only its mask stands. `type` and `remains` are Type= and
    RemainAfterExit=, `conflicts` is Conflicts=; one that does not start fails with an exit code. To start it
    also ends what it `stops`, by a program of its own: no setting of the unit says so. One that `reloads` has
    an ExecReload=.
    """

    state: str = "disabled"
    masked: bool = False
    starts: bool = True
    type: str = "simple"
    remains: bool = False
    reloads: bool = False
    triggered_by: list[str] = field(default_factory=list)
    aliases: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    stops: list[str] = field(default_factory=list)
    description: str = ""


@dataclass
class Brings:
    """What installing a package adds to a machine. Files that are there already stay as they are."""

    groups: list[str] = field(default_factory=list)
    units: dict[str, Unit] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)


@dataclass
class Package:
    """One version of one package in the archive. A broken one has a postinst that fails.

    One with configuration files is remembered by dpkg after its removal.
    """

    name: str
    version: str
    depends: list[str] = field(default_factory=list)
    provides: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    architecture: str = "amd64"
    broken: bool = False
    configuration: bool = False
    brings: Brings = field(default_factory=Brings)


@dataclass
class Archive:
    """What apt can install. Off line, its lists are known and nothing can be fetched."""

    online: bool = True
    packages: list[Package] = field(default_factory=list)


@dataclass
class Installed:
    """A package in dpkg's database; `status` in dpkg's three words (want, error flag, state)."""

    version: str
    status: str = "install ok installed"
    architecture: str = "amd64"


@dataclass
class VariableRange:
    """A variable MTRR in use: addresses in hex, the type as the kernel spells it."""

    index: int
    base: str
    size: str
    type: str = "uncachable"
    count: int = 1


@dataclass
class Mtrr:
    """What the processor has of MTRRs (none: there is no /proc/mtrr), and what the firmware sets at boot.

    `width` is that of a physical address in bits. With `forced`, an address in hex, an AMD firmware has set
    SYSCFG[Tom2ForceMemTypeWB]: from 4 GiB up to it the kernel takes all memory for write-back.
    """

    registers: int = 8
    width: int = 46
    forced: str = ""
    firmware: list[VariableRange] = field(default_factory=list)


@dataclass
class Guest:
    """The machine inside a libvirt domain, as far as the domain's XML does not tell.

    One that does not obey goes on running when it is asked to shut down. `ssh` is what becomes of who
    connects: `answers`, `silent` as while it boots, or `refuses` the login.
    """

    obeys: bool = True
    ssh: str = "answers"


@dataclass
class ActiveDomain:
    """A libvirt domain that runs, as long as its process does.

    `id` is libvirt's number, `xml` the active definition, `affinity` the CPUs that each vCPU's thread may
    run on. `start` is one of a kind for each start, by which the machine in it knows whether it is its own.
    """

    id: int
    pid: int
    xml: str
    affinity: list[str] = field(default_factory=list)
    start: str = ""


@dataclass
class ActiveNetwork:
    """A libvirt network that is active: its active XML, the bridge that it has made, if any.

    `ports` is what libvirt knows: by MAC, whose interface was plugged into it.
    """

    xml: str
    bridge: str = ""
    ports: dict[str, str] = field(default_factory=dict)


@dataclass
class Tap:
    """The host's end of a guest's interface, and the bridge that it is plugged into, if any."""

    bridge: str = ""
    isolated: bool = False


@dataclass
class Process:
    """A process that has devices or disk images open or mapped; `guest` is the domain that it runs.

    `started`: how many seconds after the boot.
    """

    pid: int
    holds: list[str] = field(default_factory=list)
    command: str = ""
    guest: str = ""
    started: int = 0


@dataclass
class Extent:
    """A range of memory, bounds as those of a region."""

    start: str
    end: str


@dataclass
class Dax:
    """A dax device as the kernel has it now, bounds as those of a region.

    `memory_type` is the record of how it is mapped, made when device_dax took it. `more` are the further
    ranges of one that was made of several. `pmem`: it is a namespace of persistent memory.
    """

    start: str
    end: str
    node: int = 0
    align: int = 1 << 21
    driver: str = ""
    memory_type: str = ""
    more: list[Extent] = field(default_factory=list)
    pmem: bool = False


@dataclass
class Partition:
    """A partition, in sectors of 512 bytes, with the file system on it, and the bytes that this takes."""

    number: int
    start: int
    size: int
    type: str = "ext4"
    holds: int = 0


@dataclass
class Disk:
    """A disk of the machine by the kernel's name, in sectors of 512 bytes."""

    size: int
    partitions: list[Partition] = field(default_factory=list)


@dataclass
class NdNamespace:
    """A namespace of persistent memory: what its label and the metadata inside it say.

    `size` is what it takes of its region, `uuid` that of the metadata, `label` that of the label. `holds` is
    the file system on its disk, as blkid names it.
    """

    name: str
    size: int
    mode: str = "raw"
    map: str = ""
    align: int = 0
    uuid: str = ""
    label: str = ""
    holds: str = ""


@dataclass
class Nvdimm:
    """An NVDIMM, bounds as those of a region, of which the kernel makes one region.

    Its handle is that of the NFIT. `label`: bytes of its label area. `labelled`: labels were written. `made`
    counts its namespaces, for UUIDs.
    """

    start: str
    end: str
    handle: int = 1
    label: int = 128 << 10
    labelled: bool = False
    made: int = 0
    namespaces: list[NdNamespace] = field(default_factory=list)


@dataclass
class Written:
    """What is in memory that domains have as an NVDIMM, as `Nvdimm` has it.

    `source` is a file, or where the memory of a dax device begins; labels lie behind `size` bytes of it.
    """

    source: str
    size: int
    labelled: bool = False
    made: int = 0
    namespaces: list[NdNamespace] = field(default_factory=list)


@dataclass
class Online:
    """Memory that kmem has made RAM, which it stays without kmem; movable memory can be taken back."""

    start: str
    end: str
    name: str
    node: int = 0
    movable: bool = False
    offline: bool = False


@dataclass
class Dimm:
    """An NVDIMM of a guest: its slot, the first and last byte that it maps, and its label area in bytes.

    `source` is the memory behind it, as that of `Written`.
    """

    slot: int
    start: str
    end: str
    label: int = 0
    source: str = ""


@dataclass
class Power:
    """What a machine in a domain is booted with: which start of the domain, and the NVDIMMs of that."""

    start: str = ""
    dimms: list[Dimm] = field(default_factory=list)
    seed: str = ""


@dataclass
class Running:
    """Everything that is lost with the power.

    `files` and `links` are those of /run and /dev; `known_units` the unit files that systemd has read,
    and `since` the time of a unit's last change of state, in seconds since the epoch. `uptime` is in seconds,
    and stands still. `nftables` are tables by family and name, without those of iptables, which are by
    variant (`nft`, `legacy`) and name.
    """

    boot_id: str = ""
    kernel: str = ""
    command_line: str = ""
    modules: dict[str, Loaded] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    since: dict[str, int] = field(default_factory=dict)
    known_units: dict[str, str] = field(default_factory=dict)
    mtrr: list[VariableRange] = field(default_factory=list)
    dax: dict[str, Dax] = field(default_factory=dict)
    online: list[Online] = field(default_factory=list)
    processes: list[Process] = field(default_factory=list)
    domains: dict[str, ActiveDomain] = field(default_factory=dict)
    networks: dict[str, ActiveNetwork] = field(default_factory=dict)
    taps: dict[str, Tap] = field(default_factory=dict)
    strays: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    disabled_namespaces: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    ip_forward: bool = False
    nftables: dict[str, NftTable] = field(default_factory=dict)
    iptables: dict[str, dict[str, dict[str, IptChain]]] = field(default_factory=dict)
    uptime: int = 60

    @property
    def next_pid(self) -> int:
        """For a process that starts now."""
        return max((one.pid for one in self.processes), default=_FIRST_PID) + 1


@dataclass
class World:
    """The whole of `machine.json`.

    `first_region` is the number that the first dax region gets at boot, which is what renames devices.
    `debugfs` is mounted, locked (the kernel's lockdown hides it from root too) or absent. `python`: there is
    a python3. `bridges` are those that the host itself has. `owners` are `user:group` of files that are not
    root's, by path. `mounts` are the types of file systems that stand somewhere besides those of every host,
    behind a blank the device that they are on. `power` is for the machine in a domain.
    `nvdimms` are in the order of their regions' numbers; those of a machine in a domain are of its start,
    and what is in them is in the `memory` of its host. Without `disks` there is one that is full.
    `region_align` is of dax regions (`alloc_dax_region` in drivers/dax/hmem/hmem.c).
    """

    format: int = FORMAT
    login: Login = field(default_factory=Login)
    cpus: list[str] = field(default_factory=list)
    firmware: list[Region] = field(default_factory=list)
    kernel_image: Region = field(default_factory=lambda: Region("0x2c000000", "0x2dffffff", "Kernel code"))
    autoload: list[str] = field(default_factory=list)
    mtrr: Mtrr = field(default_factory=Mtrr)
    first_region: int = 0
    debugfs: str = "mounted"
    python: bool = True
    bridges: list[str] = field(default_factory=list)
    guests: dict[str, Guest] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    mounts: dict[str, str] = field(default_factory=dict)
    disks: dict[str, Disk] = field(default_factory=dict)
    nvdimms: list[Nvdimm] = field(default_factory=list)
    memory: list[Written] = field(default_factory=list)
    region_align: int = 2 << 20
    power: Power = field(default_factory=Power)
    units: dict[str, Unit] = field(default_factory=dict)
    archive: Archive = field(default_factory=Archive)
    installed: dict[str, Installed] = field(default_factory=dict)
    running: Running = field(default_factory=Running)
