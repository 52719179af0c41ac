"""What libvirt refuses of a device, each rule with the function that has it.

Sources: libvirt 11.3 `src/conf/domain_validate.c`, `src/conf/domain_postparse.c`, `src/qemu/qemu_validate.c`,
and `src/conf/netdev_bandwidth_conf.c`. Texts are those of that version.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from cxlstate.formats.domain_xml import drives, usb
from cxlstate.formats.xml import Element
from cxlstate.simulator.libvirt.refused import INTERNAL, UNSUPPORTED, XML, Refused

_OF_VIRTIO: Final = ("iommu", "ats", "packed", "page_per_vq")
_OF_DISKS: Final = ("queues", "queue_size", "event_idx", "ioeventfd")
_DRIVES: Final = ("ide", "fdc", "scsi", "sata")
_WITH_MTU: Final = ("network", "bridge", "ethernet", "vhostuser")
_PARTITION = re.compile("(?:fd|hd|vd|sd|xvd|ubd)[a-z]+[0-9]+", re.ASCII)
_PORTS: Final = 4
_BRIDGED: Final = ("network", "bridge")
_PROFILED: Final = ("network", "bridge", "direct", "hostdev")
_USERS: Final = "interface type='user' or type='vhostuser'"

Rule = tuple[str, str]
"""A kind of error, and its text."""


def check(devices: Element) -> None:
    """Raises Refused."""
    for one in devices.findall("disk"):
        for kind, why in _of_disk(one):
            raise Refused(why, kind)
    _drives(devices)
    # virDomainDefPostParseCommon
    off = devices.find("controller[@type='usb'][@model='none']") is not None
    if off and devices.find("disk/target[@bus='usb']") is not None:
        why = "USB is disabled for this domain, but USB devices are present in the domain XML"
        raise Refused(why, XML)
    # virDomainUSBAddressAssign: a hub, which is added where ports run short, needs one itself
    placeless = [one for one in devices.findall("disk/target[@bus='usb']/..") if one.find("address") is None]
    if placeless and usb.free_ports(devices) <= 0:
        raise Refused("No free USB ports", INTERNAL)
    for one in devices.findall("interface"):
        for kind, why in _of_interface(one):
            raise Refused(why, kind)
    _serial_ports(devices)


def _get(one: Element, path: str, name: str) -> str | None:
    found = one.find(path)
    return None if found is None else found.get(name)


def _has(one: Element, path: str, *names: str) -> bool:
    return any(_get(one, path, name) is not None for name in names)


def _of_disk(one: Element) -> Iterator[Rule]:
    yield from _of_any_disk(one)
    yield from _of_its_source(one)
    yield from _of_its_kind(one)
    yield from _of_qemus_disk(one)
    bus, name = _get(one, "target", "bus"), _get(one, "target", "dev")
    # qemuValidateDomainDeviceInfo
    if one.find("acpi") is not None and bus != "virtio":
        yield UNSUPPORTED, "ACPI index is only supported for PCI devices"
    # qemuValidateDomainDeviceDefDiskIOThreads
    if bus != "virtio" and (_has(one, "driver", "iothread") or one.find("driver/iothreads") is not None):
        yield UNSUPPORTED, f"IOThreads not available for bus {bus} target {name}"
    # qemuValidateDomainDeviceDefDiskTransient
    if one.find("transient") is not None and one.find("readonly") is not None:
        yield UNSUPPORTED, f"transient disk '{name}' must not be read-only"


def _of_qemus_disk(one: Element) -> Iterator[Rule]:
    """By qemuValidateDomainDeviceDefDiskFrontend."""
    bus, name = _get(one, "target", "bus"), _get(one, "target", "dev")
    device, readonly = one.get("device", "disk"), one.find("readonly") is not None
    if readonly and device == "disk" and bus in ("ide", "sata"):
        yield UNSUPPORTED, f"readonly {bus} disks are not supported"
    if device == "cdrom" and bus in ("virtio", "sd"):
        yield UNSUPPORTED, f"disk type of '{name}' does not support ejectable media"
    if device == "lun" and bus not in ("scsi", "virtio"):
        yield UNSUPPORTED, f"disk device='lun' is not supported for bus='{bus}'"
    if device == "lun" and bus == "scsi" and one.find("serial") is not None:
        yield UNSUPPORTED, "scsi-block 'lun' devices do not support the serial property"
    if one.find("wwn") is not None and bus not in ("ide", "scsi"):
        yield UNSUPPORTED, "Only ide and scsi disk support wwn"
    if one.find("vendor") is not None and bus != "scsi":
        yield UNSUPPORTED, "Only scsi disk supports 'vendor'"
    if _has(one, "target", "rotation_rate") and bus not in ("scsi", "ide", "sata"):
        yield INTERNAL, "rotation rate is only valid for SCSI/IDE/SATA bus"
    if _has(one, "geometry", "trans") and bus != "ide":
        yield UNSUPPORTED, f"CHS translation mode can only be set for 'ide' bus not '{bus}'"
    if _get(one, "driver", "copy_on_read") == "on" and readonly:
        yield UNSUPPORTED, f"copy_on_read is not compatible with read-only disk '{name}'"


def _of_any_disk(one: Element) -> Iterator[Rule]:
    """VirDomainDiskDefValidate."""
    bus, device = _get(one, "target", "bus"), one.get("device", "disk")
    if bus != "virtio":
        if (one.get("model") or "").startswith("virtio"):
            yield UNSUPPORTED, f"disk model '{one.get('model')}' not supported for bus '{bus}'"
        for option in (*_OF_DISKS, *_OF_VIRTIO):
            if _has(one, "driver", option):
                yield (
                    UNSUPPORTED,
                    f"{option} attribute in disk driver element is only supported for virtio bus",
                )
    if device == "floppy" and bus != "fdc":
        yield INTERNAL, f"Invalid bus type '{bus}' for floppy disk"
    if device != "floppy" and bus == "fdc":
        yield INTERNAL, f"Invalid bus type '{bus}' for disk"
    address = _get(one, "address", "type")
    if bus in _DRIVES and address not in (None, "drive"):  # virDomainDiskAddressDiskBusCompatibility
        where = f"Invalid address type '{address}' for the disk '{_get(one, 'target', 'dev')}'"
        yield UNSUPPORTED, f"{where} with the bus type '{bus}'"
    if _PARTITION.fullmatch(name := _get(one, "target", "dev") or ""):
        yield UNSUPPORTED, f"invalid disk target '{name}', partitions can't appear in disk targets"
    if _has(one, "target", "removable") and bus != "usb" and (bus, device) != ("scsi", "disk"):
        yield XML, "removable is only valid for usb or scsi disks"


def _of_its_source(one: Element) -> Iterator[Rule]:
    """VirDomainDiskVhostUserValidate and virDomainDiskDefValidateStartupPolicy."""
    if one.get("type") == "vhostuser":
        if _get(one, "target", "bus") != "virtio":
            yield UNSUPPORTED, "vhostuser disk supports only virtio bus"
        if _has(one, "driver", "cache"):
            yield UNSUPPORTED, "cache is not supported with vhostuser disk"
        if one.find("readonly") is not None:
            yield UNSUPPORTED, "readonly is not supported with vhostuser disk"
    required = _get(one, "source", "startupPolicy") == "requisite"
    if required and one.get("device") not in ("cdrom", "floppy"):
        yield XML, "disk startupPolicy 'requisite' is allowed only for cdrom or floppy"


def _of_its_kind(one: Element) -> Iterator[Rule]:
    """What a LUN, and what no drive, is (virDomainDiskDefValidate; qemuDomainValidateStorageSource)."""
    device, format_ = one.get("device", "disk"), _get(one, "driver", "type")
    if device == "lun" and format_ not in (None, "raw"):
        yield UNSUPPORTED, "disk device 'lun' must use 'raw' format"
    if device != "lun" and one.find("source/reservations") is not None:
        yield UNSUPPORTED, "<reservations/> allowed only for lun devices"
    if device in ("cdrom", "floppy"):
        return
    name = _get(one, "target", "dev")
    if _has(one, "target", "tray"):
        yield UNSUPPORTED, "tray is only valid for cdrom and floppy"
    if one.find("source") is None:
        yield UNSUPPORTED, f"missing source information for device {name}"
    if one.find("shareable") is not None and format_ not in (None, "raw"):
        yield UNSUPPORTED, f"shared access for disk '{name}' requires use of supported storage format"


def _drives(devices: Element) -> None:
    """VirDomainDefCheckDuplicateDriveAddresses: the first of two in one place is named."""
    seen: dict[drives.Drive, str] = {}
    for one in devices.findall("disk"):
        drive, name = drives.drive_of(one), _get(one, "target", "dev")
        if drive is None:
            continue
        if drive.type == "ide" and drive.controller:  # qemuValidateDomainDeviceDefControllerIDE
            raise Refused("Only 1 IDE controller is supported", INTERNAL)
        if drive in seen:
            where = " ".join(f"{word}='{getattr(drive, word)}'" for word in drive._fields[1:])
            why = f"Found duplicate drive address for disk with target name '{seen[drive]}' {where}"
            raise Refused(why, UNSUPPORTED)
        seen[drive] = str(name)


def _of_interface(one: Element) -> Iterator[Rule]:
    kind, passt = one.get("type", "user"), _get(one, "backend", "type") == "passt"
    is_user = kind in ("user", "vhostuser")
    # virDomainNetDefParseXML
    if one.find("virtualport") is not None and kind not in _PROFILED:
        yield UNSUPPORTED, f"<virtualport> element unsupported for <interface type='{kind}'>"
    # virNetDevVPortProfileParse
    if one.find("virtualport") is not None and not _has(one, "virtualport", "type") and kind != "network":
        yield XML, "missing required virtualport type"
    # virNetDevBandwidthParseRate
    if _has(one, "bandwidth/inbound", "floor") and kind != "network":
        yield UNSUPPORTED, "floor attribute is not supported for this config"
    # virDomainNetDefValidate
    if kind != "ethernet" and any(one.find(f"source/{tag}") is not None for tag in ("ip", "route")):
        host = (
            "Invalid attempt to set network interface host-side IP route and/or address info on interface of"
        )
        yield UNSUPPORTED, f"{host} type '{kind}'. This is only supported on interfaces of type 'ethernet'"
    if _get(one, "target", "managed") == "no" and kind != "ethernet":
        yield UNSUPPORTED, f"unmanaged target dev is not supported on interfaces of type '{kind}'"
    if passt and not is_user:
        yield UNSUPPORTED, f"The 'passt' backend can only be used with {_USERS}"
    if one.find("portForward") is not None and not (passt and is_user):
        yield UNSUPPORTED, f"The <portForward> element can only be used with the 'passt' backend of {_USERS}"
    # virDomainNetDefValidatePortOptions
    if _get(one, "port", "isolated") == "yes" and kind not in _BRIDGED:
        mac = _get(one, "mac", "address")
        isolated = f"interface {mac} - <port isolated='yes'/> is not supported for network interfaces with"
        yield UNSUPPORTED, f"{isolated} type='{kind}'"
    port = _get(one, "virtualport", "type")
    if _get(one, "port", "isolated") == "yes" and port is not None:
        isolated = f"interface {_get(one, 'mac', 'address')} - <port isolated='yes'/> is not supported"
        yield UNSUPPORTED, f"{isolated} for network interfaces with virtualport type='{port}'"
    yield from _of_qemus_interface(one, kind)


def _of_qemus_interface(one: Element, kind: str) -> Iterator[Rule]:
    """QemuValidateDomainDeviceDefNetwork."""
    what = "Invalid attempt to set network interface guest-side IP"
    if one.find("route") is not None:
        yield UNSUPPORTED, f"{what} route, not supported by QEMU"
    if one.find("ip") is not None and kind not in ("user", "vhostuser"):
        yield UNSUPPORTED, f"{what} address info, not supported by QEMU"
    if one.find("mtu") is not None and kind not in _WITH_MTU:
        yield UNSUPPORTED, f"setting MTU on interface type {kind} is not supported yet"
    if one.find("coalesce") is not None and kind not in _BRIDGED:
        yield UNSUPPORTED, f"coalesce settings on interface type {kind} are not supported"
    for queue in ("rx_queue_size", "tx_queue_size"):
        size = _get(one, "driver", queue) or "1"
        if size.isdecimal() and int(size) & (int(size) - 1):
            yield UNSUPPORTED, f"{queue} has to be a power of two"
    yield from _of_a_team(one, kind)


def _of_a_team(one: Element, kind: str) -> Iterator[Rule]:
    team, model = _get(one, "teaming", "type"), _get(one, "model", "type")
    if kind == "vdpa" and model != "virtio":
        yield UNSUPPORTED, f"invalid model for interface of type 'vdpa': '{model}'"
    if team == "persistent" and not (model or "").startswith("virtio"):
        must = "virtio-net teaming persistent interface must be <model type='virtio'/>"
        yield UNSUPPORTED, f"{must}, not '{model}'"
    if team == "transient" and kind not in ("hostdev", "network"):
        yield UNSUPPORTED, f"virtio-net teaming transient interface must be type='hostdev', not '{kind}'"
    if not (model or "").startswith("virtio") and any(_has(one, "driver", name) for name in _OF_VIRTIO):
        yield UNSUPPORTED, "iommu driver option is only supported for virtio devices"


def _serial_ports(devices: Element) -> None:
    """VirDomainChrIsaSerialDefPostParse."""
    seen: set[str] = set()
    for one in devices.findall("serial/target"):
        port = one.get("port")
        if one.get("type", "isa-serial") != "isa-serial" or port is None:
            continue
        if int(port) >= _PORTS:
            raise Refused(f"Maximum supported number of ISA serial ports is '{_PORTS}'", INTERNAL)
        if port in seen:
            raise Refused(f"target port '{port}' already allocated", INTERNAL)
        seen.add(port)
