"""A run of the fuzzers that tries the same texts each time, and every text that failed once.

`targets.py` says what must hold. New texts are for `make fuzz`: what it finds should not stop a change of
something else.
"""

from __future__ import annotations

from random import Random

import pytest

from tests.fuzz.__main__ import fuzz
from tests.fuzz.mutate import mutate, shrink
from tests.fuzz.targets import TARGETS

TEXTS = {"spec": 250, "plan": 600, "domain": 6000, "network": 12000}
SEED = 20261128
REGRESSIONS = [(target, path) for target in TARGETS for path in target.regressions()]


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_no_odd_text_breaks_what_must_hold(target, tmp_path, monkeypatch):
    monkeypatch.setattr("tests.fuzz.__main__.NEW", tmp_path / "new")
    _, found = fuzz(target, SEED, tmp_path, texts=TEXTS[target.name])
    assert [path.read_bytes() for path in found] == []


@pytest.mark.parametrize(("target", "path"), REGRESSIONS, ids=lambda one: getattr(one, "name", None))
def test_a_text_that_failed_once_does_not_fail_again(target, path, tmp_path):
    target.check(path.read_bytes(), tmp_path)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_good_texts_hold(target, tmp_path):
    for text in target.seeds()[:3]:
        target.check(text, tmp_path)


def test_a_failure_is_found_and_cut_down():
    """The fuzzer itself is able to fail."""
    random, seeds = Random(1), [b"host: {name: box, connect: local}\n"]
    bad = next(text for text in (mutate(random, seeds) for _ in range(10_000)) if b"\0" in text)
    assert shrink(bad, lambda text: b"\0" in text) == b"\0"
