"""Facts of dax devices, MTRRs and unit files while kmem has the memory."""

from __future__ import annotations

import pytest

from cxlstate.core.read import Command, File, Holders, Links, MapAndRead, Names, TimeLoads
from cxlstate.formats import dax, loads, mtrr, restore
from cxlstate.formats.domain_xml import meaning
from cxlstate.formats.iomem import Range
from cxlstate.formats.mtrr import Block
from cxlstate.machine.outcome import Result
from cxlstate.resources.mtrr import verbs as mtrr_verbs
from cxlstate.resources.mtrr.probe import ADDRESS_SIZES
from tests import fragments

FAR = Block(0x5000000000 + (1 << 38), 1 << 30)  # nothing is there on either machine
UNIT = "conformance-oneshot.service"
UNIT_FILE = f"/etc/systemd/system/{UNIT}"
UNIT_TEXT = """\
[Unit]
Description=A fact
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/true
[Install]
WantedBy=multi-user.target
"""


def step(machine, *words):
    return machine.perform(fragments.step(*words))


def refused(machine, *words):
    outcome = step(machine, *words)
    assert (outcome.result, outcome.status) == (Result.FAILED, 1)
    return outcome.output.rstrip("\n")


def add(machine, block, kind="uncachable"):
    return step(machine, *mtrr_verbs.add(block, kind).words)


def remove(machine, block, kind="uncachable"):
    return step(machine, *mtrr_verbs.remove(block, kind).words)


def registers(machine):
    return mtrr.parse(machine.text("/proc/mtrr"))


def devices(machine):
    answers = machine.writer.read(dax.READS)
    files = {path: text for read in dax.READS[:-1] for path, text in answers.files(read).items()}
    return dax.parse(files, answers.files(dax.DRIVER))


@pytest.fixture
def device(machine):
    (one,) = devices(machine)
    return one


@pytest.fixture
def selector(device):
    return restore.selector(device.ranges)


@pytest.fixture
def tidy(machine):
    """Whatever becomes of the fact, the registers are as before."""
    before = registers(machine)
    yield
    for one in registers(machine):
        if one not in before:
            remove(machine, one.block, one.type)


# Devices ---------------------------------------------------------------------------------------------


def test_the_soft_reserved_memory_is_a_device_of_kmem(machine, device):
    assert (device.region, device.driver) == ("hmem", "kmem")
    assert (device.align, device.region_align) == (2 << 20, 2 << 20)
    soft = next(
        line for line in machine.text("/proc/iomem").splitlines() if line.endswith(" : Soft Reserved")
    )
    assert soft.startswith(f"{device.start:08x}-{device.end - 1:08x} ")


def test_where_a_driver_link_points_to(machine, device):
    links = machine.writer.read([dax.DRIVER]).files(dax.DRIVER)
    assert links == {f"/sys/bus/dax/devices/{device.name}/driver": "../../../../bus/dax/drivers/kmem"}


def test_a_pattern_that_matches_no_link_is_no_failure(machine):
    links = Links("/dev/cxlstate/*")
    assert machine.writer.read([links]).files(links) == {}


def test_every_node_names_its_blocks_of_memory(machine, device):
    names = Names("/sys/devices/system/node/node*/memory*")
    paths = machine.writer.read([names]).files(names)
    length = int(machine.text("/sys/devices/system/memory/block_size_bytes"), 16)
    of_device = f"/node{device.target_node}/memory{device.start // length}"
    assert f"/sys/devices/system/node{of_device}" in paths
    assert set(paths.values()) == {""}


def test_nobody_holds_a_device_of_kmem_and_nobody_can_map_it(machine, device):
    holders = Holders("dax*")
    assert machine.writer.read([holders]).text(holders) == ""
    answer = machine.answer(MapAndRead(device.start))
    assert (answer.status, answer.stderr) == (1, f"{device.name} is not bound to device_dax")
    answer = machine.answer(MapAndRead(device.start + 4096))
    assert (answer.status, answer.stderr) == (1, "no dax device starts there")


@pytest.mark.long
def test_loads_from_memory_of_a_node_are_timed_and_from_a_device_of_kmem_they_are_not(machine, device):
    node = TimeLoads("node0")
    found = loads.parse(machine.writer.read([node]).text(node))
    assert found.rounds == 64
    assert found.node == 0
    assert found.cpu in meaning.cpus(machine.text("/sys/devices/system/node/node0/cpulist").strip())
    said = {
        TimeLoads(device.name): f"{device.name} is not bound to device_dax",
        TimeLoads("dax99.9"): "there is no dax99.9",
        TimeLoads("node99"): "there is no node 99",
    }
    answers = machine.writer.read(list(said))
    assert {read: (answers.raw(read).status, answers.raw(read).stderr) for read in said} == {
        read: (1, why) for read, why in said.items()
    }


