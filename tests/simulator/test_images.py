"""Disk images of the simulator: what is left where an effect is stopped, and what is refused."""

from __future__ import annotations

import json
from contextlib import suppress
from hashlib import sha256

import pytest

from cxlstate.core.action import Run
from cxlstate.core.image import FetchFile, GrowImage, MakeImage, RemoveImage
from cxlstate.core.read import Command, Names
from cxlstate.machine.outcome import Entry, Result
from cxlstate.simulator import qcow2
from cxlstate.simulator.faults import Faults, PowerCut
from cxlstate.simulator.folder import load, save
from cxlstate.simulator.reader import SimReader
from cxlstate.simulator.world import Installed, Process
from cxlstate.simulator.writer import SimWriter

ENTRY = Entry("run", ("image.a",), "a test", "live")
GIB, MIB = 1 << 30, 1 << 20
BASE, GUEST = "/srv/base.qcow2", "/srv/images/guest.qcow2"
CONTENT = qcow2.Header(3 * GIB).pack()
SUM = sha256(CONTENT).hexdigest()
CACHED = f"/var/lib/cxlstate/images/{SUM}"
URL = "https://cloud.example.org/images/base.qcow2"


@pytest.fixture
def directory(tmp_path):
    return prepare(tmp_path / "host")


def prepare(directory):
    """The default host with qemu-img, a base, and the same one on the web."""
    SimReader(directory, "host")
    world = load(directory)
    world.installed["qemu-utils"] = Installed("1:10.0.13")
    save(world, directory)
    for path in (f"root{BASE}", "web/cloud.example.org/images/base.qcow2"):
        (directory / path).parent.mkdir(parents=True)
        (directory / path).write_bytes(CONTENT)
    return directory


def do(directory, effect, faults=None):
    with SimWriter(directory, "host", faults=faults) as writer:
        return writer.perform(effect, ENTRY)


def ask(directory, *argv, operands=()):
    read = Command(argv, operands)
    return SimReader(directory, "host").read([read]).raw(read)


def info(directory, path):
    answer = ask(directory, "qemu-img", "info", "--output=json", "-U", path)
    return json.loads(answer.stdout) if answer.status == 0 else answer.stderr


def identity(directory, path):
    stat = (directory / f"root{path}").stat()
    return f"{stat.st_dev}:{stat.st_ino}"


def hold(directory, path, guest=""):
    world = load(directory)
    world.running.processes.append(Process(4711, [path], "/usr/bin/qemu-system-x86_64 -S", guest))
    save(world, directory)


@pytest.mark.parametrize(
    "header",
    [
        qcow2.Header(512),
        qcow2.Header(20 * GIB, "/srv/base.raw", "raw"),
        qcow2.Header(20 * GIB, "base.qcow2", "qcow2", corrupt=True),
        qcow2.Header((1 << 63) - 512, "/é"),
    ],
)
def test_a_header_comes_back(header):
    assert qcow2.parse(header.pack()) == header
    assert len(header.pack()) <= qcow2.HEAD


@pytest.mark.parametrize("content", [b"", b"QFI\xfb", b"x" * 4096])
def test_what_is_no_qcow2_image_is_none(content):
    assert qcow2.parse(content) is None


def test_without_its_package_there_is_no_qemu_img(tmp_path):
    SimReader(tmp_path / "host", "host")
    assert ask(tmp_path / "host", "qemu-img", "info", "--output=json", "-U", GUEST).status == 127
    outcome = do(tmp_path / "host", MakeImage(GUEST, "qcow2", size=GIB))
    assert outcome.output == "qemu-img is not installed (package qemu-utils)\n"


def test_an_image_is_made_with_all_that_is_asked_for(directory):
    effect = MakeImage(
        GUEST, "qcow2", 20 * GIB, BASE, overlay=True, owner="admin", group="kvm", mode=0o640, sha256=SUM
    )
    assert do(directory, effect).result is Result.DONE
    made = info(directory, GUEST)
    assert (
        made["format"],
        made["virtual-size"],
        made["full-backing-filename"],
        made["backing-filename-format"],
    ) == (*("qcow2", 20 * GIB, BASE, "qcow2"),)
    stat = ask(directory, "stat", "--dereference", "--format=%f %U:%G:%n", operands=(GUEST, "/srv/none"))
    assert (stat.status, stat.text) == (1, f"81a0 admin:kvm:{GUEST}\n")
    assert stat.stderr == "stat: cannot statx '/srv/none': No such file or directory"
    assert do(directory, effect).result is Result.STALE


