"""Where the machine of a spec is, before the spec is checked: only what its `host` says, and nothing else."""

from __future__ import annotations

import os

import pytest

from cxlstate.core.connect import Ssh
from cxlstate.spec.glimpse import glimpse
from cxlstate.spec.load import load
from cxlstate.spec.yaml_text import MAX_BYTES

SEEN = {
    "  name: box\n  connect: ssh://box": Ssh("box"),
    "  name: box\n  connect: ssh://admin@box:2222   # by the lab's gateway": Ssh("box", "admin", 2222),
    "  name: box\n  connect: ssh://[fe80::1]:22": Ssh("fe80::1", None, 22),
    "  name: box\n  connect: ssh://box\r": Ssh("box"),
    "  {name: box, connect: 'ssh://box'}": Ssh("box"),
    '  name: "box"\n  "connect": >-\n    ssh://box': Ssh("box"),
    "  name: box": Ssh("box"),
}
NOT_SEEN = {
    "no name": "  connect: ssh://box",
    "local": "  name: box\n  connect: local",
    "simulated": "  name: box\n  connect: sim:lab",
    "a port too high": "  name: box\n  connect: ssh://box:99999",
    "a path": "  name: box\n  connect: ssh://box/path",
    "a name that is none": "  name: -box\n  connect: ssh://box",
    "a number for a name": "  name: 7\n  connect: ssh://box",
    "written twice": "  name: box\n  connect: ssh://box\n  connect: ssh://other",
    "in a block of text": "  name: box\n  connect: sim:lab\n  grub: |\n    connect: ssh://box",
    "of somebody else": "  name: box\n  connect: sim:lab\n  other:\n    connect: ssh://box",
    "a list": "  [connect, ssh://box]",
    "not YAML": "  name: box\n  connect: ssh://box\n  {",
    "an anchor": "  name: &a box\n  connect: ssh://box",
}


@pytest.mark.parametrize(("host", "connect"), SEEN.items())
def test_it_is_what_the_spec_says(tmp_path, host, connect):
    file = tmp_path / "box.yaml"
    file.write_bytes(f"apiVersion: cxlstate/v1\nhost:\n{host}\n".encode())
    assert glimpse([file]) == connect
    assert [tree.host.connect for tree in load([file]).trees] == [connect]


@pytest.mark.parametrize("host", NOT_SEEN.values(), ids=NOT_SEEN)
def test_nothing_else_is_connected_to(tmp_path, host):
    file = tmp_path / "box.yaml"
    file.write_text(f"apiVersion: cxlstate/v1\nhost:\n{host}\n")
    assert glimpse([file]) is None


def test_only_a_single_file_that_can_be_read_is_looked_at(tmp_path):
    file = tmp_path / "box.yaml"
    file.write_text("host:\n  name: box\n")
    assert glimpse([file]) == Ssh("box")
    assert glimpse([file, file]) is None
    assert glimpse([tmp_path]) is None
    assert glimpse([tmp_path / "missing.yaml"]) is None
    os.mkfifo(tmp_path / "pipe.yaml")
    assert glimpse([tmp_path / "pipe.yaml"]) is None
    file.write_bytes(b"host:\n  name: box\xff\n")
    assert glimpse([file]) is None
    file.write_bytes(b"host:\n  name: box\n#" + b"x" * MAX_BYTES)
    assert glimpse([file]) is None
