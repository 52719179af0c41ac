"""Variables of the environment that hold secrets: taken out of it before any program of others is started.

So none inherits them, be it ssh's `ProxyCommand` or a command that prints another secret. Our own process
that connects may run already: it takes over this environment when it is told its host.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from cxlstate.spec.document import Document, Mapping, Node, Scalar, Sequence

_withheld: dict[bytes, bytes] = {}
"""For as long as this process runs."""


def withhold(document: Document) -> None:
    """Take out those that a spec names."""
    for name in _variables(document.root):
        if name in os.environb:
            _withheld[name] = os.environb.pop(name)


def variable(name: str) -> bytes | None:
    """What the environment holds, or held. None: it is not set."""
    key = os.fsencode(name)
    return os.environb.get(key, _withheld.get(key))


def _variables(node: Node) -> Iterator[bytes]:
    """Of every `{env: NAME}`."""
    match node:
        case Mapping(entries=entries):
            if len(entries) == 1 and (entry := entries.get("env")) and isinstance(entry.value, Scalar):
                yield os.fsencode(entry.value.text)
            for one in entries.values():
                yield from _variables(one.value)
        case Sequence(items=items):
            for item in items:
                yield from _variables(item)
