"""The kinds by the place of their entries, with what validates these."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from cxlstate.core.machine import Scope
from cxlstate.core.path import Path
from cxlstate.core.reconciler import Kind
from cxlstate.spec.entry import EntryReader
from cxlstate.spec.schema import Kinds, keys_at, schema


class Vocabulary:
    """Validators are made once, and the schema only for an error."""

    def __init__(self, kinds: Kinds) -> None:
        self.kinds = kinds
        self.at = {(scope, kind.place.key): kind for kind in kinds.values() for scope in kind.place.scopes}
        self._readers: dict[Any, EntryReader] = {}
        self._keys: dict[str, TypeAdapter[Any]] = {}
        self._schema: dict[str, Any] | None = None

    def reader(self, name: str, model: Any) -> EntryReader:
        """What validates the entries of a kind, or a part of the envelope."""
        if name not in self._readers:
            self._readers[name] = EntryReader(model)
        return self._readers[name]

    def key_adapter(self, kind: Kind) -> TypeAdapter[Any]:
        """What validates the names of its entries."""
        if kind.kind not in self._keys:
            self._keys[kind.kind] = TypeAdapter(kind.reconciler.key)
        return self._keys[kind.kind]

    def scopes_of(self, key: str) -> list[Scope]:
        """Where a key has a meaning."""
        return [scope for scope in Scope if (scope, key) in self.at]

    def keys_at(self, path: Path) -> list[str]:
        """The keys that may stand at a path."""
        if self._schema is None:
            self._schema = schema(self.kinds)
        return keys_at(self._schema, path)
