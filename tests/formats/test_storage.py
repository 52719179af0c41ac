"""Answers of stat(1) in another form than asked for are refused where they are read."""

from __future__ import annotations

import pytest

from cxlstate.core.answers import Answer, Answers
from cxlstate.formats.storage import stat, stat_of


def of(line: str) -> Answers:
    return Answers({stat("/x"): Answer(0, line.encode())})


def test_a_line_is_mode_device_and_inode_size_owner_and_name():
    found = stat_of("/x", of("81a4 65024:7 40 root:kvm:/x\n"))
    assert found is not None
    assert (found.permissions, found.number, found.size, found.group) == ("0644", "254:0", 40, "kvm")


@pytest.mark.parametrize(
    "words",
    ["81a4 7 40", "81a4 2049{7 40", "81a4 x:7 40", f"{'f' * 9} 2049:7 40", "-1 2049:7 40", "81a4 1:2 x"],
)
def test_a_line_of_another_form_is_an_error(words):
    with pytest.raises(ValueError, match=r"."):
        stat_of("/x", of(f"{words} root:root:/x\n"))
