"""Devices as sysfs shows them, how the kernel maps them, and which guest has one."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cxlstate.formats.dax import DEVICES, Device, Holder, forced_write_back, holders, memory_types, parse
from cxlstate.formats.iomem import Range

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
    found = Device((Range(4 * GIB, 5 * GIB),), "dax0.0", 2 << 20, 0, "hmem", 2 << 20, "kmem")
    assert parse(attributes("dax0.0"), links) == (found,)
    assert (found.start, found.size) == (4 * GIB, GIB)


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


def mapped(name: str, *ranges: tuple[int, int], **changed: str | None) -> dict[str, str]:
    """A device with ranges in GiB, each of a mapping; `resource` is where the first begins."""
    files = attributes(
        name,
        size=f"{sum(end - start for start, end in ranges) * GIB}\n",
        resource=f"{ranges[0][0] * GIB:#x}\n",
    )
    for number, (start, end) in enumerate(ranges):
        files[f"{DEVICES}/{name}/mapping{number}/start"] = f"{start * GIB:#x}\n"
        files[f"{DEVICES}/{name}/mapping{number}/end"] = f"{end * GIB - 1:#x}\n"
    added = {f"{DEVICES}/{name}/{key}": text for key, text in changed.items() if text is not None}
    return files | added


@pytest.mark.parametrize(
    ("ranges", "wanted"),
    [
        ([(8, 24), (40, 56)], [(8, 24), (40, 56)]),
        ([(40, 56), (8, 24)], [(8, 24), (40, 56)]),  # the kernel takes room where it is
        ([(8, 24), (24, 40)], [(8, 40)]),
    ],
)
def test_a_device_of_several_mappings_has_their_ranges(
    ranges: list[tuple[int, int]], wanted: list[tuple[int, int]]
) -> None:
    """As `daxctl list -M` shows it, and drivers/dax/bus.c makes it."""
    (found,) = parse(mapped("dax0.1", *ranges), {})
    assert found.ranges == tuple(Range(start * GIB, end * GIB) for start, end in wanted)
    assert (found.start, found.size) == (8 * GIB, 32 * GIB)


def test_memory_between_two_ranges_is_not_of_the_device() -> None:
    found = parse(mapped("dax0.1", (8, 24), (40, 56)) | mapped("dax0.2", (24, 40)), {})
    between = Range(24 * GIB, 40 * GIB)
    assert [one.name for one in found if one.overlaps(between)] == ["dax0.2"]


@pytest.mark.parametrize(
    "changed",
    [
        {"size": "1\n"},
        {"mapping1/end": f"{60 * GIB - 1:#x}\n"},
        {"mapping1/start": f"{16 * GIB:#x}\n"},
        {"mapping1/end": f"{30 * GIB:#x}\n"},
        {"mapping1/end": "0xffffffffffffffffffff\n"},
        {"mapping1/start": "much\n"},
        {"mapping2/start": "0x0\n"},
    ],
)
def test_ranges_that_cannot_be_are_refused(changed: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"^/sys/bus/dax/devices/dax0\.1"):
        parse(mapped("dax0.1", (8, 24), (40, 56), **changed), {})


def test_devices_that_overlap_cannot_be_told() -> None:
    """Without mapping*: one of them has several ranges, and only their sum is shown."""
    first = attributes("dax0.1", size=f"{32 * GIB}\n", resource=f"{8 * GIB:#x}\n")
    second = attributes("dax0.2", size=f"{16 * GIB}\n", resource=f"{24 * GIB:#x}\n")
    with pytest.raises(ValueError, match=r"dax0\.1 and dax0\.2 cannot both be where sysfs says"):
        parse(first | second, {})


@given(st.dictionaries(st.sampled_from([*mapped("dax0.1", (8, 24)), "", "/", DEVICES]), st.text()))
def test_whatever_sysfs_says_is_parsed_or_refused(files: dict[str, str]) -> None:
    with contextlib.suppress(ValueError):
        parse(files, {})


@given(st.text())
@example("x\tdax0.0\tqemu\n")
@example("1\tdax0.0\n")
@example("9" * 5000 + "\tdax0.0\tqemu\n")
def test_whatever_is_said_of_holders_is_parsed_or_refused(text: str) -> None:
    with contextlib.suppress(ValueError):
        holders(text)


LISTED = """\
[    0.012000] MTRR variable ranges enabled:
[    0.012001]   0 base 000080000000 mask FFFF80000000 uncachable
[    0.012003]   1 disabled
[    0.012004] TOM2: 0000001f80000000 aka 129024M
"""


@pytest.mark.parametrize(
    ("log", "top"),
    [
        (LISTED, 126 * GIB),
        (LISTED.replace("  1 disabled", "  1 base 000100000000 mask FFFFC0000000 uncachable"), 126 * GIB),
        (LISTED.replace("TOM2", "node 0 link 0: io port [0, ffff]\n[    0.5] TOM2"), None),
        (LISTED.rpartition("[")[0], None),
        ("TOM2: 0000001f80000000 aka 129024M\n", None),
        ("", None),
    ],
)
def test_a_processor_that_forces_write_back_is_known_by_the_kernels_list(log: str, top: int | None) -> None:
    assert forced_write_back(log) == top


@pytest.mark.parametrize(
    "line", [" " * 200_000, " 1 disabled" * 20_000, " 1 base 0 mask F uncachable" * 10_000, "] " * 100_000]
)
def test_a_long_line_of_the_log_is_read_once(line: str) -> None:
    begun = time.monotonic()
    assert forced_write_back(f"{LISTED.rpartition('[')[0]}{line}\n{line}\n") is None
    assert time.monotonic() - begun < 2
