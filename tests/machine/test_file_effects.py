"""Files with an owner, put in place by a real shell; nothing on the way leads it elsewhere."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from cxlstate.core.action import RemoveFile, Run
from cxlstate.core.file import PermitFile, PutFile
from cxlstate.core.secret import Secret
from cxlstate.machine.outcome import Outcome, Result
from cxlstate.machine.posix.agent import Settings
from cxlstate.machine.posix.writer import PosixWriter
from tests.machine.conftest import ENTRY, digest
from tests.machine.test_image_effects import Mounted
from tests.machine.test_writing import journal, leftovers

DONE = Outcome(Result.DONE)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


def modes(path):
    stat = path.stat()
    return stat.st_uid, stat.st_gid, stat.st_mode & 0o7777


@pytest.mark.parametrize("content", [b"", b"text\n", bytes(range(256)) * 9])
def test_a_new_file_has_its_owner_and_mode_from_the_start(writer, tmp_path, content):
    path = tmp_path / "new" / "-folder of mine" / "file.conf"
    assert writer.perform(PutFile(str(path), content, None, "daemon", "adm", 0o640), ENTRY) == DONE
    assert path.read_bytes() == content
    assert modes(path) == (1, 4, 0o640)
    assert modes(path.parent) == modes(path.parent.parent) == (0, 0, 0o755)
    assert not leftovers(tmp_path)


def test_private_folders_are_the_owners(writer, tmp_path):
    path = tmp_path / "home" / ".ssh" / "authorized_keys"
    path.parent.parent.mkdir()
    effect = PutFile(str(path), b"key\n", None, "daemon", "daemon", 0o600, private=True)
    assert writer.perform(effect, ENTRY) == DONE
    assert (modes(path.parent), modes(path)) == ((1, 1, 0o700), (1, 1, 0o600))


def test_what_is_not_written_is_kept_and_the_old_content_is_stored(writer, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    os.chown(path, 1234, 5678)
    path.chmod(0o604)
    os.setxattr(path, "user.note", b"kept")
    assert writer.perform(PutFile(str(path), b"new", digest(b"old"), mode=0o600), ENTRY) == DONE
    assert (path.read_bytes(), modes(path)) == (b"new", (1234, 5678, 0o600))
    assert os.getxattr(path, "user.note") == b"kept"
    assert (tmp_path / "state" / "blobs" / digest(b"old")).read_bytes() == b"old"
    assert journal(tmp_path)[-1]["after"] == digest(b"new")


@pytest.mark.skipif(shutil.which("setfacl") is None, reason="needs acl")
def test_who_may_do_what_stays_also_with_another_owner(writer, tmp_path):
    """An access control list, and set-user-ID, which chown(1) takes away."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o4750)
    subprocess.run(["setfacl", "-m", "u:daemon:r", path], check=True)
    assert writer.perform(PutFile(str(path), b"new", digest(b"old"), owner="bin"), ENTRY) == DONE
    assert path.stat().st_mode & 0o7777 == 0o4750
    said = subprocess.run(["getfacl", "-cn", path], capture_output=True, text=True, check=True).stdout
    assert "user:1:r--" in said


def test_of_a_secret_nothing_is_kept(writer, tmp_path):
    path = tmp_path / "token"
    path.write_bytes(b"hunter1")
    effect = PutFile(str(path), Secret(b"hunter2"), digest(b"hunter1"), mode=0o600)
    assert writer.perform(effect, ENTRY) == DONE
    assert (path.read_bytes(), modes(path)[2]) == (b"hunter2", 0o600)
    stale = PutFile(str(path), Secret(b"hunter3"), digest(b"hunter1"), mode=0o600)
    assert writer.perform(stale, ENTRY).result is Result.STALE
    hidden = Secret(digest(b"hunter2").encode())
    assert writer.perform(PutFile(str(path), b"plain", hidden), ENTRY) == DONE
    path.write_bytes(b"hunter4")
    assert writer.perform(RemoveFile(str(path), hidden), ENTRY).result is Result.STALE
    assert writer.perform(RemoveFile(str(path), Secret(digest(b"hunter4").encode())), ENTRY) == DONE
    assert not path.exists()
    kept = b"".join(one.read_bytes() for one in (tmp_path / "state").rglob("*") if one.is_file())
    for password in (b"hunter1", b"hunter2", b"hunter3", b"hunter4"):
        assert password not in kept
        assert digest(password).encode() not in kept
    assert not list((tmp_path / "state" / "blobs").iterdir())


@pytest.mark.parametrize("expected", [None, "0" * 64])
def test_a_file_that_is_not_what_was_expected_is_left_alone(writer, tmp_path, expected):
    path = tmp_path / "file"
    path.write_bytes(b"somebody's edit")
    assert writer.perform(PutFile(str(path), b"ours", expected), ENTRY).result is Result.STALE
    assert path.read_bytes() == b"somebody's edit"
    assert writer.perform(PutFile(f"{path}.gone", b"ours", "0" * 64), ENTRY).result is Result.STALE
    assert not leftovers(tmp_path)


