"""What is done, in an order in which nothing is let through that has no forward."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256

from cxlstate.core.action import Action, RemoveFile, Run, undoing
from cxlstate.core.effect import Effect
from cxlstate.core.file import PermitFile, PutFile
from cxlstate.formats.forward_table import Table
from cxlstate.resources.forward import keepers
from cxlstate.resources.forward.probe import Live

_ON = Run(("sysctl", "--write"), ("net.ipv4.ip_forward=1",))
_OFF = Run(("sysctl", "--write"), ("net.ipv4.ip_forward=0",))


def install(text: str, aim: Table, live: Live) -> Iterator[Action]:
    """The script first, since it does the rest; the hook last, since libvirt may run it at any time."""
    yield from _write(keepers.SCRIPT, keepers.content(keepers.SCRIPT), live)
    yield from _write(keepers.TABLE, text, live, *_again(live))
    if not live.forwarding:
        yield Action("let the host forward packets", _ON, undo=undoing(_OFF))
    if live.table != aim:
        yield Action("load the table inet cxlstate", keepers.verb("load"), undo=_unload(live))
    if any(live.gates.values()):
        new = set(live.gates.values()) == {"missing"}
        undo = undoing(keepers.verb("ungate")) if new else ()
        yield Action("let forwards through ahead of what refuses them", keepers.verb("gate"), undo=undo)
    yield from _at_boot(live)
    yield from _hook(live)


def _unload(live: Live) -> tuple[Action, ...]:
    return () if live.table is not None else undoing(keepers.verb("unload"))


def _again(live: Live) -> tuple[Effect, ...]:
    """The table that was there comes back with its text."""
    return (keepers.verb("load"),) if live.table is not None and live.files.get(keepers.TABLE) else ()


def _at_boot(live: Live) -> Iterator[Action]:
    written = list(_write(keepers.UNIT_FILE, keepers.content(keepers.UNIT_FILE), live, keepers.RELOAD))
    yield from written
    if written or live.unit.needs_reload:
        yield Action("reload the unit files of systemd", keepers.RELOAD)
    if live.unit.enabled != "enabled":
        yield Action(f"enable {keepers.UNIT}", keepers.ENABLE, undo=undoing(keepers.DISABLE))


def _hook(live: Live) -> Iterator[Action]:
    written = list(_write(keepers.HOOK, keepers.content(keepers.HOOK), live))
    yield from written
    if not written and not live.executable:
        mode = keepers.MODES[keepers.HOOK]
        yield Action(f"make {keepers.HOOK} executable", PermitFile(keepers.HOOK, mode=mode))
    for daemon in live.deaf:
        why = "it looks for hooks when it starts, and when it is reloaded"
        yield Action(f"reload {daemon}", Run(("systemctl", "reload"), (daemon,)), why=why)


def remove(live: Live) -> Iterator[Action]:
    """The keepers first, so that nothing comes back; then the rules, by the script, which goes last."""
    if live.unit.enabled in ("enabled", "enabled-runtime"):
        yield Action(f"disable {keepers.UNIT}", keepers.DISABLE, undo=undoing(keepers.ENABLE))
    if live.files.get(keepers.UNIT_FILE) is not None:
        yield from _forget(keepers.UNIT_FILE, live, keepers.RELOAD)
        yield Action("reload the unit files of systemd", keepers.RELOAD)
    yield from _forget(keepers.HOOK, live)
    gated = any(fault != "missing" for fault in live.gates.values())
    if gated or live.table is not None:
        yield from _write(keepers.SCRIPT, keepers.content(keepers.SCRIPT), live)
    if gated:
        undo = undoing(keepers.verb("gate"))
        yield Action("take our rule out of the filters", keepers.verb("ungate"), undo=undo)
    if live.table is not None:
        yield Action("remove the table inet cxlstate", keepers.verb("unload"), undo=undoing(*_again(live)))
    yield from _forget(keepers.TABLE, live)
    written = keepers.content(keepers.SCRIPT) if gated or live.table is not None else None
    yield from _forget(keepers.SCRIPT, live, text=written)


def _write(path: str, text: str, live: Live, *behind: Effect) -> Iterator[Action]:
    now = live.files.get(path)
    if now == text:
        return
    back: Effect = RemoveFile(path, _digest(text))
    if now is not None:
        back = PutFile(path, _bytes(now), _digest(text))
    expected = None if now is None else _digest(now)
    effect = PutFile(path, _bytes(text), expected, "root", "root", keepers.MODES.get(path, 0o644))
    yield Action(f"write {path}", effect, undo=undoing(back, *behind))


def _forget(path: str, live: Live, *behind: Effect, text: str | None = None) -> Iterator[Action]:
    """`text` is what it holds by then."""
    now = text or live.files.get(path)
    if now is None:
        return
    mode = keepers.MODES.get(path, 0o644)
    undo = undoing(PutFile(path, _bytes(now), None, "root", "root", mode), *behind)
    yield Action(f"remove {path}", RemoveFile(path, _digest(now)), undo=undo)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _digest(text: str) -> str:
    return sha256(_bytes(text)).hexdigest()
