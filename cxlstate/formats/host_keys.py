"""Public host keys of SSH servers in texts: the file that is kept on a host, `*.pub`, a console's log. Pure.

Sources: sshd(8), SSH_KNOWN_HOSTS FILE FORMAT; cloud-init 25.1 `cc_keys_to_console.py` and
`tools/write-ssh-key-fingerprints`, which prints the marks.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from typing import Final

from cxlstate.core.action import WriteFile
from cxlstate.core.guest import Accepted, GuestAccess, HostKey
from cxlstate.formats import guest_files

_BEGIN: Final = "-----BEGIN SSH HOST KEY KEYS-----"
_END: Final = "-----END SSH HOST KEY KEYS-----"
_PROMPT: Final = re.compile(r"^[A-Za-z0-9.-]{1,64} login: (?=-----)")  # agetty(8) writes when it likes
_KEY: Final = re.compile(r"((?:ssh|ecdsa|sk)-[a-z0-9@.-]{1,60}) ([A-Za-z0-9+/]{40,4000}={0,2})(?: .*)?")
_MOST: Final = 16  # keys of one machine: sshd makes three


def path(vm: str) -> str:
    """Where a host keeps the keys of a guest."""
    return guest_files.path(vm, "host_keys")


def parse(text: str) -> tuple[HostKey, ...]:
    """A key a line, as in `ssh_host_*_key.pub`: lines that are no key are passed over."""
    return _of(text.splitlines())


def dump(keys: Iterable[HostKey]) -> str:
    """The file that is kept. Its lines are those of known_hosts without the names."""
    return "".join(f"{one.kind} {one.key}\n" for one in keys)


def keep(vm: str, access: GuestAccess, accepted: Accepted) -> WriteFile | None:
    """What an apply does on the host so that the key of a guest is known from now on; None: it is.

    Only this key is kept, and what was kept before goes: the hypervisor has said which is right.
    """
    if not accepted.is_new:
        return None
    return WriteFile(path(vm), dump([accepted.key]).encode(), access.kept, mode=0o600)


def on_console(log: str) -> tuple[HostKey, ...]:
    """The keys of the last whole block that cloud-init printed; what interrupts it is passed over.

    A prompt may stand before a mark, and before no key: what is typed at a prompt is echoed there.
    """
    keys: tuple[HostKey, ...] = ()
    block: list[str] | None = None
    for line in (_PROMPT.sub("", line.strip()) for line in log.splitlines()):
        if line == _BEGIN:
            block = []
        elif line == _END and block is not None:
            keys, block = _of(block) or keys, None
        elif block is not None:
            block.append(line)
    return keys


def _of(lines: Iterable[str]) -> tuple[HostKey, ...]:
    matches = (_KEY.fullmatch(line.strip()) for line in lines)
    keys = [HostKey(one[1], one[2]) for one in matches if one and _is_of(one[1], one[2])]
    return tuple(dict.fromkeys(keys))[:_MOST]


def _is_of(kind: str, key: str) -> bool:
    """The type is in the key, too (RFC 4253, 6.6)."""
    try:
        raw = base64.b64decode(key, validate=True)
    except binascii.Error:
        return False
    return raw[4 : 4 + int.from_bytes(raw[:4])].decode("ascii", "replace") == kind
