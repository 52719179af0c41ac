"""Names of VMs: libvirt has no limit of its own, file names have."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from cxlstate.resources.vm.spec import NAME_MOST, VmName

LONGEST = "packer-debian-13-" + "x" * (NAME_MOST - 17)
NAMES = TypeAdapter(VmName)


@pytest.mark.parametrize("name", ["a", "_a", "ci-7f3a@build+1:2", "x" * 64, LONGEST])
def test_a_name_that_its_files_can_have_is_taken(name: str) -> None:
    assert NAMES.validate_python(name) == name
    assert len(f"{name}_VARS.qcow2") <= 255


@pytest.mark.parametrize(
    ("name", "found"),
    [
        (f"{LONGEST}x", f"{LONGEST[:40]}… of 244 characters"),
        ("my vm", "my vm"),
        ("a/b", "a/b"),
        ("-a", "-a"),
        ("", ""),
    ],
)
def test_another_is_refused_and_its_length_told(name: str, found: str) -> None:
    with pytest.raises(ValidationError) as told:
        NAMES.validate_python(name)
    (error,) = told.value.errors()
    assert error["type"] == "CXQ201"
    assert error["ctx"]["found"] == found
    assert "at most 243" in error["ctx"]["expected"]
