"""The kind `boot`: one script and one unit, from what all kinds export that have something to restore."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import ClassVar, Final

from cxlstate.core.action import Action, RemoveFile, Run, WriteFile, undoing
from cxlstate.core.answers import Answers
from cxlstate.core.assessment import Assessment
from cxlstate.core.change import Change
from cxlstate.core.diagnostic import Diagnostic, Severity
from cxlstate.core.effect import Effect
from cxlstate.core.exports import Inputs, RestoreStep
from cxlstate.core.observation import Observation, Present
from cxlstate.core.read import Read
from cxlstate.core.reconciler import Reconciler, Resource
from cxlstate.formats import restore
from cxlstate.resources.boot import BootKind, probe
from cxlstate.resources.boot.probe import Live
from cxlstate.resources.boot.spec import BootSpec

SCRIPT: Final = ("script",)
UNIT: Final = ("unit",)
ENABLED: Final = ("enabled",)
RELOAD: Final = ("systemd",)

_CALLED: Final = {"mtrr": "MTRR range", "dax": "dax device"}
_NOT_OURS: Final = "edited, or of another version"
_AS_OURS: Final = "as generated"
_RELOAD: Final = Run(("systemctl", "daemon-reload"))
_ENABLE: Final = Run(("systemctl", "enable"), (restore.UNIT,))
_DISABLE: Final = Run(("systemctl", "disable"), (restore.UNIT,))


class Boot(BootKind, Reconciler[BootSpec, Live]):
    """There where something is to be restored, and gone where nothing is."""

    model: ClassVar[type[BootSpec]] = BootSpec

    def implied(self) -> BootSpec:
        """It gathers, and its artefacts may have to go."""
        return BootSpec()

    def reads(self, me: Resource[BootSpec]) -> Sequence[Read]:
        """The script, the unit, and systemd's view of it."""
        return probe.READS

    def observe(self, me: Resource[BootSpec], answers: Answers) -> Observation[Live]:
        """Always there, in some state, or unknown."""
        return Present(probe.parse(answers))

    def assess(self, resource: Resource[BootSpec], seen: Observation[Live], inputs: Inputs) -> Assessment:
        """By line of the table; and everything else that would keep the unit from doing its work.

        The script before the unit, and the unit before it is enabled; to remove it, backwards.
        """
        if not isinstance(seen, Present):
            return Assessment()
        live, steps = seen.live, _steps(inputs)
        changes = tuple(_to_come(steps, live) if steps else _to_go(live))
        paths = {change.path for change in changes}
        actions = tuple(_install(steps, live, paths) if steps else _remove(live, paths)) if paths else ()
        facts = (("at boot", _summary(live)), ("unit", live.enabled or "not installed"))
        return Assessment((), _problems(live) if steps else (), changes, actions, facts)


reconciler = Boot()


def _steps(inputs: Inputs) -> tuple[RestoreStep, ...]:
    return tuple(step for _, step in inputs.all(RestoreStep))


def _to_come(steps: tuple[RestoreStep, ...], live: Live) -> Iterator[Change]:
    wanted = restore.script(steps)
    if live.script is None or _bytes(live.script) != wanted:
        lines = list(_lines(restore.table(wanted.decode()) or (), live.lines))
        yield from lines or [Change(SCRIPT, _NOT_OURS, _AS_OURS)]
    if live.unit is None or _bytes(live.unit) != restore.unit():
        yield Change(UNIT, None if live.unit is None else _NOT_OURS, _AS_OURS)
    elif live.needs_reload:
        yield Change(RELOAD, "has read another unit file", "has read this one")
    if live.enabled != "enabled":
        yield Change(ENABLED, live.enabled or None, new="enabled")


def _lines(wanted: Sequence[restore.Words], there: Sequence[restore.Words]) -> Iterator[Change]:
    gone, come = Counter(there) - Counter(wanted), Counter(wanted) - Counter(there)
    for words in gone.elements():
        yield Change(SCRIPT, " ".join(words), None)
    for words in come.elements():
        yield Change(SCRIPT, None, " ".join(words))


