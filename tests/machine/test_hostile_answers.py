"""A machine that answers nonsense, or never ends: no exception leaves, time and memory are bounded."""

from __future__ import annotations

import itertools
import re
import time
import tracemalloc
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cxlstate.core.action import Generate, Run, WriteFile
from cxlstate.core.address import Address, ScopedAddress
from cxlstate.core.answers import Answer, Answers, NotAsked
from cxlstate.core.diagnostic import CxlstateError
from cxlstate.core.read import (
    Asked,
    Attributes,
    Command,
    Exists,
    File,
    Glob,
    LibvirtRead,
    Links,
    MapAndRead,
    Names,
    conditions,
)
from cxlstate.core.reconciler import How, Leaves
from cxlstate.engine.graph import Graph
from cxlstate.engine.observe import observe, resources_of
from cxlstate.engine.plan import Plan
from cxlstate.engine.survey import look
from cxlstate.machine import limits
from cxlstate.machine.local import LocalTransport
from cxlstate.machine.posix import read_script
from cxlstate.machine.posix.agent import Settings
from cxlstate.machine.posix.frames import number
from cxlstate.machine.posix.reader import PosixReader
from cxlstate.machine.posix.transport import LockLost
from cxlstate.machine.posix.writer import PosixWriter
from cxlstate.resources import kinds
from cxlstate.simulator.reader import SimReader
from cxlstate.spec.load import load
from tests.fuzz import answers as hostile
from tests.machine.conftest import ENTRY

SPECS = Path(__file__).parents[2] / "specs"
READS = [
    File("/proc/version"),
    Glob("/etc/*.conf"),
    Attributes("/sys/bus/dax/devices/*/size"),
    Names("/boot/*"),
    Command(("uname",)),
    Exists("/etc/nowhere", "/etc/*.conf"),
    Asked(File("/etc/passwd"), only_if=Exists("/etc/nowhere")),
    Asked(Links("/etc/*"), only_if=Exists("/etc/nowhere")),
]
NONCE = "0" * 32

quickly = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


# The protocol of reading ------------------------------------------------------------------------------


@quickly
@given(hostile.output(NONCE, READS))
def test_every_output_is_answers_to_all_or_refused(output):
    try:
        answers = read_script.parse(NONCE, output, READS)
    except ValueError:
        return
    assert list(answers) == [read_script.read_of(read) for read in READS]
    assert not any(isinstance(answers[read], NotAsked) for read in READS if not isinstance(read, Asked))


@pytest.mark.parametrize(
    "said",
    [
        b"\nN err 5 0\n\nN err 1 0\n\nN end\n",
        b"\nN err -1 0\n\nN err 0 0\n\nN end\n",
        b"\nN err 0 x\n\nN err 1 0\n\nN end\n",
        b"\nN err 0 99999999999999999999999\n\nN err 1 0\n\nN end\n",
        b"\nN err 0 0\n\nN err 0 0\n\nN end\n",
        b"\nN late 7\n\nN err 0 0\n\nN end\n",
        b"\nN left 2\n\nN err 0 0\n\nN end\n",
        b"\nN skip 0 1\n\nN end\n",
        b"\nN skip 1 0\n\nN err 0 0\n\nN end\n",
        b"\nN skip 1 9\n\nN err 0 0\n\nN err 1 0\n\nN end\n",
        b"\nN err \xff 0\n\nN end\n",
        "\nN err ٣ 0\n\nN end\n".encode(),
        b"\nN end\n",
        b"",
    ],
)
def test_a_wrong_count_is_no_answer(said):
    two = READS[:2]
    reader = PosixReader(hostile.Line(lambda nonce: iter([said.replace(b"N", nonce.encode())])), "box")
    with pytest.raises(CxlstateError, match="CXC201"):
        reader.read(two)


@pytest.mark.parametrize("word", ["", "-1", "+1", "1_0", "٣", "0x1", "1 ", "9" * 13, "11", "1.0"])
def test_a_number_is_digits_and_no_more_than_it_may_be(word):
    with pytest.raises(ValueError, match="not a number up to 10"):
        number(word, 10)


# The agent --------------------------------------------------------------------------------------------


def flood(nonce):
    """Never a mark."""
    return itertools.repeat(b"x" * 65536)


def dribble(nonce):
    return itertools.repeat(b"x")


