"""The SSH server, by one drop-in that is read before all others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Final

from cxlstate.core.action import Action, RemoveFile, Run, WriteFile, undoing
from cxlstate.core.address import Address, AllOf
from cxlstate.core.answers import Answers, ReadFailed
from cxlstate.core.assessment import Assessment
from cxlstate.core.change import Change
from cxlstate.core.exports import Inputs
from cxlstate.core.observation import Absent, Observation, Present, Unknown
from cxlstate.core.read import Asked, Exists, File, Question, Read
from cxlstate.core.reconciler import How, Leftover, Need, Reconciler, Resource
from cxlstate.formats.sshd_config import DROP_IN
from cxlstate.resources.sshd import SshdKind, check, probe
from cxlstate.resources.sshd.probe import SshdLive, Unit
from cxlstate.resources.sshd.spec import KEYWORDS, SshdSpec

_HEADER = "# Written by cxlstate, and overwritten by it. The first value of a keyword counts.\n"
_OURS = Exists(DROP_IN)
_PACKAGE = Address("package", "openssh-server")


_MAKE_FOLDER: Final = Action(
    "make /run/sshd",
    Run(("install", "--directory", "--mode=0755", "/run/sshd")),
    why="sshd looks at its configuration only where this is, and the daemon does not run",
)


class SshdReconciler(SshdKind, Reconciler[SshdSpec, SshdLive]):
    """Values that sshd has in force for everybody, proven by its own `-T`."""

    model = SshdSpec

    def needs(self, me: Resource[SshdSpec]) -> Sequence[Need]:
        """The server is a package; users and their keys come first, before passwords are closed."""
        return tuple(Need(AllOf(kind), How.AFTER) for kind in ("package", "user", "file"))

    def reads(self, me: Resource[SshdSpec]) -> Sequence[Read]:
        """The same for every wish."""
        return probe.READS

    def observe(self, me: Resource[SshdSpec], answers: Answers) -> Observation[SshdLive]:
        """Without sshd nothing can be told."""
        try:
            return Present(probe.parse(answers))
        except ReadFailed as failed:
            if failed.missing_tool != "sshd":
                raise
            hint = "declare openssh-server in `packages`"
            return Unknown(failed.reason, cured_by=(_PACKAGE,), hint=hint)

    def assess(self, resource: Resource[SshdSpec], seen: Observation[SshdLive], inputs: Inputs) -> Assessment:
        """What sshd would do with our drop-in is judged before it is written."""
        if not isinstance(seen, Present):
            return _to_come(resource.spec) if isinstance(seen, Absent) else Assessment()
        live, content = seen.live, _content(resource.spec, seen.live)
        changes = tuple(_changes(resource.spec, content, live))
        return Assessment(
            problems=tuple(check.problems(resource.spec, content, live, acts=bool(changes))),
            changes=changes,
            actions=tuple(_actions(content, live)) if changes else (),
            facts=tuple((word, live.effective.get(KEYWORDS[word].lower(), "unknown")) for word in KEYWORDS),
        )

    def leftover_reads(self) -> Sequence[Question]:
        """Whether our drop-in is there, and then whose it is to reload."""
        return (_OURS, Asked(File(DROP_IN), _OURS), Asked(probe.UNITS, _OURS))

    def leftovers(self, answers: Answers, declared: frozenset[str]) -> Sequence[Leftover]:
        """A drop-in that nobody asks for any more."""
        if declared or not answers.exists(_OURS):
            return ()
        text = answers.text_or_none(File(DROP_IN))
        if text is None or not text.startswith(_HEADER):
            return ()
        expected = sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
        remove = Action(f"remove {DROP_IN}", RemoveFile(DROP_IN, expected), undo=_restore(text, None))
        unit = probe.unit_of(answers)
        idle = unit is None or not unit.active
        actions = (remove, *((_MAKE_FOLDER,) if idle else ()), *_into_force(unit))
        return (Leftover("", (Change(("drop-in",), DROP_IN, None),), actions),)


reconciler = SshdReconciler()


def _content(spec: SshdSpec, live: SshdLive | None = None) -> str:
    lines = [f"{KEYWORDS[word]} {value}\n" for word, value in spec.wanted().items()]
    if live and live.two_words and (value := spec.wanted().get("kbd_interactive_authentication")):
        lines.append(f"{probe.CHALLENGE} {value}\n")
    return _HEADER + "".join(lines)


def _changes(spec: SshdSpec, content: str, live: SshdLive) -> Iterator[Change]:
    """Values that are not in force; else the drop-in that keeps them, or the daemon that has to read it."""
    wanted = spec.wanted()
    now = {word: live.effective.get(KEYWORDS[word].lower()) for word in wanted}
    differs = [word for word in wanted if now[word] != wanted[word]]
    for word in differs:
        yield Change((word,), now[word] or "unknown", wanted[word])
    if differs or not wanted:
        return
    if live.ours != content:
        yield Change(("drop-in",), None if live.ours is None else "another content", DROP_IN)
    elif live.outdated:
        said = "00-cxlstate.conf was written" if live.outdated == DROP_IN else f"{live.outdated} was changed"
        yield Change(("daemon",), f"read before {said}", "reloaded")


def _actions(content: str, live: SshdLive) -> Iterator[Action]:
    """Write it, let sshd look at all of it, and only then have the daemon read it."""
    if live.ours != content:
        old = None if live.ours is None else sha256(_bytes(live.ours)).hexdigest()
        effect = WriteFile(DROP_IN, content.encode(), old)
        yield Action(f"write {DROP_IN}", effect, undo=_restore(live.ours, content))
    if live.lacks_folder:
        yield _MAKE_FOLDER
    yield from _into_force(live.unit)


def _into_force(unit: Unit | None) -> Iterator[Action]:
    """A daemon that does not run, as behind a socket, reads it when it starts; sessions survive a reload."""
    yield Action("check the configuration of sshd", Run(("sshd", "-t")))
    if unit is not None and unit.active:
        yield Action(f"reload {unit.name}", Run(("systemctl", "reload"), (unit.name,)))


def _restore(before: str | None, after: str | None) -> tuple[Action, ...]:
    expected = None if after is None else sha256(_bytes(after)).hexdigest()
    if before is None:
        return undoing(RemoveFile(DROP_IN, expected or ""))
    return undoing(WriteFile(DROP_IN, _bytes(before), expected))


def _to_come(spec: SshdSpec) -> Assessment:
    """What is planned for a server that a package has yet to bring."""
    changes = tuple(Change((word,), None, value) for word, value in spec.wanted().items())
    content = _content(spec).encode()
    actions = (Action(f"write {DROP_IN}", WriteFile(DROP_IN, content)), *_into_force(None))
    return Assessment(changes=changes, actions=actions)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
