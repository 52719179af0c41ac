"""One entry of a kind: its model, what was refused in it, and the faults between its values."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Final

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import SchemaValidator, core_schema

from cxlstate.core.diagnostic import Diagnostic
from cxlstate.core.model import HOLE, Hole, problems

_CLOSED: Final = frozenset({"union", "tagged-union"})
"""Of several alternatives, only one that is without fault is known to be meant."""

_NO_VALIDATION: Final = frozenset({"metadata", "serialization", "json_schema_input_schema"})


@dataclass(frozen=True, slots=True)
class Entry:
    """What an entry says.

    Where a value was refused, `refused` tells all of those, and `spec` lacks them: using one of them
    raises `core.model.Refused`. `spec` is a `Hole` where nothing of the entry can be used.
    """

    spec: Any
    refused: ValidationError | None
    problems: tuple[Diagnostic, ...]
    """Faults between values that are right by themselves; paths begin at the entry."""

    @property
    def whole(self) -> bool:
        """Whether nothing is wrong with it."""
        return not self.refused and not self.problems


class EntryReader:
    """Validates the entries of one kind."""

    def __init__(self, model: Any) -> None:
        self._adapter: TypeAdapter[Any] = TypeAdapter(model)

    def read(self, written: object, context: Mapping[str, Any] | None = None) -> Entry:
        """Read plain data.

        It goes through JSON because strict JSON is what YAML can say: lists for tuples and sets,
        words for enums, and never text for a number.
        """
        refused = None
        try:
            spec = self._adapter.validate_json(json.dumps(written), strict=True, context=dict(context or {}))
        except ValidationError as error:
            refused = error
            spec = self._lenient.validate_python(written, context=dict(context or {}))
        return Entry(spec, refused, tuple(problems(spec)))

    @cached_property
    def _lenient(self) -> SchemaValidator:
        """The same model, with a hole for each value that is refused. Made for the first error only."""
        return SchemaValidator(
            _tolerant(_lenient(self._adapter.core_schema)), core_schema.CoreConfig(strict=True)
        )


def _lenient(schema: Any) -> Any:
    """A core schema whose fields and items may be wrong, missing or unknown.

    What pydantic-core hands to a function is no longer JSON, so it has to be told that a list is a tuple.
    """
    if isinstance(schema, list):
        return [_lenient(each) for each in schema]
    if not isinstance(schema, dict) or str(schema.get("type")) in _CLOSED:
        return schema
    below = {key: each if key in _NO_VALIDATION else _lenient(each) for key, each in schema.items()}
    match below:
        case {"type": "model-field", "schema": {"type": "default", "schema": value} as default}:
            return {**below, "schema": {**default, "schema": _tolerant(value)}}
        case {"type": "model-field", "schema": value}:
            return {**below, "schema": core_schema.with_default_schema(_tolerant(value), default=HOLE)}
        case {"type": "tuple", "items_schema": items}:
            return {**below, "items_schema": [_tolerant(item) for item in items], "strict": False}
        case {"type": "model-fields"}:
            return {**below, "extra_behavior": "ignore"}
        case {"type": "model", "cls": model, "schema": fields}:
            return core_schema.no_info_after_validator_function(
                partial(_made, model), fields, ref=below.get("ref")
            )
    return below


def _made(model: type[BaseModel], read: Any) -> BaseModel:
    """Make a model without the fields that were refused, so that asking for one of them is noticed.

    `read` is what pydantic-core hands a model: its fields, extra and written ones; of a root model the value.
    """
    fields = {"root": read} if model.__pydantic_root_model__ else read[0]
    made = model.model_construct(**fields)
    for name, value in fields.items():
        if isinstance(value, Hole):
            del vars(made)[name]
    return made


def _tolerant(schema: Any) -> core_schema.CoreSchema:
    return core_schema.no_info_wrap_validator_function(_or_hole, schema)


def _or_hole(value: object, validate: Callable[[object], Any]) -> Any:
    try:
        return validate(value)
    except ValidationError:
        return HOLE
