"""What must hold for every domain and every wish."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from lxml import etree

from cxlstate.core.domain import Domain
from cxlstate.formats.domain_xml import differences, identity, merge, new, read
from cxlstate.formats.domain_xml.disks import _OF_VIRTIO
from cxlstate.formats.domain_xml.interfaces import _OWN
from cxlstate.formats.domain_xml.read import cell_id, disk, document, interface, nvdimm
from cxlstate.formats.xml import Element
from tests.formats.domains import guests
from tests.formats.wishes import wishes

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # on a busy machine
SUMS = ("maxMemory", "memory", "currentMemory")
LIBOSINFO = "metadata/{http://libosinfo.org/xmlns/libvirt/domain/1.0}libosinfo"
OF_A_DISK = (
    "backingStore",
    "mirror",
    "source",
    "readonly",
    "address",
    "wwn",
    "vendor",
    "product",
    "auth",
    "geometry",
    "throttlefilters",
)
OF_CELLS = (
    "numatune/memnode",
    "memoryBacking/hugepages/page",
    "cpu/numa/cell/distances",
    "cpu/numa/interconnects",
)
OF_A_DRIVER = ("name", "type", "cache", "io", *_OF_VIRTIO)
OF_AN_INTERFACES_DRIVER = ("name", "queues", "iommu", "ats", "packed", "page_per_vq")
OF_AN_INTERFACE = (*_OWN, "source", "virtualport", "model", "address", "link")

# What a field owns, and what may follow from it: elements by their path, and attributes.
OWNED: dict[str, tuple[str, ...]] = {
    "memory": (*SUMS, "cpu/numa/cell@memory", "cpu/numa/cell@unit"),
    "vcpu": (
        "vcpu",
        "vcpus",
        "cputune/vcpupin",
        "cputune/vcpusched",
        "cputune/cachetune",
        "cputune/memorytune",
        "cpu/numa/cell@cpus",
    ),
    "max_vcpu": (
        *("vcpu", "vcpus", "cputune/vcpupin", "cputune/vcpusched", "cputune/cachetune"),
        "cputune/memorytune",
    ),
    "vcpupin": ("cputune/vcpupin",),
    "emulatorpin": ("cputune/emulatorpin",),
    "iothreads": ("iothreads", "iothreadids", "cputune/iothreadpin", "cputune/iothreadsched"),
    "iothreadpin": ("cputune/iothreadpin",),
    "numa_mode": ("numatune/memory",),
    "numa_nodeset": ("numatune/memory",),
    "memnodes": ("numatune/memnode",),
    "cpu_mode": (
        *("cpu/model", "cpu/vendor", "cpu/cache", "cpu@mode", "cpu@match", "cpu@check", "cpu@migratable"),
        "cpu@deprecated_features",
    ),
    "topology": ("cpu/topology",),
    "cells": (*OF_CELLS, *SUMS, "cpu/numa/cell@cpus", "cpu/numa/cell@memory", "cpu/numa/cell@unit"),
    "hugepages": ("memoryBacking/hugepages",),
    "nvdimm": SUMS,
    "disks": (
        *("devices/disk@type", "devices/disk@device", "devices/disk@model", "devices/disk/target@bus"),
        *(f"devices/disk/driver@{one}" for one in OF_A_DRIVER),
        *("devices/disk/driver/iothreads", "devices/disk/driver/metadata_cache", "devices/disk/acpi"),
        "devices/disk/target@removable",
        *("devices/disk/target@tray", "devices/disk@rawio", "devices/disk@sgio"),
        *("devices/disk/target@rotation_rate", *(f"devices/disk/{one}" for one in OF_A_DISK)),
    ),
    "interfaces": (
        *("devices/interface@type", "devices/interface@managed", "devices/interface/teaming"),
        *(f"devices/interface/{one}" for one in OF_AN_INTERFACE),
        *(f"devices/interface/driver@{one}" for one in OF_AN_INTERFACES_DRIVER),
        "devices/interface/bandwidth/inbound@floor",
    ),
    "machine": ("os/type@machine",),
    "firmware": ("os@firmware", "os/firmware", "os/loader", "os/nvram", "os/varstore", "features/acpi"),
    "kernel": ("os/kernel",),
    "initrd": ("os/initrd",),
    "cmdline": ("os/cmdline",),
    "os_variant": (LIBOSINFO,),
    "console": ("devices/serial", "devices/console"),
}
MAY_GO = ("metadata", "memoryBacking", "cputune", "numatune", "cpu/numa", "cpu", "features")
MAY_GO += ("devices/disk/driver", "devices/interface/bandwidth/inbound", "devices/interface/bandwidth")
MAY_GO += ("devices/interface/driver", "devices/disk/target", "devices")


def rest(xml: str, wish: Domain, before: Domain) -> str:
    """The canonical form of what the wish does not name, comments included."""
    root = document(xml)
    _without_entries(root, wish, before)
    for field in fields(Domain):
        for path in OWNED[field.name] if getattr(wish, field.name) is not None else ():
            element, _, attribute = path.partition("@")
            for one in root.findall(element):
                if attribute:
                    one.attrib.pop(attribute, None)
                else:
                    _drop(one)
    for path in MAY_GO:
        _drop_all(one for one in root.findall(path) if not len(one) and not one.attrib)
    for one in root.iter():
        above = [parent.tag for parent in one.iterancestors()]
        if "metadata" not in above[1:]:
            one.tail = (one.tail or "").strip()
        if "metadata" not in above and not (one.text or "").strip():
            one.text = None
    return etree.canonicalize(etree.tostring(root.getroottree(), encoding="unicode"), with_comments=True)


def _without_entries(root: Element, wish: Domain, before: Domain) -> None:
    """Neither what is new in a list, nor what is to be gone from it."""
    disks = {one.target for one in before.disks or ()}
    macs = {one.mac for one in before.interfaces or ()}
    cells = {one.id for one in before.cells or ()}
    if wish.cells is not None:
        cells &= {one.id for one in wish.cells}
    touched = {one.target for one in wish.disks or () if one.absent or one.target not in disks}
    plugged = {one.mac for one in wish.interfaces or () if one.absent or one.mac not in macs}
    named = {(one.path, one.slot) for one in wish.nvdimm or ()}
    paths, slots = {path for path, _ in named}, {slot for _, slot in named} - {None}
    _drop_all(one for one in root.findall("devices/disk") if disk(one).target in touched)
    scsi = root.findall("devices/controller[@type='scsi']") if wish.disks else []
    _drop_all(one for one in scsi if one.find("address") is None)  # what a first disk on SCSI needs
    _drop_all(one for one in root.findall("devices/interface") if interface(one).mac in plugged)
    there = enumerate(root.findall("cpu/numa/cell"))
    _drop_all(one for number, one in there if cell_id(one, number) not in cells)
    for one in root.findall("devices/memory[@model='nvdimm']"):
        if nvdimm(one).path in paths or nvdimm(one).slot in slots:
            _drop(one)


def _drop_all(found: Iterable[Element]) -> None:
    for one in list(found):
        _drop(one)


def _drop(one: Element) -> None:
    parent = one.getparent()
    assert parent is not None
    parent.remove(one)


@settings(PATIENT, max_examples=40)
@given(st.data())
def test_a_merge_brings_what_is_wished_and_touches_nothing_else(data: Any) -> None:
    brings_what_is_wished_alone(data)


@pytest.mark.slow
@settings(PATIENT, max_examples=500)
@given(st.data())
def test_a_merge_does_so_with_many_more(data: Any) -> None:
    brings_what_is_wished_alone(data)


def brings_what_is_wished_alone(data: Any) -> None:
    guest = data.draw(guests())
    wish = data.draw(wishes(guest))
    try:
        merged = merge(guest.xml, wish)
    except ValueError as error:
        event(f"refused: {error}"[:40])
        return
    event("merged")
    before, behind = read(guest.xml), read(merged)
    assert differences(wish, behind) == ()
    assert merge(merged, wish) == merged
    assert identity(merged) == identity(guest.xml)
    assert rest(merged, wish, before) == rest(guest.xml, wish, before)


@settings(PATIENT, max_examples=40)
@given(guests())
def test_what_is_so_is_no_wish(guest: Any) -> None:
    assert merge(guest.xml, Domain()) == guest.xml
    assert differences(read(guest.xml), read(guest.xml)) == ()


@settings(PATIENT, max_examples=20)
@given(st.data())
def test_a_base_is_merged_with_what_is_wished(data: Any) -> None:
    guest = data.draw(guests())
    wish = data.draw(wishes(guest))
    try:
        merged = merge(guest.xml, wish)
    except ValueError:
        return
    made = new("other", wish, guest.xml)
    assert read(made) == read(merged)
    assert identity(made)[0] == "other"
    assert differences(wish, read(made)) == ()
