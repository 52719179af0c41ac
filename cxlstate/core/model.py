"""The base of every spec model: frozen, no unknown keys, no silent conversion."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    GetJsonSchemaHandler,
    PlainSerializer,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, PydanticCustomError, to_jsonable_python

from cxlstate.core.diagnostic import Diagnostic
from cxlstate.core.path import Path

BESIDE: Final = "beside"
"""In the context of a validation: a function from a path, as written, to the text of that file."""

BESIDE_BYTES: Final = "beside-bytes"
"""The same, to the content of a file that may be anything."""


_CHECK: Final = "_is_check"

Check = TypeVar("Check", bound=Callable[[Any], Iterator[Diagnostic]])
T = TypeVar("T")
K = TypeVar("K")


class Refused(Exception):
    """A check asked for a value that is wrong by itself, and so is not known."""


class Hole:
    """An item of a list that was refused: it counts, and nothing can be asked of it."""

    def __getattr__(self, name: str) -> Any:
        raise Refused(name)


HOLE: Final = Hole()


class Model(BaseModel):
    """What a user may write. Field names are the field's own terms (GRUB, kernel, libvirt)."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, populate_by_name=True, defer_build=True
    )

    if not TYPE_CHECKING:  # to mypy a field is there; at run time those that were refused are not

        def __getattr__(self, name: str) -> Any:
            if name in type(self).model_fields:
                raise Refused(name)
            return super().__getattr__(name)

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


def check(method: Check) -> Check:
    """Mark a method of a model as one that looks for faults between fields.

    It yields a diagnostic for each fault, with the path of the wrong value from this model on. It is also
    called where some values of the model were refused: the first use of such a value ends the call, so
    one method looks for one kind of fault.
    """
    setattr(method, _CHECK, True)
    return method


def problems(value: object, path: Path = ()) -> Iterator[Diagnostic]:
    """All faults between fields of a model and of those within it, with paths that begin with `path`."""
    if isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from problems(item, (*path, index))
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from problems(item, (*path, key))
    elif isinstance(value, BaseModel):
        for name, below in vars(value).items():
            yield from problems(below, (*path, *step_of(type(value), name)))
        for method in checks_of(type(value)):
            with suppress(Refused):
                for found in method(value):
                    yield replace(found, path=(*path, *found.path))


def step_of(model: type[BaseModel], name: str) -> Path:
    """How a field is written in the path of a spec; a root model is its only field."""
    return () if model.__pydantic_root_model__ else (model.model_fields[name].alias or name,)


@cache
def checks_of(model: type[BaseModel]) -> tuple[Callable[[BaseModel], Iterator[Diagnostic]], ...]:
    """The checks of a model, those of the classes it inherits from included."""
    members = {name: one for each in reversed(model.__mro__) for name, one in vars(each).items()}
    return tuple(one for one in members.values() if hasattr(one, _CHECK))


def readable(entries: Sequence[T], key: Callable[[T], K]) -> Iterator[tuple[int, K]]:
    """Index and key of each entry whose key does not depend on a value that was refused."""
    for index, entry in enumerate(entries):
        with suppress(Refused):
            yield index, key(entry)


def written(model: BaseModel, *names: str) -> list[str]:
    """Those of some optional fields that say something, be it right or wrong."""
    said = []
    for name in names:
        try:
            if getattr(model, name) not in (None, ()):
                said.append(name)
        except Refused:
            said.append(name)
    return said


def clashes(
    entries: Sequence[T], key: Callable[[T], K], clash: Callable[[K, K], bool]
) -> Iterator[tuple[T, int]]:
    """Index of each entry whose key clashes with the key of an entry before it, and that entry."""
    seen: list[tuple[K, T]] = []
    for index, value in readable(entries, key):
        if before := next((entry for other, entry in seen if clash(other, value)), None):
            yield before, index
        seen.append((value, entries[index]))


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
        raise problem(
            "CXS213",
            "invalid path of a file",
            found=str(value)[:80],
            expected="a path from the folder of the spec",
        )
    return Beside(value, context[BESIDE](value))


BesideText = Annotated[
    Beside,
    PlainValidator(_beside),
    PlainSerializer(lambda one: one.path, return_type=str),
    WithJsonSchema({"type": "string", "description": "A file, by its path from the folder of the spec"}),
]
"""A file beside the spec, written as its path."""


@dataclass(frozen=True, slots=True)
class BesideContent:
    """A file that stands beside the spec, and its content, which may be anything."""

    path: str
    content: bytes = field(repr=False)


def _beside_bytes(value: object, info: ValidationInfo) -> BesideContent:
    if isinstance(value, BesideContent):
        return value
    context: Mapping[str, Any] = info.context or {}
    if not isinstance(value, str) or not value or BESIDE_BYTES not in context:
        raise problem("CXS213", "not a file beside the spec", found=str(value)[:80], expected="its path")
    return BesideContent(value, context[BESIDE_BYTES](value))


BesideFile = Annotated[
    BesideContent,
    PlainValidator(_beside_bytes),
    PlainSerializer(lambda one: one.path, return_type=str),
    WithJsonSchema({"type": "string", "description": "A file, by its path from the folder of the spec"}),
]
"""A file beside the spec, written as its path; text or not."""


def canonical(spec: object) -> str:
    """What the user wrote for a resource, as one text: equal texts mean equal wishes."""
    return spec.model_dump_json(exclude_unset=True) if isinstance(spec, BaseModel) else repr(spec)


def as_written(spec: object) -> Any:
    """What the user wrote for a resource, in the types of JSON."""
    if isinstance(spec, BaseModel):
        return spec.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return to_jsonable_python(spec)
