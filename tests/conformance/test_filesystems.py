"""Facts of disks, partitions and file systems: what the kind `filesystem` builds on. They are one life."""

from __future__ import annotations

import pytest

from cxlstate.core.answers import Answers
from cxlstate.core.read import FileSystem
from cxlstate.formats import filesystem, partitions, storage

MIB_ON_DISK = 2048
"""Of the image of the guest: one partition, from the first MiB to the end."""


def read(guest, *reads):
    return Answers({one: guest.answer(one) for one in reads})


def layout(guest):
    blocks = partitions.read_blocks(read(guest, *partitions.READS))
    part = next(one for one in blocks if one.name == f"{guest.disk}1")
    return part, next(one for one in blocks if one.name == part.disk), blocks


def extent(guest, point="/"):
    text = read(guest, FileSystem(point)).text(FileSystem(point))
    return filesystem.parse("ext4", text, f"{guest.disk}1")


@pytest.fixture
def grown(guest):
    """A disk of 4 GiB, of which the partition has 2."""
    guest.grow_disk(4096)
    return guest


def test_the_root_is_on_a_partition_that_sysfs_knows(grown):
    part, disk, _ = layout(grown)
    (mount,) = (one for one in storage.mount_lines(grown.text("/proc/self/mountinfo")) if one.point == "/")
    assert (mount.source, mount.type) == (f"/dev/{part.name}", "ext4")
    assert (part.number, part.start, part.size, disk.size) == (1, 2048, 2047 * 2048, 4096 * 2048)


def test_another_partition_is_in_the_way_and_growpart_calls_it_no_change(grown):
    grown.add_partition(MIB_ON_DISK)
    part, disk, blocks = layout(grown)
    growth = partitions.growth(part, disk, blocks)
    assert (growth.sectors, growth.behind.name) == (0, f"{grown.disk}2")
    assert growth.free > 2000 * 2048
    outcome = grown.run("growpart", f"/dev/{grown.disk}", "1")
    assert outcome.status == 1
    assert outcome.output.startswith("NOCHANGE: partition 1 ")
    grown.remove_partition()


def test_growpart_does_what_was_predicted_and_no_more_the_second_time(grown):
    part, disk, blocks = layout(grown)
    growth = partitions.growth(part, disk, blocks)
    assert growth.sectors == 2048 * 2048 - 33
    outcome = grown.run("growpart", f"/dev/{grown.disk}", "1")
    assert outcome.status == 0, outcome.output
    assert outcome.output.splitlines()[-1].startswith("CHANGED: partition=1 start=2048 old: size=")
    after, disk, blocks = layout(grown)
    assert 0 <= part.size + growth.sectors - after.size < 2048, "newer ones end at a whole MiB"
    assert partitions.growth(after, disk, blocks).sectors == 0
    assert grown.run("growpart", f"/dev/{grown.disk}", "1").status == 1


def test_resize2fs_fills_the_partition_while_it_is_mounted(grown):
    part, _, _ = layout(grown)
    before = extent(grown)
    assert not before.fills(part.bytes)
    assert grown.run("resize2fs", f"/dev/{part.name}").status == 0
    after = extent(grown)
    assert after.fills(part.bytes)
    assert after.size > before.size
    assert grown.run("resize2fs", f"/dev/{part.name}").status == 0
    assert extent(grown) == after


def test_of_what_is_not_mounted_there_is_nothing_to_say(guest):
    answer = guest.answer(FileSystem("/nowhere"))
    assert (answer.status, answer.stderr) == (1, "nothing is mounted there")


def test_a_file_system_in_memory_has_no_superblock(guest):
    answer = guest.answer(FileSystem("/run"))
    assert (answer.status, answer.stderr) == (1, "it is of type tmpfs")
