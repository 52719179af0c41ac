"""Waiting for a machine to come back: a boot id and a `systemctl` of the test's own."""

from __future__ import annotations

import json

import pytest

from cxlstate.core.action import Run
from cxlstate.core.diagnostic import CxlstateError, fail
from cxlstate.machine.local import LocalTransport
from cxlstate.machine.outcome import Result
from cxlstate.machine.posix import effects
from cxlstate.machine.posix.agent import Settings
from cxlstate.machine.posix.writer import PosixWriter
from tests.machine.conftest import ENTRY

pytestmark = pytest.mark.slow  # they wait for real heartbeats and time limits


class Rebooting(LocalTransport):
    """This machine; once it went down it refuses a few times, as one that boots does."""

    def __init__(self, refusals=0, code="CXC102"):
        super().__init__()
        self.started = 0
        self._refusals = refusals
        self._code = code

    def start(self, command):
        self.started += 1
        if 1 < self.started <= 1 + self._refusals:
            raise fail(self._code, "refused", machine="box")
        return super().start(command)


@pytest.fixture
def machine(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    boot_id = tmp_path / "boot_id"
    boot_id.write_text("first\n")
    monkeypatch.setattr(effects, "BOOT_ID", f"cat {boot_id}\n".encode())
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")

    def systemctl(text):
        (tmp_path / "bin" / "systemctl").write_text(f"#!/bin/sh\n{text.format(boot_id=boot_id)}\n")
        (tmp_path / "bin" / "systemctl").chmod(0o755)

    return systemctl


def open_writer(transport, places, reboot=20):
    settings = Settings(**places, patience=5, reboot=reboot)
    return PosixWriter(transport, "box", survives_reboot=True, settings=settings)


def test_the_lock_is_taken_again_after_a_new_boot_id(machine, places, tmp_path):
    machine("(sleep 2; echo second >{boot_id}) >/dev/null 2>&1 9>&- &")
    transport = Rebooting(refusals=1)
    writer = open_writer(transport, places)
    told = []
    writer.reboot(ENTRY, told.append)
    assert writer.perform(Run(("true",)), ENTRY).result is Result.DONE
    writer.close()
    assert "box" in told[0]
    assert any("refused" in text for text in told)
    assert transport.started >= 3
    first = (tmp_path / "state" / "journal.jsonl").read_text().splitlines()[0]
    assert json.loads(first)["effect"] == "reboot"


def test_a_machine_that_does_not_come_back_is_an_error(machine, places):
    machine("true")
    writer = open_writer(Rebooting(), places, reboot=2)
    with pytest.raises(CxlstateError, match="CXC306") as failed:
        writer.reboot(ENTRY, lambda _: None)
    assert "going down" in failed.value.diagnostics[0].found
    writer.close()


def test_a_machine_that_refuses_to_reboot_says_why(machine, places):
    machine("echo inhibited >&2; exit 1")
    writer = open_writer(Rebooting(), places)
    with pytest.raises(CxlstateError, match="CXC306") as failed:
        writer.reboot(ENTRY, lambda _: None)
    assert "inhibited" in failed.value.diagnostics[0].found
    writer.close()


def test_it_goes_through_the_firmware_whatever_is_prepared_for_kexec(machine, places, tmp_path):
    machine("env >{boot_id}.env; (sleep 2; echo second >{boot_id}) >/dev/null 2>&1 9>&- &")
    writer = open_writer(Rebooting(), places)
    writer.reboot(ENTRY, lambda _: None)
    writer.close()
    told = (tmp_path / "boot_id.env").read_text().splitlines()
    assert {"SYSTEMCTL_SKIP_AUTO_KEXEC=1", "SYSTEMCTL_SKIP_AUTO_SOFT_REBOOT=1"} <= set(told)


def test_another_host_key_after_the_reboot_is_not_waited_for(machine, places):
    machine("true")
    writer = open_writer(Rebooting(refusals=99, code="CXC105"), places)
    with pytest.raises(CxlstateError, match="CXC105"):
        writer.reboot(ENTRY, lambda _: None)
    writer.close()
