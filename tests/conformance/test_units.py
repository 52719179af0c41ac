"""Facts of systemd's units, after each verb."""

from __future__ import annotations

import pytest

PROPERTIES = (
    *("Id", "Names", "LoadState", "ActiveState", "SubState", "UnitFileState", "NeedDaemonReload"),
    *("Result", "Type", "RemainAfterExit", "TriggeredBy"),
)
RUNS = "fact-runs.service"
FAILS = "fact-fails.service"


def show(machine, *units):
    answer = machine.ask("systemctl", "show", f"--property={','.join(PROPERTIES)}", operands=units)
    assert answer.status == 0
    blocks = [
        dict(line.partition("=")[::2] for line in block.splitlines()) for block in answer.text.split("\n\n")
    ]
    return {block["Id"]: block for block in blocks}


def states(machine, unit):
    block = show(machine, unit)[unit]
    return tuple(block[key] for key in ("LoadState", "UnitFileState", "ActiveState", "SubState"))


def test_every_property_of_a_unit_that_is_not_there(machine):
    answer = machine.ask(
        "systemctl", "show", f"--property={','.join(PROPERTIES)}", operands=("absent.service",)
    )
    assert answer.text == (
        "Type=\nRemainAfterExit=no\nResult=success\nId=absent.service\nNames=absent.service\nTriggeredBy=\n"
        "LoadState=not-found\nActiveState=inactive\nSubState=dead\nUnitFileState=\nNeedDaemonReload=no\n"
    )


def test_every_property_of_units_that_run(machine):
    blocks = show(machine, "sshd.service", "systemd-journald.service", "absent.socket", "multi-user.target")
    assert blocks["ssh.service"] == {
        "Type": "notify",
        "RemainAfterExit": "no",
        "Result": "success",
        "Id": "ssh.service",
        "Names": "ssh.service sshd.service",
        "TriggeredBy": "",
        "LoadState": "loaded",
        "ActiveState": "active",
        "SubState": "running",
        "UnitFileState": "enabled",
        "NeedDaemonReload": "no",
    }
    assert blocks["systemd-journald.service"]["UnitFileState"] == "static"
    assert {"Type", "RemainAfterExit"}.isdisjoint(blocks["absent.socket"])
    assert {"Type", "Result"}.isdisjoint(blocks["multi-user.target"])


@pytest.fixture
def tidy(machine):
    """Both units are as before afterwards."""
    yield
    machine.run("systemctl", "disable", "--now", RUNS)
    machine.run("systemctl", "reset-failed", FAILS)


@pytest.mark.usefixtures("tidy")
def test_a_unit_that_is_up_and_one_that_has_failed_look_different(machine):
    assert states(machine, RUNS) == ("loaded", "disabled", "inactive", "dead")
    assert machine.run("systemctl", "start", RUNS).output == ""
    assert states(machine, RUNS) == ("loaded", "disabled", "active", "running")
    outcome = machine.run("systemctl", "start", FAILS)
    assert outcome.status == 1
    assert outcome.output == (
        f"Job for {FAILS} failed because the control process exited with error code.\n"
        f'See "systemctl status {FAILS}" and "journalctl -xeu {FAILS}" for details.\n'
    )
    assert states(machine, FAILS) == ("loaded", "disabled", "failed", "failed")
    assert show(machine, FAILS)[FAILS]["Result"] == "exit-code"


@pytest.mark.usefixtures("tidy")
def test_stopping_leaves_a_failed_unit_failed_until_it_is_reset(machine):
    machine.run("systemctl", "start", FAILS)
    assert machine.run("systemctl", "stop", FAILS).status == 0
    assert states(machine, FAILS)[2] == "failed"
    assert machine.run("systemctl", "reset-failed", FAILS).status == 0
    assert states(machine, FAILS)[2] == "inactive"
    outcome = machine.run("systemctl", "reset-failed", FAILS)
    said = f"Failed to reset failed state of unit {FAILS}: Unit {FAILS} not loaded.\n"
    assert (outcome.status, outcome.output) == (1, said)


