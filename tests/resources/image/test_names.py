"""The key of an entry becomes an address, which others refer to."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from cxlstate.resources.image.reconcile import reconciler


@pytest.mark.parametrize("name", ["cxl_vmx", "0", "a.b-c_D", "x" * 63])
def test_a_plain_name_is_taken(name: str) -> None:
    assert TypeAdapter(reconciler.key).validate_python(name, strict=True) == name


@pytest.mark.parametrize("name", ["", "-x", ".", "..", "a b", "a'b", "../a", "a\nb", "a\n", "é", "x" * 64])
def test_any_other_is_refused(name: str) -> None:
    with pytest.raises(ValidationError) as error:
        TypeAdapter(reconciler.key).validate_python(name, strict=True)
    assert [one["type"] for one in error.value.errors()] == ["CXI201"]
