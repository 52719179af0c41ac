"""The memory map: what stands where, cut where something changes, open where nothing could be read."""

from __future__ import annotations

import pytest

from cxlstate.core.answers import Answer, Answers
from cxlstate.engine.memory_map import DEFAULT, IOMEM, READS, Kind, memory_map
from cxlstate.formats import dax
from tests.engine.memory_maps import LAB, PERMISSION_DENIED, RUNBOOK, answers

GIB = 1 << 30
UC, WB = "uncachable", "write-back"


def told(host, **changed):
    return memory_map(answers(host, **changed))


def above(found, start=4 * GIB):
    """Address in GiB, name, nodes, type."""
    return [(row.start // GIB, row.name, row.nodes, row.type) for row in found.rows if row.start >= start]


def named(found, name):
    return [row for row in found.rows if row.name == name]


def iomem(*lines):
    return "".join(f"{line}\n" for line in lines)


def test_the_runbooks_host():
    found = told(RUNBOOK)
    assert found.notes == ()
    assert above(found)[:9] == [
        (4, "System RAM", (0,), WB),
        (162, "System RAM", (1,), WB),
        (184, "Kernel code", (), ""),
        (184, "Kernel rodata", (), ""),
        (320, "Reserved", (), UC),
        (322, "Soft Reserved", (), UC),
        (322, "dax0.0", (2,), UC),
        (418, "(hole)", (), UC),
        (448, "(hole)", (), ""),
    ]
    (carved,) = [row for row in found.rows if row.start == 320 * GIB]
    assert (carved.kind, carved.details) == (Kind.MEMMAP, ("memmap=2G$320G",))


def test_the_emulated_host():
    found = told(LAB)
    assert found.notes == ()
    assert [row for row in above(found) if "virtio" not in row[1] and "0000:00:" not in row[1]] == [
        (4, "Soft Reserved", (), UC),
        (4, "dax0.0", (0,), UC),
        (5, "System RAM", (0,), WB),
        (6, "System RAM", (1,), WB),
        (10, "(hole)", (), ""),
        (768, "PCI Bus 0000:00", (), ""),
        (800, "(hole)", (), ""),
        (1012, "Reserved", (), ""),
    ]
    (device,) = named(found, "dax0.0")
    assert device.details == ("device_dax", "align 2MiB", "PAT uncached-minus")
    assert device.link == "/dev/cxlstate/cxl0"
    assert device.problem == ""


@pytest.mark.parametrize("host", [LAB, RUNBOOK], ids=["lab", "runbook"])
def test_the_rows_of_the_top_level_hold_every_byte_once(host):
    top = [row for row in told(host).rows if row.depth == 0]
    assert top[0].start == 0
    assert [row.end for row in top[:-1]] == [row.start for row in top[1:]]


def test_a_device_that_was_bound_before_the_registers_were_written_is_a_problem():
    assert "write-back" in named(told(RUNBOOK), "dax0.0")[0].problem
    right = "PAT: [mem 0x0000005080000000-0x0000006880000000] uncached-minus\n"
    assert named(told(RUNBOOK, pat=right), "dax0.0")[0].problem == ""


def test_write_back_without_registers_over_it_is_no_problem():
    assert named(told(RUNBOOK, mtrr=""), "dax0.0")[0].problem == ""


def test_ram_without_its_cache_is_a_problem_and_only_the_part_that_is_covered():
    wide = "reg00: base=0x4000000000 (262144MB), size=65536MB, count=1: uncachable\n"
    rows = [row for row in named(told(RUNBOOK, mtrr=wide), "System RAM") if row.start >= 4 * GIB]
    assert [(row.start // GIB, row.type, bool(row.problem)) for row in rows] == [
        (4, WB, False),
        (162, WB, False),
        (256, UC, True),
    ]


def test_a_device_that_is_covered_in_part_is_cut_and_so_is_what_is_around_it():
    half = "reg00: base=0x6000000000 (393216MB), size=65536MB, count=1: uncachable\n"
    found = told(RUNBOOK, mtrr=half)
    part = [row for row in found.rows if 322 <= row.start / GIB < 418]
    assert [(row.depth, row.name, row.start // GIB, row.type) for row in part] == [
        (0, "Soft Reserved", 322, WB),
        (1, "dax0.0", 322, WB),
        (0, "Soft Reserved", 384, UC),
        (1, "dax0.0", 384, UC),
    ]


def test_registers_that_come_to_the_same_type_cut_nothing():
    many = iomem(
        "reg00: base=0x5080000000 (329728MB), size= 2048MB, count=1: uncachable",
        "reg01: base=0x5100000000 (331776MB), size= 4096MB, count=1: uncachable",
        "reg02: base=0x5100000000 (331776MB), size= 4096MB, count=1: write-through",
    )
    assert [row.end // GIB for row in named(told(RUNBOOK, mtrr=many), "dax0.0")] == [328, 418]


def test_where_registers_give_ram_its_type_what_none_covers_has_one_that_is_not_shown():
    some = "reg00: base=0x000000000 (    0MB), size=262144MB, count=1: write-back\n"
    assert named(told(RUNBOOK, mtrr=some), "dax0.0")[0].type == DEFAULT


def test_a_device_without_a_driver_is_shown_although_iomem_has_no_line_for_it():
    lines = "".join(line for line in LAB[IOMEM].splitlines(keepends=True) if "dax0.0" not in line)
    found = told(LAB, iomem=lines, driver={}, links={})
    (device,) = named(found, "dax0.0")
    assert (device.depth, device.start, device.end) == (1, 4 * GIB, 5 * GIB)
    assert device.details == ("no driver", "align 2MiB")
    assert device.link == ""


def test_a_device_of_no_node_has_none():
    assert named(told(LAB, target_node={}), "dax0.0")[0].nodes == ()


def test_memory_of_a_cxl_region_that_kmem_has():
    lines = iomem(
        "00100000-3fffffff : System RAM",
        "100000000-1ffffffff : CXL Window 0",
        "  100000000-13fffffff : region0",
        "    100000000-13fffffff : dax0.0",
        "      108000000-13fffffff : System RAM (kmem)",
    )
    kmem = {f"{dax.DEVICES}/dax0.0/driver": "../../../../../bus/dax/drivers/kmem"}
    found = told(LAB, iomem=lines, mtrr="", driver=kmem, command_line="ro")
    assert [(row.depth, row.kind, row.name) for row in found.rows if row.start >= 4 * GIB] == [
        (0, Kind.CXL, "CXL Window 0"),
        (1, Kind.CXL, "region0"),
        (2, Kind.DAX, "dax0.0"),
        (3, Kind.RAM, "System RAM (kmem)"),
    ]
    assert named(found, "dax0.0")[0].details == ("kmem", "align 2MiB")


def test_a_block_of_two_nodes_is_told_with_both():
    blocks = ["/sys/devices/system/node/node0/memory40", "/sys/devices/system/node/node1/memory40"]
    assert (5, "System RAM", (0, 1), WB) in above(told(LAB, blocks=blocks))


def test_neighbours_that_say_the_same_are_one():
    lines = iomem(
        "00000000-0fffffff : Reserved", "10000000-1fffffff : Reserved", "20000000-2fffffff : System RAM"
    )
    found = told({**LAB, "devices": {}}, iomem=lines, mtrr="", links={}, driver={})
    assert [(row.start, row.end) for row in found.rows] == [(0, 0x20000000), (0x20000000, 0x30000000)]


def test_what_memmap_took_away_is_told_from_what_the_firmware_reserved_beside_it():
    lines = iomem("4fff000000-507fffffff : Reserved")
    found = told({**RUNBOOK, "devices": {}}, iomem=lines, mtrr="")
    assert [(row.start, row.kind, row.details) for row in found.rows if row.name == "Reserved"] == [
        (0x4FFF000000, Kind.OTHER, ()),
        (0x5000000000, Kind.MEMMAP, ("memmap=2G$320G",)),
    ]


def test_a_memmap_without_an_address_is_told():
    (note,) = told(LAB, command_line="ro memmap=2G320G\n").notes
    assert "memmap=2G320G has taken away all RAM above 2GiB" in note


# What cannot be read ------------------------------------------------------------------------------------


def test_without_root_there_is_no_map_and_a_word_why():
    found = told(LAB, iomem="00000000-00000000 : System RAM\n")
    assert found.rows == ()
    assert "root" in found.notes[0]


@pytest.mark.parametrize(
    ("changed", "note"),
    [
        ("mtrr", "memory types: /proc/mtrr: Permission denied"),
        ("block_size", "nodes: /sys/devices/system/memory/block_size_bytes: Permission denied"),
        ("pat", "PAT records: /sys/kernel/debug/x86/pat_memtype_list: Permission denied"),
        ("links", "links: /dev/cxlstate/*: Permission denied"),
        ("command_line", "memmap: /proc/cmdline: Permission denied"),
        ("resource", "dax devices: /sys/bus/dax/devices/*/resource: Permission denied"),
    ],
)
def test_what_cannot_be_read_leaves_the_rest_and_says_why(changed, note):
    found = told(LAB, **{changed: PERMISSION_DENIED})
    assert found.notes == (note,)
    assert [row.start for row in named(found, "dax0.0")] == [4 * GIB]


def test_an_unknown_type_is_not_an_empty_one():
    found = told(LAB, mtrr=PERMISSION_DENIED)
    assert {row.type for row in found.rows if row.kind is Kind.RAM} == {None}
    assert {row.type for row in found.rows if row.kind is Kind.PCI} == {""}


def test_an_unknown_node_is_not_none_at_all():
    assert named(told(LAB, blocks=PERMISSION_DENIED), "System RAM")[0].nodes is None
    assert named(told(LAB, resource=PERMISSION_DENIED), "dax0.0")[0].nodes is None


@pytest.mark.parametrize("garbage", ["", "\0", "what is this\n", "zz-zz : x\n", "\udcff"])
@pytest.mark.parametrize("changed", ["iomem", "mtrr", "command_line", "block_size", "pat"])
def test_no_answer_makes_it_fail(changed, garbage):
    said = Answer(0, garbage.encode("utf-8", "surrogateescape"))
    assert told(LAB, **{changed: said}).notes or changed in {"mtrr", "command_line", "pat"}


def test_what_was_not_answered_at_all_is_told():
    assert memory_map(Answers({})).notes == ("memory: /proc/iomem was not asked for",)
    assert memory_map(Answers(dict.fromkeys(READS, PERMISSION_DENIED))).rows == ()


def test_a_kernel_that_does_not_name_soft_reserved_memory():
    """Linux 7.3 on the emulated host: the device alone, and the firmware's map calls it System RAM."""
    lines = LAB[IOMEM].replace("100000000-13fffffff : Soft Reserved\n  1000", "1000")
    assert "Soft Reserved" not in lines
    assert [row[:2] for row in above(told(LAB, iomem=lines))[:3]] == [row[:2] for row in above(told(LAB))[:3]]


def test_a_device_of_several_ranges_is_shown_with_each_and_nothing_between():
    devices = {"dax0.1": (8 * GIB, 32 * GIB, 0), "dax0.2": (24 * GIB, 16 * GIB, 0)}
    parts = {"dax0.1/mapping0": (8, 24), "dax0.1/mapping1": (40, 56)}
    starts = {f"{dax.DEVICES}/{at}/start": f"{start * GIB:#x}" for at, (start, _) in parts.items()}
    ends = {f"{dax.DEVICES}/{at}/end": f"{end * GIB - 1:#x}" for at, (_, end) in parts.items()}
    found = told(
        LAB, iomem=iomem("00001000-0009fbff : System RAM"), devices=devices, starts=starts, ends=ends
    )
    rows = [(row.name, row.start // GIB, row.end // GIB) for row in found.rows if row.kind is Kind.DAX]
    assert rows == [("dax0.1", 8, 24), ("dax0.2", 24, 40), ("dax0.1", 40, 56)]
