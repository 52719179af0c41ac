"""Facts of disk images: qemu-img, who has a file open, and what is done to one."""

from __future__ import annotations

import json
from hashlib import sha256

import pytest

from cxlstate.core.image import FetchFile, GrowImage, MakeImage, PermitImage, RemoveImage
from cxlstate.core.read import Command, File, Names
from cxlstate.formats import storage
from cxlstate.machine.outcome import Outcome, Result

MIB = 1 << 20
BASE, GUEST = "/srv/facts/base.qcow2", "/srv/facts/guest.qcow2"
DONE = Outcome(Result.DONE)
STAT = ("stat", "--dereference", "--format=%f %d:%i %s %U:%G:%n")


@pytest.fixture(autouse=True)
def qemu_img(machine):
    """The tool, a base of 4 MiB, and afterwards nothing."""
    assert machine.run("apt-get", "--yes", "install", "qemu-utils").status == 0
    assert machine.perform(MakeImage(BASE, "qcow2", size=4 * MIB)) == DONE
    yield
    for path in (BASE, GUEST):
        if path in machine.writer.read([Names(path)]).files(Names(path)):
            assert machine.perform(RemoveImage(path, identity(machine, path))) == DONE


def info(machine, path, *options):
    return machine.answer(Command(("qemu-img", "info", "--output=json", *options, path)))


def seen(machine, path):
    return json.loads(info(machine, path, "-U").stdout)


def identity(machine, path):
    return machine.ask(*STAT, operands=(path,)).text.split()[1]


def content(machine, path):
    return machine.answer(File(path)).stdout


def test_an_image_as_qemu_img_sees_it(machine):
    said = seen(machine, BASE)
    assert (said["format"], said["virtual-size"], said["filename"]) == ("qcow2", 4 * MIB, BASE)
    assert said["format-specific"]["data"]["corrupt"] is False
    assert not {"backing-filename", "full-backing-filename"} & said.keys()
    machine.write("/srv/facts/text", "x" * 1000)
    said = seen(machine, "/srv/facts/text")
    assert (said["format"], said["virtual-size"]) == ("raw", 1024)
    machine.remove("/srv/facts/text")


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/srv/facts/none", "Could not open '/srv/facts/none': No such file or directory"),
        ("/srv/facts", "'file' driver requires '/srv/facts' to be a regular file"),
    ],
)
@pytest.mark.long
def test_what_qemu_img_cannot_open(machine, path, why):
    answer = info(machine, path, "-U")
    assert (answer.status, answer.stderr) == (1, f"qemu-img: Could not open '{path}': {why}")


def test_what_stat_says(machine):
    answer = machine.ask(*STAT, operands=(BASE, "/srv/facts/none"))
    assert answer.status == 1
    assert answer.stderr == "stat: cannot statx '/srv/facts/none': No such file or directory"
    mode, _, size, named = answer.text.rstrip("\n").split(" ")
    assert (mode, named) == ("8180", f"root:root:{BASE}")
    assert int(size) == len(content(machine, BASE))
    assert machine.ask(*STAT, operands=("/srv/facts",)).text.startswith("41ed ")


def test_who_writes_to_an_image_locks_it(machine):
    with machine.locked(BASE) as pid:
        answer = info(machine, BASE)
        assert answer.status == 1
        assert answer.stderr == (
            f"qemu-img: Could not open '{BASE}': Failed to get shared \"write\" lock\n"
            f"Is another process using the image [{BASE}]?"
        )
        assert info(machine, BASE, "-U").status == 0
        removed = machine.perform(RemoveImage(BASE, identity(machine, BASE)))
        assert removed.result is Result.FAILED
        assert removed.output == f"{BASE} is in use: process {pid} (qemu-io) has it open\n"
    assert info(machine, BASE).status == 0


def test_an_overlay_a_copy_and_an_empty_one(machine):
    over = MakeImage(GUEST, "qcow2", 8 * MIB, BASE, overlay=True, owner="admin", group="kvm", mode=0o640)
    assert machine.perform(over) == DONE
    said = seen(machine, GUEST)
    assert (said["full-backing-filename"], said["backing-filename-format"]) == (BASE, "qcow2")
    assert said["virtual-size"] == 8 * MIB
    assert machine.ask(*STAT, operands=(GUEST,)).text.split()[3] == f"admin:kvm:{GUEST}"
    assert machine.mode(GUEST) == 0o640
    assert machine.perform(over).result is Result.STALE
    assert machine.perform(RemoveImage(GUEST, identity(machine, GUEST))) == DONE
    assert machine.perform(MakeImage(GUEST, "raw", source=BASE)) == DONE
    assert (seen(machine, GUEST)["format"], seen(machine, GUEST)["virtual-size"]) == ("raw", 4 * MIB)
    assert machine.mode(GUEST) == 0o600


def test_what_cannot_be_made_leaves_nothing(machine):
    digest, other = sha256(content(machine, BASE)).hexdigest(), "0" * 64
    for more, why in (
        ({"source": BASE, "size": MIB}, f"{BASE} holds a disk of {4 * MIB} bytes, more than the {MIB} that"),
        ({"source": BASE, "sha256": other}, f"{BASE} has SHA-256 {digest}, expected {other}"),
        ({"source": "/srv/facts/none"}, "/srv/facts/none is not there, or not a regular file"),
        ({"size": MIB, "owner": "nobody-here"}, "chown: invalid user: 'nobody-here'"),
    ):
        outcome = machine.perform(MakeImage(GUEST, "qcow2", **more))
        assert outcome.result is Result.FAILED
        assert why in outcome.output
    assert machine.writer.read([Names("/srv/facts/*")]).files(Names("/srv/facts/*")) == {BASE: ""}


