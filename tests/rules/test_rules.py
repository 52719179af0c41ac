"""Rules between resources: what is refused, with which code and where; and what is right."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from cxlstate import rules
from cxlstate.resources import kinds

HERE = Path(__file__).parent
BAD = sorted((HERE / "bad").glob("*.yaml"))
GOOD = sorted((HERE / "good").glob("*.yaml"))
EXPECTATION = re.compile(r"^# expect: (CX[A-Z]\d{3}) (\d+):(\d+)$", re.MULTILINE)


@pytest.mark.parametrize("file", BAD, ids=lambda file: file.stem)
def test_a_broken_rule_is_told_with_code_line_and_column(file):
    expected = [
        (code, int(line), int(column)) for code, line, column in EXPECTATION.findall(file.read_text())
    ]
    found = rules.load([file]).diagnostics
    assert expected
    assert [(one.code, one.source.line, one.source.column) for one in found] == expected
    assert all(one.found and one.expected and one.machine.partition("/")[0] == "h" for one in found)


@pytest.mark.parametrize("file", BAD, ids=lambda file: file.stem)
def test_only_an_error_stops_a_spec(file):
    loaded = rules.load([file])
    assert bool(loaded.trees) == all(one.severity == "warning" for one in loaded.diagnostics)


@pytest.mark.parametrize("file", GOOD, ids=lambda file: file.stem)
def test_what_breaks_no_rule_is_loaded(file):
    loaded = rules.load([file])
    assert loaded.diagnostics == ()
    assert len(loaded.trees) == 1


def test_every_rule_has_a_bad_spec_that_breaks_it_and_a_page():
    said = {code for file in BAD for code, _, _ in EXPECTATION.findall(file.read_text())}
    modules = rules.modules_for(kinds())
    every = [rule for module in modules for rule in (*module.RULES, *module.BETWEEN)]
    codes = [re.search(r"CX[A-Z]\d{3}", inspect.getdoc(rule))[0] for rule in every]
    assert set(codes) == said
    assert len(set(codes)) == len(codes)
    assert {page.stem for page in (Path(rules.__file__).parent / "pages").glob("*.md")} == set(codes)


def test_every_module_of_rules_is_named():
    folder = Path(rules.__file__).parent
    assert set(rules.MODULES) == {one.stem for one in folder.glob("*.py")} - {"__init__", "memory", "words"}


@pytest.mark.parametrize("file", BAD, ids=lambda file: file.stem)
def test_a_module_that_is_not_loaded_has_no_rule_that_the_file_breaks(file, monkeypatch):
    """With all modules, whatever kinds are in it, the same is told."""
    found = rules.load([file]).diagnostics
    monkeypatch.setattr(rules, "MODULES", dict.fromkeys(rules.MODULES, frozenset(kinds())))
    assert rules.load([file]).diagnostics == found