def test_kmem_made_it_ram_that_the_kernel_may_use_for_itself(machine, device):
    """The zone of its node reaches over it, and it is not the movable one."""
    zones = {}
    for line in machine.text("/proc/zoneinfo").splitlines():
        if line.startswith("Node "):
            node, name = line.removeprefix("Node ").replace(",", "").split()[::2]
            zones[int(node), name] = zone = {}
        elif line.split(maxsplit=1)[0] in ("spanned", "present", "start_pfn:"):
            zone[line.split()[0]] = int(line.split()[1])
    normal = zones[device.target_node, "Normal"]
    first = normal["start_pfn:"] * 4096
    assert first <= device.start < device.end <= first + normal["spanned"] * 4096
    assert zones[device.target_node, "Movable"] == {"spanned": 0, "present": 0}


def test_the_record_of_its_mapping_is_not_made_by_kmem(machine, device):
    text = machine.text(dax.PAT.path)
    assert text.startswith("PAT memtype list:\nPAT: [mem 0x")
    assert dax.memory_types(text, device.start, device.end) == ()


def test_who_is_not_root_is_told_so(machine, device):
    where = f"/sys/bus/dax/devices/{device.name}"
    said = {
        File("/proc/mtrr"): "Operation not permitted",
        File(f"{where}/resource"): "Permission denied",
        File(f"{where}/../dax_region/align"): "Permission denied",
        dax.PAT: "Permission denied",
        Holders("dax*"): "Permission denied: only root can see it",
        MapAndRead(0): "Permission denied: only root can see it",
        Command(("dmesg",)): "dmesg: read kernel buffer failed: Operation not permitted",
    }
    with machine.unprivileged() as reader:
        answers = reader.read(list(said))
    assert {read: (answers.raw(read).status != 0, answers.raw(read).stderr) for read in said} == {
        read: (True, why) for read, why in said.items()
    }


def test_a_device_of_kmem_is_left_to_it(machine, device, selector):
    name = device.name
    assert refused(machine, "dax_bind", selector, "-") == f"cxlstate: {name} belongs to kmem"
    assert refused(machine, "dax_unbind", selector) == f"cxlstate: {name} belongs to kmem"
    assert (
        refused(machine, "dax_link", "fact", selector) == f"cxlstate: {name} is not bound, and gets no link"
    )
    assert refused(machine, "dax_check", selector) == f"cxlstate: {name} is not bound, and cannot be mapped"
    assert devices(machine) == (device,)


