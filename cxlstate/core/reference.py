"""Where a secret is to be had. A spec holds references, and never a secret.

What a reference leads to is fetched when a spec is loaded for a machine; `validate` does not need it.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

from pydantic import PlainSerializer, PlainValidator, ValidationInfo, WithJsonSchema

from cxlstate.core.model import problem
from cxlstate.core.secret import Secret

FETCH: Final = "fetch"
"""In the context of a validation: a function from a reference to its `Secret`; it may raise a `problem`."""

_WAYS: Final = ("env", "file", "command")
_EXPECTED: Final = "{env: NAME}, {file: PATH} or {command: [PROGRAM, ARGUMENT…]}"


@dataclass(frozen=True, slots=True)
class Reference:
    """One way to a secret, and the secret, where it was fetched. Two are equal if they are written alike."""

    way: str
    words: tuple[str, ...]
    secret: Secret | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        """For messages: `env PASSWORD`."""
        return f"{self.way} {shlex.join(self.words)}"

    @property
    def value(self) -> Secret:
        """The secret. Raises LookupError where it was not fetched: the spec was only validated."""
        if self.secret is None:
            raise LookupError(f"the secret of {self} was not fetched")
        return self.secret

    def written(self) -> dict[str, object]:
        """As it stands in a spec."""
        return {self.way: list(self.words) if self.way == "command" else self.words[0]}


def reference(value: object, info: ValidationInfo) -> Reference:
    """Read a reference, and fetch its secret if the context says how."""
    found = _parse(value)
    fetch: Callable[[Reference], Secret] | None = (info.context or {}).get(FETCH)
    return Reference(found.way, found.words, fetch(found)) if fetch else found


def _parse(value: object) -> Reference:
    match value:
        case Reference():
            return value
        case Mapping() if len(value) == 1:
            ((way, said),) = value.items()
            words = said if way == "command" and isinstance(said, list) else [said]
            usable = all(isinstance(word, str) and word and "\0" not in word for word in words)
            if way in _WAYS and words and usable and (way != "command" or isinstance(said, list)):
                return Reference(way, tuple(words))
    # The value is not shown: a secret may have been written in its place.
    raise problem(
        "CXS214",
        "a secret is written as a reference",
        found="a literal value" if isinstance(value, str | int) else "another form",
        expected=_EXPECTED,
        hint="put the secret into the environment or a file of mode 0600, and name that",
    )


def _alone(**properties: dict[str, object]) -> list[dict[str, object]]:
    return [
        {"type": "object", "properties": {name: one}, "required": [name], "additionalProperties": False}
        for name, one in properties.items()
    ]


REFERENCE_SCHEMA: Final[dict[str, object]] = {
    "description": "Where a secret is to be had: an environment variable, a file (relative to the folder of"
    " the spec), or what a command prints. The secret itself is never written here.",
    "oneOf": _alone(
        env={"type": "string"},
        file={"type": "string"},
        command={"type": "array", "items": {"type": "string"}, "minItems": 1},
    ),
}

SecretReference = Annotated[
    Reference,
    PlainValidator(reference),
    PlainSerializer(Reference.written, return_type=dict[str, Any]),
    WithJsonSchema(REFERENCE_SCHEMA),
]
"""A secret, written as a reference to it."""
