"""Named stages of a machine: made once, gone back to, and made anew on a new machine."""

from __future__ import annotations

import pytest

from tests.lab.errors import LabError
from tests.lab.stages import FRESH, Stage, Stages


class Tape:
    """A machine that remembers what was done to it."""

    def __init__(self):
        self.told, self._kept = [], {}

    def snapshot(self, name):
        self._kept[name] = list(self.told)

    def restore(self, name):
        self.told = [*self._kept[name]]
        self.restored = name

    def power_cut(self):
        self.told = ["off"]


@pytest.fixture(autouse=True)
def _no_failures(monkeypatch):
    monkeypatch.setattr(Stages, "failures", {})


@pytest.fixture
def made():
    return []


@pytest.fixture
def first(made):
    return Stage("first", lambda machine: [made.append("first"), machine.told.append("1")])


@pytest.fixture
def second(made, first):
    return Stage("second", lambda machine: [made.append("second"), machine.told.append("2")], after=first)


def test_each_is_made_once_by_way_of_the_one_before_it(made, first, second):
    stages = Stages(Tape())
    assert stages.at(second).told == ["1", "2"]
    stages.machine.told.append("changed by a test")
    assert stages.at(first).told == ["1"]
    assert stages.at(second).told == ["1", "2"]
    assert stages.at(FRESH).told == []
    assert made == ["first", "second"]


def test_who_only_looks_leaves_it_where_it_is(first):
    stages = Stages(Tape())
    stages.at(first, looks=True).told.append("here still")
    assert stages.at(first).told == ["1", "here still"]
    assert stages.at(first).told == ["1"]


def test_a_machine_that_was_off_is_where_it_was(first):
    stages = Stages(Tape())
    stages.at(first, looks=True)
    stages.leave()
    assert stages.at(first).told == ["1"]


def test_what_fails_on_two_machines_is_not_tried_on_a_third(made):
    def fail(_):
        made.append("tried")
        raise AssertionError("no")

    for _ in range(2):
        with pytest.raises(AssertionError, match="no"):
            Stages(Tape()).at(Stage("bad", fail))
    with pytest.raises(LabError, match="could not be made, twice; the first time: no"):
        Stages(Tape()).at(Stage("bad", fail))
    assert made == ["tried", "tried"]
