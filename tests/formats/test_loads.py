"""What the program that times loads says, as text to values; odd texts are refused."""

import json
from pathlib import Path

import pytest

from cxlstate.formats import loads

RECORDED = sorted((Path(__file__).parent / "loads").glob("cached-*.json"))
TEXT = RECORDED[0].read_text()


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_a_recorded_answer_is_taken(path):
    found = loads.parse(path.read_text())
    assert found.rounds == 64
    assert 0 < loads.undisturbed(found.memory.repeated) < 5
    assert 20 < found.step < 100
    assert 50 < found.first(found.memory) < 400


@pytest.mark.parametrize(
    "changed",
    [
        {"loads": 0},
        {"loads": True},
        {"chain": -1},
        {"chain": 1 << 64},
        {"cpu": None},
        {"cpu": "1"},
        {"node": 0.5},
        {"model": 7},
        {"siblings": 3},
        {"siblings": [None]},
        {"siblings": list(range(5000))},
        {"siblings": "12"},
        {"initiators": {"0": 1}},
        {"elsewhere": None},
        {"elsewhere": [[4096, []]]},
        {"elsewhere": [[-1, [1]]]},
        {"elsewhere": [[4096]]},
        {"elsewhere": {"4096": [1]}},
        {"memory": None},
        {"memory": {"first": [1], "again": [1], "repeated": []}},
        {"memory": {"first": [1], "again": [1]}},
        {"ordinary": {"first": ["1"], "again": [1], "repeated": [1]}},
        {"ordinary": {"first": [1], "again": [-1], "repeated": [1]}},
    ],
    ids=lambda one: json.dumps(one)[:60],
)
def test_an_odd_value_is_refused(changed):
    with pytest.raises(ValueError, match="no timings"):
        loads.parse(json.dumps({**json.loads(TEXT), **changed}))


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", "7", "[" * 100_000, TEXT[:-9], "\x00", "{" + TEXT])
def test_an_odd_text_is_refused(text):
    with pytest.raises(ValueError, match=r".+"):
        loads.parse(text)


def test_rounds_that_were_disturbed_do_not_count_and_one_that_is_too_quick_does_not_either():
    assert loads.undisturbed([1, *[20] * 7, *[900] * 56]) == 900
    assert loads.undisturbed([1, *[20] * 8, *[900] * 55]) == 20