def _to_go(live: Live) -> Iterator[Change]:
    if _is_linked(live):
        yield Change(ENABLED, "enabled", None)
    if live.unit is not None and not live.masked:
        yield Change(UNIT, "there, with nothing to restore", None)
    if live.unit is None and live.needs_reload:
        yield Change(RELOAD, "has read a unit file that is gone", None)
    if live.script is not None:
        yield Change(SCRIPT, "there, with nothing to restore", None)


def _install(
    steps: tuple[RestoreStep, ...], live: Live, paths: set[tuple[str | int, ...]]
) -> Iterator[Action]:
    if SCRIPT in paths:
        yield _write(restore.SCRIPT, restore.script(steps), live.script)
    if UNIT in paths:
        yield _write(restore.UNIT_FILE, restore.unit(), live.unit, _RELOAD)
    if paths & {UNIT, RELOAD}:
        yield Action("reload the unit files of systemd", _RELOAD)
    if ENABLED in paths:
        yield Action(f"enable {restore.UNIT}", _ENABLE, undo=undoing(_DISABLE))


def _remove(live: Live, paths: set[tuple[str | int, ...]]) -> Iterator[Action]:
    if ENABLED in paths:
        yield Action(f"disable {restore.UNIT}", _DISABLE, undo=undoing(_ENABLE))
    if UNIT in paths and live.unit is not None:
        yield _forget(restore.UNIT_FILE, live.unit, _RELOAD)
    if paths & {UNIT, RELOAD}:
        yield Action("reload the unit files of systemd", _RELOAD)
    if SCRIPT in paths and live.script is not None:
        yield _forget(restore.SCRIPT, live.script)


def _write(path: str, content: bytes, now: str | None, *behind: Effect) -> Action:
    if now is None:
        back: Effect = RemoveFile(path, _digest(content))
        return Action(f"write {path}", WriteFile(path, content), undo=undoing(back, *behind))
    old = _bytes(now)
    back = WriteFile(path, old, _digest(content))
    return Action(f"write {path}", WriteFile(path, content, _digest(old)), undo=undoing(back, *behind))


def _forget(path: str, now: str, *behind: Effect) -> Action:
    old = _bytes(now)
    undo = undoing(WriteFile(path, old), *behind)
    return Action(f"remove {path}", RemoveFile(path, _digest(old)), undo=undo)


def _is_linked(live: Live) -> bool:
    return live.enabled in ("enabled", "enabled-runtime")


def _problems(live: Live) -> tuple[Diagnostic, ...]:
    """Only where there is anything to restore."""
    found = (_masked(live), _failed(live), _extended(live))
    return tuple(diagnostic for diagnostic in found if diagnostic)


def _masked(live: Live) -> Diagnostic | None:
    if not live.masked:
        return None
    return Diagnostic(
        "CXB301",
        f"{restore.UNIT} is masked",
        found="masked: nothing is restored at boot",
        expected="a unit that can be enabled",
        hint=f"systemctl unmask {restore.UNIT}",
    )


def _failed(live: Live) -> Diagnostic | None:
    if live.failed is None:
        return None
    return Diagnostic(
        "CXB302",
        f"{restore.UNIT} failed at its last run",
        Severity.WARNING,
        found=live.failed,
        expected="success",
        hint=f"journalctl -b -u {restore.UNIT} says why",
    )


def _extended(live: Live) -> Diagnostic | None:
    if not live.drop_ins:
        return None
    return Diagnostic(
        "CXB303",
        f"drop-ins change what {restore.UNIT} does",
        Severity.WARNING,
        found=", ".join(live.drop_ins),
        hint="make sure that it still runs before libvirt, or remove them",
    )


def _summary(live: Live) -> str:
    counts = Counter(words[0] for words in live.lines)
    return ", ".join(_counted(kind, number) for kind, number in counts.items()) or "nothing"


def _counted(kind: str, number: int) -> str:
    what = _CALLED.get(kind, kind)
    return f"{number} {what}{'s' * (number != 1)}"


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
