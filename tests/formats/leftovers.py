"""Devices of which only a part is changed: what is left behind of how they were, libvirt would refuse.

Of each: the device, what just the new words would make of it, what is wished, and a word of libvirt's
refusal (one that 9.0 and 11.3 have in common).
"""

from __future__ import annotations

from dataclasses import dataclass

from cxlstate.core.domain import Disk, Domain, Interface

MAC = "52:54:00:00:00:01"
PLUG = Domain(interfaces=(Interface(MAC, network="default"),))
BRIDGE = Domain(interfaces=(Interface(MAC, bridge="br0"),))

DOMAIN = """<domain type='qemu'><name>left</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
<iothreads>1</iothreads><os><type arch='x86_64' machine='{machine}'>hvm</type></os>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>{device}</devices></domain>
"""


@dataclass(frozen=True)
class Left:
    """A device before, and after a change that looks at nothing else."""

    device: str
    naive: str
    wish: Domain
    why: str
    machine: str = "q35"

    def before(self) -> str:
        """The domain as it is."""
        return DOMAIN.format(device=self.device, machine=self.machine)

    def after(self) -> str:
        """The domain that libvirt refuses."""
        return DOMAIN.format(device=self.naive, machine=self.machine)


def _net(kind: str, inside: str, source: str = "", model: str = "virtio") -> str:
    what = f"<mac address='{MAC}'/>{source}<model type='{model}'/>{inside}"
    return f"<interface type='{kind}'>{what}</interface>"


ON_BR0 = "<source bridge='br0'/>"
NETWORK = "<source network='default'/>"


def _moved(kind: str, inside: str, why: str, source: str = "") -> Left:
    return Left(_net(kind, inside, source), _net("network", inside, NETWORK), PLUG, why)


def _disk(bus: str, inside: str, device: str = "disk") -> str:
    driver = "" if "<driver" in inside else "<driver name='qemu' type='raw'/>"
    what = f"{driver}<source file='/srv/a.raw'/><target dev='vda' bus='{bus}'/>{inside}"
    return f"<disk type='file' device='{device}'>{what}</disk>"


def _rebussed(old: str, new: str, inside: str, why: str) -> Left:
    return Left(_disk(old, inside), _disk(new, inside), Domain(disks=(Disk("vda", bus=new),)), why)


def _driver(options: str) -> str:
    return f"<driver name='qemu' type='raw' {options}/>"


def _lun(bus: str, device: str, attributes: str = "", inside: str = "", **more: str) -> str:
    format_, source = more.get("format", "raw"), more.get("source", "<source dev='/dev/sdx'/>")
    what = f"<driver name='qemu' type='{format_}'/>{source}<target dev='vda' bus='{bus}'/>{inside}"
    return f"<disk type='block' device='{device}'{attributes}>{what}</disk>"


def _drive(device: str) -> str:
    """With a medium without which the VM is not to start."""
    what = "<source file='/srv/a.iso' startupPolicy='requisite'/><target dev='vda' bus='sata'/>"
    return f"<disk type='file' device='{device}'><driver name='qemu' type='raw'/>{what}</disk>"


VDPA = "<source dev='/dev/vhost-vdpa-0'/>"
VHOST_USER = "<source type='unix' path='/run/v.sock' mode='server'/>"
RESERVED = "<source dev='/dev/sdx'><reservations managed='yes'/></source>"
SERIAL = "<serial>AB</serial>"


