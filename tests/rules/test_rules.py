"""Rules between resources: what is refused, with which code and where; and what is right."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from cxlstate import rules

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
    codes = [re.search(r"CX[A-Z]\d{3}", inspect.getdoc(rule))[0] for rule in (*rules.RULES, *rules.BETWEEN)]
    assert set(codes) == said
    assert len(set(codes)) == len(codes)
    assert {page.stem for page in (Path(rules.__file__).parent / "pages").glob("*.md")} == set(codes)
