"""`cxlstate measure`, and `show --measure`, on a simulated host, before and after an apply."""

from __future__ import annotations

import json

import pytest

from cxlstate.cli import measure
from cxlstate.cli.main import _run

SPEC = """\
apiVersion: cxlstate/v1
host:
  name: box
  connect: sim:box
  modules: {{kmem: absent}}
  memmap: [{{size: 2GiB, start: 320GiB, type: reserved}}]
  dax:
    cxl0:
      range: {{start: 322GiB, size: 96GiB}}
      latency: {latency}
{mtrr}"""
GUEST = """\
apiVersion: cxlstate/v1
host: {name: box, connect: 'sim:box'}
vms:
  g1:
    state: shut-off
    memory: 1GiB
    vcpu: 1
    guest: {connect: {user: u}}
"""
MTRR = "  mtrr: {cxl0: {cover: dax.cxl0, within: {start: 320GiB, end: 448GiB}}}\n"
DEVICE, NODE = "dax.cxl0", "node:2"
PLACES = [0, *(((96 << 30) - (2 << 20)) * number // 7 >> 21 << 21 for number in range(1, 8))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("measure")


def write(folder, *, latency="150-300ns", mtrr=MTRR):
    path = folder / "box.yaml"
    path.write_text(SPEC.format(latency=latency, mtrr=mtrr))
    return str(path)


@pytest.fixture
def run(capsys):
    def run(*arguments):
        status = _run(list(arguments))
        said = capsys.readouterr()
        assert "Traceback" not in said.out + said.err
        return status, said.out, said.err

    return run


@pytest.fixture(scope="module")
def applied(folder):
    """With MTRRs over the device, which was bound after them."""
    assert _run(["apply", "--yes", "--allow", "reboot-host", write(folder)]) == 0
    return folder


def device_of(world):
    return world["running"]["dax"]["dax0.0"]


def measured(run, *arguments):
    status, out, _ = run(*arguments, "--json")
    return status, json.loads(out)


def change(folder, edit):
    path = folder / "box" / "machine.json"
    before = path.read_text()
    world = json.loads(before)
    edit(world)
    path.write_text(json.dumps(world))
    return before


# Before it is applied, and what is no memory -----------------------------------------------------------


def test_what_kmem_has_is_told_with_the_node_that_can_be_measured_instead(run, tmp_path):
    spec = write(tmp_path)
    status, out, err = run("measure", DEVICE, spec)
    assert (status, err) == (5, "")
    assert "dax.cxl0  cannot tell: dax0.0 is system RAM (kmem): nothing to map; measure node:2" in out
    status, said = measured(run, "measure", NODE, spec)
    (node,) = said["measurements"]
    assert (status, node["verdict"], node["ns"]["repeated"], node["address"]) == (0, "cached", 1.0, None)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("module.kmem", "module.kmem: it is no memory."),
        ("dax.cxl1", "dax.cxl1: no spec declares it. Did you mean dax.cxl0?"),
        ("nod:2", "no spec declares it."),
        ("other/node:2", "other/node:2: no spec declares it."),
        ("box", "box: it is no memory."),
    ],
)
def test_what_is_no_memory_is_wrong_usage(run, tmp_path, name, why):
    status, out, err = run("measure", name, write(tmp_path))
    assert (status, out) == (64, "")
    assert why in err


def test_a_node_that_is_not_there_cannot_be_told(run, tmp_path):
    status, out, _ = run("measure", "box/node:7", write(tmp_path))
    assert status == 5
    assert "node:7  cannot tell: loads from node7: there is no node 7" in out


def test_a_spec_that_is_wrong_is_told_and_nothing_is_measured(run, tmp_path):
    status, out, err = run("measure", DEVICE, write(tmp_path, latency="fast"))
    assert (status, out) == (1, "")
    assert "error[CXX103]" in err
    assert "box.yaml:10:16" in err


# After that -------------------------------------------------------------------------------------------


def test_what_its_mtrrs_make_uncachable_is_uncached(run, applied):
    status, out, err = run("measure", DEVICE, write(applied))
    assert (status, err) == (0, "")
    assert (
        out
        == """\
box
  dax.cxl0  uncached: a repeated load takes 220 ns, from ordinary memory 1 ns
      memory    first load 221 ns, repeated 220 ns; the spec says 150-300ns
      ordinary  first load 101 ns, repeated 1 ns
      firmware  says 220 ns
      measured  by CPU 47 of node 1 (simulated processor)
"""
    )


def test_the_document_has_the_figures_and_what_was_expected(run, applied):
    status, said = measured(run, "measure", f"box/{DEVICE}", write(applied))
    assert status == 0
    assert (said["format"], said["machines"], said["diagnostics"]) == (2, [], [])
    assert said["measurements"] == [
        {
            "machine": "box",
            "name": "dax.cxl0",
            "address": "box/dax.cxl0",
            "memory": "dax0.0",
            "verdict": "uncached",
            "why": "a repeated load takes 220 ns, from ordinary memory 1 ns",
            "expected": "uncached",
            "latency": "150-300ns",
            "ns": {
                "first": 221.0,
                "repeated": 220.0,
                "ordinary_first": 101.0,
                "ordinary_repeated": 1.0,
                "firmware": 220,
            },
            "places": [{"offset": at, "repeated": 220.0} for at in PLACES],
            "cpu": 47,
            "node": 1,
            "processor": "simulated processor",
            "virtual": "none",
            "disturbs": [],
        }
    ]