def flood_of_marks(nonce):
    return itertools.repeat(f"\n{nonce} done 1 0\n".encode())


def flood_of_answers(nonce):
    yield f"\n{nonce} ready\n".encode()
    yield from itertools.repeat(f"\n{nonce} done 0 10\n0123456789".encode())


def flood_of_pongs(nonce):
    yield f"\n{nonce} ready\n".encode()
    yield from itertools.repeat(f"\n{nonce} pong 0\n".encode() * 100)


def endless_line(nonce):
    yield f"\n{nonce} ready\n\n{nonce} done ".encode()
    yield from itertools.repeat(b"1" * 65536)


def too_long(nonce):
    yield f"\n{nonce} ready\n\n{nonce} done 1 99999999999\n".encode()
    yield from itertools.repeat(b"x" * 65536)


def negative(nonce):
    yield f"\n{nonce} ready\n\n{nonce} done 1 -5\nxxxxxxxxx".encode()


def no_number(nonce):
    yield f"\n{nonce} ready\n\n{nonce} done x y\n".encode()


def another_number(nonce):
    yield f"\n{nonce} ready\n\n{nonce} done 77 0\n".encode()


def too_few_words(nonce):
    yield f"\n{nonce} ready\n\n{nonce} done\n\n{nonce} \n".encode()


def silence(nonce):
    yield f"\n{nonce} ready\n".encode()


def end(nonce):
    yield f"\n{nonce} ready\n".encode()
    yield b""


def no_report(nonce):
    yield f"\n{nonce} ready\n".encode()
    for at in itertools.count(1):
        yield f"\n{nonce} done {at} 5\n\xff\n\n\n".encode("latin-1") + b"\n"


def odd_report(nonce):
    yield f"\n{nonce} ready\n".encode()
    for at in itertools.count(1):
        yield f"\n{nonce} done {at} 16\ndone 9999999999\n".encode()


def odd_generated(nonce):
    yield f"\n{nonce} ready\n".encode()
    for at in itertools.count(1):
        yield f"\n{nonce} done {at} 13\ngenerated -1\n".encode()


HOSTILE = (
    flood, dribble, flood_of_marks, flood_of_answers, flood_of_pongs, endless_line, too_long, negative,
    no_number, another_number, too_few_words, silence, end, no_report, odd_report, odd_generated,
)  # fmt: skip

VERBS = {
    "write": lambda writer: writer.perform(WriteFile("/x", b"x", None), ENTRY),
    "run": lambda writer: writer.perform(Run(("true",)), ENTRY),
    "generate": lambda writer: writer.perform(Generate("/x", ("true",), b""), ENTRY),
    "record": lambda writer: writer.record({"grub": "x"}),
    "reboot": lambda writer: writer.reboot(ENTRY, lambda said: None),
    "fence": lambda writer: writer._session(ENTRY).fence(),
}


@pytest.mark.parametrize("say", HOSTILE, ids=lambda say: say.__name__)
@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_ends_with_a_code_and_little_memory(say, verb, monkeypatch):
    monkeypatch.setattr("cxlstate.machine.posix.agent.GREETING", 1)
    monkeypatch.setattr("cxlstate.machine.posix.writer.SLACK", 1)
    monkeypatch.setattr("cxlstate.machine.posix.session.SLACK", 1)
    monkeypatch.setattr(limits, "CHATTER", 1 << 18)
    monkeypatch.setattr(limits, "CONVERSATION", 1 << 20)
    tracemalloc.start()
    started = time.monotonic()
    codes = set()
    try:
        settings_ = Settings("/x", "/y", 1, reboot=1)
        writer = PosixWriter(hostile.Line(say), "box", survives_reboot=True, settings=settings_)
        VERBS[verb](writer)
        writer.close()
    except CxlstateError as refused:
        codes = {one.code[:3] for one in refused.diagnostics}
    except LockLost:
        assert verb == "fence"
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert codes <= {"CXC"}
    assert time.monotonic() - started < 30
    assert most < 1 << 24


# Plans ------------------------------------------------------------------------------------------------


@cache
def scene(name):
    """A host's spec and what a machine that fits it answers, also to what only a condition asks."""
    (tree,) = load([SPECS / name]).trees
    spec = replace(tree, machines=(tree.host,))
    asked = Recorder()
    observe(asked, spec.host, kinds())
    good = SimReader(FOLDER / name, spec.host.id).read(asked.reads)
    return spec, {read: good.raw(read) for read in asked.reads}


