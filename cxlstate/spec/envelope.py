"""What stands around the kinds: `apiVersion`, `host.name`, `host.connect`, and `connect` of a guest."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Final

from pydantic import AfterValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from cxlstate.core.connect import Via
from cxlstate.core.diagnostic import Diagnostic
from cxlstate.core.machine import Scope
from cxlstate.core.model import Model, check, problem, written
from cxlstate.spec.connection import HOST_NAME, MAX_NAME, MAX_PORT, SSH, SSH_HOST, USER, is_host_name

API_VERSION: Final = "cxlstate/v1"
MAX_RESOURCE_NAME: Final = 255

GUEST: Final = Scope.GUEST.value
"""The key below which the section of a guest stands, in the entry of its VM."""

NOT_YET: Final = {
    Scope.HOST: frozenset({"cxl"}),
    Scope.ROOT: frozenset[str](),
    Scope.GUEST: frozenset[str](),
}
"""Words of the specification that no kind serves yet; one that a kind serves is no longer looked up."""

_CONNECT_EXPECTED: Final = "local, ssh://[user@]host[:port] or sim:DIR"


def _host_name(name: str) -> str:
    if is_host_name(name):
        return name
    raise problem(
        "CXS211",
        "host.name is not a valid host name",
        found=name[:60] or "nothing",
        expected="letters, digits, hyphens and dots, beginning and ending with a letter or digit",
    )


def _connect(text: str) -> str:
    """Checked here and parsed by `parse_connect`, so that it is written back as it was."""
    if text.startswith("sim:"):
        if text.removeprefix("sim:").strip() and text.isprintable():
            return text
        raise _bad_connect(text, "name a folder, such as sim:lab")
    if text == "local":
        return text
    match = re.fullmatch(SSH, text)
    if match is None:
        raise _bad_connect(text)
    if match["port"] and int(match["port"]) > MAX_PORT:
        raise _bad_connect(text, f"a port is at most {MAX_PORT}")
    return text


def _bad_connect(text: str, hint: str | None = None) -> PydanticCustomError:
    if re.match(r"[^@/]*:[^@]*@", text.removeprefix("ssh://")):  # perhaps a password: not shown
        return problem(
            "CXS212",
            "host.connect contains a password",
            expected=_CONNECT_EXPECTED,
            hint="remove it and use a key (`ssh-copy-id`); change the password if the file was shared",
        )
    if text.lower() == "local":
        hint = "write local"
    elif hint is None and re.fullmatch(rf"(?:{USER}@)?(?:{SSH_HOST})(?::[0-9]+)?", text):
        hint = f"write ssh://{text}"
    elif hint is None and text.startswith("ssh://"):
        hint = "remove paths, blanks and leading hyphens; put options into ~/.ssh/config"
    return problem(
        "CXS212",
        "host.connect is not a valid target",
        found=text[:60] or "nothing",
        expected=_CONNECT_EXPECTED,
        hint=hint,
    )


class Host(Model):
    """The machine: its name, how to reach it, and what is to be there."""

    name: Annotated[
        str,
        AfterValidator(_host_name),
        WithJsonSchema({"type": "string", "pattern": f"^{HOST_NAME}$", "maxLength": MAX_NAME}),
    ] = Field(examples=["cloudcxl2"])
    """The machine's name: the first part of every address, unique among all specs."""

    connect: Annotated[
        str,
        AfterValidator(_connect),
        WithJsonSchema({"type": "string", "pattern": re.sub(r"\?P<\w+>", "", f"^(local|sim:.+|{SSH})$")}),
    ] = Field(default_factory=str, examples=["ssh://admin@cloudcxl2:22", "local", "sim:lab"])
    """How the machine is reached. `ssh://` and the host's name unless written; ~/.ssh/config is honoured."""


class GuestConnect(Model):
    """How the guest is reached. Both ways go through its host."""

    user: Annotated[str | None, Field(pattern=f"^{USER}$", max_length=MAX_RESOURCE_NAME)] = Field(
        None, examples=["comsys"]
    )
    """Who logs in. ~/.ssh/config and then your own name unless written."""

    via: Via = "ssh"
    """`ssh`: an SSH server in the guest. `agent`: the QEMU guest agent, which needs no network."""

    port: Annotated[int | None, Field(ge=1, le=MAX_PORT)] = None
    """Where the SSH server listens."""

    @check
    def _agent_has_no_login(self) -> Iterator[Diagnostic]:
        for word in written(self, "user", "port") if self.via == "agent" else ():
            yield Diagnostic(
                "CXS331",
                f"`{word}` is for SSH, and the guest is reached by its agent",
                path=(word,),
                found=f"via: agent, {word}: {getattr(self, word)}",
                expected=f"via: agent, or {word}",
                hint=f"remove {word}: the agent runs as root and asks for no login",
            )


class Guest(Model):
    """The system in a virtual machine: how to reach it, and what is to be there."""

    connect: GuestConnect = GuestConnect()
    """How the guest is reached; over SSH through its host unless written."""
