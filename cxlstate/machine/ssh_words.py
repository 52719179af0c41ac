"""What the user's SSH configuration says of a host."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import paramiko
from paramiko.config import SSHConfig

from cxlstate.core.diagnostic import fail
from cxlstate.formats.ssh_client import Words
from cxlstate.machine import ssh_config

_COPIED = {
    word.lower(): word
    for word in (
        "HostName",
        "User",
        "Port",
        "IdentitiesOnly",
        "ProxyJump",
        "ProxyCommand",
        "HostKeyAlias",
        "UserKnownHostsFile",
        "GlobalKnownHostsFile",
        "ConnectTimeout",
    )
}  # those by which we connect: docs/ssh.md
_SINGLE: Final = ("HostName", "User", "HostKeyAlias")


def as_ssh(name: str) -> dict[str, str]:
    """All that `ssh NAME` would read, by keyword in lower case, but for IdentityFile, which may come again.

    Raises CxlstateError (CXC108).
    """
    found = _lookup(name, ssh_config.usual(), ours=True)
    return {key: value for key, value in found.items() if isinstance(value, str)}


def copy(name: str) -> Words:
    """The words by which we connect, as another block may have them. Raises CxlstateError (CXC108)."""
    found = _lookup(name, ssh_config.files(), ours=False)
    texts = ((word, str(found[key])) for key, word in _COPIED.items() if key in found)
    words = ((word, _whole(text) if word in _SINGLE else text) for word, text in texts)
    return (*words, *_identities(found.get("identityfile")))


def _identities(files: object) -> Iterator[tuple[str, str]]:
    for path in files if isinstance(files, list) else ():
        yield "IdentityFile", _whole(path)


def _whole(text: str) -> str:
    """One argument, of which the library has taken the quotes."""
    return f'"{text}"' if " " in text else text


def _lookup(name: str, files: Sequence[Path], *, ours: bool) -> dict[str, object]:
    with refusing():
        return dict(parsed(files, lambda: None, ours=ours).lookup(name))


def parsed(files: Sequence[Path], gate: Callable[[], object], *, ours: bool = False) -> SSHConfig:
    """What the library makes of these files, to be used within `refusing`. `gate` is as in `Programs`."""
    # `Match exec` is run by what it has imported under this name; there is no other way to say how
    # (paramiko/config.py, _does_match). One for the process: connections made at the same time share a gate.
    paramiko.config.invoke = ssh_config.Programs(gate)  # type: ignore[attr-defined]  # not in its types
    return SSHConfig.from_text(ssh_config.load(files, ours=ours))


_RAISED: Final = (OSError, ValueError, LookupError, RecursionError, paramiko.SSHException)
"""By the libraries, for a file that cannot be read, a number that is none, quotes that stay open, a word for
which they know two (`ForwardAgent ask`), jumps in a circle, a line or a `Match` that is not understood."""


@contextmanager
def refusing(machine: str | None = None) -> Iterator[None]:
    """Around what the user's configuration is used for. Raises CxlstateError (CXC108)."""
    try:
        yield
    except _RAISED as unusable:
        raise fail(
            "CXC108",
            "SSH configuration cannot be used",
            machine=machine,
            found=f"{type(unusable).__name__}: {unusable!s:.500}",
            hint="`ssh -G HOST` shows how ssh itself reads it",
        ) from unusable
