"""A dax device that is dropped from the spec while a VM runs on it, which the spec does not name either."""

from __future__ import annotations

import pytest

from cxlstate.cli.main import _run
from cxlstate.engine.plan import Exit
from cxlstate.simulator.folder import load
from tests.laws.bench import Bench
from tests.laws.test_crash import GUEST, LIBVIRT, NVDIMM

BEFORE = {**LIBVIRT, "vms": {"build7": {**GUEST, "nvdimm": [NVDIMM]}}}
DROPPED = {key: BEFORE[key] for key in ("packages", "modules")} | {"grub": {"args": ["a=1"]}}


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path)
    assert bench.apply(bench.spec(BEFORE)).exit is Exit.IN_SYNC
    bench.spec(DROPPED)
    return bench


@pytest.fixture
def run(capsys):
    def run(*arguments):
        status = _run([str(one) for one in arguments])
        said = capsys.readouterr()
        return status, said.out + said.err

    return run


def guests(bench):
    return {process.guest for process in load(bench.directory).running.processes if process.guest}


def test_the_plan_names_the_vm_and_how_to_allow_that_it_goes_off(bench, run):
    status, said = run("plan", bench.file)
    assert status == 2
    head = said[: said.index("To allow")]
    assert "power-off-vm bench/vm.build7   shut down and stays off, for dax.cxl0" in head
    assert "power-off-vm=bench/vm.build7" in said
    assert "device_dax, held by vm build7" in said
    assert "device_dax, held by vm build7" in run("drift", bench.file)[1]


def test_without_consent_it_runs_on_and_would_start_again(bench, run):
    status, said = run("apply", "--yes", "--allow", "reboot-host,restart-vm", bench.file)
    assert status == 4, said
    assert guests(bench) == {"build7"}
    assert "link  - ../dax0.0   driver  - device_dax, held by vm build7" in run("plan", bench.file)[1]
    assert "cxl0" in bench.path("etc/cxlstate/restore").read_text()


def test_with_consent_for_it_alone_it_goes_off_and_the_device_is_given_up(bench, run):
    status, said = run("apply", "--yes", "--allow", "reboot-host,power-off-vm=bench/vm.build7", bench.file)
    assert status == 0, said
    assert not guests(bench)
    assert run("plan", bench.file)[0] == 0
