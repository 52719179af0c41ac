"""What a kind raises ends nothing but the plan of its own resource, and of what builds on it."""

from __future__ import annotations

import os
import subprocess
import sys
from io import StringIO

import pytest

from cxlstate.core.action import Span
from cxlstate.core.address import Address, AllOf
from cxlstate.core.answers import Answer, Answers
from cxlstate.core.defect import DEBUG, defect, summary
from cxlstate.core.diagnostic import fail
from cxlstate.core.observation import Present
from cxlstate.core.read import File
from cxlstate.core.reconciler import How, Need, Resource
from cxlstate.engine.observe import observe
from cxlstate.engine.plan import Exit
from cxlstate.engine.record import parse_record
from cxlstate.engine.survey import survey
from cxlstate.machine.records import applied_reads
from tests.engine.fake_host import Bench, Host
from tests.engine.fakes import Fake, FakeGatherer, Wish, World, addresses, tree_of

A, B, C = Address("a", "x"), Address("b", "y"), Address("c", "z")

ODD = [
    ValueError("one"),
    IndexError("two"),
    KeyError("three"),
    TypeError("four"),
    AttributeError("five"),
    UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates not allowed"),
    RecursionError("six"),
    MemoryError(),
    AssertionError(),
    ZeroDivisionError("seven"),
    StopIteration(),
    OSError("eight"),
]


def broken(kind, method, error=ODD[1]):
    def fail(*_args, **_more):
        raise error

    return type("Broken", (Fake,), {method: fail})(kind)


@pytest.mark.parametrize("method", ["needs", "assess"])
@pytest.mark.parametrize("error", ODD, ids=lambda error: type(error).__name__)
def test_a_defect_is_an_error_of_its_resource_and_of_nothing_else(method, error):
    world = World({"a.x": Wish(), "b.y": Wish(), "c.z": Wish()}, {"c.z": "on"})
    world.kinds["a"] = broken("a", method, error)
    plan = world.plan()
    assert {str(r.address): r.status.value for r in plan.resources} == {
        "a.x": "blocked", "b.y": "change", "c.z": "in-sync",
    }  # fmt: skip
    assert [(d.code, d.address) for d in plan.all_diagnostics] == [("CXE900", A)]
    assert type(error).__name__ in plan.at(A).diagnostics[0].found
    assert plan.exit is Exit.ERROR
    assert plan.at(A).actions == ()


@pytest.mark.parametrize("how", [How.REQUIRES, How.AWAITS, How.KNOWS])
def test_nothing_is_planned_on_what_depends_on_a_defect(how):
    world = World({"a.x": Wish(), "b.y": Wish(needs=(Need(A, how),)), "c.z": Wish(needs=(Need(B, how),))})
    world.kinds["a"] = broken("a", "assess")
    expected = {"b.y": ("blocked", Exit.ERROR), "c.z": ("blocked", Exit.ERROR)}
    plan = world.plan()
    assert {str(r.address): (r.status.value, r.exit) for r in plan.resources if r.address != A} == expected


def test_a_defect_in_what_all_of_a_kind_show_together_is_an_error_of_each_and_of_nothing_else():
    world = World({"a.x": Wish(), "a.y": Wish(), "c.z": Wish()}, {"c.z": "on"})
    world.kinds["a"] = broken("a", "together")
    plan = world.plan()
    assert [(d.code, str(d.address)) for d in plan.all_diagnostics] == [("CXE900", "a.x"), ("CXE900", "a.y")]
    assert plan.at(C).status.value == "in-sync"


def test_what_builds_on_lost_exports_is_not_called_in_sync():
    """Without them it would compare with too little: a gatherer would find that nothing is asked for."""
    world = World({"a.x": Wish(tells=("one",)), "b": None}, {"b": ""})
    gatherer = FakeGatherer("b")
    gatherer.needs = lambda me: (Need(AllOf("a"), How.KNOWS),)
    world.kinds |= {"a": broken("a", "assess"), "b": gatherer}
    world.implied = frozenset({Address("b")})
    plan = world.plan()
    assert plan.at(Address("b")).status.value == "blocked"
    assert addresses(plan.at(Address("b")).waits_for) == (A,)


def test_memory_of_a_holder_that_cannot_be_told_is_not_touched():
    bench = Bench({"dax.cxl0": (0, 100), "mtrr.m0": (("m0",), Span(0, 100))}, Host(dax={"cxl0": True}))
    assert bench.at("mtrr.m0").status.value == "change"
    bench.kinds["dax"].assess = lambda *_: 1 // 0
    plan = bench.plan()
    assert plan.at(Address.parse("dax.cxl0")).diagnostics[0].code == "CXE900"
    asks = plan.at(Address.parse("mtrr.m0"))
    assert (asks.status.value, asks.exit, asks.actions) == ("blocked", Exit.ERROR, ())


def test_a_diagnostic_that_a_kind_raises_stays_what_it_is():
    world = World({"a.x": Wish(), "b.y": Wish()})
    world.kinds["a"] = broken("a", "assess", fail("CXX777", "no"))
    assert [d.code for d in world.plan().all_diagnostics] == ["CXX777"]


# What is read -----------------------------------------------------------------------------------------


class Parses(Fake):
    """A kind whose parser raises what it is told to."""

    error: Exception | None = None

    def reads(self, me):
        return (File(f"/{me.name}"),)

    def observe(self, me, answers):
        if answers.text(File(f"/{me.name}")) == "odd":
            raise self.error
        return Present("on")