def test_a_raw_image_takes_no_room(directory):
    assert do(directory, MakeImage("/srv/disk", "raw", 20 * GIB)).result is Result.DONE
    assert (info(directory, "/srv/disk")["format"], info(directory, "/srv/disk")["actual-size"]) == ("raw", 0)
    assert do(directory, GrowImage("/srv/disk", 30 * GIB, "raw")).result is Result.DONE
    assert info(directory, "/srv/disk")["virtual-size"] == 30 * GIB


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"source": "/srv/none"}, "/srv/none is not there, or not a regular file"),
        ({"source": BASE, "sha256": "0" * 64}, f"{BASE} has SHA-256 {SUM}, expected {'0' * 64}"),
        (
            {"source": BASE, "size": GIB},
            f"{BASE} holds a disk of {3 * GIB} bytes, more than the {GIB} that are asked for",
        ),
        (
            {"source": "/etc/hostname", "source_format": "qcow2"},
            "Could not open '/etc/hostname': Image is not in qcow2 format",
        ),
        ({"size": GIB, "owner": "nobody-here"}, "chown: invalid user: 'nobody-here'"),
    ],
)
def test_what_cannot_be_made_leaves_nothing(directory, more, why):
    outcome = do(directory, MakeImage(GUEST, "qcow2", **more))
    assert (outcome.result, outcome.output) == (Result.FAILED, f"{why}\n")
    assert not (directory / f"root{GUEST}").exists()
    assert not list(directory.rglob(".*.cxlstate"))


def test_what_a_path_leads_to_counts(directory):
    """A link of root's into a folder of somebody else, and one into memory."""
    for name in ("theirs", "ram", "links"):
        (directory / f"root/srv/{name}").mkdir()
    for name in ("theirs", "ram"):
        (directory / f"root/srv/links/{name}").symlink_to(f"/srv/{name}")
    machine = json.loads((directory / "machine.json").read_text())
    machine |= {"owners": {"/srv/theirs": "admin:admin"}, "mounts": {"/srv/ram": "tmpfs"}}
    (directory / "machine.json").write_text(json.dumps(machine))
    outcome = do(directory, MakeImage("/srv/links/theirs/guest", "raw", GIB))
    assert "users other than root can replace files in /srv/theirs (owner admin:admin" in outcome.output
    outcome = do(directory, MakeImage("/srv/links/ram/new/guest", "raw", GIB))
    assert "would be lost at the next boot: /srv/ram is in memory (tmpfs)" in outcome.output
    assert not list((directory / "root/srv/ram").iterdir())


def test_a_source_that_needs_other_files_is_refused_where_its_sum_is_named(directory):
    backed = qcow2.Header(GIB, "/etc/shadow", "raw").pack()
    (directory / "root/srv/backed").write_bytes(backed)
    effect = MakeImage(GUEST, "qcow2", source="/srv/backed", sha256=sha256(backed).hexdigest())
    assert "needs other files" in do(directory, effect).output


def test_a_base_of_ours_is_lent_to_who_knows_its_name(directory):
    do(directory, FetchFile(URL, SUM, CACHED))
    assert (directory / f"root{CACHED}").stat().st_mode & 0o777 == 0o600
    do(directory, MakeImage(GUEST, "qcow2", source=CACHED, overlay=True))
    modes = [(directory / f"root{path}").stat().st_mode & 0o777 for path in ("/var/lib/cxlstate", CACHED)]
    assert modes == [0o711, 0o644]


def test_what_is_fetched_is_checked_and_kept(directory):
    assert do(directory, FetchFile(f"{URL}?token=secret", SUM, CACHED)).result is Result.DONE
    assert (directory / f"root{CACHED}").read_bytes() == CONTENT
    (directory / "web/cloud.example.org/images/base.qcow2").unlink()
    assert do(directory, FetchFile(URL, SUM, CACHED)).result is Result.DONE
    assert "secret" not in (directory / "root/var/lib/cxlstate/journal.jsonl").read_text()


def test_what_cannot_be_fetched(directory):
    other = "0" * 64
    outcome = do(directory, FetchFile(f"{URL}?x", other, f"/srv/{other}"))
    assert outcome.output == f"{URL}?… has SHA-256 {SUM}, expected {other}; it was removed\n"
    assert not list((directory / "root/srv").glob("0*"))
    assert "404" in do(directory, FetchFile("https://elsewhere/x", SUM, CACHED)).output
    assert (
        "404"
        in do(directory, FetchFile("https://cloud.example.org/../../root/etc/passwd", SUM, CACHED)).output
    )
    world = load(directory)
    world.archive.online = False
    save(world, directory)
    assert "Could not resolve host: cloud.example.org" in do(directory, FetchFile(URL, SUM, CACHED)).output


@pytest.mark.parametrize("before", [CONTENT[:7], b"of another file", CONTENT + b"more", CONTENT])
def test_whatever_had_come_of_it_before_it_comes_out_right(directory, before):
    part = directory / f"root{CACHED}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(before)
    assert do(directory, FetchFile(URL, SUM, CACHED)).result is Result.DONE
    assert (directory / f"root{CACHED}").read_bytes() == CONTENT
    assert not part.exists()


