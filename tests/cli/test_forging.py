"""What others say cannot be taken for what we say: no text of a host, spec or file makes a line of a plan.

A law: wherever a text stands, a hostile one gives the same lines as a harmless one, but for the text itself.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from click import unstyle

from cxlstate.core.action import Action, Generate, RemoveFile, Risk, Run, Step, WriteFile
from cxlstate.core.address import Address, ScopedAddress
from cxlstate.core.assessment import Later
from cxlstate.core.change import Change
from cxlstate.core.connect import Local
from cxlstate.core.diagnostic import Diagnostic, Source
from cxlstate.core.image import FetchFile, MakeImage
from cxlstate.core.libvirt import DefineDomain, LinkInterface, PinDomain, PinOf, Update, UpdateNetwork
from cxlstate.core.machine import Scope
from cxlstate.core.reconciler import Resource
from cxlstate.engine.apply import Applied
from cxlstate.engine.execute import Done
from cxlstate.engine.plan import (
    Away,
    Exit,
    Interruption,
    MachinePlan,
    Plan,
    Planned,
    Reach,
    Reached,
    ResourcePlan,
    Status,
    Stopped,
    Turn,
)
from cxlstate.engine.promise import Promise
from cxlstate.engine.record import Cause
from cxlstate.machine.outcome import Result
from cxlstate.render import document, words
from cxlstate.render.applied import applied_text, promise_text
from cxlstate.render.head import head_text
from cxlstate.render.output import dumps
from cxlstate.render.plan_text import body_text
from cxlstate.render.problems import diagnostics_text
from cxlstate.render.progress import Progress
from cxlstate.render.shown import block, field, unicode_only
from cxlstate.render.terminal import drift_text, live_text
from cxlstate.spec.document import Document, Mapping
from cxlstate.spec.tree import Machine, Tree
from tests.fragments import NONE

HOSTILE = {
    "lines of a plan": "1\n\n  16 in sync\n  applied and proven",
    "carriage return": "1\r  16 in sync",
    "clears the screen": "1\x1b[2J\x1b[H",
    "hides what follows": "1\x1b[8m",
    "sets the title": "1\x1b]0;x\x07",
    "8-bit escape": "1\x9b2J",
    "right to left": "1\u202e2\u2066",
    "zero width": "1\u200b\u200d\u2060\ufeff\u00ad",
    "variation selector": "1\ufe0f\U000e0101",
    "invisible letters": "1\u3164\u115f\uffa0\u2800\u034f",
    "tags": "1\U000e0041",
    "line separator": "1\u2028  16 in sync\u2029\x85\x0b\x0c\x1c",
    "bytes": "1\udcff\udc9b",
    "half a character": "1\ud800",
    "backspace": "1\b\b\x7f\0",
}
SAFE = re.compile(
    r"[^\x00-\x09\x0b-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u2028-\u202f\u2060-\u206f\ud800-\udfff\ufeff]*"
)


def plan_of(text: str) -> Plan:
    """Every place of a plan in which a text of others can stand."""
    effects = [
        WriteFile(f"/{text}", b""),
        RemoveFile(f"/{text}", "0"),
        Run(("true", text), (text,)),
        Run(("sh", "-c", "x"), (text,), typed=text),
        Step(NONE, ("verb", text), typed=text),
        Generate(f"/{text}", ("grub-mkconfig", "-o"), b""),
        UpdateNetwork(text, Update.ADD_LAST, text, f"<host name='{text}'/>", live=True, config=True),
        PinDomain(text, PinOf.EMULATOR, frozenset({1})),
        LinkInterface(text, text, up=True),
        DefineDomain(text, text),
        FetchFile(text, text, f"/{text}"),
        MakeImage(f"/{text}", "raw", source=f"/{text}"),
    ]  # fmt: skip
    actions = tuple(Action(text, effect, why=text) for effect in effects)
    changes = (Change((text, 0, "x"), text, "b"), Change(("y",), None, text), Change(("z",), text, None))
    problem = Diagnostic("CXE900", text, source=Source(text, 1, 1), machine=text, address=Address("a", text))
    host = Machine(text, None, Scope.HOST, Local(), ())
    at = ScopedAddress(text, Address("vm", text))
    stop = replace(actions[0], risk=Risk.RESTART_VM, interrupts=at.address)
    away = Away(Risk.RESTART_VM, at, stop, stop)
    resources = tuple(
        ResourcePlan(
            ScopedAddress(text, Address("kind", f"{status}{text}")),
            Resource(Address("kind", f"{status}{text}"), None),
            status,
            Exit.CHANGES,
            changes,
            actions,
            (away,),
            reason=text,
            hint=text,
            waits_for=(at,),
            diagnostics=(replace(problem, found=text, expected=text, hint=text),) * error,
            cause=Cause.DRIFTED,
            facts=((text, text),),
            later=(Later(text, (at.address,)),),
        )
        for status in Status
        for error in (False, True)
    )
    because = tuple(one.at for one in resources)
    stops = (Stopped(text, declared=False, autostart=None, again=True),)
    steps = (Planned(at, stop),)
    found = (
        Interruption(Risk.RESTART_VM, at, stops, because, steps, steps, (text,), barred=(problem,)),
        Interruption(Risk.REBOOT_HOST, text, stops, because, steps, steps, (text,)),
        Interruption(Risk.REBOOT_HOST, text, (), because, steps, steps, (text,), unknown=text),
    )
    tree = Tree(text, (host,), Document(text, Mapping({}, 1, 1)))
    turns = tuple(Turn((one.at,), tuple(Planned(one.at, a) for a in one.actions)) for one in resources)
    return Plan(tree, (MachinePlan(host, Reached(), resources),), found, turns)


def texts(text: str) -> dict[str, str]:
    plan = plan_of(text)
    host = plan.tree.host
    guest = replace(plan.machines[0], machine=replace(host, id=f"{text}/{text}", parent=text))
    unread = replace(plan, machines=(replace(guest, reached=Reached(Reach.UNKNOWN, text, text)),))
    promise = Promise.of(plan)
    other = replace(plan, machines=(replace(plan.machines[0], resources=plan.resources[1:]),), turns=())
    applied = Applied(plan, stopped=(text,), left=(plan.resources[0].at,))
    return {
        "head": head_text(plan),
        "plan": body_text(plan, everything=True),
        "commands": body_text(plan, verbose=True),
        "unread": body_text(unread),
        "live": live_text(plan.machines[0], text),
        "drift": drift_text([plan, unread]),
        "applied": applied_text(applied),
        "promise": promise_text(text, [plan.resources[0].at], text, text),
        "problems": diagnostics_text(map(without_blocks, plan.all_diagnostics)),
        "stale": diagnostics_text(map(without_blocks, promise.stale(other))),
    }  # fmt: skip


@pytest.fixture(autouse=True)
def _never_folded(monkeypatch):
    """A longer text would be folded into more lines."""
    monkeypatch.setattr(words, "NO_TERMINAL", 10**6)


def without_blocks(problem):
    return replace(problem, found=None, expected=None, hint=None)


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_text_makes_no_line_and_steers_no_terminal(hostile):
    harmless = texts("harmless")
    for name, said in texts(hostile).items():
        plain = unstyle(said)
        assert SAFE.fullmatch(plain), name
        assert not any(char in plain for char in "\ufe0f\u3164\u115f\uffa0\u2800\u034f"), name
        assert len(plain.split("\n")) == len(unstyle(harmless[name]).split("\n")), name
        assert "\n  16 in sync" not in plain


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_what_was_found_may_have_lines_and_each_is_deeper_than_any_of_ours(hostile):
    problem = Diagnostic("CXE201", "m", found=hostile, expected=hostile, hint=hostile)
    for line in unstyle(diagnostics_text([problem])).split("\n"):
        assert SAFE.fullmatch(line)
        assert re.match(r"error\[CXE201\] m$|   (found|expected|→) +1| {12}", line), line


def test_progress_is_one_line_a_step(capsys):
    text = "1\n  ✓ vm.precious\x1b[2J"
    progress = Progress()
    progress.begins((replace(plan_of(text).resources[1], status=Status.CHANGE),))
    progress.waits(text)
    progress.ended(Done((ScopedAddress("m", Address("kind", text)),), Result.DONE))
    progress.end()
    said = unstyle(capsys.readouterr().err)
    assert said.count("\n") == 3
    assert "\x1b" not in said


def test_what_can_be_seen_stays_as_it_is():
    for text in ("", "a b", "café ✓ → · …", "日本", "😀", "e\u0301", r"\$320G \x1b", "'\"`"):
        assert field(text) == text
        assert block(text) == [text]
        assert unicode_only(text) == text
    assert field("a\tb\nc") == r"a\tb\nc"
    assert block("a\tb\nc") == ["a\tb", "c"]
    assert field("\udcff\ud800") == r"\xff\ud800"
    assert unicode_only({"a\udcff": ["\ud800", 1, None, True]}) == {r"a\xff": [r"\ud800", 1, None, True]}


def test_a_plan_file_of_a_host_that_speaks_no_utf_8_holds_what_the_plan_holds():
    """What is compared is what was written."""
    content = document.document([plan_of("a\udcff")])
    assert json.loads(dumps(content).encode()) == content
