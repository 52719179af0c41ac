"""The word `connect`: text ↔ how a machine is reached. Needs nothing that is slow to load."""

from __future__ import annotations

import os.path
import re
from pathlib import Path
from typing import Final

from cxlstate.core.connect import Connect, Local, Sim, Ssh

USER: Final = r"[A-Za-z0-9_][A-Za-z0-9_.+-]*"
SSH_HOST: Final = r"[A-Za-z0-9_][A-Za-z0-9_.-]*|\[[0-9A-Fa-f:.]+(%[A-Za-z0-9_.-]+)?\]"
SSH: Final = rf"ssh://(?:(?P<user>{USER})@)?(?P<host>{SSH_HOST})(?::(?P<port>[1-9][0-9]{{0,4}}))?/?"
"""`ssh://[user@]host[:port]`, with groups of these names."""

MAX_PORT: Final = 65535

_LABEL: Final = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
HOST_NAME: Final = rf"{_LABEL}(\.{_LABEL})*"
"""RFC 1123, section 2.1."""
MAX_NAME: Final = 253


def is_host_name(name: str) -> bool:
    """Whether it can be the name of a machine."""
    return len(name) <= MAX_NAME and re.fullmatch(HOST_NAME, name) is not None


def parse_connect(text: str, file: str) -> Connect:
    """A checked `connect`; a relative `sim:` folder is seen from the folder of the spec's file."""
    if text == "local":
        return Local()
    if text.startswith("sim:"):
        return Sim(Path(os.path.normpath(Path(file).parent / text.removeprefix("sim:"))))
    match = re.fullmatch(SSH, text)
    if match is None:
        raise ValueError(text)
    return Ssh(match["host"].strip("[]"), match["user"], int(match["port"]) if match["port"] else None)


def format_connect(connect: Connect, file: str) -> str:
    """What `parse_connect` reads back, under the same file, as the same."""
    match connect:
        case Local():
            return "local"
        case Sim(directory=directory) if directory.is_absolute():
            return f"sim:{directory}"
        case Sim(directory=directory):
            return f"sim:{os.path.relpath(directory, Path(file).parent)}"
        case Ssh(host=host, user=user, port=port):
            name = f"[{host}]" if ":" in host else host
            return "ssh://" + (f"{user}@" if user else "") + name + (f":{port}" if port else "")
