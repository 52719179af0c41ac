"""A reboot names every VM that it stops, declared or not, before it is done and after."""

from __future__ import annotations

import json

import pytest

from cxlstate.cli.main import _run
from cxlstate.core.action import Run
from cxlstate.core.libvirt import AutostartDomain, DefineDomain, StartDomain, StopDomain
from cxlstate.machine.outcome import Entry, Result
from cxlstate.simulator.world import load
from cxlstate.simulator.writer import SimWriter
from tests.laws.bench import BASE, Bench

ENTRY = Entry("run", ("test",), "a test", "live")
GRUB = {"grub": {"args": ["a=1"]}}


@pytest.fixture
def bench(tmp_path):
    """A host on which somebody runs `auto`, which starts with it, and `plain`, which does not."""
    bench = Bench(tmp_path)
    tell(
        bench,
        Run(("apt-get", "update")),
        Run(("apt-get", "--yes", "install"), ("libvirt-daemon-system", "qemu-utils", "ovmf")),
        *(DefineDomain(name, BASE.replace("base", name)) for name in ("auto", "plain", "off")),
        AutostartDomain("auto", on=True),
        StartDomain("auto"),
        StartDomain("plain"),
    )
    return bench


def tell(bench, *effects):
    with SimWriter(bench.directory, "bench") as writer:
        for effect in effects:
            outcome = writer.perform(effect, ENTRY)
            assert outcome.result is Result.DONE, outcome


@pytest.fixture
def run(capsys, monkeypatch):
    monkeypatch.delenv("CXLSTATE_DEBUG", raising=False)

    def run(*arguments):
        status = _run([str(one) for one in arguments])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def stopped(text):
    document = json.loads(text)
    (machine,) = document["machines"]
    actions = [action for resource in machine["resources"] for action in resource["actions"]]
    return {action["does"]: action.get("stops", "not told") for action in actions}


def test_a_plan_names_whom_a_reboot_stops(bench, run):
    bench.spec(GRUB)
    status, out, _ = run("plan", bench.file)
    assert status == 2
    lines = out.splitlines()
    at = lines.index("      $ systemctl reboot  reboot-host")
    assert lines[at + 1] == "        stops VMs auto, plain (autostart off: plain)"
    told = stopped(run("plan", "--json", bench.file)[1])
    assert told.pop("reboot") == [{"vm": "auto", "autostart": True}, {"vm": "plain", "autostart": False}]
    assert set(told.values()) == {"not told"}, "only a reboot stops them"


def test_they_are_named_once_where_several_resources_need_the_reboot(bench, run):
    bench.spec(GRUB | {"memmap": [{"size": "2GiB", "start": "200GiB", "type": "reserved"}]})
    assert run("apply", "--yes", bench.file)[0] == 3
    _, out, _ = run("plan", bench.file)
    assert out.count("$ systemctl reboot") > 1
    assert out.count("stops VMs") == 1


def test_where_no_vm_runs_there_is_no_word_of_them(bench, run):
    tell(bench, *(StopDomain(name, timeout=0, power_off=True) for name in ("auto", "plain")))
    bench.spec(GRUB)
    assert "stops" not in run("plan", bench.file)[1]
    assert stopped(run("plan", "--json", bench.file)[1])["reboot"] == "not told"


def test_a_vm_that_starts_after_the_plan_makes_the_plan_stale(bench, run, tmp_path):
    bench.spec(GRUB)
    kept = tmp_path / "kept.json"
    assert run("plan", "--out", kept, bench.file)[0] == 2
    tell(bench, StartDomain("off"))
    status, _, err = run("apply", "--allow", "reboot-host", kept)
    assert status == 1
    assert "CXE205" in err
    assert "stops VMs auto, off, plain" in err


def test_an_apply_says_who_is_off_since_its_reboot(bench, run):
    bench.spec(GRUB)
    boot = load(bench.directory).running.boot_id
    status, out, _ = run("apply", "--yes", "--allow", "reboot-host", bench.file)
    assert status == 0
    assert load(bench.directory).running.boot_id != boot
    assert out.index("stops VMs auto, plain (autostart off: plain)") < out.index("not running since")
    assert "  not running since the reboot: plain\n    → virsh start plain\n" in out
    tell(bench, StartDomain("plain"))
    assert "not running" not in run("apply", "--yes", bench.file)[1]
