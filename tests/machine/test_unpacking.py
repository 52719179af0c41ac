"""A tarball is unpacked by a real shell: it takes its place whole, or nothing is left of it."""

from __future__ import annotations

import os

import pytest

from cxlstate.core.file import Unpack
from cxlstate.machine.local import LocalTransport
from cxlstate.machine.outcome import Outcome, Result
from cxlstate.machine.posix.agent import Settings
from cxlstate.machine.posix.writer import PosixWriter
from tests.machine.conftest import ENTRY
from tests.machine.test_writing import journal, leftovers
from tests.tarballs import tarball

DONE = Outcome(Result.DONE)
FILES = {"tree/Makefile": "all:\n", "tree/.gitignore": "*.o\n", "tree/fs/a.c": "a\n"}


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "tree.tar.xz").write_bytes(tarball(FILES))
    return Unpack(str(tmp_path / "tree.tar.xz"), str(tmp_path / "tree"))


def found(folder):
    return {str(one.relative_to(folder)): one.read_text() for one in folder.rglob("*") if one.is_file()}


@pytest.mark.parametrize("packed", ["xz", "gz", ""])
def test_all_of_it_is_there_and_ours(writer, tmp_path, tree, packed):
    (tmp_path / "tree.tar.xz").write_bytes(tarball(FILES, packed))
    assert writer.perform(tree, ENTRY) == DONE
    assert found(tmp_path / "tree") == {path.removeprefix("tree/"): text for path, text in FILES.items()}
    for path, mode in (("tree", 0o755), ("tree/fs", 0o755), ("tree/fs/a.c", 0o644)):
        stat = (tmp_path / path).stat()
        assert (stat.st_uid, stat.st_mode & 0o7777) == (os.geteuid(), mode)
    assert journal(tmp_path)[-1]["path"] == tree.folder
    assert not leftovers(tmp_path)


@pytest.mark.parametrize("there", ["a folder", "an empty folder", "a file", "a link to nothing"])
def test_what_is_there_stays(writer, tmp_path, tree, there):
    path = tmp_path / "tree"
    if "folder" in there:
        path.mkdir()
        (path if there.startswith("an") else path / "mine").touch()
    elif there == "a file":
        path.touch()
    else:
        path.symlink_to("nowhere")
    before = sorted(one.name for one in tmp_path.rglob("*") if "state" not in one.parts)
    assert writer.perform(tree, ENTRY).result is Result.STALE
    assert sorted(one.name for one in tmp_path.rglob("*") if "state" not in one.parts) == before


@pytest.mark.parametrize(
    "content",
    [
        b"no tarball",
        tarball(FILES)[:200],
        tarball({"another/Makefile": ""}),
        tarball({**FILES, "more": ""}),
        tarball({"tree": "a file"}),
    ],
    ids=["none", "cut", "another", "more", "file"],
)
def test_what_is_no_tarball_of_that_folder_leaves_nothing(writer, tmp_path, tree, content):
    (tmp_path / "tree.tar.xz").write_bytes(content)
    assert writer.perform(tree, ENTRY).result is Result.FAILED
    assert not (tmp_path / "tree").exists()
    assert not leftovers(tmp_path)


def test_a_member_that_would_lead_out_is_not_unpacked(writer, tmp_path, tree):
    (tmp_path / "tree.tar.xz").write_bytes(tarball({"tree/Makefile": "", "tree/../../out": "x"}))
    outcome = writer.perform(tree, ENTRY)
    assert (outcome.result, "Member name contains '..'" in outcome.output) == (Result.FAILED, True)
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "tree").exists()
    assert not leftovers(tmp_path)


@pytest.mark.parametrize("there", ["nothing", "a pipe"])
def test_what_is_no_file_is_not_opened(writer, tmp_path, tree, there):
    (tmp_path / "tree.tar.xz").unlink()
    if there == "a pipe":
        os.mkfifo(tmp_path / "tree.tar.xz")
    outcome = writer.perform(tree, ENTRY)
    assert (outcome.result, outcome.output) == (
        Result.FAILED,
        f"{tree.archive} is not there, or not a regular file\n",
    )
    assert not leftovers(tmp_path)


def test_what_a_power_cut_left_is_cleared_away_by_the_next_run(places, tmp_path, tree):
    half = tmp_path / ".tree.cxlstate"
    (half / "tree/fs").mkdir(parents=True)
    (half / "tree/Makefile").write_text("all")
    (tmp_path / "state/tmp").mkdir(parents=True)
    (tmp_path / "state/tmp/leftover").write_text(str(half))
    writer = PosixWriter(LocalTransport(), "box", survives_reboot=False, settings=Settings(**places))
    try:
        assert not half.exists()
        assert writer.perform(tree, ENTRY) == DONE
    finally:
        writer.close()
    assert found(tmp_path / "tree").keys() == {"Makefile", ".gitignore", "fs/a.c"}