EFFECTS = {
    "fetch": lambda _: FetchFile(URL, SUM, CACHED),
    "make": lambda _: MakeImage(GUEST, "qcow2", 20 * GIB, BASE, owner="admin"),
    "make raw": lambda _: MakeImage(GUEST, "raw", 4 * MIB),
    "grow": lambda _: GrowImage(BASE, 5 * GIB, "qcow2"),
    "remove": lambda d: RemoveImage(BASE, identity(d, BASE)),
}
IS_DONE = {
    "fetch": lambda d: (d / f"root{CACHED}").read_bytes() == CONTENT,
    "make": lambda d: info(d, GUEST)["virtual-size"] == 20 * GIB,
    "make raw": lambda d: info(d, GUEST)["virtual-size"] == 4 * MIB,
    "grow": lambda d: info(d, BASE)["virtual-size"] == 5 * GIB,
    "remove": lambda d: not (d / f"root{BASE}").exists(),
}


@pytest.mark.parametrize("name", EFFECTS)
def test_stopped_behind_any_step_it_can_be_done_again(tmp_path, name):
    whole = Faults()
    do(prepare(tmp_path / "whole"), EFFECTS[name](tmp_path / "whole"), whole)
    for stop_at in range(1, len(whole.steps) + 1):
        directory = prepare(tmp_path / f"host{stop_at}")
        effect = EFFECTS[name](directory)
        with suppress(PowerCut):
            do(directory, effect, Faults(stop_at=stop_at))
        made = [path for path in (CACHED, GUEST) if (directory / f"root{path}").exists()]
        assert not made or IS_DONE[name](directory), "what is in place is whole"
        result = do(directory, effect).result
        assert result is Result.DONE or (name.startswith("make") and result is Result.STALE)
        assert IS_DONE[name](directory)
        assert not list(directory.rglob(".*.cxlstate")), "no draft is left"
        assert not list(directory.rglob("*.part"))
    assert len(whole.steps) > 2


def test_what_is_in_use_is_locked(directory):
    hold(directory, BASE)
    answer = ask(directory, "qemu-img", "info", "--output=json", BASE)
    assert answer.stderr == (
        f"qemu-img: Could not open '{BASE}': Failed to get shared \"write\" lock\n"
        f"Is another process using the image [{BASE}]?"
    )
    assert info(directory, BASE)["virtual-size"] == 3 * GIB
    outcome = do(directory, GrowImage(BASE, 5 * GIB, "qcow2"))
    assert outcome.output == f"{BASE} is in use, and no running guest has it as a disk\n"
    outcome = do(directory, RemoveImage(BASE, identity(directory, BASE)))
    assert outcome.output == f"{BASE} is in use: process 4711 (qemu-system-x86) has it open\n"
    assert do(directory, RemoveImage(BASE, "1:2")).result is Result.STALE


def test_a_guest_grows_its_own_disk(directory):
    hold(directory, BASE, "cxl_vmx")
    assert do(directory, GrowImage(BASE, 5 * GIB, "qcow2")).result is Result.DONE
    assert do(directory, GrowImage(BASE, 4 * GIB, "qcow2")).result is Result.DONE
    assert info(directory, BASE)["virtual-size"] == 5 * GIB
    assert "not in raw format" in do(directory, GrowImage(BASE, 6 * GIB, "raw")).output


def test_owner_and_mode_by_their_commands(directory):
    def run(*argv):
        return do(directory, Run(argv)).output

    shown = ("stat", "--dereference", "--format=%f %U:%G:%n")
    assert run("chown", "admin", BASE) == ""
    assert run("chown", ":kvm", BASE) == ""
    assert run("chmod", "0640", BASE) == ""
    assert ask(directory, *shown, operands=(BASE,)).text == f"81a0 admin:kvm:{BASE}\n"
    assert run("chown", "a:kvm", BASE) == "chown: invalid user: 'a:kvm'\n"
    assert run("chown", ":b", BASE) == "chown: invalid group: ':b'\n"
    assert (
        run("chown", "root", "/srv/none") == "chown: cannot access '/srv/none': No such file or directory\n"
    )
    assert (
        run("chmod", "0600", "/srv/none") == "chmod: cannot access '/srv/none': No such file or directory\n"
    )


def test_a_closed_folder_hides_what_is_in_it_from_a_user(directory):
    do(directory, FetchFile(URL, SUM, CACHED))
    world = load(directory)
    world.login.root = False
    save(world, directory)
    answer = ask(directory, "stat", "--dereference", "--format=%f %n", operands=(CACHED, BASE))
    assert answer.stderr == f"stat: cannot statx '{CACHED}': Permission denied"
    assert answer.text.endswith(f" {BASE}\n")
    names = Names(CACHED)
    assert SimReader(directory, "host").read([names]).raw(names).status != 0


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/srv/none", "Could not open '/srv/none': No such file or directory"),
        ("/srv", "'file' driver requires '/srv' to be a regular file"),
    ],
)
def test_what_qemu_img_cannot_open(directory, path, why):
    assert info(directory, path) == f"qemu-img: Could not open '{path}': {why}"