LEFT = {
    "the address of a user's network": _moved(
        "user", "<ip address='172.17.2.4' family='ipv4' prefix='24'/>", "guest-side IP"
    ),
    "an unmanaged tap": _moved("ethernet", "<target dev='tap0' managed='no'/>", "unmanaged target dev"),
    "a route of the host": Left(
        _net("ethernet", "", "<source><ip address='10.0.0.1' prefix='24'/></source>"),
        _net("network", "", "<source network='default'><ip address='10.0.0.1' prefix='24'/></source>"),
        PLUG,
        "",
    ),
    "a least bandwidth": Left(
        _net("network", "<bandwidth><inbound average='100' floor='50'/></bandwidth>", NETWORK),
        _net("bridge", "<bandwidth><inbound average='100' floor='50'/></bandwidth>", ON_BR0),
        BRIDGE,
        "floor",
    ),
    "options of virtio": Left(
        _net("network", "<driver name='vhost' iommu='on'/>", NETWORK),
        _net("network", "<driver name='vhost' iommu='on'/>", NETWORK, model="e1000e"),
        Domain(interfaces=(Interface(MAC, model="e1000e"),)),
        "virtio",
    ),
    "queues": _rebussed("virtio", "sata", _driver("queues='2'"), "queues"),
    "an I/O thread": _rebussed("virtio", "scsi", _driver("iothread='1'"), "IOThreads not available"),
    "a WWN": _rebussed("scsi", "virtio", "<wwn>5000c50015ea71aa</wwn>", "wwn"),
    "a vendor": _rebussed("scsi", "sata", "<vendor>SEAGATE</vendor>", "vendor"),
    "an ACPI index": _rebussed("virtio", "sata", "<acpi index='3'/>", "ACPI index"),
    "reservations of a LUN": Left(
        _lun("virtio", "lun", source=RESERVED),
        _lun("virtio", "disk", source=RESERVED),
        Domain(disks=(Disk("vda", device="disk"),)),
        "<reservations/> allowed only for lun",
    ),
    "raw I/O of a LUN": Left(
        _lun("virtio", "lun", " rawio='yes'"),
        _lun("virtio", "disk", " rawio='yes'"),
        Domain(disks=(Disk("vda", device="disk"),)),
        "",
    ),
    "a tray": Left(
        _disk("scsi", "", device="cdrom").replace("bus='scsi'", "bus='scsi' tray='open'"),
        _disk("scsi", "").replace("bus='scsi'", "bus='scsi' tray='open'"),
        Domain(disks=(Disk("vda", device="disk", readonly=False),)),
        "tray is only valid",
    ),
    "a medium that must be there": Left(
        _drive("cdrom"),
        _drive("disk"),
        Domain(disks=(Disk("vda", device="disk", readonly=False),)),
        "'requisite' is allowed only for cdrom or floppy",
    ),
    "a place on SATA that is taken": Left(
        _disk("sata", "", device="cdrom").replace("vda", "sda") + _disk("virtio", ""),
        _disk("sata", "", device="cdrom").replace("vda", "sda") + _disk("sata", ""),
        Domain(disks=(Disk("vda", bus="sata"),)),
        "Found duplicate drive address",
    ),
    "a place on IDE that is taken": Left(
        _disk("ide", "").replace("vda", "hda") + _disk("virtio", ""),
        _disk("ide", "").replace("vda", "hda") + _disk("ide", ""),
        Domain(disks=(Disk("vda", bus="ide"),)),
        "Found duplicate drive address",
        machine="pc",
    ),
    "a name that stands for a second IDE controller": Left(
        _disk("virtio", "").replace("vda", "vde"),
        _disk("ide", "").replace("vda", "vde"),
        Domain(disks=(Disk("vde", bus="ide"),)),
        "Only 1 IDE controller",
        machine="pc",
    ),
    "a place on SCSI that somebody else's address has": Left(
        _disk("scsi", "<address type='drive' controller='0' bus='0' target='0' unit='1'/>"),
        _disk("scsi", "<address type='drive' controller='0' bus='0' target='0' unit='1'/>")
        + _disk("scsi", "").replace("vda", "sdb"),
        Domain(disks=(Disk("sdb", "/srv/b.raw", "raw", "scsi"),)),
        "Found duplicate drive address",
    ),
    "a serial port that is taken": Left(
        "<serial type='file'><source path='/var/log/con.log'/><target type='isa-serial' port='1'/></serial>"
        "<console type='file'><source path='/var/log/con.log'/><target type='serial' port='1'/></console>",
        "<serial type='file'><source path='/var/log/con.log'/><target type='isa-serial' port='1'/></serial>"
        "<serial type='pty'><target type='isa-serial' port='1'/></serial>",
        Domain(console=True),
        "already allocated",
    ),
}
"""What an edit takes out."""

_USB = "<controller type='usb' index='0' model='piix3-uhci'/>" + "".join(
    f"<input type='{kind}' bus='usb'><address type='usb' bus='0' port='{port}'/></input>"
    for port, kind in ((1, "tablet"), (2, "keyboard"))
)

