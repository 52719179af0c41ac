"""Calls to a guest agent: JSON commands and their answers, and why there is none.

Sources: QEMU `qga/qapi-schema.json`; libvirt `src/qemu/qemu_agent.c`, `include/libvirt/virterror.h`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, Protocol

INPUT: Final = 96 << 10
"""Bytes that a command may be given, compressed. Tried (QEMU 10.0, libvirt 9.0, qemu-ga 7.2): 140,000 arrive,
of 170,000 some are lost on the virtio port, and the agent says nothing more until it is started anew."""

MOST: Final = 3_000_000
"""Bytes that a command may say: base64 and what is around it have to fit into 4 MiB, the
longest string of libvirt's RPC (REMOTE_STRING_MAX in src/remote/remote_protocol.x)."""


class Silent(Exception):
    """The agent does not answer, or is not there. The text says how that was noticed."""


class Denied(Exception):
    """The agent answers, and does not do it. The text is the agent's own."""


class Ask(Protocol):
    """Hands over one command and returns what came back, both as JSON."""

    def __call__(self, command: str, patience: int) -> str:
        """Raises Silent, Denied, Lost."""
        ...


def call(ask: Ask, name: str, patience: int, **arguments: object) -> Any:
    """What a command returned. Raises Silent, Denied, Lost."""
    command = {"execute": name, **({"arguments": arguments} if arguments else {})}
    try:
        return json.loads(ask(json.dumps(command), patience))["return"]
    except (ValueError, KeyError, TypeError, RecursionError) as odd:
        raise Silent(f"its answer to {name} is not understood: {type(odd).__name__}") from odd


def whole(answer: object, key: str) -> int:
    """A number in an answer. Raises Silent where it is none: a guest may say anything."""
    found = answer.get(key) if isinstance(answer, Mapping) else None
    if not isinstance(found, int) or isinstance(found, bool):
        raise Silent(f"its answer has no number {key}")
    return found


def text(answer: object, key: str) -> str:
    """A text in an answer, or nothing. Raises Silent where it is something else."""
    found = answer.get(key, "") if isinstance(answer, Mapping) else None
    if not isinstance(found, str):
        raise Silent(f"its answer has no text {key}")
    return found
