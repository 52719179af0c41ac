"""Laws 6 and 7 for files and the SSH server, which host and guest have: what is undone, or another leaf."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.laws.bench import Bench

Undo = Callable[[Bench], None]
Leaf = tuple[str | int, ...]

_CONF, _NONE = "/etc/lab.d/lab.conf", "/srv/none"
_DROP_IN = "etc/ssh/sshd_config.d/00-cxlstate.conf"
WORDS: dict[str, Any] = {
    "files": {
        _CONF: {"content": "a = 1\n", "owner": "admin", "group": "adm", "mode": "0640"},
        _NONE: {"state": "absent"},
    },
    "sshd": {
        "password_authentication": False,
        "kbd_interactive_authentication": False,
        "pubkey_authentication": True,
        "permit_root_login": "prohibit-password",
        "allow_tcp_forwarding": True,
    },
}


def _owned_by(owner: str) -> Undo:
    def undo(bench: Bench) -> None:
        with bench.world() as world:
            assert world.owners[_CONF] not in {owner, ""}
            world.owners[_CONF] = owner

    return undo


def _started_before_it_was_written(bench: Bench) -> None:
    with bench.world() as world:
        world.running.since["ssh.service"] = 1


_IS_UNDONE: dict[str, tuple[str, Undo]] = {
    "a file has another content": (f"file.{_CONF}", lambda bench: bench.edit(_CONF[1:], "1", "2")),
    "a file is removed": (f"file.{_CONF}", lambda bench: bench.path(_CONF[1:]).unlink()),
    "a file has another mode": (f"file.{_CONF}", lambda bench: bench.path(_CONF[1:]).chmod(0o666)),
    "a file has another owner": (f"file.{_CONF}", _owned_by("root:adm")),
    "a file has another group": (f"file.{_CONF}", _owned_by("admin:root")),
    "a file has come back": (f"file.{_NONE}", lambda bench: bench.write(_NONE[1:], "")),
    "the drop-in of sshd is removed": ("sshd", lambda bench: bench.path(_DROP_IN).unlink()),
    "the drop-in of sshd is edited": ("sshd", lambda bench: bench.edit(_DROP_IN, "tion no", "tion yes")),
    "keys are closed in the drop-in": (
        "sshd",
        lambda bench: bench.edit(_DROP_IN, "PubkeyAuthentication yes", "PubkeyAuthentication no"),
    ),
    "the drop-in of sshd has a line more": (
        "sshd",
        lambda bench: bench.edit(_DROP_IN, "\n", "\nLogLevel INFO\n", 1),
    ),
    "sshd runs with what was before": ("sshd", _started_before_it_was_written),
}  # fmt: skip
_IS_CHANGED: tuple[tuple[Leaf, Any, str], ...] = (
    (("files", _CONF, "content"), "a = 2\n", f"file.{_CONF}"),
    (("files", _CONF, "owner"), "root", f"file.{_CONF}"),
    (("files", _CONF, "group"), "root", f"file.{_CONF}"),
    (("files", _CONF, "mode"), "0600", f"file.{_CONF}"),
    (("files", _CONF), {"state": "absent"}, f"file.{_CONF}"),
    (("files", _NONE), {"content": ""}, f"file.{_NONE}"),
    (("sshd", "password_authentication"), True, "sshd"),
    (("sshd", "kbd_interactive_authentication"), True, "sshd"),
    (("sshd", "pubkey_authentication"), None, "sshd"),  # its other value would lock us out
    (("sshd", "permit_root_login"), "no", "sshd"),
    (("sshd", "allow_tcp_forwarding"), False, "sshd"),
    (("sshd",), None, "sshd"),
)


def _inside(vm: str, undo: Undo) -> Undo:
    return lambda bench: undo(bench.guests()[vm])


UNDONE = {
    **_IS_UNDONE,
    **{
        f"{name}, in a guest": (f"guest:{of}", _inside("guest", undo))
        for name, (of, undo) in _IS_UNDONE.items()
    },
}
CHANGED = (
    *_IS_CHANGED,
    *((("vms", "guest", "guest", *path), value, f"guest:{of}") for path, value, of in _IS_CHANGED),
)
