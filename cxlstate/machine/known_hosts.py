"""Which keys a known_hosts file has for a host, as sshd(8) describes it. Pure.

Certificate authorities are not supported: a host that only such a line vouches for is unknown.
"""

from __future__ import annotations

import hmac
import os
import shlex
from base64 import b64decode, b64encode
from binascii import Error
from collections.abc import Iterable, Mapping
from pathlib import Path

from cxlstate.core.diagnostic import CxlstateError, fail


def files(words: Mapping[str, str]) -> list[Path]:
    """Where keys are looked for, by the words of the SSH configuration; the first is the user's own."""
    users = words.get("userknownhostsfile", "~/.ssh/known_hosts ~/.ssh/known_hosts2")
    systems = words.get("globalknownhostsfile", "/etc/ssh/ssh_known_hosts")
    named = shlex.split(f"{users} {systems}")
    return [Path(os.path.expanduser(path)) for path in named]  # noqa: PTH111  # an unknown user is no error


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
    return _fits(name.lower(), host.lower())


def _fits(pattern: str, text: str) -> bool:
    """Whether `*` and `?` can be filled so that the pattern is the text, in time that does not explode."""
    at = 0  # in the text
    step = 0  # in the pattern
    star, resume = -1, 0
    while at < len(text):
        if step < len(pattern) and pattern[step] == "*":
            star, resume = step, at
            step += 1
        elif step < len(pattern) and pattern[step] in ("?", text[at]):
            step, at = step + 1, at + 1
        elif star >= 0:  # the last star takes one more
            resume += 1
            step, at = star + 1, resume
        else:
            return False
    return not pattern[step:].strip("*")


def unknown(machine: str, host: str, found: str, name: str, ssh: str) -> CxlstateError:
    """No line is about the host. `ssh` are the arguments with which ssh goes there, and would ask."""
    return fail(
        "CXC104",
        f"host key of {host} is not known",
        machine=machine,
        found=found,
        expected=f"a key for {name} in known_hosts",
        hint="compare this fingerprint with `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` (or another "
        f"ssh_host_*_key.pub) on the console of the machine; if it is the same, accept it: ssh {ssh} true",
    )


def changed(machine: str, host: str, found: str, expected: str, cure: str) -> CxlstateError:
    """Another key than the one that is known. `cure` are commands that forget the old one."""
    return fail(
        "CXC105",
        f"host key of {host} changed",
        machine=machine,
        found=found,
        expected=expected,
        hint=f"somebody may be listening in. Only if the machine was reinstalled: {cure}",
    )