@pytest.mark.usefixtures("tidy")
def test_enabling_and_starting_do_not_touch_each_other(machine):
    assert machine.run("systemctl", "enable", RUNS).output.startswith("Created symlink ")
    assert states(machine, RUNS) == ("loaded", "enabled", "inactive", "dead")
    assert machine.run("systemctl", "enable", RUNS).output == ""
    machine.run("systemctl", "start", RUNS)
    assert machine.run("systemctl", "disable", RUNS).output.startswith("Removed ")
    assert states(machine, RUNS) == ("loaded", "disabled", "active", "running")
    assert machine.run("systemctl", "disable", RUNS).output == ""


@pytest.mark.long
@pytest.mark.usefixtures("tidy")
def test_a_mask_hides_the_unit_and_keeps_it_running_and_enabled(machine):
    machine.run("systemctl", "enable", "--now", RUNS)
    said = f"Created symlink '/etc/systemd/system/{RUNS}' -> '/dev/null'.\n"
    assert machine.run("systemctl", "mask", RUNS).output == said
    assert machine.run("systemctl", "mask", RUNS).output == ""
    assert states(machine, RUNS) == ("masked", "masked", "active", "running")
    outcome = machine.run("systemctl", "start", RUNS)
    assert (outcome.status, outcome.output) == (1, f"Failed to start {RUNS}: Unit {RUNS} is masked.\n")
    outcome = machine.run("systemctl", "enable", RUNS)
    said = f"Failed to enable unit: Unit /etc/systemd/system/{RUNS} is masked\n"
    assert (outcome.status, outcome.output) == (1, said)
    outcome = machine.run("systemctl", "disable", RUNS)
    assert outcome.status == 0
    assert outcome.output.startswith(f"Unit /etc/systemd/system/{RUNS} is masked, ignoring.\n")
    machine.run("systemctl", "stop", RUNS)
    assert states(machine, RUNS) == ("masked", "masked", "inactive", "dead")
    assert show(machine, RUNS)[RUNS]["Type"] == ""
    assert machine.run("systemctl", "unmask", RUNS).output == f"Removed '/etc/systemd/system/{RUNS}'.\n"
    assert states(machine, RUNS) == ("loaded", "enabled", "inactive", "dead")


@pytest.mark.parametrize(
    ("verb", "status", "said"),
    [
        ("start", 5, "Failed to start absent.service: Unit absent.service not found.\n"),
        ("stop", 5, "Failed to stop absent.service: Unit absent.service not loaded.\n"),
        ("enable", 1, "Failed to enable unit: Unit absent.service does not exist\n"),
        ("disable", 1, "Failed to disable unit: Unit absent.service does not exist\n"),
        ("unmask", 0, "Unit absent.service does not exist, proceeding anyway.\n"),
    ],
)
@pytest.mark.long
def test_a_unit_that_is_not_there_is_told(machine, verb, status, said):
    outcome = machine.run("systemctl", verb, "absent")
    assert (outcome.status, outcome.output) == (status, said)


@pytest.mark.long
def test_what_is_not_there_can_be_masked(machine):
    outcome = machine.run("systemctl", "mask", "absent.service")
    assert outcome.output.startswith("Unit absent.service does not exist, proceeding anyway.\nCreated ")
    assert states(machine, "absent.service") == ("masked", "masked", "inactive", "dead")
    machine.run("systemctl", "unmask", "absent.service")
    assert states(machine, "absent.service") == ("not-found", "", "inactive", "dead")


def test_a_static_unit_is_neither_enabled_nor_disabled(machine):
    outcome = machine.run("systemctl", "enable", "systemd-journald.service")
    assert outcome.status == 0
    assert outcome.output.startswith("The unit files have no installation config (WantedBy=,")
    assert states(machine, "systemd-journald.service")[1] == "static"
