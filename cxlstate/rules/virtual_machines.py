"""Rules between VMs and what they are made of: dax devices, images, networks, and other VMs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from posixpath import normpath
from typing import Any, Final, TypeVar

from cxlstate.core.diagnostic import Diagnostic, Severity
from cxlstate.core.path import Path
from cxlstate.core.reconciler import Resource
from cxlstate.core.units import format_size
from cxlstate.formats import domain_xml
from cxlstate.resources.dax.spec import DaxSpec
from cxlstate.resources.image.spec import ImageSpec
from cxlstate.resources.network.spec import NetworkSpec
from cxlstate.resources.vm.devices import NvdimmSpec
from cxlstate.resources.vm.spec import VmSpec
from cxlstate.rules.memory import device_of, devices_of, memory_of
from cxlstate.rules.words import Resources, Rule, TreeRule, of

S = TypeVar("S")


def what_a_vm_refers_to_is_declared(resources: Resources) -> Iterator[Diagnostic]:
    """CXR201: `dax: dax.NAME` and `image: image.NAME` stand in the spec."""
    devices = [str(me.address) for me in of(resources, DaxSpec)]
    images = [str(me.address) for me in of(resources, ImageSpec)]
    for me in _vms(resources):
        named: list[tuple[Path, str, list[str], str]] = [
            (("nvdimm", n, "dax"), one.dax, devices, "host.dax")
            for n, one in enumerate(me.spec.nvdimm or ())
            if one.dax and one.state == "present"
        ]
        named += [
            (("disks", n, "image"), one.image, images, "images")
            for n, one in enumerate(me.spec.disks or ())
            if one.image and one.state == "present"
        ]
        for path, found, known, place in named:
            if found not in known:
                near = get_close_matches(found, known, n=1)
                yield Diagnostic(
                    "CXR201",
                    f"{me.address} references {found}, which is not declared",
                    path=(*me.path, *path),
                    address=me.address,
                    found=found,
                    expected=f"one of {', '.join(known)}" if known else f"an entry below {place}",
                    hint=f"did you mean {near[0]}?" if near else f"declare it below {place}",
                )


def an_nvdimm_fits_its_device(resources: Resources) -> Iterator[Diagnostic]:
    """CXR202: not larger than the device, whose label comes out of the same memory."""
    devices = devices_of(resources)
    for me, path, entry in _nvdimms(resources):
        device = device_of(entry, devices)
        has = sum(one.size for one in device.spec.memory) if device else 0
        if device and has and entry.size and entry.size > has:
            yield Diagnostic(
                "CXR202",
                f"an NVDIMM of {me.address} exceeds its dax device",
                path=(*path, "size"),
                address=me.address,
                found=format_size(entry.size),
                expected=f"at most {format_size(has)}, the size of {device.address}",
                hint="the label is part of the size",
            )


def a_device_that_is_used_is_wanted(resources: Resources) -> Iterator[Diagnostic]:
    """CXR203: a VM that is not to be absent has devices that are enabled."""
    devices = devices_of(resources)
    for me, path, entry in _nvdimms(resources):
        device = device_of(entry, devices)
        if device and not device.spec.wanted:
            yield Diagnostic(
                "CXR203",
                f"{me.address} uses {device.address}, which the spec disables",
                path=(*path, "dax" if entry.dax else "path"),
                address=me.address,
                found=f"{device.address} with state: {device.spec.state}",
                expected="an enabled device",
                hint=f"write state: enabled at {device.address}, or state: absent at the NVDIMM",
            )


def a_device_is_shared_by_consent(resources: Resources) -> Iterator[Diagnostic]:
    """CXR204: two VMs on one device say `access: shared`, both."""
    for memory, users in _users(resources).items():
        for me, path, entry in users:
            if len(users) > 1 and entry.access != "shared":
                yield Diagnostic(
                    "CXR204",
                    f"several VMs use {memory}, not all with access: shared",
                    path=(*path, "access") if entry.access else path,
                    address=me.address,
                    found=f"access: {entry.access or 'not written'} in {me.address}, "
                    f"used by {', '.join(str(one.address) for one, _, _ in users)}",
                    expected="access: shared in each of them",
                )


def shared_memory_has_one_label(resources: Resources) -> Iterator[Diagnostic]:
    """CXR205: who shares a device shares its label area too; one of them makes namespaces (a warning)."""
    for memory, users in _users(resources).items():
        labelled = [(me, path, entry) for me, path, entry in users if entry.label]
        if len(users) > 1 and labelled and all(entry.access == "shared" for _, _, entry in users):
            me, path, _ = labelled[-1]
            yield Diagnostic(
                "CXR205",
                f"the VMs of {memory} share its label area",
                Severity.WARNING,
                path=(*path, "label"),
                address=me.address,
                found=", ".join(str(one.address) for one, _, _ in users),
                expected="one VM that creates namespaces",
                hint="a second `ndctl create-namespace` destroys the data of the first guest",
            )


def an_address_is_one_interface(resources: Resources) -> Iterator[Diagnostic]:
    """CXR206: no MAC address in two VMs."""
    first: dict[str, Resource[VmSpec]] = {}
    for me in _vms(resources):
        for number, one in enumerate(me.spec.interfaces or ()):
            if one.state == "present" and (other := first.setdefault(one.mac, me)) is not me:
                yield Diagnostic(
                    "CXR206",
                    "two VMs have the same MAC address",
                    path=(*me.path, "interfaces", number, "mac"),
                    address=me.address,
                    found=f"{one.mac}, also in {other.address}",
                    expected="an address of its own",
                )


def a_uuid_is_one_vm(resources: Resources) -> Iterator[Diagnostic]:
    """CXR210: two VMs that are made of one XML are not both made with its UUID (a warning)."""
    first: dict[str, Resource[VmSpec]] = {}
    for me in _vms(resources):
        uuid = _uuid(me.spec)
        if uuid and (other := first.setdefault(uuid, me)) is not me:
            yield Diagnostic(
                "CXR210",
                "two VMs have the same UUID in their xml",
                Severity.WARNING,
                path=(*me.path, "xml"),
                address=me.address,
                found=f"{uuid}, also in {other.address}",
                expected="a UUID of its own, or none: libvirt makes one up",
                hint=f"remove the line <uuid> from {me.spec.xml.path}" if me.spec.xml else None,
            )


def _uuid(spec: VmSpec) -> str | None:
    """As libvirt compares it: without hyphens and case (virUUIDParse). What is no XML, others tell."""
    try:
        _, uuid = domain_xml.identity(spec.xml.text) if spec.xml else ("", None)
    except ValueError:
        return None
    return uuid.replace("-", "").lower() if uuid else None


def a_disk_is_in_one_vm(resources: Resources) -> Iterator[Diagnostic]:
    """CXR207: a file that two VMs write to is soon none; nor can one VM open it twice."""
    first: dict[str, tuple[Resource[VmSpec], int]] = {}
    for me, number, path in _written_to(resources):
        other, place = first.setdefault(path, (me, number))
        if (other, place) == (me, number):
            continue
        alone = other is me
        yield Diagnostic(
            "CXR207",
            f"two disks of {me.address} are one image" if alone else "two VMs have the same disk",
            path=(*me.path, "disks", number),
            address=me.address,
            found=f"{path}, also in {f'disks[{place}]' if alone else other.address}",
            expected="a disk of its own" + ("" if alone else ", or readonly: true"),
        )


def a_backing_file_stays_as_it_is(resources: Resources) -> Iterator[Diagnostic]:
    """CXR211: an overlay on what somebody else changes means nothing any more."""
    overlays = {
        normpath(me.spec.source.path): me
        for me in of(resources, ImageSpec)
        if me.spec.wanted and me.spec.overlay and me.spec.source and me.spec.source.path
    }
    for me, number, path in _written_to(resources):
        if overlay := overlays.get(path):
            yield Diagnostic(
                "CXR211",
                f"{me.address} writes to the backing file of {overlay.address}",
                path=(*me.path, "disks", number),
                address=me.address,
                found=f"{path}, the source of {overlay.address}",
                expected="a disk of its own: another overlay on the same source",
            )


def an_image_that_is_used_stays(resources: Resources) -> Iterator[Diagnostic]:
    """CXR213: what the spec removes is no disk of a VM, and no backing file of an image."""
    gone = {me.spec.path: me for me in of(resources, ImageSpec) if not me.spec.wanted}
    images = _by_address(resources, ImageSpec)
    uses: list[tuple[Resource[Any], Path, str | None]] = [
        (me, ("source", "path"), me.spec.source.path)
        for me in of(resources, ImageSpec)
        if me.spec.wanted and me.spec.overlay and me.spec.source
    ]
    for me in _vms(resources):
        for number, disk in enumerate(me.spec.disks or ()):
            image = images.get(disk.image or "")
            path = image.spec.path if image else disk.path
            if disk.state == "present":
                uses.append((me, ("disks", number, "image" if image else "path"), path))
    for one, where, path in uses:
        if path and (image := gone.get(normpath(path))):
            yield Diagnostic(
                "CXR213",
                f"{one.address} uses {image.address}, which the spec removes",
                path=(*one.path, *where),
                address=one.address,
                found=f"{image.address} with state: absent",
                expected="an image that is there",
                hint=f"leave out state at {image.address}; or remove {one.address}, too",
            )


def _written_to(resources: Resources) -> Iterator[tuple[Resource[VmSpec], int, str]]:
    """Disks that a guest may write to: whose, the number, and where they are."""
    images = _by_address(resources, ImageSpec)
    for me in _vms(resources):
        for number, disk in enumerate(me.spec.disks or ()):
            image = images.get(disk.image or "")
            path = image.spec.path if image else disk.path
            if path and not disk.readonly and disk.device != "cdrom" and disk.state != "absent":
                yield me, number, normpath(path)


def a_file_is_one_image(resources: Resources) -> Iterator[Diagnostic]:
    """CXR209: what is at a path is made by one entry."""
    first: dict[str, Resource[ImageSpec]] = {}
    for me in of(resources, ImageSpec):
        if (other := first.setdefault(me.spec.path, me)) is not me:
            yield Diagnostic(
                "CXR209",
                "two images have the same path",
                path=(*me.path, "path"),
                address=me.address,
                found=f"{me.spec.path}, also in {other.address}",
                expected="a path of its own",
            )


def a_vm_is_plugged_into_what_is_there(resources: Resources) -> Iterator[Diagnostic]:
    """CXR208: a network that the spec takes away, or stops, is no network for a VM of it."""
    networks = _by_address(resources, NetworkSpec)
    for me in _vms(resources):
        for number, one in enumerate(me.spec.interfaces or ()):
            network = networks.get(f"network.{one.network}")
            if network is None or one.state == "absent":
                continue
            gone = network.spec.state == "absent"
            if gone or (network.spec.active is False and me.spec.state == "running"):
                yield Diagnostic(
                    "CXR208",
                    f"{me.address} uses a network that the spec {'removes' if gone else 'stops'}",
                    path=(*me.path, "interfaces", number, "network"),
                    address=me.address,
                    found=f"{network.address} with {'state: absent' if gone else 'active: false'}",
                    expected="an active network",
                )


RULES: Final[tuple[Rule, ...]] = (
    what_a_vm_refers_to_is_declared,
    an_nvdimm_fits_its_device,
    a_device_that_is_used_is_wanted,
    a_device_is_shared_by_consent,
    shared_memory_has_one_label,
    an_address_is_one_interface,
    a_uuid_is_one_vm,
    a_disk_is_in_one_vm,
    a_backing_file_stays_as_it_is,
    an_image_that_is_used_stays,
    a_vm_is_plugged_into_what_is_there,
    a_file_is_one_image,
)
BETWEEN: Final[tuple[TreeRule, ...]] = ()


def _by_address(resources: Resources, model: type[S]) -> Mapping[str, Resource[S]]:
    return {str(me.address): me for me in of(resources, model)}


def _vms(resources: Resources) -> list[Resource[VmSpec]]:
    return [me for me in of(resources, VmSpec) if me.spec.state != "absent"]


def _nvdimms(resources: Resources) -> Iterator[tuple[Resource[VmSpec], Path, NvdimmSpec]]:
    for me in _vms(resources):
        for number, one in enumerate(me.spec.nvdimm or ()):
            if one.state == "present":
                yield me, (*me.path, "nvdimm", number), one


def _users(resources: Resources) -> Mapping[str, list[tuple[Resource[VmSpec], Path, NvdimmSpec]]]:
    """Who has the same memory."""
    devices, users = devices_of(resources), defaultdict(list)
    for me, path, entry in _nvdimms(resources):
        users[memory_of(entry, devices)].append((me, path, entry))
    return users
