"""Which keys a known_hosts file has for a host, as sshd(8) describes it. Pure.

Certificate authorities are not supported: a host that only such a line vouches for is unknown.
"""

from __future__ import annotations

import hmac
import re
import shlex
from base64 import b64decode, b64encode
from binascii import Error
from collections.abc import Iterable, Mapping
from pathlib import Path


def files(words: Mapping[str, str]) -> list[Path]:
    """Where keys are looked for, by the words of the SSH configuration; the first is the user's own."""
    users = words.get("userknownhostsfile", "~/.ssh/known_hosts ~/.ssh/known_hosts2")
    systems = words.get("globalknownhostsfile", "/etc/ssh/ssh_known_hosts")
    return [Path(path).expanduser() for path in shlex.split(f"{users} {systems}")]


def keys(lines: Iterable[str], host: str) -> list[tuple[str, str]]:
    """Kind and base64 of each key of `host`, but for those that any line says are revoked.

    `host` is a name or, with a port other than 22, `[name]:port`.
    """
    known: list[tuple[str, str]] = []
    revoked: set[str] = set()
    for line in lines:
        match line.split():
            case ["@revoked", _, _, key, *_]:
                revoked.add(key)
            case [names, kind, key, *_] if names[0] not in "#@" and _names(names, host):
                known.append((kind, key))
    return [(kind, key) for kind, key in known if key not in revoked]


def _names(names: str, host: str) -> bool:
    """Whether the first field of a line is about the host; a negated name overrules the others."""
    found = False
    for name in names.split(","):
        if _matches(name.removeprefix("!"), host):
            if name.startswith("!"):
                return False
            found = True
    return found


def _matches(name: str, host: str) -> bool:
    match name.split("|"):
        case ["", "1", salt, hashed]:
            try:
                digest = hmac.digest(b64decode(salt), host.encode(), "sha1")
            except Error:  # not base64: a damaged line is about nobody
                return False
            return b64encode(digest).decode() == hashed
    pattern = re.escape(name).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(pattern, host, re.IGNORECASE) is not None