def test_another_latency_than_written_is_an_error_at_its_place(run, applied):
    status, out, err = run("measure", DEVICE, write(applied, latency="100-200ns"))
    assert status == 1
    assert "the spec says 100-200ns" in out
    assert "error[CXX102] latency is not as written" in err
    assert f"{applied}/box.yaml:10:16  box dax.cxl0" in err


def test_memory_that_is_cached_all_the_same_is_an_error(run, applied, monkeypatch):
    """As where a processor overrules its MTRRs: loads are as from ordinary memory."""
    monkeypatch.setattr("cxlstate.simulator.loads._cached", lambda *_: True)
    before = change(applied, lambda world: device_of(world).update(memory_type="write-back"))
    try:
        status, out, err = run("measure", DEVICE, write(applied))
    finally:
        (applied / "box" / "machine.json").write_text(before)
    assert status == 1
    assert "dax.cxl0  cached: a repeated load takes 1 ns" in out
    assert "error[CXX101] memory is cached, and should be uncached" in err
    assert "expected uncached: its MTRRs are uncachable" in err


def test_memory_of_which_a_part_is_cached_is_neither_and_an_error(run, applied):
    """A register is lost behind the kernel's back: the first 62 GiB alone are past the cache."""

    def lose(world):
        device_of(world)["memory_type"] = "write-back"
        world["running"]["mtrr"].pop()

    before = change(applied, lose)
    try:
        status, out, _ = run("measure", DEVICE, write(applied))
        said = measured(run, "measure", DEVICE, write(applied))[1]
    finally:
        (applied / "box" / "machine.json").write_text(before)
    assert status == 0  # nothing says what it has to be: `plan` tells of the registers
    assert "dax.cxl0  partly cached: uncached at 0 (220 ns), " in out
    assert "cached at 0x" in out
    (found,) = said["measurements"]
    assert found["verdict"] == "partly cached"
    assert [one["repeated"] for one in found["places"]] == [220.0] * 5 + [1.0] * 3


def test_a_guest_is_measured_by_way_of_its_host(run, tmp_path):
    """A simulated guest is a machine of its own; one that does not run is told."""
    path = tmp_path / "box.yaml"
    path.write_text(GUEST)
    for name in ("g1:node:0", "box/g1:node:0"):
        status, out, err = run("measure", name, str(path))
        assert (status, err) == (5, "")
        assert out.startswith("box/g1\n  node:0  cannot tell: ")
        assert "vm.g1" in out


@pytest.mark.parametrize("name", ["module.kmem", "dax.cxl1", "node:99999", "node:7", NODE, DEVICE])
def test_json_is_one_document_whatever_comes_of_it(run, tmp_path, name):
    status, out, _ = run("measure", name, write(tmp_path), "--json")
    assert json.loads(out)["format"] == 2
    assert status in (0, 5, 64)


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        (lambda world: world.update(python=False), "loads from dax0.0: python3 is not installed"),
        (lambda world: device_of(world).update(driver=""), "dax0.0 has no driver: nothing to map"),
        (lambda world: world["login"].update(root=False), "/proc/iomem is zero; connect as root"),
    ],
    ids=["no python3", "unbound", "no root"],
)  # fmt: skip
def test_what_keeps_us_from_it_is_said(run, applied, edit, why):
    before = change(applied, edit)
    try:
        status, out, err = run("measure", DEVICE, write(applied))
    finally:
        (applied / "box" / "machine.json").write_text(before)
    assert (status, err) == (5, "")
    assert "dax.cxl0  cannot tell: " in out
    assert why in out


def test_measuring_changes_nothing(run, applied):
    def state():
        stats = {path: path.lstat() for path in (applied / "box").rglob("*")}
        return {path: (one.st_mtime_ns, one.st_ctime_ns, one.st_ino) for path, one in stats.items()}

    before = state()
    run("measure", DEVICE, write(applied))
    assert state() == before


def test_show_measures_where_asked_to_and_a_plan_never(run, applied):
    spec = write(applied)
    status, out, _ = run("show", "--measure", spec)
    assert status == 0
    assert out.index("in sync") < out.index("dax.cxl0  uncached: a repeated load") < out.index("MTRRs")
    assert [one["name"] for one in measured(run, "show", "--measure", spec)[1]["measurements"]] == [DEVICE]
    assert "repeated load" not in run("show", spec)[1]
    for verb in ("show", "plan"):
        assert "measurements" not in measured(run, verb, spec)[1]


def test_a_device_that_an_earlier_spec_left_is_not_measured(run, applied):
    path = applied / "other.yaml"
    path.write_text(
        "apiVersion: cxlstate/v1\nhost: {name: box, connect: 'sim:box', modules: {kmem: absent}}\n"
    )
    assert "dax.cxl0" in run("plan", str(path))[1]
    status, said = measured(run, "show", "--measure", str(path))
    assert (status, said["measurements"]) == (0, [])


def test_show_with_a_measurement_that_cannot_be_told_is_unknown(run, applied):
    before = change(applied, lambda world: world.update(python=False))
    try:
        status, out, _ = run("show", "--measure", "--target", DEVICE, write(applied))
    finally:
        (applied / "box" / "machine.json").write_text(before)
    assert status == 5
    assert "dax.cxl0  cannot tell: loads from dax0.0: python3 is not installed" in out


def test_completion_knows_what_can_be_measured(monkeypatch, applied):
    (applied / "specs").mkdir(exist_ok=True)
    (applied / "specs" / "box.yaml").write_text((applied / "box.yaml").read_text())
    monkeypatch.chdir(applied)
    (address,) = [one for one in measure.command.params if one.name == "address"]
    assert address._custom_shell_complete(None, address, "") == ["box/dax.cxl0", "dax.cxl0", "node:"]
