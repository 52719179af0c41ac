"""The base of every spec model: frozen, no unknown keys, no silent conversion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Annotated, Any, Final

from pydantic import (
    BaseModel,
    ConfigDict,
    GetJsonSchemaHandler,
    PlainSerializer,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, PydanticCustomError

BESIDE: Final = "beside"
"""In the context of a validation: a function from a path, as written, to the text of that file."""


class Model(BaseModel):
    """What a user may write. Field names are the field's own terms (GRUB, kernel, libvirt)."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, populate_by_name=True, defer_build=True
    )

    @classmethod
    def __get_pydantic_json_schema__(cls, made: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """With the docstring below each field as its description.

        Pydantic's own `use_attribute_docstrings` parses the source of every model at each start.
        """
        schema = handler(made)
        described = handler.resolve_ref_schema(schema)["properties"]
        for name, text in _docstrings(cls).items():
            described[cls.model_fields[name].alias or name]["description"] = text
        return schema


@cache
def _docstrings(model: type[Model]) -> dict[str, str]:
    """The text below each field, those of the classes it inherits from included."""
    import ast  # noqa: PLC0415  # only a schema needs it
    import inspect  # noqa: PLC0415  # as above
    import textwrap  # noqa: PLC0415  # as above

    found: dict[str, str] = {}
    for each in reversed(model.__mro__[: model.__mro__.index(Model)]):
        for statement in ast.parse(textwrap.dedent(inspect.getsource(each))).body:
            for pair in pairwise(getattr(statement, "body", ())):
                match pair:
                    case ast.AnnAssign(target=ast.Name(name)), ast.Expr(ast.Constant(str(text))):
                        found[name] = inspect.cleandoc(text)
    return found


def problem(
    code: str, message: str, *, found: str | None = None, expected: str | None = None, hint: str | None = None
) -> PydanticCustomError:
    """A refusal with a code, to be raised in a validator; the spec layer adds where it stands."""
    context = {"text": message, "found": found, "expected": expected, "hint": hint}
    return PydanticCustomError(code, "{text}", context)


@dataclass(frozen=True, slots=True)
class Beside:
    """A text file that stands beside the spec, and its content."""

    path: str
    text: str


def _beside(value: object, info: ValidationInfo) -> Beside:
    """Whoever reads the spec knows where it stands, and reads."""
    if isinstance(value, Beside):
        return value
    context: Mapping[str, Any] = info.context or {}
    if not isinstance(value, str) or not value or BESIDE not in context:
        raise problem("CXS213", "not a file beside the spec", found=str(value)[:80], expected="its path")
    return Beside(value, context[BESIDE](value))


BesideText = Annotated[
    Beside,
    PlainValidator(_beside),
    PlainSerializer(lambda one: one.path, return_type=str),
    WithJsonSchema({"type": "string", "description": "A file, by its path from the folder of the spec"}),
]
"""A file beside the spec, written as its path."""


def canonical(spec: object) -> str:
    """What the user wrote for a resource, as one text: equal texts mean equal wishes."""
    return spec.model_dump_json(exclude_unset=True) if isinstance(spec, BaseModel) else repr(spec)
