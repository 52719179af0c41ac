"""The lock of a guest over its agent: a lease, which a writer over SSH honours, and the other way."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from cxlstate.core.action import Run, WriteFile
from cxlstate.core.diagnostic import CxlstateError
from cxlstate.core.read import Attributes
from cxlstate.machine.guest_writer import PosixGuestWriter
from cxlstate.machine.local import LocalTransport
from cxlstate.machine.outcome import Result
from cxlstate.machine.posix.agent import Settings
from cxlstate.machine.posix.transport import LockLost
from cxlstate.machine.posix.writer import PosixWriter
from cxlstate.machine.qga.transport import AgentTransport
from tests.machine.conftest import ENTRY, digest
from tests.machine.test_guest_agent import started

PATIENCE = 2

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def agent(tmp_path_factory):
    made = started(tmp_path_factory.mktemp("qga"))
    yield made
    made.stop()


@pytest.fixture
def settings(places):
    return Settings(**places, patience=PATIENCE)


@pytest.fixture
def opened(agent, settings):
    made = []

    def open_(*, by_agent=True):
        if by_agent:
            one = PosixGuestWriter(AgentTransport(agent.ask, "box/vm"), "box/vm", settings)
        else:
            one = PosixWriter(LocalTransport(), "here", survives_reboot=False, settings=settings)
        made.append(one)
        return one

    yield open_
    for one in made:
        one.close()


def refused(opened, **how):
    with pytest.raises(CxlstateError) as error:
        opened(**how)
    (said,) = error.value.diagnostics
    assert said.code == "CXC302"
    assert ("sign of life" in said.hint) is ("lease" in said.found)
    return said.found


def vanish(writer):
    """As if its process had been killed: nothing is given up."""
    writer._agent._over.set()
    writer._agent._settings = Settings(state="/nowhere", lock="/nowhere/lock")


def test_effects_are_done_and_journalled_as_everywhere(opened, places, tmp_path):
    writer = opened()
    file = tmp_path / "file"
    assert writer.perform(WriteFile(str(file), b"one\n"), ENTRY).result is Result.DONE
    assert writer.perform(WriteFile(str(file), b"two\n"), ENTRY).result is Result.STALE
    assert writer.perform(WriteFile(str(file), b"\0\xff", digest(b"one\n")), ENTRY).result is Result.DONE
    assert file.read_bytes() == b"\0\xff"
    ran = writer.perform(Run(("sh", "-c", "echo said; exit 3")), ENTRY)
    assert (ran.result, ran.status, ran.output) == (Result.FAILED, 3, "said\n")
    writer.record({"module.kmem": '{"wanted":1}'})
    records = Attributes(f"{places['state']}/applied/*")
    assert writer.read([records]).files(records) == {f"{places['state']}/applied/module.kmem": '{"wanted":1}'}
    lines = (Path(places["state"]) / "journal.jsonl").read_text().splitlines()
    events = " ".join(json.loads(line)["event"] for line in lines)
    assert events == "begin done begin stale begin done begin failed"


@pytest.mark.parametrize(("first", "second"), [(True, True), (True, False), (False, True)])
def test_there_is_one_writer_at_a_time(opened, first, second):
    holder = opened(by_agent=first)
    assert refused(opened, by_agent=second)
    time.sleep(PATIENCE + 1)  # signs of life come by themselves
    assert refused(opened, by_agent=second)
    holder.close()
    opened(by_agent=second).close()


def test_the_holder_is_named(opened):
    opened()
    assert "over the guest agent, for " in refused(opened, by_agent=False)


@pytest.mark.parametrize("second", [True, False])
def test_a_holder_that_vanished_is_waited_for_as_long_as_its_patience(opened, second, places):
    vanish(opened())
    assert refused(opened, by_agent=second)
    time.sleep(PATIENCE + 1)
    opened(by_agent=second).close()
    assert not Path(f"{places['lock']}.lease").exists()


@pytest.mark.parametrize("second", [True, False])
def test_one_that_slept_too_long_is_told_and_does_nothing_more(opened, second, tmp_path):
    sleeper = opened()
    sleeper._agent._over.set()  # no signs of life any more, as of a computer that was suspended
    time.sleep(PATIENCE + 1)
    other = opened(by_agent=second)
    with pytest.raises(LockLost):
        sleeper._agent.confirm()
    with pytest.raises(CxlstateError) as lost:
        sleeper.perform(WriteFile(str(tmp_path / "file"), b""), ENTRY)
    assert lost.value.diagnostics[0].code == "CXC303"
    assert not (tmp_path / "file").exists()
    assert other.perform(Run(("true",)), ENTRY).result is Result.DONE


def test_one_that_slept_while_nobody_came_goes_on(opened):
    sleeper = opened()
    sleeper._agent._over.set()
    time.sleep(PATIENCE + 1)
    assert sleeper.perform(Run(("true",)), ENTRY).result is Result.DONE


@pytest.mark.parametrize("second", [True, False])
def test_an_effect_that_still_runs_keeps_the_lock_without_its_client(opened, second, tmp_path):
    writer = opened()
    script = f"echo $$ >{tmp_path}/begun; sleep {3 * PATIENCE}; touch {tmp_path}/ended"
    thread = threading.Thread(target=writer.perform, args=(Run(("sh", "-c", script)), ENTRY))
    thread.start()
    while not (tmp_path / "begun").exists():
        time.sleep(0.05)
    for _ in range(PATIENCE + 1):
        assert "process" in refused(opened, by_agent=second)
        time.sleep(1)
    thread.join()
    assert (tmp_path / "ended").exists()


def test_a_guest_that_was_booted_has_forgotten_the_lease(opened, places):
    """/run is empty then."""
    writer = opened()
    Path(f"{places['lock']}.lease").unlink()
    with pytest.raises(LockLost, match="booted"):
        writer._agent.confirm()


def test_what_a_vanished_one_left_half_made_is_cleaned_up(opened, places, tmp_path):
    state = Path(places["state"])
    vanish(opened())
    left = tmp_path / ".file.cxlstate"
    left.write_text("half")
    (state / "tmp/leftover").write_text(str(left))
    time.sleep(PATIENCE + 1)
    opened()
    assert not left.exists()
    assert list((state / "tmp").iterdir()) == []
