"""The base of every spec model: frozen, no unknown keys, no silent conversion."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from pydantic_core import PydanticCustomError


class Model(BaseModel):
    """What a user may write. Field names are the field's own terms (GRUB, kernel, libvirt)."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True, populate_by_name=True
    )


def problem(
    code: str, message: str, *, found: str | None = None, expected: str | None = None, hint: str | None = None
) -> PydanticCustomError:
    """A refusal with a code, to be raised in a validator; the spec layer adds where it stands."""
    context = {"text": message, "found": found, "expected": expected, "hint": hint}
    return PydanticCustomError(code, "{text}", context)


def canonical(spec: object) -> str:
    """What the user wrote for a resource, as one text: equal texts mean equal wishes."""
    return spec.model_dump_json(exclude_unset=True) if isinstance(spec, BaseModel) else repr(spec)
