"""An effect of a kind's own: what it takes, and what is told where its second half is missing."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest

from cxlstate.core.action import Action, RemoveFile, Run, undoing
from cxlstate.core.address import Address
from cxlstate.core.assessment import Assessment
from cxlstate.core.change import Change
from cxlstate.core.consent import Consents
from cxlstate.core.effect import Effect
from cxlstate.core.observation import Present
from cxlstate.core.read import File
from cxlstate.core.reconciler import Reconciler, Resource
from cxlstate.engine.apply import Converger
from cxlstate.engine.plan import Exit, Status
from cxlstate.engine.writing import Writers
from cxlstate.machine.local import LocalTransport
from cxlstate.machine.outcome import Entry, Outcome, Result
from cxlstate.machine.posix.agent import Settings
from cxlstate.machine.posix.effects import script
from cxlstate.machine.posix.performers import POSIX, by_script
from cxlstate.machine.posix.writer import PosixWriter
from cxlstate.machine.records import STATE
from cxlstate.render.document import document
from cxlstate.simulator.performers import SIMULATED
from cxlstate.simulator.writer import SimWriter
from tests.engine.fake_host import Quiet
from tests.engine.fakes import tree_of

NOTE, NOTED = Address("note", "a"), "/run/note"


@dataclass(frozen=True, slots=True)
class WriteNote(Effect):
    """What a kind brings: a value that shows itself."""

    path: str
    text: str

    def shown(self):
        return f"note {self.text}"


def note_script(state, effect, entry):
    words = {"path": effect.path, "text": effect.text}
    return script(
        state, entry, words, effect.journalled(), 'begin\nprintf %s "$text" >"$path"; finish done 0\n'
    )


def note_in_folder(effect, session):
    session.host().files.write(effect.path, effect.text.encode())
    return "", Outcome(Result.DONE)


PERFORMERS = [(POSIX, by_script(note_script)), (SIMULATED, note_in_folder)]


class Note(Reconciler):
    """`spec` is the path and the text that is to be there."""

    kind = "note"
    place = None
    model = None
    undo = ()

    def reads(self, me):
        return (File(me.spec[0]),)

    def observe(self, me, answers):
        return Present(answers.text_or_none(File(me.spec[0])))

    def assess(self, me, seen, inputs):
        if seen.live == me.spec[1]:
            return Assessment()
        change = Change(("text",), seen.live, me.spec[1])
        action = Action("write the note", WriteNote(*me.spec), undo=self.undo)
        return Assessment(changes=(change,), actions=(action,))


@pytest.fixture(params=["posix", "simulated"])
def scene(request, tmp_path):
    """A writer, where the note stands on its machine, and what its journal says."""
    if request.param == "posix":
        settings = Settings(str(tmp_path / "state"), str(tmp_path / "lock"), patience=5)
        writer = PosixWriter(LocalTransport(), "m", survives_reboot=False, settings=settings)
        journal, path = tmp_path / "state/journal.jsonl", str(tmp_path / "note")
    else:
        writer = SimWriter(tmp_path / "sim", "m")
        journal, path = tmp_path / f"sim/root{STATE}/journal.jsonl", "/root/note"
    yield SimpleNamespace(
        writer=writer,
        path=path,
        journal=lambda: list(map(json.loads, journal.read_text().splitlines())) if journal.exists() else [],
    )
    writer.close()


def converger(scene, kind):
    resources = (Resource(NOTE, (scene.path, "hello")),)
    writers = Writers(lambda *_: scene.writer)
    return Converger(
        tree_of("m", resources), writers, {"note": kind}, Consents().with_live(), "run", "1", Quiet(),
        sleep=lambda _: None,
    )  # fmt: skip


@pytest.fixture
def registered(monkeypatch):
    for table, performer in PERFORMERS:
        monkeypatch.setitem(table, WriteNote, performer)


@pytest.mark.usefixtures("registered")
def test_an_effect_of_its_own_needs_a_class_and_a_performer_and_nothing_else(scene):
    run = converger(scene, Note())
    plan = run.plan()
    assert plan.at(NOTE).status is Status.CHANGE
    assert document([plan])["machines"][0]["resources"][0]["actions"][0]["run"] == "note hello"
    assert run.converge(plan).exit is Exit.IN_SYNC
    assert [(line["event"], line["effect"]) for line in scene.journal()] == [
        ("begin", "write-note"),
        ("done", "write-note"),
    ]


class Release(Run):
    """Another form of one that is there."""

    __slots__ = ()

    def shown(self):
        return "look at the release"


def test_what_is_derived_from_an_effect_is_performed_as_that_and_needs_no_performer(scene):
    effect = Release(("uname",), ("-r",))
    assert scene.writer.lacks(Release) is None
    assert scene.writer.perform(effect, Entry("run", (), "look", "live")).result is Result.DONE
    assert [line["argv"] for line in scene.journal()] == [["uname", "-r"]] * 2
    assert effect.fingerprint() != Run(("uname",), ("-r",)).fingerprint()


def test_an_effect_that_nobody_performs_is_told_before_the_first_action(scene):
    run = converger(scene, Note())
    plan = run.plan()
    told = plan.at(NOTE)
    assert (told.status, plan.exit) == (Status.BLOCKED, Exit.ERROR)
    (problem,) = plan.all_diagnostics
    assert (problem.code, problem.address) == ("CXE900", NOTE)
    assert problem.found == f"nobody performs {__name__}.WriteNote on this machine"
    assert run.converge(plan).exit is Exit.ERROR
    assert scene.journal() == []


def test_so_is_one_that_is_only_on_the_way_back(scene, monkeypatch):
    for table, performer in PERFORMERS:
        monkeypatch.setitem(table, WriteNote, performer)
    assert converger(scene, Note()).plan().at(NOTE).status is Status.CHANGE

    @dataclass(frozen=True, slots=True)
    class Unwrite(Effect):
        def shown(self):
            return "unwrite"

    kind = Note()
    kind.undo = undoing(RemoveFile(scene.path, ""), Unwrite())
    problems = converger(scene, kind).plan().all_diagnostics
    assert [problem.code for problem in problems] == ["CXE900"]


def test_a_fingerprint_is_that_of_the_doing():
    one = WriteNote("/a", "b")
    assert one.fingerprint() == WriteNote("/a", "b").fingerprint()
    assert one.fingerprint() != replace(one, text="c").fingerprint()