class Says:
    def __init__(self, answers):
        self.answers = answers

    def lacks(self, effect):
        return None

    def read(self, reads):
        return Answers(
            {read: self.answers.get(read, Answer(1, b"", "No such file or directory")) for read in reads}
        )

    def close(self):
        pass


def spec(name, *addresses):
    return tree_of(name, (Resource(Address.parse(one), Wish()) for one in addresses), name)


@pytest.mark.parametrize("error", ODD, ids=lambda error: type(error).__name__)
def test_what_cannot_be_parsed_is_unknown_and_the_rest_is_planned(error):
    kind = Parses("a")
    kind.error = error
    reader = Says({File("/x"): Answer(0, b"odd"), File("/y"): Answer(0, b"good")})
    plan = survey([spec("m", "a.x", "a.y")], {"a": kind}, None, lambda *_: reader)[0]
    assert {str(r.address): r.status.value for r in plan.resources} == {"a.x": "unknown", "a.y": "in-sync"}
    assert plan.at(Address("a", "x")).reason.startswith(f"cannot parse the answer: {type(error).__name__}")
    assert plan.exit is Exit.UNKNOWN
    assert plan.all_diagnostics == ()


def test_a_kind_that_cannot_say_what_to_read_is_an_error_of_its_resource():
    kind = Parses("a")
    kind.reads = lambda me: 1 // 0 if me.name == "x" else (File("/y"),)
    reader = Says({File("/y"): Answer(0, b"good")})
    plan = survey([spec("m", "a.x", "a.y")], {"a": kind}, None, lambda *_: reader)[0]
    assert [(d.code, str(d.address)) for d in plan.all_diagnostics] == [("CXE900", "a.x")]
    assert plan.at(Address("a", "y")).status.value == "in-sync"


def test_one_host_that_is_odd_leaves_the_others_their_plans():
    def opener(connect, name):
        if name == "odd":
            raise RuntimeError("nobody foresaw this")
        return Says({File("/x"): Answer(0, b"good")})

    plans = survey([spec("odd", "a.x"), spec("m", "a.x")], {"a": Parses("a")}, None, opener)
    assert [plan.exit for plan in plans] == [Exit.ERROR, Exit.IN_SYNC]
    (problem,) = plans[0].all_diagnostics
    assert (problem.code, problem.machine) == ("CXE900", "odd")


def test_leftovers_that_cannot_be_parsed_are_not_removed():
    bench = Bench({"dax.cxl0": (0, 100)}, Host(dax={"cxl0": True}))
    bench.kinds["mtrr"].leftovers = lambda *_: 1 // 0
    seen = observe(bench.machine, bench.tree.host, bench.kinds)
    assert seen.leftovers == {}
    assert "ZeroDivisionError" in seen.unseen["mtrr"]


@pytest.mark.parametrize("told", [b"\xff", b"", b"\0" * 99, b"x" * 99, b"{}\n\n", "ü".encode()])
def test_odd_records_end_nothing(told):
    (folder,) = applied_reads()
    members = {f"{folder.pattern[:-1]}{name}": Answer(0, told) for name in ("a.x", "%FF", "\udcff", "", "%")}
    reader = Says({File("/x"): Answer(0, b"good"), folder: Answer(0, files=members)})
    plan = survey([spec("m", "a.x")], {"a": Parses("a")}, None, lambda *_: reader)[0]
    assert plan.exit is Exit.IN_SYNC


# Saying it --------------------------------------------------------------------------------------------


class Unspeakable(Exception):
    def __str__(self):
        raise UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates not allowed")


def raised(error):
    fresh = type(error)(*error.args)
    try:
        raise fresh
    except type(error):
        return fresh


@pytest.mark.parametrize(
    "error", [Unspeakable(), ValueError("\udcff\n\x1b[2J"), ValueError("x" * 10**6), *ODD]
)
def test_a_defect_is_told_in_one_short_line_whatever_it_is(error):
    said = summary(raised(error))
    said.encode()
    assert "\n" not in said
    assert len(said) < 500
    assert "test_defects:" in said
    assert defect(error).code == "CXE900"


def test_the_place_is_the_innermost_line_that_is_ours():
    """A line of a library would help nobody."""
    with pytest.raises(AttributeError) as odd:
        Address.parse(None)
    assert "(cxlstate.core.address:" in summary(odd.value)
    with pytest.raises(TypeError) as odd:
        parse_record(StringIO())
    assert "(cxlstate.engine.record:" in summary(odd.value)


def test_the_traceback_is_told_where_it_was_asked_for(monkeypatch):
    assert "Traceback" not in defect(raised(ValueError("x"))).found
    monkeypatch.setenv(DEBUG, "1")
    assert "Traceback" in defect(raised(ValueError("x"))).found


def test_the_last_stand_tells_what_no_text_can_hold():
    code = """
import sys
from importlib import import_module
from pydantic import TypeAdapter
main = import_module("cxlstate.cli.main")
main.cxlstate.main = lambda *_, **__: TypeAdapter(int).validate_python("\\udcff")
main.main([])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=False, env={**os.environ, "LC_ALL": "C"}
    )
    assert done.returncode == 1
    assert b"CXE900" in done.stderr
    assert b"Traceback" not in done.stderr
