"""Devices as sysfs shows them, how the kernel maps them, and which guest has one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxlstate.formats.dax import DEVICES, Device, Holder, holders, memory_types, of, parse

GIB = 1 << 30
QEMU = "/usr/bin/qemu-system-x86_64"
REST = (
    "-S -object {'qom-type':'secret','id':'masterKey0'} -machine pc-q35-10.0,usb=off -name=x,debug-threads=on"
)


def attributes(name: str, **changed: str | None) -> dict[str, str]:
    plain: dict[str, str | None] = {
        "size": "1073741824\n",
        "align": "2097152\n",
        "resource": "0x100000000\n",
        "target_node": "0\n",
        "../dax_region/align": "2097152\n",
        "../modalias": "platform:hmem\n",
    }
    return {f"{DEVICES}/{name}/{key}": text for key, text in (plain | changed).items() if text is not None}


def test_a_device_is_read_as_sysfs_shows_it() -> None:
    links = {f"{DEVICES}/dax0.0/driver": "../../../../bus/dax/drivers/kmem"}
    found = Device(4 * GIB, GIB, "dax0.0", 2 << 20, 0, "hmem", 2 << 20, "kmem")
    assert parse(attributes("dax0.0"), links) == (found,)
    assert found.end == 5 * GIB


def test_devices_stand_by_address_and_without_a_driver_where_none_is_bound() -> None:
    second = attributes("dax0.0", resource="0x5080000000\n", target_node=None)
    found = parse(attributes("dax1.0") | second, {})
    assert [(one.name, one.driver, one.target_node) for one in found] == [
        ("dax1.0", None, 0),
        ("dax0.0", None, None),
    ]


def test_no_device_is_none() -> None:
    assert parse({}, {}) == ()


@pytest.mark.parametrize(
    ("modalias", "region"),
    [("platform:hmem", "hmem"), ("cxl:t6", "cxl"), ("nd:t7", "pmem"), ("of:x", "of:x"), (None, "")],
)
def test_the_region_is_told_by_who_made_it(modalias: str | None, region: str) -> None:
    (found,) = parse(attributes("dax0.0", **{"../modalias": modalias}), {})
    assert found.region == region


def test_the_alignment_of_a_region_may_be_hidden() -> None:
    (found,) = parse(attributes("dax0.0", **{"../dax_region/align": None}), {})
    assert found.region_align is None


def test_a_device_without_memory_is_left_out() -> None:
    assert parse(attributes("dax0.1", size="0\n", resource=None), {}) == ()


@pytest.mark.parametrize("missing", ["size", "align", "resource"])
def test_an_attribute_that_is_missing_is_told(missing: str) -> None:
    with pytest.raises(ValueError, match=f"dax0.0 has no {missing}"):
        parse(attributes("dax0.0", **{missing: None}), {})


@pytest.mark.parametrize("name", ["size", "align", "resource", "target_node", "../dax_region/align"])
def test_an_attribute_that_is_no_number_is_told(name: str) -> None:
    with pytest.raises(ValueError, match=f"dax0.0/{name} is no number: 'much'"):
        parse(attributes("dax0.0", **{name: "much"}), {})


PAT = """\
PAT memtype list:
PAT: [mem 0x00000000bffe0000-0x00000000bffe2000] write-back
PAT: [mem 0x0000000100000000-0x0000000120000000] uncached-minus
PAT: [mem 0x0000000120000000-0x0000000130000000] write-back
PAT: [mem 0x0000000130000000-0x0000000140000000] uncached-minus
PAT: [mem 0x00000000fed00000-0x00000000fed01000] uncached
"""


@pytest.mark.parametrize(
    ("start", "end", "types"),
    [
        (0x100000000, 0x140000000, ("uncached-minus", "write-back")),
        (0x100000000, 0x120000000, ("uncached-minus",)),
        (0x11FFFF000, 0x120001000, ("uncached-minus", "write-back")),
        (0x140000000, 0x180000000, ()),  # the end in the list is exclusive
        (0x0, 0x1000, ()),
    ],
)
def test_every_record_of_a_range_is_told_once(start: int, end: int, types: tuple[str, ...]) -> None:
    assert memory_types(PAT, start, end) == types


def test_a_list_without_records_tells_nothing() -> None:
    assert memory_types("PAT memtype list:\n", 0, 1 << 52) == ()


@pytest.mark.parametrize(
    ("words", "vm"),
    [
        ("-name guest=cxl_vmx,debug-threads=on", "cxl_vmx"),
        ("-name guest=cxl_vmx,process=qemu:cxl_vmx,debug-threads=on", "cxl_vmx"),
        ("-name guest=two words -S -x,debug-threads=on", "two words -S -x"),
        ("-name guest=a,,b,,debug-threads=on,debug-threads=on", "a,b,debug-threads=on"),
        ("-name guest=a,,,debug-threads=on", "a,"),
        ("-name guest=-name guest=x,debug-threads=on", "-name guest=x"),
        ("-name cxl_vmx", None),  # started by hand: libvirt knows nothing of it
        ("-m 1G -name guest=cxl_vmx,debug-threads=on", None),
    ],
)
def test_the_guest_is_told_by_how_libvirt_starts_it(words: str, vm: str | None) -> None:
    (found,) = holders(f"4211\tdax0.0\t{QEMU} {words} {REST} \n")
    assert (found.pid, found.device, found.vm) == (4211, "dax0.0", vm)


@given(st.text(st.characters(codec="ascii", categories=["L", "N", "P", "Zs"]), min_size=1))
def test_a_guest_of_any_name_is_told(name: str) -> None:
    command = f"{QEMU} -name guest={name.replace(',', ',,')},debug-threads=on -S"
    assert [one.vm for one in holders(f"1\tdax0.0\t{command}\n")] == [name]


def test_who_is_no_guest_is_a_process() -> None:
    (found,) = holders("4242\tdax0.0\t/usr/bin/python3 /root/peek.py \n")
    assert found == Holder(4242, "dax0.0", "/usr/bin/python3 /root/peek.py")
    assert str(found) == "/usr/bin/python3 (process 4242)"


def test_a_guest_is_named_as_such() -> None:
    (found,) = holders(f"1\tdax0.0\t{QEMU} -name guest=a b,debug-threads=on \n")
    assert str(found) == "vm a b"


def test_each_process_and_device_is_told_once_and_nobody_is_nobody() -> None:
    line = f"1\tdax0.0\t{QEMU} -name guest=a,debug-threads=on \n"
    assert len(holders(line + line + line.replace("dax0.0", "dax1.0"))) == 2
    assert holders("") == ()


def test_a_process_without_a_command_line_is_told() -> None:
    assert holders("2\tdax0.0\t\n") == (Holder(2, "dax0.0", ""),)


def test_devices_of_a_range_are_those_with_any_byte_in_it() -> None:
    (one,) = parse(attributes("dax0.0"), {})
    assert of([one], 5 * GIB - 1, 6 * GIB) == (one,)
    assert of([one], 5 * GIB, 6 * GIB) == of([one], 0, 4 * GIB) == ()