REFUSED = {
    "readonly": (_rebussed("virtio", "sata", "<readonly/>", "readonly sata disks"), "vda cannot be readonly"),
    "readonly on IDE": (
        Left(
            _disk("virtio", "<readonly/>"),
            _disk("ide", "<readonly/>"),
            Domain(disks=(Disk("vda", bus="ide"),)),
            "readonly ide disks",
            machine="pc",
        ),
        "vda cannot be readonly",
    ),
    "a CD-ROM that becomes a disk": (
        Left(
            _disk("sata", "<readonly/>", device="cdrom"),
            _disk("sata", "<readonly/>"),
            Domain(disks=(Disk("vda", device="disk"),)),
            "readonly sata disks",
        ),
        "vda cannot be readonly",
    ),
    "copy on read": (
        Left(
            _disk("virtio", _driver("copy_on_read='on'")),
            _disk("virtio", _driver("copy_on_read='on'") + "<readonly/>"),
            Domain(disks=(Disk("vda", readonly=True),)),
            "copy_on_read is not compatible",
        ),
        "vda has copy_on_read",
    ),
    "a CD-ROM drive on virtio": (
        Left(
            _disk("sata", "", device="cdrom"),
            _disk("virtio", "", device="cdrom"),
            Domain(disks=(Disk("vda", bus="virtio"),)),
            "does not support ejectable media",
        ),
        "vda cannot be a CD-ROM drive on virtio",
    ),
    "USB where it is turned off": (
        Left(
            "<controller type='usb' model='none'/>" + _disk("virtio", ""),
            "<controller type='usb' model='none'/>" + _disk("usb", ""),
            Domain(disks=(Disk("vda", bus="usb"),)),
            "USB is disabled for this domain",
        ),
        "vda cannot be on usb: the VM has USB turned off",
    ),
    "IDE on a machine without it": (
        _rebussed("virtio", "ide", "", "IDE controllers are unsupported"),
        "vda cannot be on ide: q35 has no such bus",
    ),
    "a LUN that is no raw device": (
        Left(
            _lun("virtio", "lun"),
            _lun("virtio", "lun", format="qcow2"),
            Domain(disks=(Disk("vda", format="qcow2"),)),
            "must use 'raw' format",
        ),
        "vda is a LUN, which libvirt hands through as raw alone",
    ),
    "a LUN with a serial number": (
        Left(
            _lun("virtio", "lun", inside=SERIAL),
            _lun("scsi", "lun", inside=SERIAL),
            Domain(disks=(Disk("vda", bus="scsi"),)),
            "do not support the serial property",
        ),
        "vda is a LUN with a serial number",
    ),
    "a LUN in a file": (
        Left(
            _lun("virtio", "lun"),
            _lun("virtio", "lun", source="<source file='/srv/a.raw'/>").replace("'block'", "'file'"),
            Domain(disks=(Disk("vda", path="/srv/a.raw"),)),
            "",
        ),
        "vda is a LUN, which has to be a block device",
    ),
    "a disk where each USB port is taken": (
        Left(
            _USB + _disk("virtio", ""),
            _USB + _disk("usb", ""),
            Domain(disks=(Disk("vda", bus="usb"),)),
            "No free USB ports",
            machine="pc",
        ),
        "vda cannot be on usb: no port",
    ),
    "an empty CD-ROM drive that becomes a disk": (
        Left(
            _disk("scsi", "", device="cdrom").replace("<source file='/srv/a.raw'/>", ""),
            _disk("scsi", "").replace("<source file='/srv/a.raw'/>", ""),
            Domain(disks=(Disk("vda", device="disk"),)),
            "missing source information",
        ),
        "vda has no source",
    ),
    "a shareable qcow2": (
        Left(
            _disk("scsi", "<shareable/>", device="cdrom").replace("type='raw'", "type='qcow2'"),
            _disk("scsi", "<shareable/>").replace("type='raw'", "type='qcow2'"),
            Domain(disks=(Disk("vda", device="disk"),)),
            "requires use of supported storage format",
        ),
        "vda is shareable",
    ),
    "vDPA of another model": (
        Left(
            _net("vdpa", "", VDPA),
            _net("vdpa", "", VDPA, model="virtio-transitional"),
            Domain(interfaces=(Interface(MAC, model="virtio-transitional"),)),
            "invalid model for interface of type 'vdpa'",
        ),
        "has to be virtio: it is vdpa",
    ),
    "vhost-user of another model": (
        Left(
            _net("vhostuser", "", VHOST_USER),
            _net("vhostuser", "", VHOST_USER, model="e1000e"),
            Domain(interfaces=(Interface(MAC, model="e1000e"),)),
            "",
        ),
        "has to be virtio: it is vhostuser",
    ),
    "a floppy's bus": (
        _rebussed("virtio", "fdc", "", "Invalid bus type"),
        "vda cannot be a disk on fdc",
    ),
}
"""What an edit refuses with a word of its own, since somebody has to say what is meant."""