def test_an_image_is_grown_once_and_never_made_smaller(machine):
    for size, now in ((8, 8), (8, 8), (6, 8)):
        assert machine.perform(GrowImage(BASE, size * MIB, "qcow2")) == DONE
        assert seen(machine, BASE)["virtual-size"] == now * MIB
    outcome = machine.perform(GrowImage("/etc/hostname", 8 * MIB, "qcow2"))
    assert outcome.result is Result.FAILED
    assert "Image is not in qcow2 format" in outcome.output


@pytest.mark.long
def test_only_the_file_that_was_meant_is_removed(machine):
    assert machine.perform(RemoveImage(BASE, "1:2")).result is Result.STALE
    assert machine.perform(RemoveImage(BASE, identity(machine, BASE))) == DONE
    assert machine.perform(RemoveImage(BASE, "1:2")) == DONE


@pytest.mark.long
def test_owner_and_mode(machine):
    for argv, status in (
        (("chown", "admin", BASE), 0),
        (("chown", ":kvm", BASE), 0),
        (("chmod", "0640", BASE), 0),
        (("chown", "root", "/srv/facts/none"), 1),
        (("chmod", "0600", "/srv/facts/none"), 1),
    ):
        assert machine.run(*argv).status == status
    assert machine.ask(*STAT, operands=(BASE,)).text.split()[3] == f"admin:kvm:{BASE}"
    assert machine.mode(BASE) == 0o640


@pytest.mark.long
def test_an_image_is_given_away(machine):
    assert machine.perform(PermitImage(BASE, "admin", "kvm", 0o640)) == DONE
    assert machine.ask(*STAT, operands=(BASE,)).text.split()[3] == f"admin:kvm:{BASE}"
    assert machine.mode(BASE) == 0o640
    assert machine.perform(PermitImage(BASE, group="root")) == DONE
    assert machine.ask(*STAT, operands=(BASE,)).text.split()[3] == f"admin:root:{BASE}"
    outcome = machine.perform(PermitImage(BASE, "nobody-here"))
    assert (outcome.result, outcome.output) == (Result.FAILED, "chown: invalid user: 'nobody-here'\n")
    outcome = machine.perform(PermitImage(GUEST, mode=0o600))
    assert outcome.output == f"{GUEST} is not there, or not a regular file\n"


@pytest.mark.long
def test_nothing_is_done_in_a_folder_of_somebody_else(machine):
    """As the owner, as a member of its group, and as everybody."""
    assert machine.perform(MakeImage("/srv/facts/theirs/guest", "raw", size=MIB)) == DONE
    seen = identity(machine, "/srv/facts/theirs/guest")
    for whose, mode in (("admin:root", "755"), ("root:kvm", "775"), ("root:root", "777")):
        assert machine.run("chown", whose, "/srv/facts/theirs").status == 0
        assert machine.run("chmod", f"0{mode}", "/srv/facts/theirs").status == 0
        for effect in (
            MakeImage("/srv/facts/theirs/new/guest", "raw", size=MIB),
            GrowImage("/srv/facts/theirs/guest", 2 * MIB, "raw"),
            PermitImage("/srv/facts/theirs/guest", mode=0o666),
            RemoveImage("/srv/facts/theirs/guest", seen),
        ):
            outcome = machine.perform(effect)
            assert outcome.result is Result.FAILED
            where = f"/srv/facts/theirs (owner {whose}, mode {mode})"
            assert outcome.output.startswith(f"users other than root can replace files in {where}: ")
    assert machine.run("chmod", "0755", "/srv/facts/theirs").status == 0
    assert machine.perform(RemoveImage("/srv/facts/theirs/guest", seen)) == DONE


@pytest.mark.parametrize("folder", ["/dev", "/proc", "/run", "/sys"])
@pytest.mark.long
def test_no_image_is_made_in_memory(machine, folder):
    outcome = machine.perform(MakeImage(f"{folder}/fact-guest", "raw", size=MIB))
    assert outcome.result is Result.FAILED
    assert "would be lost at the next boot" in outcome.output


def test_a_folder_in_memory_is_on_a_device_that_is_mounted_so(machine):
    """The device of a folder, as stat(1) says it, is the third word of its line in mountinfo."""
    machine.write("/run/facts/file", "x")
    answers = machine.writer.read(storage.way_reads("/run/facts/file"))
    assert storage.way("/run/facts/file", answers).memory == "tmpfs on /run"
    assert storage.way(BASE, machine.writer.read(storage.way_reads(BASE))).memory is None
    machine.remove("/run/facts/file")


def test_a_file_is_fetched_checked_and_kept(machine):
    digest = sha256(content(machine, BASE)).hexdigest()
    with machine.served(BASE) as url:
        assert machine.perform(FetchFile(url, digest, GUEST)) == DONE
        assert content(machine, GUEST) == content(machine, BASE)
        assert machine.mode(GUEST) == 0o600
        other = "0" * 64
        outcome = machine.perform(FetchFile(f"{url}?token", other, f"/srv/facts/{other}"))
        assert outcome.result is Result.FAILED
        assert outcome.output.endswith(f"{url}?… has SHA-256 {digest}, expected {other}; it was removed\n")
        outcome = machine.perform(FetchFile(f"{url}-none", other, f"/srv/facts/{other}"))
        assert outcome.result is Result.FAILED
        assert "404" in outcome.output
    assert machine.perform(FetchFile(url, digest, GUEST)) == DONE
