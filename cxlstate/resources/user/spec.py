"""What may be said of a user: groups, shell, home, keys, and the hash of a password by reference."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    TypeAdapter,
    ValidationInfo,
    WithJsonSchema,
)

from cxlstate.core.diagnostic import Diagnostic
from cxlstate.core.model import BesideContent, BesideFile, Model, check, problem
from cxlstate.core.reference import SecretReference
from cxlstate.core.secret import Secret
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


class User(Model):
    """A user. What is not written is left as it is."""

    groups: Annotated[tuple[GroupName, ...], Field(strict=False)] = Field(
        default=(), examples=[["kvm", "libvirt"]]
    )
    """Groups that it must be in. Others are left."""

    shell: AbsolutePath | None = Field(default=None, examples=["/bin/bash"])
    """What it works in once it has logged in."""

    home: AbsolutePath | None = Field(default=None, examples=["/home/admin"])
    """Where a new user gets its home. That of a user that exists is never moved."""

    authorized_keys: Keys = Field(default=(), examples=[[{"file": "~/.ssh/id_ed25519.pub"}]])
    """Public keys that it can log in with: lines, or files beside the spec. Others are left."""

    password_hash: SecretReference | None = Field(default=None, examples=[{"env": "ADMIN_HASH"}])
    """A hash as `mkpasswd` prints it, by reference; `!` locks the password."""

    state: Literal["present", "absent"] = Field(default="present", examples=["absent"])
    """`absent`: neither the user nor its home is there."""

    @property
    def keys(self) -> tuple[str, ...]:
        """Every line of every file."""
        return tuple(
            line
            for one in self.authorized_keys
            for line in ([one.strip()] if isinstance(one, str) else _lines(one))
        )

    @property
    def hash(self) -> Secret | None:
        """Without the newline that a file or a command ends with."""
        if self.password_hash is None:
            return None
        written = self.password_hash.value
        return Secret(written.reveal().strip(), written.reference)

    @property
    def may_be_made(self) -> bool:
        """Whether it says more than which groups a user is in that exists: a slip in a name makes nobody."""
        more = self.shell or self.home or self.authorized_keys or self.password_hash
        return self.state == "present" and (bool(more) or "state" in self.model_fields_set)

    @check
    def _absent_says_nothing_more(self) -> Iterator[Diagnostic]:
        for word in ("groups", "shell", "home", "authorized_keys", "password_hash"):
            if self.state == "absent" and getattr(self, word):
                yield Diagnostic(
                    "CXU104",
                    f"an absent user has no {word}",
                    path=(word,),
                    found="state: absent",
                    hint=f"remove `{word}` or `state: absent`",
                )
