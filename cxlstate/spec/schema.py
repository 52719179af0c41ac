"""The JSON Schema of a spec file, for editors, and what it knows about the keys of any place.

Draft 7, which yaml-language-server understands in all its versions.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from inspect import cleandoc
from typing import Any

from pydantic import TypeAdapter

from cxlstate.core.machine import Scope
from cxlstate.core.path import Path
from cxlstate.core.reconciler import Kind, Shape
from cxlstate.spec.envelope import API_VERSION, GUEST, MAX_RESOURCE_NAME, Guest, Host

Kinds = Mapping[str, Kind]
Schema = dict[str, Any]


def schema(kinds: Kinds | None = None) -> Schema:
    """The schema of a whole file, made of the envelope and of the model of each kind."""
    if kinds is None:
        from cxlstate.resources import kinds as all_kinds  # noqa: PLC0415  # with its models, only when asked

        kinds = all_kinds()
    ordered = sorted(kinds.values(), key=lambda kind: kind.kind)
    made, shared = TypeAdapter.json_schemas(
        [((kind.kind, "entry"), "validation", TypeAdapter(kind.reconciler.model)) for kind in ordered]
        + [((kind.kind, "name"), "validation", TypeAdapter(kind.reconciler.key)) for kind in ordered]
        + [((GUEST, "entry"), "validation", TypeAdapter(Guest))]
    )
    defined = shared["$defs"]
    host = Host.model_json_schema()
    words = {
        scope: {
            kind.place.key: _placed(
                kind, made[(kind.kind, "entry"), "validation"], made[(kind.kind, "name"), "validation"]
            )
            for kind in ordered
            if scope in kind.place.scopes
        }
        for scope in Scope
    }
    guest = made[(GUEST, "entry"), "validation"]
    _definition(defined, guest)["properties"] |= words[Scope.GUEST]
    for kind in ordered:
        if kind.has_guest:
            _definition(defined, made[(kind.kind, "entry"), "validation"])["properties"][GUEST] = guest
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "cxlstate spec",
        "description": "The desired state of one host and its virtual machines",
        "type": "object",
        "required": ["apiVersion", "host"],
        "additionalProperties": False,
        "properties": {
            "apiVersion": {"const": API_VERSION, "description": "The version of this file's vocabulary"},
            "host": {
                "type": "object",
                "description": cleandoc(Host.__doc__ or ""),
                "required": host["required"],
                "additionalProperties": False,
                "properties": host["properties"] | words[Scope.HOST],
            },
            **words[Scope.ROOT],
        },
        "$defs": defined,
    }


def text(kinds: Kinds | None = None) -> str:
    """The schema as it is kept in `schemas/`."""
    return json.dumps(schema(kinds), indent=2, ensure_ascii=False) + "\n"


def keys_at(document: Schema, path: Path) -> list[str]:
    """The keys of the mapping at a path, or the words of which one stands there; none where any may be."""
    here = list(_alternatives(document, document))
    for step in path:
        here = [
            one for each in here for below in _below(each, step) for one in _alternatives(document, below)
        ]
    keys = sorted({key for each in here for key in each.get("properties", {})})
    return keys or [str(word) for each in here for word in each.get("enum", ())]


def _placed(kind: Kind, entry: Schema, name: Schema) -> Schema:
    match kind.place.shape:
        case Shape.ONE:
            return entry
        case Shape.LIST:
            return {**_about(kind), "type": "array", "items": entry}
        case Shape.MAP:
            names = {"minLength": 1, "maxLength": MAX_RESOURCE_NAME, **name}
            return {**_about(kind), "type": "object", "additionalProperties": entry, "propertyNames": names}


def _about(kind: Kind) -> Schema:
    """What the package of a kind says of itself."""
    package = sys.modules[type(kind).__module__]
    return {"description": cleandoc(package.__doc__ or "")} if hasattr(package, "__path__") else {}


def _definition(defined: Mapping[str, Schema], one: Schema) -> Schema:
    return defined[one["$ref"].rsplit("/", 1)[-1]]


def _alternatives(document: Schema, one: Schema) -> Iterator[Schema]:
    if "$ref" in one:
        yield from _alternatives(document, _definition(document["$defs"], one))
    for word in ("anyOf", "oneOf", "allOf"):
        for each in one.get(word, ()):
            yield from _alternatives(document, each)
    yield one


def _below(one: Schema, step: str | int) -> Iterable[Schema]:
    if isinstance(step, int):
        below = one.get("items")
    else:
        below = one.get("properties", {}).get(step, one.get("additionalProperties"))
    return [below] if isinstance(below, dict) else []
