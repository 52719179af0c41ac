"""Edits of disks."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from cxlstate.core.domain import Disk
from cxlstate.core.path import Path
from cxlstate.formats.domain_xml import order, usb
from cxlstate.formats.domain_xml.impossible import Impossible, lacking
from cxlstate.formats.domain_xml.meaning import chipset
from cxlstate.formats.domain_xml.read import FILES, disk, document
from cxlstate.formats.xml import Element, child, element, place, set_attribute, take_out, take_out_all

_OF_VIRTIO: Final = (
    "iothread",
    "queues",
    "queue_size",
    "iommu",
    "ats",
    "packed",
    "page_per_vq",
    "ioeventfd",
    "event_idx",
)
"""Attributes of `<driver>` that libvirt takes on the virtio bus alone (`src/conf/domain_validate.c`)."""

_UNCACHED: Final = ("none", "directsync")
"""Modes of the cache that `io='native'` can have (`src/qemu/qemu_validate.c`)."""


class Refusal(NamedTuple):
    """Why libvirt refuses a disk, the word of the spec that can mend it, and what to write there."""

    why: str
    word: str = ""
    cure: str | None = None


def edit(root: Element, wished: tuple[Disk, ...]) -> None:
    """Those that the wish names, by their target."""
    before = frozenset(_twice(root))
    for index, one in enumerate(wished):
        found = next((each for each in root.findall("devices/disk") if disk(each).target == one.target), None)
        path: Path = ("disks", index)
        if one.absent:
            if found is not None:
                take_out(found)
        elif found is not None:
            _fill(found, one, path, frozenset(_refused(found)))
        else:
            _add(root, one, path)
    _check_twice(root, wished, before)
    if _lacks_scsi(root, {one.target for one in wished}):
        model = {"type": "scsi", "index": "0", "model": "virtio-scsi"}
        place(child(root, "devices", order.DOMAIN), element("controller", model), order.DEVICES)


def _twice(root: Element) -> Iterator[tuple[str, str]]:
    """Targets of two disks that are one image, and the second of which could not be opened.

    QEMU locks it (block/file-posix.c): "Failed to get "write" lock", unless both only read, or share.
    """
    elements = root.findall("devices/disk")
    for position, one in enumerate(elements):
        for other in elements[:position]:
            it, that = disk(one), disk(other)
            shared = all(each.find("shareable") is not None for each in (one, other))
            if it.path and it.path == that.path and not (shared or (it.readonly and that.readonly)):
                yield that.target, it.target


def _check_twice(root: Element, wished: Sequence[Disk], before: Collection[tuple[str, str]]) -> None:
    named = {one.target: index for index, one in enumerate(wished) if not one.absent}
    for pair in _twice(root):
        mine = [target for target in pair if target in named]
        if not mine or pair in before:
            continue
        index, other = named[mine[-1]], pair[0] if mine[-1] == pair[1] else pair[1]
        path = next(it.path for one in root.findall("devices/disk") if (it := disk(one)).target == other)
        raise Impossible(
            f"{path} would be two disks of the VM, {pair[0]} and {pair[1]}",
            ("disks", index, "target"),
            f"leave out disks[{index}]" if len(mine) > 1 else f"write target: {other}",
        )


def _lacks_scsi(root: Element, wished: Collection[str]) -> bool:
    """Whether libvirt would add a controller of its own: an lsilogic, which few guests have a driver for.

    qemuDomainGetSCSIControllerModel; virt-install writes virtio-scsi.
    """
    found = [disk(one) for one in root.findall("devices/disk")]
    on_scsi = any(one.bus == "scsi" and one.target in wished for one in found)
    return on_scsi and root.find("devices/controller[@type='scsi']") is None


def check(root: Element, wished: tuple[Disk, ...]) -> None:
    """Impossible where a disk that the wish names is on a bus that the machine does not have.

    qemuValidateDomainDeviceDefControllerIDE: IDE is built into i440fx, and can be had nowhere else.
    virDomainDefPostParseUSB…: "USB is disabled for this domain, but USB devices are present".
    """
    _check_usb(root, wished)
    type_ = root.find("os/type[@machine]")
    if type_ is None or chipset(machine := type_.get("machine", "")) in _WITH_IDE:
        return
    on_ide = {disk(one).target for one in root.findall("devices/disk") if disk(one).bus == "ide"}
    for index, one in enumerate(wished):
        if not one.absent and one.target in on_ide:
            why = f"{one.target} cannot be on ide: {machine} has no such bus"
            raise Impossible(why, ("disks", index, "bus"), "write bus: sata")


def _check_usb(root: Element, wished: tuple[Disk, ...]) -> None:
    """A hub, which libvirt adds where ports run short, needs one itself: else "No free USB ports"."""
    off = root.find("devices/controller[@type='usb'][@model='none']") is not None
    found = {disk(one).target: one for one in root.findall("devices/disk") if disk(one).bus == "usb"}
    for index, one in enumerate(wished):
        on_usb = None if one.absent else found.get(one.target)
        if on_usb is None:
            continue
        why = "the VM has USB turned off" if off else "no port of its controllers and hubs is free"
        if off or (on_usb.find("address") is None and usb.free_ports(root.find("devices")) <= 0):
            why = f"{one.target} cannot be on usb: {why}"
            raise Impossible(why, ("disks", index, "bus"), "write bus: sata")


def encrypted(xml: str) -> frozenset[str]:
    """Targets of disks whose images have a key; in definitions of old it stands beside the source."""
    found = document(xml).findall("devices/disk")
    keyed = ("encryption", "source/encryption")
    return frozenset(disk(one).target for one in found if any(one.find(path) is not None for path in keyed))


def backing(xml: str) -> Mapping[str, tuple[str, ...]]:
    """By the targets of disks, the files that their images are overlays of, as far as libvirt says."""
    return {disk(one).target: tuple(_below(one)) for one in document(xml).findall("devices/disk")}


def _below(one: Element) -> Iterator[str]:
    for source in one.iterfind(".//backingStore/source"):
        if path := source.get("file") or source.get("dev"):
            yield path


_WITH_IDE: Final = ("pc", "isapc")


def _add(root: Element, wished: Disk, path: Path) -> None:
    device = wished.device or "disk"
    if wished.path is None and device == "disk":
        there = [disk(one).target for one in root.findall("devices/disk")]
        raise lacking("target", wished.target, "path and format", there, path)
    new = element("disk", {"type": "file", "device": device})
    new.append(element("driver", {"name": "qemu"}))
    new.append(element("target", {"dev": wished.target, "bus": wished.bus or _usual_bus(wished)}))
    _fill(new, wished, path, frozenset())
    place(child(root, "devices", order.DOMAIN), new, order.DEVICES)


def _usual_bus(wished: Disk) -> str:
    """Not by the name alone, as libvirt does: it takes sd for SCSI, and hd for IDE, which no q35 has."""
    return "virtio" if wished.target.startswith("vd") and wished.device != "cdrom" else "sata"


def _fill(one: Element, wished: Disk, path: Path, before: Collection[Refusal]) -> None:
    """Impossible where libvirt would refuse what comes of it, and did not refuse `before`."""
    _edit(one, wished)
    for refusal in _refused(one):
        if refusal not in before:
            word = (refusal.word,) if refusal.word else ()
            raise Impossible(f"{wished.target} {refusal.why}", (*path, *word), refusal.cure)


def _refused(one: Element) -> Iterator[Refusal]:
    """What libvirt refuses of a disk.

    virDomainDiskDefValidate, qemuValidateDomainDeviceDefDiskFrontend and …DiskTransient, and
    qemuBlockStorageSourceSupportsConcurrentAccess.
    """
    it = disk(one)
    readonly, driver = one.find("readonly") is not None, one.find("driver")
    options = {} if driver is None else {str(key): str(value) for key, value in driver.attrib.items()}
    if readonly and it.device == "disk" and it.bus in ("ide", "sata"):
        cure = "write readonly: false, or bus: scsi"
        yield Refusal(f"cannot be readonly: libvirt has no such disks on {it.bus}", "bus", cure)
    if one.find("shareable") is not None and it.format not in (None, "raw") and it.device not in _REMOVABLE:
        yield Refusal("is shareable, which libvirt lets only raw disks be", "format", "write format: raw")
    if one.find("transient") is not None and not _may_be_transient(one, readonly=readonly):
        yield Refusal("is transient, which libvirt lets only disks be that are files and not readonly")
    if options.get("copy_on_read") == "on" and (readonly or it.device != "disk"):
        yield Refusal("has copy_on_read, which libvirt lets no readonly disk have, and no CD-ROM drive")
    if options.get("discard_no_unref") == "on" and (readonly or it.format != "qcow2"):
        yield Refusal("has discard_no_unref, which libvirt lets only qcow2 disks have that are not readonly")
    if it.device == "disk" and one.find("source") is None:
        yield Refusal("has no source, which libvirt lets only CD-ROM and floppy drives lack", "device")
    yield from _refused_of_vhost(one, it)
    yield from _refused_of_lun(one, it)
    yield from _refused_on_its_bus(one, it)


_REMOVABLE: Final = ("cdrom", "floppy")


def _may_be_transient(one: Element, *, readonly: bool) -> bool:
    return not readonly and one.get("device", "disk") == "disk" and one.get("type", "file") == "file"


def _refused_of_vhost(one: Element, it: Disk) -> Iterator[Refusal]:
    """A disk that another process serves (virDomainDiskVhostUserValidate)."""
    if one.get("type") != "vhostuser":
        return
    if it.bus not in (None, "virtio"):
        yield Refusal(
            "is served over vhost-user, which libvirt has on virtio alone", "bus", "write bus: virtio"
        )
    for word, there in (("cache", it.cache is not None), ("readonly", it.readonly)):
        if there:
            why = f"is served over vhost-user, where libvirt knows no {word}"
            yield Refusal(
                why, word, "write readonly: false" if word == "readonly" else "write cache: default"
            )


def _refused_of_lun(one: Element, it: Disk) -> Iterator[Refusal]:
    """A SCSI device of the host that is handed through (virDomainDiskDefValidateSourceChain and …Lun)."""
    if it.device != "lun":
        return
    if it.bus not in (None, "scsi", "virtio"):
        yield Refusal(f"is a LUN, which libvirt has on scsi and virtio, and not on {it.bus}", "bus")
    if it.format not in (None, "raw"):
        yield Refusal("is a LUN, which libvirt hands through as raw alone", "format", "write format: raw")
    if one.get("type", "file") == "file":
        yield Refusal("is a LUN, which has to be a block device", "path", "write device: disk")
    if it.bus == "scsi" and one.find("serial") is not None:
        yield Refusal("is a LUN with a serial number, which libvirt has on virtio alone", "bus")


def _refused_on_its_bus(one: Element, it: Disk) -> Iterator[Refusal]:
    if it.device == "cdrom" and it.bus in ("virtio", "sd"):
        yield Refusal(f"cannot be a CD-ROM drive on {it.bus}", "bus", "write bus: sata")
    if it.bus is not None and (it.device == "floppy") != (it.bus == "fdc"):
        why = f"cannot be a {it.device} on {it.bus}: libvirt has floppy disks on fdc, and nothing else there"
        yield Refusal(why, "bus")
    if it.bus == "usb" and it.device != "disk" and one.find("source") is None:
        yield Refusal("is empty, which libvirt lets no usb disk be", "bus")


def _edit(one: Element, wished: Disk) -> None:
    there = disk(one)
    if wished.device not in (None, there.device):
        _device(one, wished.device or "")
    bus = wished.bus
    if bus is None and wished.device == "cdrom" and there.bus == "virtio":
        bus = _usual_bus(wished)  # there is no virtio CD-ROM drive
    if bus not in (None, there.bus):
        _bus(one, bus or "")
    if wished.path not in (None, there.path):
        _path(one, wished.path or "")
    if wished.format not in (None, there.format):
        _format(one, wished.format or "")
    if wished.cache not in (None, there.cache or "default"):
        _cache(one, wished.cache or "")
    if wished.readonly and not there.readonly:
        child(one, "readonly", order.DISK)
    elif wished.readonly is False and disk(one).device != "cdrom":
        take_out_all(one, "readonly")


def _device(one: Element, wished: str) -> None:
    """Another device: what only the old one has goes (virDomainDiskDefValidate and the schema)."""
    set_attribute(one, "device", wished)
    target = child(one, "target", order.DISK)
    set_attribute(target, "tray" if wished == "disk" else "rotation_rate", None)
    for name in ("rawio", "sgio"):  # of a LUN alone, as are reservations
        set_attribute(one, name, None)
    source = one.find("source")
    take_out_all(source, "reservations")
    if wished == "disk" and source is not None and source.get("startupPolicy") == "requisite":
        set_attribute(
            source, "startupPolicy", None
        )  # of drives alone (virDomainDiskDefValidateStartupPolicy)
    if wished == "cdrom":
        take_out_all(one, "throttlefilters")


def _format(one: Element, wished: str) -> None:
    driver = _driver(one)
    driver.set("type", wished)
    if wished != "qcow2":  # of qcow2 alone (qemuDomainValidateStorageSource, virDomainDiskDefValidate)
        take_out_all(driver, "metadata_cache")
        take_out_all(one.find("source"), "dataStore")
    take_out_all(one, "backingStore")  # that of the image as it was understood before


def _driver(one: Element) -> Element:
    driver = one.find("driver")
    if driver is None:
        driver = element("driver", {"name": "qemu"})
        place(one, driver, order.DISK)
    return driver


def _cache(one: Element, wished: str) -> None:
    driver = _driver(one)
    set_attribute(driver, "cache", None if wished == "default" else wished)
    if driver.get("io") == "native" and wished not in _UNCACHED:
        set_attribute(driver, "io", None)


def _path(one: Element, path: str) -> None:
    """A file, or what is below /dev; from a network or volume nothing is kept."""
    kind, name = ("block", "dev") if path.startswith("/dev/") else ("file", "file")
    if one.get("type", "file") not in FILES:
        take_out_all(one, "source", "auth")
    take_out_all(one, "backingStore", "mirror")
    set_attribute(one, "type", kind)
    source = child(one, "source", order.DISK)
    take_out_all(source, "slices", "dataStore")  # a part of what it was before
    rest = {key: value for key, value in source.attrib.items() if key not in ("file", "dev")}
    source.attrib.clear()
    source.set(name, path)
    source.attrib.update(rest)


def _bus(one: Element, bus: str) -> None:
    """Another bus: what said where it was on the old one, and what only that one has, goes.

    What has which is in qemuValidateDomainDeviceDefDiskFrontend and virDomainDiskDefValidate.
    """
    target = child(one, "target", order.DISK)
    set_attribute(target, "bus", bus)
    take_out_all(one, "address")
    if bus not in ("scsi", "sata", "ide"):
        set_attribute(target, "rotation_rate", None)
    if bus not in ("scsi", "ide"):
        take_out_all(one, "wwn")
    if bus in ("usb", "sd"):
        take_out_all(one, "geometry")
    elif bus != "ide" and (geometry := one.find("geometry")) is not None:
        set_attribute(geometry, "trans", None)
    if bus != "usb":
        set_attribute(target, "removable", None)
    if bus != "scsi":
        take_out_all(one, "vendor", "product")
    if bus != "virtio":
        take_out_all(one, "acpi")  # of PCI devices alone (qemuValidateDomainDeviceInfo)
        set_attribute(one, "model", None)
        driver = one.find("driver")
        take_out_all(driver, "iothreads")
        for name in _OF_VIRTIO if driver is not None else ():
            set_attribute(_driver(one), name, None)
