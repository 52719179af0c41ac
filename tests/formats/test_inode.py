"""What a real stat(1) says of names that it has to quote."""

from __future__ import annotations

import subprocess

import pytest

from cxlstate.core.answers import Answer, Answers, ReadFailed
from cxlstate.formats.inode import inode_of, stat

NAMES = ["plain", "café", "it's", "a\"'b", "with blank", "dollar$HOME", "back\\slash", "a: b", "日本 'x' é"]


def asked(path):
    read = stat(str(path))
    done = subprocess.run(
        [*read.argv, *read.operands],
        capture_output=True,
        env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"},
        check=False,
    )
    return Answers({read: Answer(done.returncode, done.stdout, done.stderr.decode())})


@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_there_is_proven_absent_whatever_its_name(tmp_path, name):
    path = tmp_path / name
    assert inode_of(str(path), asked(path)) is None
    path.write_text("x")
    found = inode_of(str(path), asked(path))
    assert found is not None
    assert found.size == 1


def test_what_is_said_of_another_name_proves_nothing(tmp_path):
    (answer,) = [asked(tmp_path / "b").raw(stat(str(tmp_path / "b")))]
    with pytest.raises(ReadFailed):
        inode_of(str(tmp_path / "a"), Answers({stat(str(tmp_path / "a")): answer}))
