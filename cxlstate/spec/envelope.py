"""What stands around the kinds: `apiVersion`, `host.name` and `host.connect`."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from cxlstate.core.model import Model, problem
from cxlstate.spec.connection import HOST_NAME, MAX_NAME, MAX_PORT, SSH, SSH_HOST, USER, is_host_name

API_VERSION: Final = "cxlstate/v1"
MAX_RESOURCE_NAME: Final = 255

NOT_YET: Final = {
    "host": frozenset({"cxl", "forwards", "kernel"}),
    "root": frozenset[str](),
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
