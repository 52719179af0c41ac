"""What the documents show is what happens."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.docs.story import DOCUMENTS, ROOT, Scratch, blocks, matches

STORIES = [document for document in DOCUMENTS if "```console" in document.read_text(encoding="utf-8")]
CONTRIBUTING = ROOT / "CONTRIBUTING.md"


@pytest.mark.slow
@pytest.mark.parametrize("document", STORIES, ids=lambda path: path.name)
def test_every_command_prints_what_the_document_shows(document, tmp_path):
    text = document.read_text(encoding="utf-8")
    for block, steps in Scratch(tmp_path).play(text):
        for step in steps:
            where = f"{document.name}:{block.line}"
            assert step.as_told, f"{where}\n{step}\n\ntools/refresh-docs writes down what it prints now"


@pytest.mark.slow
def test_the_demo_ends_well(tmp_path):
    scratch = Scratch(tmp_path)
    done = scratch.run("tools/demo")
    assert done.returncode == 0, done.stdout
    assert "applied and proven" in done.stdout


@pytest.mark.slow
def test_the_demo_fails_where_a_status_is_not_the_expected_one(tmp_path):
    scratch = Scratch(tmp_path)
    scratch.run("sed -i 's/run 2 cxlstate plan/run 0 cxlstate plan/' tools/demo")
    done = scratch.run("tools/demo")
    assert done.returncode == 1
    assert done.stdout.endswith("demo: expected exit status 0\n")


@pytest.mark.slow
def test_the_kind_of_the_guide_is_clean_by_our_own_rules(tmp_path):
    scratch = Scratch(tmp_path)
    for block in blocks(CONTRIBUTING.read_text(encoding="utf-8")):
        if block.file:
            scratch.write(block)
    for check in (
        "ruff check --no-cache cxlstate/resources/hold",
        "ruff format --no-cache --check cxlstate/resources/hold",
        "mypy --follow-imports=silent --package cxlstate.resources.hold",
    ):
        done = scratch.run(f"python -m {check}")
        assert done.returncode == 0, done.stdout


def test_the_error_index_is_fresh():
    made = subprocess.run([sys.executable, ROOT / "tools/error-index"], capture_output=True, check=True)
    kept = (ROOT / "docs/errors.md").read_bytes()
    assert made.stdout == kept, "run tools/error-index > docs/errors.md"


@pytest.mark.parametrize("tool", ["demo", "error-index", "refresh-docs", "setup"])
def test_tools_can_be_run(tool):
    assert os.access(ROOT / "tools" / tool, os.X_OK)


@pytest.mark.parametrize(
    ("expected", "said", "same"),
    [
        ("a\n", "a\n", True),
        ("a\n", "b\n", False),
        ("a\n", "a\nb\n", False),
        ("...\nz\n", "x\ny\nz\n", True),
        ("...\nz\n", "z\n", True),
        ("...\nz\n", "x\nz\nmore\n", False),
        ("took ... s\n", "took 12 s\n", True),
        ("took ... s\n", "took 12\n s\n", False),
        ("took ...\n", "took 12 s\n", True),
    ],
)
def test_dots_stand_for_any_text_on_their_line(expected, said, same):
    assert matches(expected, said) is same
