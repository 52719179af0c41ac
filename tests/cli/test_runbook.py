"""The whole of docs/runbook.md on a simulated host: from nothing to 0 in one apply, and on to 4 KiB.

A Debian stands for the Ubuntu of the guest, and `uname` for hours of a build, with a kernel in whose memory
the regions are aligned otherwise.
"""

from __future__ import annotations

import json
import re
import shutil

import pytest
import yaml

from cxlstate.cli.main import _run
from cxlstate.simulator import default, qcow2
from tests.docs.story import ROOT
from tests.kernel.newer import NEWER
from tests.tarballs import tarball

SPEC = ROOT / "specs/cloudcxl2.yaml"
PAGE = (ROOT / "docs/runbook.md").read_text()
SOURCE = "linux-source-6.12"
HMEM_C, BEFORE, *_ = NEWER["7.x"]
NAMESPACE = "destroy-data=cloudcxl2/cxl_vmx:namespace.cxl"
TO_4K = f"restart-vm,power-off-vm,{NAMESPACE}"


def at(spec, old, new, count=1):
    assert len(re.findall(old, spec)) == count, old
    return re.sub(old, new, spec)


def simulated(spec):
    return at(spec, r"connect: ssh://\S+", "connect: sim:box")


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """What machines are made of here: with the image, and an archive that has what the spec names."""
    made_of = tmp_path / "made_of"
    shutil.copytree(default._MADE_OF, made_of)
    image = made_of / "root/srv/images/jammy-server-cloudimg-amd64.img"
    image.parent.mkdir(parents=True)
    image.write_bytes(qcow2.Header(3 << 30).pack())
    path = made_of / "machine.json"
    world = json.loads(path.read_text())
    source = tarball({f"{SOURCE}/Makefile": "VERSION = 6\n", f"{SOURCE}/{HMEM_C}": BEFORE}, "").decode()
    brings = {"files": {f"/usr/src/{SOURCE}.tar.xz": source}}
    names = {f"linux-modules-extra-{default.KERNELS[0]}": {}, SOURCE: brings}
    world["archive"]["packages"] += [
        {"name": name, "version": "1", "brings": brings} for name, brings in names.items()
    ]
    path.write_text(json.dumps(world))
    monkeypatch.setattr(default, "_MADE_OF", made_of)


@pytest.fixture
def run(tmp_path, capsys):
    shutil.copy(SPEC.with_name("comsys.pub"), tmp_path)
    path = tmp_path / SPEC.name

    def run(verb, text, *more):
        path.write_text(text)
        status = _run([verb, *more, str(path)])
        said = capsys.readouterr()
        return status, said.out + said.err

    return run


@pytest.mark.slow
def test_from_nothing_to_in_sync_and_on_to_4_kib(run, archive, tmp_path):
    spec = simulated(SPEC.read_text())
    status, said = run("plan", spec)
    assert status == 2, said
    status, said = run("apply", spec, "--yes", "--allow", f"reboot-host,{NAMESPACE}")
    assert status == 0, said
    hmem_c = tmp_path / f"box/root/usr/src/{SOURCE}/{HMEM_C}"
    assert "PAGE_SIZE, flags" in hmem_c.read_text()
    for verb in ("plan", "drift"):
        status, said = run(verb, spec)
        assert status == 0, said
    status, said = run("measure", spec, "dax.cxl0")
    assert (status, "dax.cxl0  uncached: " in said) == (0, True), said

    wider = at(spec, r"align: 2MiB  ", "align: 4KiB  ")
    status, said = run("plan", wider)
    assert (status, "error[CXQ390]" in said) == (1, True), said  # this kernel forbids it
    built = at(wider, r"# build: .*", "build: {commands: [[uname, -r]], install: [[uname, -r]]}")
    built = at(built, r"# proof: ", "proof: ")
    machine = tmp_path / "box/machine.json"
    world = json.loads(machine.read_text())
    machine.write_text(json.dumps({**world, "region_align": 4096}))  # of what boots next, to the simulator
    status, said = run("apply", built, "--yes", "--allow", f"reboot-host,{TO_4K}")
    assert status == 0, said
    status, said = run("plan", built)
    assert status == 0, said


# The page --------------------------------------------------------------------------------------------

ROWS = [
    [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith("| by hand")
]
NOT_THERE = {"guest.kernel.patches", "build", "proof"}
"""In comments of the spec: no distribution has a kernel with famfs, and 4 KiB is a choice."""


def words(cell):
    """What a row names of the spec, as paths; a command of ours, or nothing, is none."""
    for code in re.findall(r"`([^`]+)`", cell):
        if found := re.fullmatch(r"([a-z_]+(?:\.[a-z0-9_]+)*)(?::.*)?", code):
            yield found[1]


def stands(spec, path):
    """Whether it is in the spec: of the host unless it says where."""
    head, *rest = path.split(".")
    vm = spec["vms"]["cxl_vmx"]
    roots = {"host": [spec["host"]], "guest": [vm["guest"]], "networks": [spec["networks"]]}
    roots |= {"images": [spec["images"]], "vms": [spec["vms"]]}
    places = roots.get(head, [spec["host"], vm])
    names = rest if head in roots else [head, *rest]
    for place in places:
        for name in names:
            place = place.get(name) if isinstance(place, dict) else None  # noqa: PLW2901  # one step down
        if place is not None:
            return True
    return False


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:40])
def test_every_row_names_what_is_in_the_spec(row):
    spec = yaml.safe_load(SPEC.read_text())
    _, said, _ = row
    named = [*words(said)]
    assert named or "cxlstate " in said or said == "not needed", said
    assert [path for path in named if path not in NOT_THERE and not stands(spec, path)] == []
