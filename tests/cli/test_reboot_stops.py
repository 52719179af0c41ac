"""A reboot names every VM that it stops, declared or not, before it is done and after."""

from __future__ import annotations

import json

import pytest

from cxlstate.cli.main import _run
from cxlstate.core.action import Run
from cxlstate.core.libvirt import AutostartDomain, DefineDomain, StartDomain, StopDomain
from cxlstate.machine.outcome import Entry, Result
from cxlstate.simulator.folder import load
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


def stops(text):
    document = json.loads(text)
    return {one["name"]: one["stops"] for one in document["interruptions"]}


AUTO = {"vm": "auto", "declared": False, "autostart": True, "again": False}
PLAIN = {"vm": "plain", "declared": False, "autostart": False, "again": True}


def test_a_plan_names_whom_a_reboot_stops(bench, run):
    bench.spec(GRUB)
    status, out, _ = run("plan", bench.file)
    assert status == 2
    head = out[: out.index("To allow")]
    assert "shuts down 2 VMs:" in head
    assert "auto    not in the spec, starts with the host\n" in head
    assert "plain   not in the spec, does not start with the host: started again after the boot\n" in head
    assert "$ virsh shutdown auto; virsh shutdown plain" in out
    assert "$ virsh start plain" in out
    assert stops(run("plan", "--json", bench.file)[1]) == {"reboot-host=bench": [AUTO, PLAIN]}


def test_they_are_named_once_where_several_resources_need_the_reboot(bench, run):
    bench.spec(GRUB | {"memmap": [{"size": "2GiB", "start": "200GiB", "type": "reserved"}]})
    assert run("apply", "--yes", bench.file)[0] == 3
    _, out, _ = run("plan", bench.file)
    assert "grub, memmap: " in out
    assert out.count("shuts down 2 VMs") == 1
    assert out.count("$ systemctl reboot") == 1


def test_where_no_vm_runs_that_is_told(bench, run):
    tell(bench, *(StopDomain(name, timeout=0, power_off=True) for name in ("auto", "plain")))
    bench.spec(GRUB)
    assert "stops no VM" in run("plan", bench.file)[1]
    assert stops(run("plan", "--json", bench.file)[1]) == {"reboot-host=bench": []}


def test_a_vm_that_starts_after_the_plan_makes_the_plan_stale(bench, run, tmp_path):
    bench.spec(GRUB)
    kept = tmp_path / "kept.json"
    assert run("plan", "--out", kept, bench.file)[0] == 2
    tell(bench, StartDomain("off"))
    status, _, err = run("apply", "--allow", "reboot-host", kept)
    assert status == 1
    assert "CXE205" in err
    assert "found    reboot-host=bench stops auto,off,plain" in err
    assert "expected reboot-host=bench stops auto,plain" in err


def test_a_plan_file_that_stops_no_vm_does_not_stop_one_that_was_started_since(bench, run, tmp_path):
    """What is to be edited is the same: a restart comes on top, and nobody was shown it."""
    bench.spec({"vms": {"off": {"vcpu": 3}}})
    kept = tmp_path / "kept.json"
    assert run("plan", "--out", kept, bench.file)[0] == 2
    assert stops(kept.read_text()) == {}
    tell(bench, StartDomain("off"))
    before = bench.journal()
    status, _, err = run("apply", "--allow", "restart-vm,power-off-vm", kept)
    assert (status, bench.journal()) == (1, before)
    assert "plan is stale: it takes restart-vm=bench/vm.off now" in err


def test_what_a_reboot_stops_is_running_again_behind_it(bench, run):
    bench.spec(GRUB)
    boot = load(bench.directory).running.boot_id
    status, out, err = run("apply", "--yes", "--allow", "reboot-host,power-off-vm", bench.file)
    assert status == 0, err
    running = load(bench.directory).running
    assert running.boot_id != boot
    assert {process.guest for process in running.processes if process.guest} == {"auto", "plain"}
    assert "not running" not in out


def test_one_that_ignores_its_power_button_keeps_the_host_from_its_reboot(bench, run):
    """A guest without a disk has no system that would react."""
    bench.spec(GRUB)
    boot = load(bench.directory).running.boot_id
    status, _, err = run("apply", "--yes", "--allow", "reboot-host", bench.file)
    assert status == 4
    assert "CXE207" in err
    assert "--allow power-off-vm=bench/vm.auto" in err
    assert load(bench.directory).running.boot_id == boot