class Recorder:
    """Takes down what is asked."""

    def lacks(self, effect):
        return None

    def read(self, reads):
        self.reads = sorted(_reads(reads), key=repr)
        return Answers(dict.fromkeys(self.reads, Answer(1, b"", "no")))


def _reads(questions):
    """Every read that may be done, and each condition."""
    of_libvirt = {one for one in questions if isinstance(one, LibvirtRead)}
    return of_libvirt | set(conditions(set(questions) - of_libvirt))


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory):
    global FOLDER  # noqa: PLW0603  # where the machines of this module are
    FOLDER = tmp_path_factory.mktemp("machines")


class Says:
    def __init__(self, answers):
        self.answers = answers

    def lacks(self, effect):
        return None

    def read(self, reads):
        return Answers(self.answers)

    def close(self):
        pass


def plan_of(spec, answers) -> Plan:
    return look(spec, kinds(), None, lambda *_: Says(answers))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["demo.yaml", "cloudcxl2.yaml"])
@settings(parent=quickly, max_examples=60)
@given(data=st.data())
def test_one_odd_answer_changes_nothing_that_does_not_come_from_it(name, data):
    spec, good = scene(name)
    before = plan_of(spec, good)
    read = data.draw(st.sampled_from(sorted(good, key=repr)))
    odd = data.draw(hostile.answer(read, good[read]))
    started = time.monotonic()
    after = plan_of(spec, {**good, read: odd})
    assert time.monotonic() - started < 5
    assert [one for one in after.all_diagnostics if one.code == "CXE900"] == []
    concerned = _concerned(spec, read, before)
    kept = {r.address: (r.status, r.actions) for r in before.resources if r.address not in concerned}
    assert {a: (r.status, r.actions) for a in kept if (r := after.at(a))} == kept


@pytest.mark.slow
@pytest.mark.parametrize("name", ["demo.yaml", "cloudcxl2.yaml"])
@settings(parent=quickly, max_examples=30)
@given(data=st.data())
def test_whatever_a_machine_answers_there_is_a_plan(name, data):
    spec, good = scene(name)
    plan = plan_of(spec, data.draw(hostile.answers(sorted(good, key=repr))))
    assert plan.machines[0].diagnostics == ()
    assert {r.address for r in plan.resources} >= {r.address for r in spec.host.resources}


def _at(address):
    return ScopedAddress("", address)


def _concerned(spec, read, plan):
    """Who asked for it, and who builds on one that did, directly or not."""
    resources, _ = resources_of(spec.host, kinds())
    leaving = [kind.reconciler for kind in kinds().values() if isinstance(kind.reconciler, Leaves)]
    if any(read == kind.traces or read in _reads(kind.leftover_reads()) for kind in leaving):
        return set(resources)
    needs = {a: kinds()[a.kind].reconciler.needs(me) for a, me in resources.items()}
    graph = Graph({ScopedAddress("", a): one for a, one in needs.items()})
    concerned = {a for a, me in resources.items() if read in _reads(kinds()[a.kind].reconciler.reads(me))}
    implied = [kind for kind in kinds().values() if kind.gathers is not None]
    concerned |= {Address(kind.kind) for kind in implied if read == kind.traces}
    while True:
        builds = {a for a in resources if concerned & {t.address for t in graph.targets(_at(a), *How)}}
        waits = {r.address for r in plan.resources if any(action.suspends for action in r.actions)}
        more = concerned | builds | (waits if concerned else set())
        if more == concerned:
            return concerned
        concerned = more


class Overheard(LocalTransport):
    """This machine; what was asked of it is kept: the command, and how long its end is waited for."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def exchange(self, command, stdin, timeout, limit):
        self.asked.append((command, timeout))
        return super().exchange(command, stdin, timeout, limit)


@pytest.mark.parametrize("count", [1, 40])
def test_a_machine_gives_up_a_long_exchange_later_than_we_do(count):
    """So that one that takes too long is told as that (CXC203), and not as a connection that was lost."""
    heard = Overheard()
    PosixReader(heard, "box").read([MapAndRead(number) for number in range(count)])
    ((command, patience),) = heard.asked
    assert patience > limits.LONG_READ * count
    assert [int(seconds) > patience for seconds in re.findall(r"timeout (\d+) sh", command)] == [True] * 3