def test_no_link_is_followed_in_place_of_the_file(writer, tmp_path):
    precious = tmp_path / "precious"
    precious.write_bytes(b"old")
    path = tmp_path / "file"
    path.symlink_to(precious)
    for effect in (
        PutFile(str(path), b"new", digest(b"old"), "daemon", mode=0o666),
        PermitFile(str(path), "daemon", mode=0o666),
    ):
        outcome = writer.perform(effect, ENTRY)
        assert outcome.result is Result.FAILED
        assert "not a regular file" in outcome.output
    assert (precious.read_bytes(), modes(precious)) == (b"old", (0, 0, 0o644))
    assert not leftovers(tmp_path)


@pytest.mark.parametrize("missing", ["", "deeper/"])
def test_no_link_is_followed_on_the_way(writer, tmp_path, missing):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").write_bytes(b"old")
    (tmp_path / "way").symlink_to(elsewhere)
    path = f"{tmp_path}/way/{missing}file"
    for effect in (PutFile(path, b"new", digest(b"old")), PermitFile(path, "daemon")):
        assert "symbolic link" in writer.perform(effect, ENTRY).output
    assert [one.name for one in elsewhere.iterdir()] == ["file"]
    assert (elsewhere / "file").read_bytes() == b"old"
    assert not leftovers(tmp_path)


def test_a_directory_or_pipe_is_refused_and_nothing_waits(writer, tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("folder", "pipe"):
        for effect in (PutFile(str(tmp_path / name), b"new"), PermitFile(str(tmp_path / name), "daemon")):
            assert writer.perform(effect, ENTRY).result is Result.FAILED
    assert not leftovers(tmp_path)


def test_owner_and_mode_are_set(writer, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"text")
    assert writer.perform(PermitFile(str(path), "daemon", "adm", 0o4750), ENTRY) == DONE
    assert modes(path) == (1, 4, 0o4750)
    assert writer.perform(PermitFile(str(path), group="root"), ENTRY) == DONE
    assert modes(path)[:2] == (1, 0)


def test_an_unknown_owner_leaves_the_file_as_it_was(writer, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    outcome = writer.perform(PutFile(str(path), b"new", digest(b"old"), "nobody-here"), ENTRY)
    assert outcome.result is Result.FAILED
    assert path.read_bytes() == b"old"
    assert not leftovers(tmp_path)


def test_a_folder_that_its_owner_swaps_all_the_time_never_leads_elsewhere(writer, tmp_path):
    """The owner of the folder puts a link to root's own in its place, again and again."""
    home, roots = tmp_path / "home", tmp_path / "roots"
    for folder in (home, roots, home / ".ssh"):
        folder.mkdir()
    os.chown(home, 65534, 65534)
    os.chown(home / ".ssh", 65534, 65534)
    tmp_path.chmod(0o755)
    swap = """import os
while True:
    os.rename('.ssh', 'x'); os.symlink('../roots', '.ssh'); os.unlink('.ssh'); os.rename('x', '.ssh')"""
    attacker = subprocess.Popen(["python3", "-c", swap], cwd=home, user=65534, group=65534, extra_groups=[])
    try:
        for number in range(25):
            path = home / ".ssh" / f"key{number}"
            writer.perform(PutFile(str(path), b"key", None, "nobody", "nogroup", 0o600, private=True), ENTRY)
    finally:
        attacker.terminate()
        attacker.wait()
    assert list(roots.iterdir()) == []
    assert modes(roots) == (0, 0, 0o755)


# A disk that takes nothing: as of a kernel's source tree ----------------------------------------------

FULL = "mount -t tmpfs -o size=64k none {0} && cp {0}.c {0}/hmem.c && head -c 1M /dev/zero >{0}/full;"
CLOSED = "cp {0}.c {0}/hmem.c && mount --bind {0} {0} && mount -o remount,ro,bind {0};"


@pytest.mark.parametrize(
    ("mount", "why"), [(FULL, "No space left on device"), (CLOSED, "Read-only file system")]
)
def test_a_file_is_whole_where_the_disk_takes_nothing(places, tmp_path, mount, why):
    tree, before = tmp_path / "tree", b"old line\n" * 400
    tree.mkdir()
    tree.with_suffix(".c").write_bytes(before)
    path = tree / "hmem.c"
    writer = PosixWriter(
        Mounted(mount.format(tree)), "box", survives_reboot=False, settings=Settings(**places, patience=5)
    )
    for effect in (
        PutFile(str(path), b"new line\n" * 9000, digest(before)),
        PutFile(str(tree / ".cxlstate-note.patch"), b"a note\n" * 9000),
    ):
        outcome = writer.perform(effect, ENTRY)
        assert (outcome.result, why in outcome.output) == (Result.FAILED, True), outcome
    found = writer.perform(Run(("find", str(tree), "-type", "f")), ENTRY).output.split()
    assert {*found} - {f"{tree}/full"} == {str(path)}
    assert writer.perform(Run(("sha256sum", str(path))), ENTRY).output.split()[0] == digest(before)
    writer.close()
