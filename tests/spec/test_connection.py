"""What one look at a spec's text tells of where its machine is."""

from __future__ import annotations

import pytest

from cxlstate.core.connect import Ssh
from cxlstate.spec.connection import glimpse
from cxlstate.spec.load import load

SEEN = {
    "  connect: ssh://box": Ssh("box"),
    "  connect: ssh://admin@box:2222   # by the lab's gateway": Ssh("box", "admin", 2222),
    "  connect: ssh://[fe80::1]:22": Ssh("fe80::1", None, 22),
    "  connect: ssh://box\r": Ssh("box"),
}
NOT_SEEN = [
    "",
    "  connect: local",
    "  connect: sim:lab",
    "# connect: ssh://box",
    "  connect: ssh://box/path",
    "  connect: ssh://box\n  connect: ssh://other",
]


@pytest.mark.parametrize(("line", "connect"), SEEN.items())
def test_it_is_what_the_spec_says(tmp_path, line, connect):
    file = tmp_path / "box.yaml"
    file.write_bytes(f"apiVersion: cxlstate/v1\nhost:\n  name: box\n{line}\n".encode())
    assert glimpse([file]) == connect
    assert [spec.connect for spec in load([file]).specs] == [connect]


@pytest.mark.parametrize("line", NOT_SEEN)
def test_nothing_is_guessed_where_it_is_not_clear(tmp_path, line):
    file = tmp_path / "box.yaml"
    file.write_text(f"host:\n  name: box\n{line}\n")
    assert glimpse([file]) is None


def test_only_a_single_file_is_looked_at(tmp_path):
    file = tmp_path / "box.yaml"
    file.write_text("  connect: ssh://box\n")
    assert glimpse([file, file]) is None
    assert glimpse([tmp_path]) is None
    assert glimpse([tmp_path / "missing.yaml"]) is None
    file.write_bytes(b"\xff  connect: ssh://box\n")
    assert glimpse([file]) is None
