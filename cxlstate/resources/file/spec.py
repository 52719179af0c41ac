"""What may be said of a file: its content or a source, its owner, group and mode."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, PlainSerializer, PlainValidator, ValidationInfo, WithJsonSchema

from cxlstate.core.diagnostic import Diagnostic
from cxlstate.core.model import BesideFile, Model, check, problem
from cxlstate.core.reference import REFERENCE_SCHEMA, Reference, reference
from cxlstate.core.secret import Secret

KERNELS: Final = ("/proc", "/sys", "/dev")
_ACCOUNT: Final = r"[A-Za-z_][A-Za-z0-9_.@-]{0,255}"  # as for host.users: never a number
_MODE: Final = r"[0-7]{3,4}"
_PRIVATE: Final = (0o600, 0o400)


def _path(text: str) -> str:
    if not text.startswith("/") or posixpath.normpath(text) != text or text == "/" or not text.isprintable():
        raise problem(
            "CXW101",
            "not an absolute path of a file",
            found=text[:80],
            expected="a path from the root, without `..`, `//` or a slash at its end",
        )
    if any(text == folder or text.startswith(f"{folder}/") for folder in KERNELS):
        raise problem(
            "CXW102",
            "path is not on a disk",
            found=text[:80],
            expected=f"a path outside {', '.join(KERNELS)}",
            hint="the kernel makes these files; for settings of sysctl write a file below /etc/sysctl.d",
        )
    return text


FilePath = Annotated[str, AfterValidator(_path), WithJsonSchema({"type": "string", "pattern": "^/.*[^/]$"})]


def _account(text: str) -> str:
    if not re.fullmatch(_ACCOUNT, text):
        raise problem(
            "CXW103",
            "invalid name of an owner or group",
            found=text[:80],
            expected="letters, digits and _ . @ -, a letter or _ first",
            hint="write the name, not its number",
        )
    return text


Account = Annotated[
    str, AfterValidator(_account), WithJsonSchema({"type": "string", "pattern": f"^{_ACCOUNT}$"})
]


def _mode(value: object) -> int:
    """Text of octal digits. YAML 1.1 and 1.2 disagree on what a bare 0644 is, so that a number is refused."""
    if not isinstance(value, str) or not re.fullmatch(_MODE, value):
        raise problem(
            "CXW104",
            "not a file mode",
            found=str(value)[:80],
            expected="three or four octal digits in quotes: '0644'",
        )
    return int(value, 8)


Mode = Annotated[
    int,
    PlainValidator(_mode),
    PlainSerializer(lambda mode: f"{mode:04o}", return_type=str),
    WithJsonSchema({"type": "string", "pattern": f"^{_MODE}$"}),
]


def _content(value: object, info: ValidationInfo) -> str | Reference:
    return value if isinstance(value, str) else reference(value, info)


Content = Annotated[
    str | Reference,
    PlainValidator(_content),
    PlainSerializer(lambda one: one if isinstance(one, str) else one.written(), return_type=Any),
    WithJsonSchema({"anyOf": [{"type": "string"}, REFERENCE_SCHEMA]}),
]


class FileSpec(Model):
    """A regular file. What is not written is left as it is."""

    content: Content | None = Field(default=None, examples=["nd_pmem\n"])
    """All of it, as text; or a reference to a secret, which takes `mode: '0600'`."""

    source: BesideFile | None = Field(default=None, examples=["motd.txt"])
    """In place of `content`: a file beside the spec. It may hold anything."""

    owner: Account | None = Field(default=None, examples=["root"])
    """User that owns it."""

    group: Account | None = Field(default=None, examples=["root"])
    """Group that it belongs to."""

    mode: Mode | None = Field(default=None, examples=["0644"])
    """Permissions, in octal. A new file gets 0644 without it."""

    state: Literal["present", "absent"] = Field(default="present", examples=["absent"])
    """`absent`: there is no such file."""

    @property
    def wanted(self) -> bytes | Secret | None:
        """The content that it is to have; None: any."""
        if self.source is not None:
            return self.source.content
        if isinstance(self.content, Reference):
            return self.content.value
        return None if self.content is None else self.content.encode("utf-8", "surrogateescape")

    @property
    def secret(self) -> bool:
        """Whether its content is never shown."""
        return isinstance(self.content, Reference)

    @check
    def _one_content(self) -> Iterator[Diagnostic]:
        if self.content is not None and self.source is not None:
            yield Diagnostic(
                "CXW105",
                "`content` and `source` exclude each other",
                path=("source",),
                found="both",
                expected="one of them",
            )

    @check
    def _absent_says_nothing_more(self) -> Iterator[Diagnostic]:
        for word in ("content", "source", "owner", "group", "mode"):
            if self.state == "absent" and getattr(self, word) is not None:
                yield Diagnostic(
                    "CXW106",
                    f"an absent file has no {word}",
                    path=(word,),
                    found="state: absent",
                    hint="remove one of both",
                )

    @check
    def _secret_is_private(self) -> Iterator[Diagnostic]:
        if self.secret and self.state == "present" and self.mode not in _PRIVATE:
            yield Diagnostic(
                "CXW107",
                "a file with a secret must be private",
                path=("content",) if self.mode is None else ("mode",),
                found="no mode" if self.mode is None else f"mode {self.mode:04o}",
                expected="mode: '0600'",
                hint="write `mode: '0600'`",
            )
