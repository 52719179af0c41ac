"""Laws 6 and 7 for networks, images and VMs: what can be undone, and what a leaf is changed to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cxlstate.core.libvirt import LibvirtEffect, StartDomain, StopDomain, StopNetwork, UndefineNetwork
from cxlstate.machine.outcome import Result
from cxlstate.simulator import qcow2
from cxlstate.simulator.host import Host
from cxlstate.simulator.world import World
from tests.laws.bench import Bench

Undo = Callable[[Bench], None]
Leaf = tuple[str | int, ...]

GIB = 1 << 30
KERNEL, INITRD = "/boot/vmlinuz-6.12.117+deb13-amd64", "/boot/initrd.img-6.12.117+deb13-amd64"
MAC, OTHER, GONE = "52:54:00:fc:10:bd", "52:54:00:fc:10:be", "52:54:00:fc:10:bf"
FORWARDED = "52:54:00:fc:10:f0"  # of the VM that a forward leads to
IMAGE = "var/lib/libvirt/images/guest.qcow2"
IMAGES = {"system": {"path": f"/{IMAGE}", "size": "3GiB", "mode": "0600"}}
NETWORKS: dict[str, Any] = {
    "default": {
        "active": True,
        "autostart": True,
        "dhcp": {"start": "192.168.122.50", "end": "192.168.122.99"},
        "domain": "lab",
        "reservations": [
            {"mac": MAC, "ip": "192.168.122.110", "name": "guest"},
            {"mac": OTHER, "ip": "192.168.122.111"},
            {"mac": GONE, "state": "absent"},
            {"mac": FORWARDED, "ip": "192.168.122.112"},
        ],
    },
    "lab": {"active": True, "address": "10.9.8.1/24", "forward": "isolated", "bridge": "virbr9"},
}
VMS: dict[str, Any] = {
    "guest": {
        "state": "running",
        "autostart": True,
        "memory": "1GiB",
        "vcpu": 2,
        "vcpupin": [1, "3,5"],
        "emulatorpin": "7",
        "iothreads": 1,
        "iothreadpin": ["9"],
        "numatune": {
            "mode": "strict",
            "nodeset": 1,
            "memnode": [{"cellid": 0, "mode": "strict", "nodeset": 1}],
        },
        "cpu": {
            "mode": "host-passthrough",
            "topology": {"sockets": 1, "cores": 2, "threads": 1},
            "numa": [{"cpus": "0-1", "memory": "1GiB"}],
        },
        "hugepages": True,
        "nvdimm": [
            {
                "dax": "dax.cxl0",
                "size": "95GiB",
                "label": "16MiB",
                "alignsize": "2MiB",
                "pmem": True,
                "access": "shared",
                "node": 0,
                "slot": 1,
            }
        ],
        "disks": [{"target": "vda", "image": "image.system", "bus": "virtio", "cache": "none"}],
        "interfaces": [{"network": "default", "mac": MAC, "model": "virtio", "link": "up"}],
        "os": {"machine": "pc-q35-10.0", "firmware": "bios"},
        "os_variant": "debian13",
        "console": True,
    },
    "direct": {
        "state": "shut-off",
        "memory": "512MiB",
        "vcpu": 1,
        "os": {"kernel": KERNEL, "initrd": INITRD, "cmdline": "console=ttyS0"},
        "interfaces": [{"network": "default", "mac": FORWARDED}],
    },
    "based": {"xml": "based.xml"},
}

_DOMAIN, _DIRECT = "etc/libvirt/qemu/guest.xml", "etc/libvirt/qemu/direct.xml"
_NETWORK, _LAB = (f"etc/libvirt/qemu/networks/{name}.xml" for name in ("default", "lab"))
_HOST = f"      <host mac='{OTHER}' ip='192.168.122.111'/>\n"


def _world(change: Callable[[World], None]) -> Undo:
    def undo(bench: Bench) -> None:
        with bench.world() as world:
            change(world)

    return undo


def _remove(path: str) -> Undo:
    return lambda bench: bench.path(path).unlink()


def _defined(path: str, old: str, new: str) -> Undo:
    """Somebody edited a definition, and libvirt has read it."""
    return lambda bench: bench.edit(path, old, new)


def _running(old: str, new: str) -> Undo:
    """The guest runs with something else than what is defined."""

    def change(world: World) -> None:
        active = world.running.domains["guest"]
        assert old in active.xml
        active.xml = active.xml.replace(old, new)

    return _world(change)


def _active(old: str, new: str) -> Undo:
    """The network runs with something else than what is defined."""

    def change(world: World) -> None:
        active = world.running.networks["default"]
        assert old in active.xml
        active.xml = active.xml.replace(old, new)

    return _world(change)


def _told(*effects: LibvirtEffect) -> Undo:
    """Somebody has told libvirt."""

    def tell(bench: Bench) -> None:
        host = Host.load(bench.directory)
        for effect in effects:
            outcome = host.libvirt.perform(effect)
            assert outcome.result is Result.DONE, outcome.output
        host.save()

    return tell


def _affinity(world: World) -> None:
    """By taskset(1), of which libvirt knows nothing."""
    world.running.domains["guest"].affinity[1] = "4"


def _off_and_undefined(bench: Bench) -> None:
    _told(StopDomain("guest"))(bench)
    bench.path(_DOMAIN).unlink()


def _smaller(bench: Bench) -> None:
    bench.path(IMAGE).write_bytes(qcow2.Header(GIB).pack())


# What somebody made of a definition or of what runs: the old text and the new one.
_GUEST_EDITED = {
    "a pin is another in the definition": ("cpuset='3,5'", "cpuset='3'"),
    "an I/O thread's pin is another": ("cpuset='9'", "cpuset='8'"),
    "there is an I/O thread more": ("<iothreads>1<", "<iothreads>2<"),
    "memory comes from elsewhere": (
        "<memory mode='strict' nodeset='1'",
        "<memory mode='strict' nodeset='0'",
    ),
    "memory comes from elsewhere if there is none": ("<memory mode='strict'", "<memory mode='preferred'"),
    "a cell's memory comes from elsewhere": (
        "cellid='0' mode='strict' nodeset='1'",
        "cellid='0' mode='strict' nodeset='0'",
    ),
    "a cell is smaller": ("memory='1048576'", "memory='524288'"),
    "the CPU is another": ("mode='host-passthrough'", "mode='maximum'"),
    "the topology is another": (
        "sockets='1' dies='1' clusters='1' cores='2'",
        "sockets='2' dies='1' clusters='1' cores='1'",
    ),
    "the pages are small": ("    <hugepages/>\n", ""),
    "an NVDIMM is smaller": (">99614720<", ">98566144<"),
    "an NVDIMM is another": ("/dev/cxlstate/cxl0", "/dev/dax0.0"),
    "an NVDIMM is not flushed": ("        <pmem/>\n", ""),
    "an NVDIMM is private": (" access='shared'", ""),
    "an NVDIMM's label is larger": ("<size unit='KiB'>16384<", "<size unit='KiB'>32768<"),
    "an NVDIMM's alignment is larger": ("<alignsize unit='KiB'>2048<", "<alignsize unit='KiB'>4096<"),
    "a disk is another": ("guest.qcow2", "other.qcow2"),
    "a disk is written through": ("cache='none'", "cache='writethrough'"),
    "a disk is on another bus": ("bus='virtio'", "bus='scsi'"),
    "an interface is in another network": ("network='default'", "network='lab'"),
    "an interface is another": ("<model type='virtio'/>", "<model type='e1000'/>"),
    "the machine is another": ("pc-q35-10.0", "pc-q35-9.2"),
    "the firmware is another": ("<os>", "<os firmware='efi'>"),
    "the system is another": ("http://debian.org/debian/13", "http://debian.org/debian/12"),
    "there is no console": ("type='pty'", "type='null'"),
}
_DIRECT_EDITED = {
    "a VM has less memory": (">524288<", ">262144<"),
    "a VM has a vCPU more": (">1</vcpu>", ">2</vcpu>"),
    "the kernel is another": (KERNEL, "/boot/vmlinuz-other"),
    "the initrd is another": (INITRD, "/boot/initrd.img-other"),
    "the kernel's command line is another": ("console=ttyS0", "console=tty0"),
}
_GUEST_RUNS = {
    "a pin is another in what runs": ("cpuset='3,5'", "cpuset='3'"),
    "the emulator's pin is another": ("<emulatorpin cpuset='7'", "<emulatorpin cpuset='6'"),
    "the guest runs with a smaller NVDIMM": (">99614720<", ">98566144<"),
    "a cable is pulled": ("<model type='virtio'/>", "<model type='virtio'/><link state='down'/>"),
}
_DEFAULT_EDITED = {
    "a reservation is out of the definition": (_HOST, ""),
    "a reservation has another address": ("122.111", "122.112"),
    "other addresses are given away": ("122.99'", "122.199'"),
}
_DEFAULT_RUNS = {
    "a reservation is out of the running network": (_HOST, ""),
    "a reservation has lost its name": (" name='guest'", ""),
    "a reservation to be absent has come back": (
        "    </dhcp>",
        f"      <host mac='{GONE}' ip='192.168.122.9'/>\n    </dhcp>",
    ),
    "another domain is served": ("name='lab'", "name='bal'"),
}
_LAB_EDITED = {
    "a network has another address": ("10.9.8.1", "10.9.9.1"),
    "a network reaches out": ("  <bridge", "  <forward mode='nat'/>\n  <bridge"),
    "a network has another bridge": ("virbr9", "virbr8"),
}

UNDONE: dict[str, tuple[str, Undo]] = {
    "an image is gone": ("image.system", _remove(IMAGE)),
    "an image is smaller": ("image.system", _smaller),
    "an image is open to others": ("image.system", lambda bench: bench.path(IMAGE).chmod(0o644)),
    "a network is down": ("network.default", _told(StopNetwork("default"))),
    "a network is gone": ("network.lab", _told(StopNetwork("lab"), UndefineNetwork("lab"))),
    "a network does not come up by itself": (
        "network.default",
        _remove("etc/libvirt/qemu/networks/autostart/default.xml"),
    ),
    "the list of reservations is gone": ("network.default", _remove("etc/cxlstate/networks/default")),
    "a VM is off": ("vm.guest", _told(StopDomain("guest"))),
    "a VM runs": ("vm.direct", _told(StartDomain("direct"))),
    "a VM is gone": ("vm.guest", _off_and_undefined),
    "a VM of which nothing else is wished is gone": ("vm.based", _remove("etc/libvirt/qemu/based.xml")),
    "a VM does not start by itself": ("vm.guest", _remove("etc/libvirt/qemu/autostart/guest.xml")),
    "a thread runs elsewhere": ("vm.guest", _world(_affinity)),
    **{name: ("network.default", _defined(_NETWORK, *edit)) for name, edit in _DEFAULT_EDITED.items()},
    **{name: ("network.default", _active(*edit)) for name, edit in _DEFAULT_RUNS.items()},
    **{name: ("network.lab", _defined(_LAB, *edit)) for name, edit in _LAB_EDITED.items()},
    **{name: ("vm.guest", _defined(_DOMAIN, *edit)) for name, edit in _GUEST_EDITED.items()},
    **{name: ("vm.guest", _running(*edit)) for name, edit in _GUEST_RUNS.items()},
    **{name: ("vm.direct", _defined(_DIRECT, *edit)) for name, edit in _DIRECT_EDITED.items()},
}

_GUEST = ("vms", "guest")
_NVDIMM = (*_GUEST, "nvdimm", 0)
_DISK, _PLUG, _DEFAULT = (*_GUEST, "disks", 0), (*_GUEST, "interfaces", 0), ("networks", "default")

CHANGED: tuple[tuple[Leaf, Any, str], ...] = (
    (("packages", 5), "bridge-utils", "package.bridge-utils"),
    (("images", "system", "size"), "4GiB", "image.system"),
    (("images", "system", "mode"), "0640", "image.system"),
    (("images", "system", "path"), "/srv/elsewhere.qcow2", "image.system"),
    ((*_DEFAULT, "active"), False, "network.default"),
    ((*_DEFAULT, "autostart"), False, "network.default"),
    ((*_DEFAULT, "dhcp", "start"), "192.168.122.51", "network.default"),
    ((*_DEFAULT, "dhcp", "end"), "192.168.122.98", "network.default"),
    ((*_DEFAULT, "domain"), "bal", "network.default"),
    ((*_DEFAULT, "reservations", 0, "mac"), "52:54:00:fc:10:c1", "network.default"),
    ((*_DEFAULT, "reservations", 0, "ip"), "192.168.122.120", "network.default"),
    ((*_DEFAULT, "reservations", 0, "name"), "other", "network.default"),
    ((*_DEFAULT, "reservations", 1, "mac"), "52:54:00:fc:10:c0", "network.default"),
    ((*_DEFAULT, "reservations", 1, "ip"), "192.168.122.121", "network.default"),
    ((*_DEFAULT, "reservations", 1), None, "network.default"),
    (
        (*_DEFAULT, "reservations", 2),
        {"mac": GONE, "ip": "192.168.122.9"},
        "network.default",
    ),
    (
        (*_DEFAULT, "reservations", 3),
        {"mac": FORWARDED, "ip": "192.168.122.113"},
        "network.default",
    ),
    (("networks", "lab", "active"), False, "network.lab"),
    (("networks", "lab", "address"), "10.9.8.1/25", "network.lab"),
    (("networks", "lab", "forward"), "route", "network.lab"),
    (("networks", "lab", "bridge"), "virbr8", "network.lab"),
    (("networks", "lab"), {"state": "absent"}, "network.lab"),
    ((*_GUEST, "state"), "shut-off", "vm.guest"),
    ((*_GUEST, "autostart"), False, "vm.guest"),
    (("vms", "direct", "memory"), "1GiB", "vm.direct"),
    (("vms", "direct", "vcpu"), 2, "vm.direct"),
    (("vms", "direct", "state"), "running", "vm.direct"),
    (("vms", "direct", "interfaces", 0), {"network": "lab", "mac": FORWARDED}, "vm.direct"),
    (("vms", "direct", "os", "kernel"), "/boot/vmlinuz-6.12.107+deb13-amd64", "vm.direct"),
    (("vms", "direct", "os", "initrd"), "/boot/initrd.img-6.12.107+deb13-amd64", "vm.direct"),
    (("vms", "direct", "os", "cmdline"), "console=tty0", "vm.direct"),
    (("vms", "direct"), {"state": "absent"}, "vm.direct"),
    ((*_GUEST, "vcpupin", 0), 11, "vm.guest"),
    ((*_GUEST, "vcpupin", 1), "3", "vm.guest"),
    ((*_GUEST, "emulatorpin"), "6", "vm.guest"),
    ((*_GUEST, "iothreads"), 2, "vm.guest"),
    ((*_GUEST, "iothreadpin", 0), "8", "vm.guest"),
    ((*_GUEST, "numatune", "mode"), "preferred", "vm.guest"),
    ((*_GUEST, "numatune", "nodeset"), "0-1", "vm.guest"),
    ((*_GUEST, "numatune", "memnode", 0, "mode"), "preferred", "vm.guest"),
    ((*_GUEST, "numatune", "memnode", 0, "nodeset"), 0, "vm.guest"),
    ((*_GUEST, "cpu", "mode"), "maximum", "vm.guest"),
    ((*_GUEST, "cpu", "topology"), {"sockets": 2, "cores": 1, "threads": 1}, "vm.guest"),
    ((*_GUEST, "hugepages"), "1GiB", "vm.guest"),
    ((*_NVDIMM, "size"), "94GiB", "vm.guest"),
    ((*_NVDIMM, "label"), "32MiB", "vm.guest"),
    ((*_NVDIMM, "alignsize"), "4MiB", "vm.guest"),
    ((*_NVDIMM, "pmem"), False, "vm.guest"),
    (_NVDIMM, {"path": "/dev/cxlstate/cxl0", "state": "absent"}, "vm.guest"),
    (_NVDIMM, {"dax": "dax.cxl0", "size": "95GiB", "access": "shared", "slot": 0}, "vm.guest"),
    ((*_DISK, "cache"), "writeback", "vm.guest"),
    ((*_DISK, "bus"), "scsi", "vm.guest"),
    (_DISK, {"target": "sdb", "device": "cdrom"}, "vm.guest"),
    (_DISK, {"target": "vda", "state": "absent"}, "vm.guest"),
    (_PLUG, {"network": "lab", "mac": MAC}, "vm.guest"),
    (_PLUG, {"mac": MAC, "state": "absent"}, "vm.guest"),
    (_PLUG, {"network": "default", "mac": OTHER}, "vm.guest"),
    ((*_PLUG, "model"), "e1000", "vm.guest"),
    ((*_PLUG, "link"), "down", "vm.guest"),
    ((*_GUEST, "os", "machine"), "pc-q35-9.2", "vm.guest"),
    ((*_GUEST, "console"), False, "vm.guest"),
    (
        (*_GUEST, "cpu", "numa"),
        [{"cpus": "0", "memory": "512MiB"}, {"cpus": "1", "memory": "512MiB"}],
        "vm.guest",
    ),
    ((*_GUEST, "os", "firmware"), "efi", "vm.guest"),
    ((*_GUEST, "os_variant"), "debian12", "vm.guest"),
)
