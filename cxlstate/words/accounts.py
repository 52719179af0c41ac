"""Accounts: names of users and groups, paths, and public keys to log in with."""

from __future__ import annotations

import posixpath
import re
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    PlainSerializer,
    PlainValidator,
    TypeAdapter,
    ValidationInfo,
    WithJsonSchema,
)

from cxlstate.core.model import BesideContent, BesideFile, problem
from cxlstate.formats import authorized_keys

# Wider than adduser's rule, so that names of a directory service pass; never a number, which getent
# would look up as an id.
_NAME = r"[A-Za-z_][A-Za-z0-9_.@-]{0,255}"
_BESIDE: TypeAdapter[BesideContent] = TypeAdapter(BesideFile)


def _name(what: str) -> AfterValidator:
    def check(text: str) -> str:
        if not re.fullmatch(_NAME, text):
            raise problem(
                "CXU101",
                f"invalid {what} name",
                found=text[:80],
                expected="letters, digits and _ . @ -, a letter or _ first",
                hint=f"write the name of the {what}, not its number",
            )
        return text

    return AfterValidator(check)


UserName = Annotated[str, _name("user"), WithJsonSchema({"type": "string", "pattern": f"^{_NAME}$"})]
GroupName = Annotated[str, _name("group"), WithJsonSchema({"type": "string", "pattern": f"^{_NAME}$"})]


def _path(text: str) -> str:
    plain = text.startswith("/") and posixpath.normpath(text) == text and text != "/"
    if not plain or not text.isprintable() or ":" in text:
        raise problem("CXU102", "not an absolute path", found=text[:80], expected="such as /bin/bash")
    return text


AbsolutePath = Annotated[
    str, AfterValidator(_path), WithJsonSchema({"type": "string", "pattern": "^/[^:]+$"})
]


def _keys(value: object, info: ValidationInfo) -> tuple[str | BesideContent, ...]:
    """Text of a key, or `{file: PATH}`, which may have several."""
    if not isinstance(value, list | tuple):
        raise problem("CXU103", "not a list of keys", found=str(value)[:80], expected="a list")
    return tuple(_key(one, info) for one in value)


def _key(value: object, info: ValidationInfo) -> str | BesideContent:
    if isinstance(value, BesideContent):
        return value
    if isinstance(value, dict) and set(value) == {"file"}:
        found = _BESIDE.validate_python(value["file"], context=info.context)
        _check(_lines(found), value["file"])
        return found
    _check([value] if isinstance(value, str) else [], value)
    return str(value)


def _check(lines: list[str], written: object) -> None:
    if not lines or any(authorized_keys.parse(line) is None for line in lines):
        private = any("PRIVATE KEY" in line for line in lines) or "PRIVATE KEY" in str(written)
        raise problem(
            "CXU103",
            "not a public key",
            found="a private key" if private else str(written)[:80],
            expected="a line of a .pub file: ssh-ed25519 AAAA… comment, or {file: PATH}",
            hint="name the file that ends with .pub; make a new pair if the private key was shared"
            if private
            else "see ~/.ssh/*.pub, or make one: ssh-keygen -t ed25519",
        )


def _lines(content: BesideContent) -> list[str]:
    text = content.content.decode("utf-8", "replace")
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]


def _written(keys: tuple[str | BesideContent, ...]) -> list[Any]:
    return [one if isinstance(one, str) else {"file": one.path} for one in keys]


Keys = Annotated[
    tuple[str | BesideContent, ...],
    PlainValidator(_keys),
    PlainSerializer(_written, return_type=list[Any]),
    WithJsonSchema(
        {
            "type": "array",
            "items": {
                "anyOf": [
                    {"type": "string"},
                    {
                        "type": "object",
                        "properties": {"file": {"type": "string"}},
                        "required": ["file"],
                        "additionalProperties": False,
                    },
                ]
            },
        }
    ),
]


def lines(keys: tuple[str | BesideContent, ...]) -> tuple[str, ...]:
    """Every line of every file, and those written out."""
    return tuple(line for one in keys for line in ([one.strip()] if isinstance(one, str) else _lines(one)))
