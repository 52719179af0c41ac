"""Applies over hosts and their guests where somebody was faster, as a user sees it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from cxlstate.cli.main import _run
from cxlstate.engine.plan import Exit
from cxlstate.simulator.folder import load
from tests.laws.bench import Bench, bench
from tests.laws.test_crash import IN_NVDIMM

NAMESPACE, PACKAGE = "g0:namespace.cxl", "g0:package.tree"
OTHER = "5f0e2c1a-0000-4000-8000-000000000000"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def proven():
    """A host with a guest and a namespace in it, in sync."""
    with bench() as one:
        assert one.apply(one.spec(IN_NVDIMM)).exit is Exit.IN_SYNC
        yield one


@pytest.fixture
def host(proven, tmp_path, monkeypatch):
    """That host, where the spec asks for another mode of the namespace, and a package."""
    shutil.copytree(proven.directory, tmp_path / "host", symlinks=True)
    monkeypatch.chdir(tmp_path)
    one = Bench(tmp_path)
    spec = json.loads(json.dumps(IN_NVDIMM))
    spec["vms"]["g0"]["guest"]["namespaces"]["cxl"]["mode"] = "fsdax"
    spec["vms"]["g0"]["guest"]["packages"].append("tree")
    one.spec(spec)
    return one


@pytest.fixture
def run(capfd):
    def run(*words: str) -> tuple[int, str]:
        status = _run(words)
        said = capfd.readouterr()
        return status, said.out + said.err

    return run


def allow(*machines: str) -> tuple[str, ...]:
    return ("--yes", "--allow", ",".join(f"destroy-data={machine}/{NAMESPACE}" for machine in machines))


def guest(one: Bench) -> Bench:
    return one.guests()["g0"]


def remade(one: Bench) -> None:
    """Somebody makes the namespace anew, in the same mode."""
    with guest(one).world() as world:
        world.nvdimms[0].namespaces[0].uuid = OTHER


def mode_in(directory: str) -> str | None:
    return load(Path(directory) / "guests/g0").nvdimms[0].namespaces[0].mode


def journals(one: Bench) -> list:
    return [*one.journal(), *guest(one).journal()]


def test_consent_by_a_plan_file_is_for_the_data_that_it_shows(host, run):
    assert run("plan", "spec.yaml", "--out", "plan.json")[0] == 2
    remade(host)
    before = journals(host)
    status, said = run("apply", "plan.json", *allow("bench"))
    assert (status, journals(host)) == (1, before)
    assert "CXE205" in said
    assert OTHER in said
    assert run("plan", "spec.yaml", "--out", "plan.json")[0] == 2
    assert run("apply", "plan.json", *allow("bench"))[0] == 0


def test_a_guest_that_went_away_after_the_plan_is_not_started_by_its_file(host, run):
    assert run("plan", "spec.yaml", "--out", "plan.json")[0] == 2
    host.destroy_guests()
    before = journals(host)
    status, said = run("apply", "plan.json", *allow("bench"))
    assert (status, journals(host)) == (1, before)
    assert "read once vm.g0 runs" in said


def test_a_target_in_a_guest_takes_its_vm_along_and_nothing_else(host, run):
    host.destroy_guests()
    assert run("apply", "spec.yaml", "--yes", "--target", PACKAGE)[0] == 0
    status, said = run("plan", "spec.yaml")
    assert status == 2
    assert "~ namespace.cxl" in said
    assert "package.tree" not in said
    assert "vm.g0" not in said


def test_what_is_allowed_on_one_machine_is_refused_on_the_other(host, run):
    shutil.copytree("host", "host2", symlinks=True)
    Path("specs").mkdir()
    for number in ("", "2"):
        spec = json.loads(Path("spec.yaml").read_text())
        spec["host"] |= {"name": f"bench{number}", "connect": f"sim:../host{number}"}
        Path(f"specs/bench{number}.yaml").write_text(json.dumps(spec))
    assert run("plan", "specs", "--out", "plan.json")[0] == 2
    status, said = run("apply", "plan.json", *allow("bench"))
    assert status == 4
    assert f"refused: needs --allow destroy-data=bench2/{NAMESPACE}" in said
    assert [mode_in(name) for name in ("host", "host2")] == ["fsdax", "devdax"]
    assert run("apply", "specs", "--yes", "--allow", f"destroy-data={NAMESPACE}")[0] == os.EX_USAGE
    assert run("apply", "specs", *allow("bench2"))[0] == 0
