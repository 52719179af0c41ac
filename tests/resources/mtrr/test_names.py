"""The key of an entry becomes a word of the boot script."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from cxlstate.resources.mtrr.reconcile import reconciler


@pytest.mark.parametrize("name", ["cxl0", "0", "a.b-c_D", "x" * 63])
def test_a_plain_name_is_taken(name: str) -> None:
    assert TypeAdapter(reconciler.key).validate_python(name, strict=True) == name


@pytest.mark.parametrize("name", ["", "-x", ".x", "a b", "a'b", "a/b", "a\nb", "é", "x" * 64])
def test_any_other_is_refused(name: str) -> None:
    with pytest.raises(ValidationError) as error:
        TypeAdapter(reconciler.key).validate_python(name, strict=True)
    assert [one["type"] for one in error.value.errors()] == ["CXT201"]
