"""Specs and machine states for hypothesis, in the words of the default simulated host.

A *sound* spec can be made so on any of the machine states; a *faulty* one also asks for what cannot be
(a group that is not there, a range that is no RAM, a package that nobody has).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from cxlstate.formats import kernel_cmdline
from cxlstate.resources import kinds
from cxlstate.resources.package.spec import PackageName
from cxlstate.resources.user.spec import GroupName

GIB = 1 << 30

PACKAGES: tuple[Any, ...] = (
    "hello",
    "tree",
    "ndctl",
    "daxctl",
    "ovmf",
    "cron",
    "bridge-utils",
    "libvirt-daemon-system",
    "hello=2.10-5",
    "qemu-kvm | qemu-system-x86",
    "mawk | bash",
    "linux-headers-{kernel}",
    {"name": "virtinst"},
    {"name": "tree", "state": "absent"},
    {"name": "bridge-utils", "state": "absent"},
    {"name": "never-heard-of", "state": "absent"},
)
UNITS = ("cron", "ssh", "sshd.service", "systemd-networkd", "apt-daily.timer")
BROUGHT = {
    "libvirt-daemon-system": ("libvirtd", "virtlogd.service", "libvirtd.socket"),
    "ndctl": ("ndctl-monitor",),
}
LEAVES = (
    {"enabled": True},
    {"enabled": False},
    {"running": True},
    {"running": False},
    {"enabled": True, "running": True},
    {"enabled": False, "running": False},
    {"enabled": True, "running": False},
    {"masked": True},
    {"masked": False},
    {"masked": True, "running": False},
)
FILES: dict[str, Any] = {
    "/etc/cxlstate-demo.conf": {"content": "a = 1\n", "mode": "0640", "group": "adm"},
    "/opt/lab/deep/file": {"content": "", "owner": "admin"},
    "/etc/hostname": {"content": "cloudcxl2\n"},
    "/etc/modprobe.d/blacklist-watchdog.conf": {"mode": "0600"},
    "/srv/none": {"state": "absent"},
}
SSHD: tuple[dict[str, Any], ...] = (
    {"password_authentication": False},
    {"password_authentication": True, "permit_root_login": "no"},
    {"pubkey_authentication": True, "permit_root_login": "prohibit-password"},
    {"allow_tcp_forwarding": False},
)
PUBLIC_KEYS = (
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPB91rnzrEc2rLv2kUhcXOCNrsDpDhYs0U93tTXLpMAw bob@lab",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBW3ogtGr4YRDaYZDi9+a674k59/xFz4tF+817dWRMLG alice",
)
PEOPLE: dict[str, dict[str, Any]] = {
    "lab": {"shell": "/bin/bash", "groups": ["adm"], "authorized_keys": [PUBLIC_KEYS[0]]},
    "kvm": {"state": "present"},
    "admin": {"authorized_keys": list(PUBLIC_KEYS), "shell": "/bin/sh"},
    "nobody-there": {"state": "absent"},
}
USERS, GROUPS = ("admin", "root", "daemon"), ("adm", "sudo", "users", "kvm", "admin")
PRESENT = ("dummy", "veth", "nd_pmem", "nd-e820", "kvm-intel", "vfio-pci", "cxl_acpi", "virtio", "iTCO_wdt")
ABSENT = ("kmem", "dummy", "veth", "iTCO_wdt", "nd_pmem", "vfio_pci", "kvm_intel", "device_dax", "cxl-acpi")
ARGUMENTS = (
    "quiet",
    "splash",
    "nokaslr",
    "a=1",
    "a=2",
    "b-c=x",
    "console=tty0",
    "console=ttyS0",
    "console=ttyS0,115200n8",
    "isolcpus=1-3,5",
    "hugepagesz=1G",
    "x.price=$5",
    "x.home=$HOME/${a}",
    'dyndbg="file drivers/dax/* +p"',
    'x.said="it is $x; `date`"',
    "x.signs={};|&<>()",
    "#x",
    "x.star=*?[a]~!",
)
NOT_WANTED = (
    "nomodeset",
    "quiet",
    "splash",
    "console",
    "console=ttyS0",
    "a",
    "a=2",
    "dyndbg",
    "b_c",
    "x.none",
)
RAM_AT = (16 * GIB, 64 * GIB, 128 * GIB, 320 * GIB)
KINDS = ("reserved", "acpi", "pmem")

HALVES = [{"start": "322GiB", "size": "48GiB"}, {"start": "370GiB", "size": "48GiB"}]
DEVICES = ({"range": {"start": "322GiB", "size": "96GiB"}}, {"target_node": 2}, {"ranges": HALVES})
COVERS = (
    {"cover": "dax.cxl0", "within": {"start": "320GiB", "end": "448GiB"}},
    {"cover": "dax.cxl0", "within": {"start": "322GiB", "end": "448GiB"}},
)
UNDER = {"size": "2GiB", "start": "320GiB", "type": "reserved"}
"""What the first of the covers needs to be taken away from the RAM."""
WRITTEN = (
    {"ranges": [{"start": "512GiB", "size": "64GiB"}]},
    {"ranges": [{"start": "0x8000000000", "size": "4KiB"}], "type": "write-combining"},
    {"ranges": [{"start": "512GiB", "size": "64GiB"}], "state": "absent"},
)
DRIVERS = ("kmem", "device_dax", "device-dax")

LIBVIRT = "libvirt-daemon-system"
MACS = ("52:54:00:fc:10:bd", "52:54:00:fc:10:be", "52:54:00:fc:10:bf")
TAKEN = ("192.168.122.110", "192.168.122.111", "192.168.122.112")
HOST_NAMES = ("guest", "other", None)
NETWORK = (
    {},
    {"autostart": True},
    {"autostart": False},
    {"dhcp": {"start": "192.168.122.50", "end": "192.168.122.99"}},
    {"domain": "lab"},
    {"address": "192.168.122.1/24"},
)
LAB = (
    {"address": "10.9.8.1/24", "active": True},
    {"address": "10.9.8.1/24", "forward": "isolated", "dhcp": {"start": "10.9.8.9", "end": "10.9.8.99"}},
    {"address": "10.9.7.1/24", "active": False, "autostart": True},
    {"state": "absent"},
)
KERNEL = "/boot/vmlinuz-6.12.117+deb13-amd64"
VM: dict[str, Any] = {"memory": "1GiB", "vcpu": 2, "os": {"kernel": KERNEL}}
STANDING = (
    {},
    {"state": "running"},
    {"state": "shut-off"},
    {"autostart": True},
    {"state": "running", "autostart": True},
)
VM_WORDS = (
    {"memory": "2GiB"},
    {"vcpu": 4},
    {"maxvcpus": 6},
    {"maxvcpus": 4, "vcpupin": [1, 3, 5]},
    {"vcpupin": [1, 3]},
    {"vcpupin": ["0-3,8", "2"]},
    {"emulatorpin": "5"},
    {"iothreads": 2, "iothreadpin": [7, 9]},
    {"numatune": {"mode": "strict", "nodeset": 1}},
    {"numatune": {"mode": "restrictive", "nodeset": "0-1"}},
    {"cpu": {"mode": "host-passthrough", "numa": [{"cpus": "0-1", "memory": "1GiB"}]}},
    {"hugepages": True},
    {"console": True},
)
PLUG = {"network": "default", "mac": "52:54:00:fc:10:bd"}
WITH_DEVICE = {"dax": "dax.cxl0", "size": "96GiB", "label": "16MiB", "pmem": True, "access": "shared"}

FORWARDS: dict[str, Any] = {
    "web": {"listen": {"port": 8080, "address": "192.0.2.1"}, "to": {"address": "192.168.122.110"}},
    "many": {
        "listen": {"ports": "9000-9009", "protocol": "udp", "interface": "eno1"},
        "to": {"address": "192.168.122.7"},
    },
    "moved": {
        "listen": {"ports": "80-81"},
        "to": {"address": "10.9.8.7", "port": 8080},
        "from": ["outside", "guests"],
    },
    "none": {"listen": {"port": 1}, "to": {"address": "10.9.8.7"}, "state": "absent"},
}
TO_VM = {"listen": {"port": 2222, "address": "192.0.2.1"}, "to": {"vm": "plugged", "port": 22}}
NFTABLES = "nftables"

Host = dict[str, Any]
"""What stands below `host:` besides name and connect, and what stands beside it."""


def _name(package: Any) -> str:
    text = package if isinstance(package, str) else str(package["name"])
    return text.partition("|")[0].partition("=")[0].strip()


@st.composite
def _services(draw: st.DrawFn, packages: list[Any]) -> dict[str, Any]:
    installed = [package for package in packages if not isinstance(package, dict) or "state" not in package]
    names = [*UNITS, *(unit for one in installed for unit in BROUGHT.get(_name(one), ()))]
    drawn = draw(
        st.lists(st.sampled_from(names), max_size=3, unique_by=lambda one: one.replace("sshd.service", "ssh"))
    )
    return {name: draw(st.sampled_from(LEAVES)) for name in drawn}


@st.composite
def _users(draw: st.DrawFn, packages: list[Any]) -> dict[str, Any]:
    groups = [*GROUPS, *(["libvirt"] if "libvirt-daemon-system" in packages else [])]
    of = st.lists(st.sampled_from(groups), max_size=3, unique=True).map(lambda names: {"groups": names})
    members = draw(st.dictionaries(st.sampled_from(USERS), of, max_size=2))
    people = draw(st.lists(st.sampled_from(sorted(PEOPLE)), max_size=2, unique=True))
    return members | {name: PEOPLE[name] for name in people}


@st.composite
def _files(draw: st.DrawFn) -> dict[str, Any]:
    chosen = draw(st.lists(st.sampled_from(sorted(FILES)), max_size=2, unique=True))
    return {path: FILES[path] for path in chosen}


@st.composite
def _modules(draw: st.DrawFn) -> dict[str, str]:
    wished = st.sampled_from(
        [*((name, "present") for name in PRESENT), *((name, "absent") for name in ABSENT)]
    )
    drawn = draw(st.lists(wished, max_size=3, unique_by=lambda one: one[0].replace("-", "_")))
    return dict(drawn)


@st.composite
def _grub(draw: st.DrawFn) -> dict[str, Any]:
    args = draw(st.lists(st.sampled_from(ARGUMENTS), max_size=4))
    absent = draw(st.lists(st.sampled_from(NOT_WANTED), max_size=2, unique=True))
    return {"args": args, "absent": [one for one in absent if not _named(one, args)]}


def _named(pattern: str, args: list[str]) -> bool:
    return any(kernel_cmdline.names(kernel_cmdline.read(pattern), kernel_cmdline.read(one)) for one in args)


@st.composite
def _memmap(draw: st.DrawFn) -> list[dict[str, Any]]:
    starts = draw(st.lists(st.sampled_from(RAM_AT), max_size=3, unique=True))
    return [
        {
            "size": draw(st.sampled_from(["2GiB", "512MiB", 4096])),
            "start": start,
            "type": draw(st.sampled_from(KINDS)),
        }
        for start in starts
    ]


@st.composite
def _host_memory(draw: st.DrawFn, host: Host) -> Host:
    """A dax device, MTRRs, or both, with what they need: kmem out of the way, no RAM underneath."""
    what = draw(st.sets(st.sampled_from(["dax", "cover", "written"])))
    device = draw(st.sampled_from(DEVICES)) | draw(
        st.sampled_from(
            [{}, {"align": "2MiB"}, {"align": "4KiB"}, {"state": "disabled"}, {"latency": "150-300ns"}]
        )
    )
    cover = draw(st.sampled_from(COVERS))
    mtrr = {}
    if "written" in what:
        mtrr["other"] = draw(st.sampled_from(WRITTEN))
        cover = COVERS[0]  # the other one takes all registers
    if "dax" in what and "cover" in what:
        mtrr["cxl0"] = cover
        if cover is COVERS[0]:
            host = {**host, "memmap": [UNDER]}
    if "dax" in what:
        others = {name: one for name, one in host.get("modules", {}).items() if name not in DRIVERS}
        host = {**host, "dax": {"cxl0": device}, "modules": {**others, "kmem": "absent"}}
    return {**host, "mtrr": mtrr} if mtrr else host


@st.composite
def _reservations(draw: st.DrawFn) -> list[dict[str, Any]]:
    count = draw(st.integers(0, 3))
    macs, addresses, names = (draw(st.permutations(one))[:count] for one in (MACS, TAKEN, HOST_NAMES))
    wished = [
        {"mac": mac, "ip": ip} | ({"name": name} if name else {})
        for mac, ip, name in zip(macs, addresses, names, strict=True)
    ]
    return [*wished, *draw(st.sampled_from([[], [{"mac": "52:54:00:fc:10:c0", "state": "absent"}]]))]


@st.composite
def _vm(draw: st.DrawFn) -> dict[str, Any]:
    words = draw(st.lists(st.sampled_from(VM_WORDS), max_size=3, unique_by=lambda one: tuple(sorted(one))))
    whole = VM | draw(st.sampled_from(STANDING))
    for one in words:
        whole |= one
    if whole["memory"] != VM["memory"] or whole["vcpu"] != VM["vcpu"]:  # what has to fit both
        whole = {key: value for key, value in whole.items() if key not in ("vcpupin", "cpu")}
    if "maxvcpus" in whole:  # of which the cells would have to hold all
        whole.pop("cpu", None)
    return whole


@st.composite
def _virtual(draw: st.DrawFn, host: Host) -> Host:
    """Networks and VMs, with libvirt, which nobody stops. Each VM needs one thing, and has its name by it."""
    what = draw(st.sets(st.sampled_from(["default", "lab", "plain", "plugged", "device"]), max_size=3))
    if not what:
        return host
    networks, vms = {}, {}
    if what & {"default", "plugged"}:
        active = True if "plugged" in what else draw(st.booleans())
        networks["default"] = draw(st.sampled_from(NETWORK)) | {"active": active}
        if reservations := draw(_reservations()):
            networks["default"] |= {"reservations": reservations}
    if "lab" in what:
        networks["lab"] = draw(st.sampled_from(LAB))
    if "plain" in what:
        vms["plain"] = draw(st.just({"state": "absent"}) | _vm())
    if "plugged" in what:
        vms["plugged"] = draw(_vm()) | {"interfaces": [PLUG]}
    device = host.get("dax", {}).get("cxl0", {"state": "disabled"})
    if "device" in what and "state" not in device:  # whose region is aligned to 2MiB
        aligned = {"alignsize": "2MiB"} if device.get("align") == "4KiB" else {}
        vms["device"] = draw(_vm()) | {"nvdimm": [WITH_DEVICE | aligned]}
    packages = [one for one in host.get("packages", []) if _name(one) != LIBVIRT]
    services = {name: one for name, one in host.get("services", {}).items() if "libvirtd" not in name}
    host = {**host, "packages": [*packages, LIBVIRT], "services": services}
    return host | ({"networks": networks} if networks else {}) | ({"vms": vms} if vms else {})


@st.composite
def _forwards(draw: st.DrawFn, host: Host) -> Host:
    """Port forwards, with what they need; to the VM, if an address is reserved for it."""
    chosen = draw(st.lists(st.sampled_from(sorted(FORWARDS)), max_size=3, unique=True))
    forwards = {name: FORWARDS[name] for name in chosen}
    reserved = host.get("networks", {}).get("default", {}).get("reservations", ())
    if "plugged" in host.get("vms", {}) and PLUG["mac"] in [one["mac"] for one in reserved]:
        forwards["vm"] = TO_VM
    if not forwards:
        return host
    packages = [one for one in host.get("packages", []) if _name(one) != NFTABLES]
    return {**host, "packages": [*packages, NFTABLES], "forwards": forwards}


@st.composite
def sound(draw: st.DrawFn) -> Host:
    """A spec that every one of the machine states can be made to follow."""
    keys = ("packages", "services", "users", "files", "sshd", "modules", "grub", "memmap")
    left_out = draw(st.sets(st.sampled_from(keys), max_size=3))
    packages = draw(st.lists(st.sampled_from(PACKAGES), max_size=4, unique_by=_name))
    if "packages" in left_out:  # nobody brings the units and groups of a package, then
        packages = []
    whole = {
        "packages": packages,
        "services": draw(_services(packages)),
        "users": draw(_users(packages)),
        "files": draw(_files()),
        "sshd": draw(st.sampled_from(SSHD)),
        "modules": draw(_modules()),
        "grub": draw(_grub()),
        "memmap": draw(_memmap()),
    }
    host = draw(_host_memory({key: value for key, value in whole.items() if key not in left_out}))
    return draw(_forwards(draw(_virtual(host))))


KEYS = kinds()


@cache
def names(of: Any) -> st.SearchStrategy[str]:
    """Any name with an odd sign in it that a type of names takes, by the pattern of its schema."""
    adapter = TypeAdapter(of)
    pattern = adapter.json_schema()["pattern"].removeprefix("^").removesuffix("$")
    drawn = st.from_regex(pattern, fullmatch=True, alphabet=st.characters(codec="ascii"))
    taken = drawn.filter(lambda name: _is_taken(adapter, name))
    return st.tuples(taken, st.integers(0, 99)).map(lambda one: _oddly(adapter, *one))


def _oddly(adapter: TypeAdapter[Any], name: str, number: int) -> str:
    """With a sign behind its first letter, if it may have one there."""
    names = [f"{name[:1]}{sign}{name[1:40]}" for sign in (".", "+", "-", "_", "@", ":", "\\")]
    fit = [one for one in names if _is_taken(adapter, one)]
    return fit[number % len(fit)] if fit else name


def _is_taken(adapter: TypeAdapter[Any], name: str) -> bool:
    try:
        adapter.validate_python(name, strict=True)
    except ValidationError:
        return False
    return True


@dataclass(frozen=True)
class Named:
    """A spec whose names are drawn, and what of it its machines do not have by themselves."""

    host: Host
    offered: Host
    """What the host is to have, by the words of a spec: `Bench.offer`."""

    in_guests: dict[str, Host] = field(default_factory=dict)
    """The same of each guest, by its VM."""


@st.composite
def _named_freely(draw: st.DrawFn) -> Host:
    """Words that host and guest have, each under a name that its schema takes.

    An architecture in the name of a package is left out: the archive has no other.
    """
    package = draw(names(PackageName).filter(lambda name: ":" not in name))
    service, user, module, path = (
        draw(names(KEYS[kind].reconciler.key)) for kind in ("service", "user", "module", "file")
    )
    group = draw(names(GroupName).filter(lambda name: name != user))  # useradd makes one of that name
    section = {
        "packages": [package, {"name": f"{package}0", "state": "absent"}],
        "services": {service: draw(st.sampled_from(LEAVES))},
        "users": {user: {"shell": "/bin/sh", "groups": [group], "authorized_keys": [PUBLIC_KEYS[0]]}},
        "modules": {module: draw(st.sampled_from(["present", "absent"]))},
        "files": {f"/srv{path}": {"content": "a = 1\n", "owner": user, "group": group}},
    }
    left_out = draw(st.sets(st.sampled_from(sorted(section)), max_size=3))
    if "packages" in left_out:  # nobody brings the units and groups of a package, then
        left_out |= {"services", "users"}
    if "users" in left_out:
        left_out |= {"files"}
    return {key: value for key, value in section.items() if key not in left_out}


@st.composite
def oddly_named(draw: st.DrawFn) -> Named:
    """An entry of each kind that is named freely, under a name that its schema takes."""
    offered = draw(_named_freely())
    chosen = "network", "vm", "image", "dax", "mtrr"
    network, vm, image, dax, mtrr = (draw(names(KEYS[kind].reconciler.key)) for kind in chosen)
    plug = {"network": network, "mac": MACS[0]}
    host = _joined(
        offered,
        {
            "packages": [LIBVIRT, "qemu-utils"],
            "modules": {"kmem": "absent"},
            "dax": {dax: DEVICES[0]},
            "mtrr": {mtrr: {"cover": f"dax.{dax}", "within": {"start": "322GiB", "end": "448GiB"}}},
            "networks": {
                network: {
                    "address": "10.9.8.1/24",
                    "active": True,
                    "reservations": [{"mac": MACS[0], "ip": "10.9.8.7"}],
                }
            },
            "images": {image: {"path": "/srv/new.qcow2", "size": "1GiB"}},
            "vms": {
                vm: VM
                | {
                    "state": "running",
                    "interfaces": [plug],
                    "disks": [{"target": "vda", "image": f"image.{image}"}],
                    "nvdimm": [{"dax": f"dax.{dax}", "size": "4GiB"}],
                }
            },
        },
    )
    return Named(host, offered)


def _joined(one: Host, other: Host) -> Host:
    """Both; of what both name, what the other says."""
    joined = {**one, **other}
    for key in one.keys() & other.keys():
        if isinstance(one[key], list):
            joined[key] = list({_name(entry): entry for entry in (*one[key], *other[key])}.values())
        else:
            joined[key] = {**one[key], **other[key]}
    return joined


# Guests ----------------------------------------------------------------------------------------------

CONNECTS = (
    None,
    {},
    {"user": "comsys"},
    {"via": "ssh", "port": 2222, "user": "root"},
    {"via": "agent"},
)
GUEST_ENTRIES: dict[str, st.SearchStrategy[Any]] = {
    "service": st.sampled_from(LEAVES),
    "user": st.lists(st.sampled_from(GROUPS), max_size=2, unique=True).map(lambda names: {"groups": names}),
    "module": st.sampled_from(["present", "absent"]),
    "file": st.sampled_from(list(FILES.values())),
}
"""What an entry of each kind that is a map, and that guests have, may say."""


@st.composite
def _provision(draw: st.DrawFn) -> dict[str, Any]:
    """What a first boot makes of a guest."""
    user = {
        "groups": draw(st.lists(st.sampled_from(GROUPS), max_size=2, unique=True)),
        "authorized_keys": draw(st.lists(st.sampled_from(PUBLIC_KEYS), max_size=2, unique=True)),
        "sudo": draw(st.booleans()),
    }
    said = {
        "hostname": draw(st.sampled_from(["a", "cxl-vmx.lab"])),
        "users": draw(st.dictionaries(names(KEYS["user"].reconciler.key), st.just(user), max_size=2)),
        "network": {"dhcp4": draw(st.booleans())},
    }
    left_out = draw(st.sets(st.sampled_from(sorted(said))))
    return {"method": "cloud-init", **{key: one for key, one in said.items() if key not in left_out}}


@st.composite
def _guest(draw: st.DrawFn) -> dict[str, Any]:
    """The section of a guest: words of the host, and names that its kinds take."""
    section: dict[str, Any] = {}
    if (connect := draw(st.sampled_from(CONNECTS))) is not None:
        section["connect"] = connect
    if draw(st.booleans()):
        named = st.lists(names(PackageName), max_size=2)
        packages = [*draw(st.lists(st.sampled_from(PACKAGES), max_size=2)), *draw(named)]
        section["packages"] = list({_name(one): one for one in packages}.values())
    if draw(st.booleans()):
        section["grub"] = draw(_grub())
    if draw(st.booleans()):
        section["provision"] = draw(_provision())
    for kind, entries in GUEST_ENTRIES.items():
        if found := draw(st.dictionaries(names(KEYS[kind].reconciler.key), entries, max_size=2)):
            section[KEYS[kind].place.key] = found
    return dict(draw(st.permutations(list(section.items()))))


@st.composite
def trees(draw: st.DrawFn) -> Host:
    """A sound host with up to three guests, in VMs that are named freely."""
    host = draw(sound())
    if host.get("sshd", {}).get("allow_tcp_forwarding") is False:  # it is the way to the guests
        del host["sshd"]
    vms = dict(host.get("vms", {}))
    for name in draw(
        st.lists(
            st.one_of(names(KEYS["vm"].reconciler.key), st.sampled_from(AMBIGUOUS)), max_size=3, unique=True
        )
    ):
        vms[name] = VM | draw(st.sampled_from(STANDING)) | {"guest": draw(_guest())}
    return {**host, "vms": dict(draw(st.permutations(list(vms.items()))))}


@st.composite
def running_guests(draw: st.DrawFn) -> Named:
    """A host with up to three VMs that run, in each a guest that can be made to follow its section.

    Half of what they have is named freely, and so are the VMs.
    """
    vms, in_guests = {}, {}
    of = draw(st.integers(0, 3))
    for name in draw(st.lists(names(KEYS["vm"].reconciler.key), min_size=of, max_size=of, unique=True)):
        packages = draw(st.lists(st.sampled_from(PACKAGES), max_size=1))
        section = {
            "packages": packages,
            "services": draw(_services(packages)),
            "users": draw(_users(packages)),
            "files": draw(_files()),
            "sshd": draw(st.sampled_from(SSHD)),
            "modules": draw(_modules()),
            "grub": draw(_grub()),
        }
        left_out = draw(st.sets(st.sampled_from(sorted(section)), max_size=5))
        if "packages" in left_out:  # nobody brings the units and groups of a package, then
            left_out |= {"services", "users"}
        guest = {key: value for key, value in section.items() if key not in left_out}
        in_guests[name] = draw(_named_freely())
        vms[name] = VM | {"state": "running", "guest": _joined(in_guests[name], guest)}
    offered = draw(_named_freely())
    host = _joined(offered, {"packages": [LIBVIRT], "vms": vms})
    if vms and draw(st.booleans()):
        host = _with_namespace(host, next(iter(vms)), draw(st.sampled_from(NAMESPACES)))
    return Named(host, offered, in_guests)


NAMESPACES: tuple[dict[str, Any], ...] = ({"map": "mem"}, {"nvdimm": 0, "align": "4KiB"}, {"mode": "fsdax"})


def _with_namespace(host: Host, name: str, namespace: dict[str, Any]) -> Host:
    """With an NVDIMM in one of its guests, and a namespace in that, which no module of it is kept from."""
    vm = host["vms"][name]
    packages = [one for one in vm["guest"].get("packages", []) if _name(one) != "ndctl"]
    guest = vm["guest"] | {"packages": [*packages, "ndctl"], "namespaces": {"cxl": namespace}}
    guest["modules"] = {
        one: how for one, how in guest.get("modules", {}).items() if one not in (*DRIVERS, "nd_pmem")
    }
    vm = vm | {"nvdimm": [WITH_DEVICE], "guest": guest}
    memory = {"modules": {"kmem": "absent"}, "dax": {"cxl0": DEVICES[0]}, "vms": {name: vm}}
    return _joined(host, memory)


AMBIGUOUS = ("grub", "memmap", "package", "vm.g1", "g1", "service.cron", "package.tree:grub")
"""Names of VMs that read like something else."""


FAULTS: tuple[tuple[str, Any], ...] = (
    ("packages", ["no-such-package"]),
    ("packages", ["hello=9.9-9"]),
    ("packages", [{"name": "dpkg", "state": "absent"}]),
    ("services", {"nosuch": {"running": True}}),
    ("services", {"systemd-journald": {"enabled": True}}),
    ("services", {"nosuch": {"masked": True}}),
    ("users", {"nobody-here": {"groups": ["kvm"]}}),
    ("users", {"admin": {"groups": ["no-such-group"]}}),
    ("modules", {"virtio": "absent"}),
    ("modules", {"no_such_module": "present"}),
    ("memmap", [{"size": "2GiB", "start": "2GiB", "type": "reserved"}]),
    ("memmap", [{"size": "2GiB", "start": "0x5080000000", "type": "reserved"}]),
    ("memmap", [{"size": "4GiB", "start": "320GiB", "type": "pmem"}]),
    ("memmap", [{"size": "1GiB", "start": f"{16 * n}GiB", "type": "reserved"} for n in range(1, 6)]),
    ("dax", {"none": {"range": {"start": "600GiB", "size": "1GiB"}}}),
    ("dax", {"none": {"target_node": 7}}),
    ("mtrr", {"ram": {"ranges": [{"start": "64GiB", "size": "1GiB"}]}}),
    ("mtrr", {"wide": {"ranges": [{"start": "64TiB", "size": "1GiB"}]}}),
    ("networks", {"none": {"active": True}}),
    ("networks", {"default": {"reservations": [{"mac": MACS[0], "ip": "10.0.0.1"}]}}),
    ("vms", {"far": VM | {"vcpupin": [98, 99]}}),
    ("vms", {"far": VM | {"numatune": {"mode": "strict", "nodeset": 9}}}),
    ("vms", {"little": {"state": "running"}}),
    ("vms", {"unplugged": VM | {"state": "running", "interfaces": [PLUG | {"network": "elsewhere"}]}}),
    ("vms", {"diskless": VM | {"state": "running", "disks": [{"target": "vda", "path": "/nowhere.img"}]}}),
)


@st.composite
def faulty(draw: st.DrawFn) -> Host:
    """A spec of which a part cannot be."""
    host = dict(draw(sound()))
    for key, value in draw(
        st.lists(st.sampled_from(FAULTS), min_size=1, max_size=2, unique_by=lambda one: one[0])
    ):
        has = host.get(key)
        if key == "memmap" or not has:
            host[key] = value
        elif isinstance(value, list):
            host[key] = [*value, *(one for one in has if _name(one) != _name(value[0]))]
        else:
            host[key] = {**has, **value}
    return host


DISTURBANCES = (
    "apt has lists",
    "hello is installed",
    "tree was removed, its configuration is left",
    "hello is half-configured",
    "dpkg was interrupted",
    "cron is stopped",
    "cron has failed",
    "ssh is disabled",
    "networkd is masked",
    "dummy is loaded",
    "vfio-pci is not loaded",
    "others have modules loaded at boot",
    "others have a drop-in in force",
    "our drop-in was edited",
    "libvirt is a group already",
    "another register is in use",
    "the devices are numbered anew",
    "the link is gone",
    "the device is not bound",
    "our registers are gone",
    "somebody has a network and a VM",
    "somebody has a reservation",
    "a network is up that nobody wants",
    "somebody rejects what is forwarded",
    "all rules are flushed",
    "the power was cut",
)


def disturbances() -> st.SearchStrategy[list[str]]:
    """What has happened to the default host before we come; `tests/laws/bench.py` does it."""
    return st.lists(st.sampled_from(DISTURBANCES), max_size=3, unique=True)
