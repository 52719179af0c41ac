"""What the user's SSH configuration says of a host."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

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


def as_ssh(name: str) -> dict[str, str]:
    """All that `ssh NAME` would read, by keyword in lower case, but for IdentityFile, which may come again.

    Raises CxlstateError (CXC108).
    """
    found = _lookup(name, ssh_config.usual(), ours=True)
    return {key: value for key, value in found.items() if isinstance(value, str)}


def copy(name: str) -> Words:
    """The words by which we connect, as another block may have them. Raises CxlstateError (CXC108)."""
    found = _lookup(name, ssh_config.files(), ours=False)
    texts = ((word, found[key]) for key, word in _COPIED.items() if key in found)
    return (*((word, str(text)) for word, text in texts), *_identities(found.get("identityfile")))


def _identities(files: object) -> Iterator[tuple[str, str]]:
    for path in files if isinstance(files, list) else ():
        yield "IdentityFile", f'"{path}"' if " " in path else path


def _lookup(name: str, files: Sequence[Path], *, ours: bool) -> dict[str, object]:
    try:
        paramiko.config.invoke = ssh_config.Programs(lambda: None)  # type: ignore[attr-defined]  # what runs `Match exec`
        return dict(SSHConfig.from_text(ssh_config.load(files, ours=ours)).lookup(name))
    except Exception as unusable:
        raise fail(
            "CXC108",
            "SSH configuration cannot be used",
            found=f"{type(unusable).__name__}: {unusable!s:.500}",
            hint="`ssh -G HOST` shows how ssh itself reads it",
        ) from unusable
