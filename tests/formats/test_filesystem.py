"""What a file system leaves of its device, by the tools themselves."""

from __future__ import annotations

import subprocess

import pytest

from cxlstate.formats import filesystem

MIB = 1 << 20


def run(*argv):
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def extent(image):
    return filesystem.parse("ext4", run("dumpe2fs", "-h", image), "x")


@pytest.mark.parametrize("more", [1, 2, 3, 4, 7, 128, 129])
def test_after_resize2fs_an_ext4_fills_its_device(tmp_path, more):
    """A last group that is too small for its metadata is left out, and is no difference."""
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(512 * MIB)
    run("mke2fs", "-q", "-t", "ext4", str(image))
    assert extent(image).fills(512 * MIB)
    size = (512 + more) * MIB
    with image.open("r+b") as file:
        file.truncate(size)
    run("e2fsck", "-fp", str(image))
    run("resize2fs", str(image))
    found = extent(image)
    assert found.fills(size)
    assert size - found.size < 4 * MIB
    assert not found.fills(size + 4 * MIB)


XFS = """\
meta-data=/dev/vda1              isize=512    agcount=4, agsize=655360 blks
         =                       sectsz=512   attr=2, projid32bit=1
data     =                       bsize=4096   blocks=2621440, imaxpct=25
         =                       sunit=0      swidth=0 blks
naming   =version 2              bsize=4096   ascii-ci=0, ftype=1
log      =internal log           bsize=4096   blocks=16384, version=2
"""
BTRFS = """\
Label: none  uuid: 5c1a5a9c-3b0e-4dc2-a7a5-0f1f5f0a9a77
\tTotal devices {} FS bytes used 147456
\tdevid    1 size 419430400 used 92274688 path /dev/vda2
"""


def test_an_xfs_and_a_btrfs_say_how_large_they_are():
    assert filesystem.parse("xfs", XFS, "vda1").size == 2621440 * 4096
    assert filesystem.parse("btrfs", BTRFS.format(1), "vda2").size == 419430400


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        ("ext4", "Block count: 7\n", "dumpe2fs does not say 'Block size'"),
        ("xfs", "", "xfs_info does not say how large it is"),
        ("btrfs", BTRFS.format(1), "btrfs does not list vda1"),
        ("btrfs", BTRFS.format(2) + "\tdevid 2 size 1 used 0 path /dev/vdb\n", "it is on 2 devices"),
        ("btrfs", "\n" * 10**6, "btrfs does not list vda1"),
        ("vfat", "", "file systems of type vfat are not grown"),
    ],
)
def test_what_does_not_say_so_is_an_error(kind, text, said):
    with pytest.raises(ValueError, match=said):
        filesystem.parse(kind, text, "vda1")