def test_a_device_that_is_not_there_and_a_verb_that_is_none(machine, device):
    selector = restore.selector([Range(device.start, device.start + device.size // 2)])
    assert refused(machine, "dax_bind", selector, "-") == f"cxlstate: no dax device is {selector}"
    assert step(machine, "dax_unlink", "fact").result is Result.DONE
    outcome = step(machine, "dax_fly")
    assert (outcome.status, outcome.output) == (64, "cxlstate: not a verb: dax_fly\n")


# Registers -------------------------------------------------------------------------------------------


def test_the_kernels_log_tells_how_many_registers_there_are(machine):
    assert mtrr.variable_registers(machine.ask("dmesg").text) == 8


@pytest.mark.usefixtures("tidy")
def test_a_register_is_written_once_and_removed(machine):
    before = machine.text("/proc/mtrr")
    assert add(machine, FAR).result is Result.DONE
    new = [one for one in registers(machine) if one not in mtrr.parse(before)]
    assert [(one.block, one.type, one.count) for one in new] == [(FAR, "uncachable", 1)]
    assert machine.text(restore.BEFORE) == before
    after = machine.text("/proc/mtrr")
    for block in (FAR, Block(FAR.base, 4096)):
        assert add(machine, block).result is Result.DONE, "it is in effect there"
    assert machine.text("/proc/mtrr") == after
    assert remove(machine, Block(FAR.base, 4096)).result is Result.DONE, "no register is just that"
    assert machine.text("/proc/mtrr") == after
    assert remove(machine, FAR).result is Result.DONE
    assert machine.text("/proc/mtrr") == before


@pytest.mark.usefixtures("tidy")
def test_a_register_of_the_firmware_stays(machine):
    one = registers(machine)[0]
    assert add(machine, FAR).result is Result.DONE  # whose the others are is remembered at the first one
    what = f"{one.type} {one.block.base:#x}+{one.block.size:#x}"
    words = mtrr_verbs.remove(one.block, one.type).words
    assert refused(machine, *words) == f"cxlstate: {what} stays: it was there before cxlstate wrote any"


def test_system_ram_is_not_made_uncachable(machine, device):
    said = refused(machine, *mtrr_verbs.add(Block(device.start, 1 << 30), "uncachable").words)
    assert said.startswith(f"cxlstate: {device.start:#x}+0x40000000 has System RAM in it: 0x")
    assert said.endswith(", System RAM (kmem)")


@pytest.mark.usefixtures("tidy")
def test_the_kernels_own_words_are_told(machine):
    said = refused(machine, "mtrr_add", f"{FAR.base:#x}", "0x3000", "uncachable")
    assert said == (
        f"cxlstate: the kernel did not take uncachable {FAR.base:#x}+0x3000: "
        f"base({FAR.base:#x}) is not aligned on a size(0x3000) boundary"
    )


@pytest.mark.usefixtures("tidy")
@pytest.mark.long
def test_more_registers_than_there_are(machine):
    before = registers(machine)
    pages = [Block(FAR.base + 2 * 4096 * number, 4096) for number in range(9)]
    free = pages[: 8 - len(before)]
    assert {add(machine, block).result for block in free} == {Result.DONE}
    said = refused(machine, *mtrr_verbs.add(pages[8], "uncachable").words)
    assert said.endswith("+0x1000: no more MTRRs available")
    assert {remove(machine, block).result for block in free} == {Result.DONE}
    assert registers(machine) == before


@pytest.mark.usefixtures("tidy")
def test_a_register_ends_at_the_highest_address(machine):
    top = mtrr.top_of_memory(machine.ask(*ADDRESS_SIZES.argv).text)
    last = Block(top - 4096, 4096)
    assert add(machine, last).result is Result.DONE
    assert remove(machine, last).result is Result.DONE
    said = refused(machine, *mtrr_verbs.add(Block(top, 4096), "uncachable").words)
    assert said.endswith(": base or size exceeds the MTRR width")


@pytest.mark.usefixtures("tidy")
def test_types_that_exclude_each_other(machine):
    assert add(machine, FAR, "write-combining").result is Result.DONE
    said = refused(machine, *mtrr_verbs.add(Block(FAR.base, 4096), "write-back").words)
    assert said.endswith(f": type mismatch for {FAR.base:x},1000 old: write-combining new: write-back")
    assert remove(machine, FAR, "write-combining").result is Result.DONE


# Unit files on the disk ------------------------------------------------------------------------------


def shown(machine):
    asked = "LoadState,UnitFileState,ActiveState,Result,NeedDaemonReload,DropInPaths"
    answer = machine.ask("systemctl", "show", f"--property={asked}", operands=(UNIT,))
    return dict(line.split("=") for line in answer.text.splitlines())


@pytest.fixture
def unit_file(machine):
    """It was written, and is gone afterwards."""
    assert machine.write(UNIT_FILE, UNIT_TEXT).result is Result.DONE
    yield
    machine.run("systemctl", "disable", "--now", UNIT)
    machine.remove(UNIT_FILE)
    machine.run("systemctl", "daemon-reload")


@pytest.mark.usefixtures("unit_file")
@pytest.mark.long
def test_a_unit_file_that_was_written_is_known_and_can_be_enabled(machine):
    assert shown(machine) == {
        "LoadState": "loaded",
        "UnitFileState": "disabled",
        "ActiveState": "inactive",
        "Result": "success",
        "NeedDaemonReload": "no",
        "DropInPaths": "",
    }
    link = f"/etc/systemd/system/multi-user.target.wants/{UNIT}"
    assert machine.run("systemctl", "enable", UNIT).output == f"Created symlink '{link}' -> '{UNIT_FILE}'.\n"
    assert shown(machine)["UnitFileState"] == "enabled"
    assert machine.run("systemctl", "enable", UNIT).output == ""
    assert machine.run("systemctl", "disable", UNIT).output == f"Removed '{link}'.\n"


@pytest.mark.usefixtures("unit_file")
def test_a_unit_file_that_was_edited_wants_to_be_read_again(machine):
    machine.run("systemctl", "start", UNIT)
    machine.write(UNIT_FILE, UNIT_TEXT.replace("A fact", "Another fact"))
    assert shown(machine)["NeedDaemonReload"] == "yes"
    assert machine.run("systemctl", "daemon-reload").status == 0
    assert shown(machine)["NeedDaemonReload"] == "no"


@pytest.mark.long
@pytest.mark.changes
def test_a_unit_file_runs_and_goes(machine):
    machine.write(UNIT_FILE, UNIT_TEXT)
    machine.run("systemctl", "start", UNIT)
    assert shown(machine)["ActiveState"] == "active"
    said = f"Failed to mask unit: File '{UNIT_FILE}' already exists\n"
    outcome = machine.run("systemctl", "mask", UNIT)
    assert (outcome.status, outcome.output) == (1, said)
    machine.run("systemctl", "stop", UNIT)
    machine.remove(UNIT_FILE)
    machine.run("systemctl", "daemon-reload")
    assert shown(machine)["LoadState"] == "not-found"
