"""What reads cannot get at what writes: the contract of `lint-imports` holds, and breaks where it should."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONTRACT = "Only apply is handed a writer"
OPEN_WRITER = "from cxlstate.adapters.open_writer import open_writer\n"

WRITES = {
    "cxlstate.engine.apply",
    "cxlstate.engine.awaiting",
    "cxlstate.engine.away",
    "cxlstate.engine.keeping",
    "cxlstate.engine.writing",
    "cxlstate.engine.execute",
    "cxlstate.render.applied",
    "cxlstate.render.progress",
    "cxlstate.cli.apply",
    "cxlstate.cli.converge",
    "cxlstate.cli.main",
}
"""What the verb apply alone loads, and who names all the verbs."""


def modules(package):
    return {
        f"cxlstate.{package}.{path.stem}"
        for path in (ROOT / "cxlstate" / package).glob("*.py")
        if path.stem != "__init__"
    }


def contract():
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return next(one for one in config["tool"]["importlinter"]["contracts"] if one["name"] == CONTRACT)


def test_every_module_that_reads_is_held_by_the_contract():
    reads = set(contract()["source_modules"])
    for package in ("engine", "render", "cli"):
        assert modules(package) - WRITES - reads == set()
    assert not reads & WRITES
    for package in ("core", "formats", "resources", "spec", "rules"):
        assert f"cxlstate.{package}" in reads


def lint(root):
    tool = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [tool, "--no-cache", "--contract", "writer"],
        cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """The package, with this contract alone."""
    root = tmp_path_factory.mktemp("tree")
    shutil.copytree(ROOT / "cxlstate", root / "cxlstate", ignore=shutil.ignore_patterns("__pycache__"))
    lines = ["[importlinter]", "root_package = cxlstate", "", "[importlinter:contract:writer]"]
    for key, value in contract().items():
        several = isinstance(value, list)
        lines += [f"{key} =", *(f"    {one}" for one in value)] if several else [f"{key} = {value}"]
    (root / ".importlinter").write_text("\n".join(lines) + "\n")
    return root


@pytest.mark.slow
def test_the_contract_is_kept(tree):
    done = lint(tree)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{CONTRACT} KEPT" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "what"),
    [
        ("engine/judging.py", OPEN_WRITER),
        ("engine/judging.py", "from cxlstate.machine.writer import Writer\n"),
        ("engine/observe.py", "def f():\n    from cxlstate.machine.posix.writer import PosixWriter\n"),
        ("engine/judging.py", "from cxlstate.machine.posix.performers import POSIX\n"),
        ("engine/observe.py", "from cxlstate.simulator.performers import SIMULATED\n"),
        ("engine/survey.py", "from cxlstate.simulator.writer import SimWriter\n"),
        ("render/document.py", "from cxlstate.engine.apply import Applied\n"),
        ("cli/show.py", "from cxlstate.cli.converge import Session\n"),
        ("core/compare.py", OPEN_WRITER),
        ("machine/records.py", OPEN_WRITER),  # which engine.observe imports: not it, but by way of it
        ("adapters/open_reader.py", OPEN_WRITER),
    ],
)
def test_an_import_of_what_writes_breaks_it(tree, where, what):
    source = tree / "cxlstate" / where
    before = source.read_text()
    try:
        source.write_text(before + what)
        done = lint(tree)
    finally:
        source.write_text(before)
    assert done.returncode == 1
    assert f"{CONTRACT} BROKEN" in done.stdout
