"""What is found in an entry where several values are wrong, alone or together."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from cxlstate.core.diagnostic import Diagnostic
from cxlstate.core.model import Model, Refused, check, checks_of
from cxlstate.core.units import Size
from cxlstate.resources import kinds
from cxlstate.spec.entry import EntryReader
from cxlstate.spec.load import load


class Part(Model):
    low: int
    high: Size

    @check
    def _low_is_below_high(self) -> Iterator[Diagnostic]:
        if self.low >= self.high:
            yield Diagnostic("CXS999", "low is not below high", path=("low",))


class Whole(Model):
    parts: tuple[Part, ...] = ()
    names: tuple[str, ...] = ()
    most: int
    short: int | None = None

    @check
    def _few_names(self) -> Iterator[Diagnostic]:
        if len(self.names) > self.most:
            yield Diagnostic("CXS998", "too many names", path=("names",))

    @check
    def _short(self) -> Iterator[Diagnostic]:
        if self.short and len(self.parts) > self.short:
            yield Diagnostic("CXS997", "too many parts", path=("parts",))


def found(written: object) -> list[tuple[str, tuple[str | int, ...]]]:
    return [(one.code, one.path) for one in EntryReader(Whole).read(written).problems]


GOOD = {"low": 1, "high": 2}
BAD = {"low": 2, "high": 2}


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({"parts": [GOOD, BAD], "most": 1}, [("CXS999", ("parts", 1, "low"))]),
        (
            {"parts": [BAD, BAD], "most": 1, "names": ["a", "b"], "short": 1},
            [
                ("CXS999", ("parts", 0, "low")),
                ("CXS999", ("parts", 1, "low")),
                ("CXS998", ("names",)),
                ("CXS997", ("parts",)),
            ],
        ),
        ({"parts": [BAD, {"low": "x", "high": 1}], "most": 1}, [("CXS999", ("parts", 0, "low"))]),
        ({"parts": [BAD, {"low": 9}, 5], "most": 1, "short": 2}, [
            ("CXS999", ("parts", 0, "low")), ("CXS997", ("parts",))
        ]),
        ({"parts": [BAD], "most": "x", "names": ["a"]}, [("CXS999", ("parts", 0, "low"))]),
        ({"parts": [BAD]}, [("CXS999", ("parts", 0, "low"))]),
        ({"most": 1, "names": ["a", 5], "unknown": 1}, [("CXS998", ("names",))]),
        ({"most": 1, "names": "ab", "parts": [BAD]}, [("CXS999", ("parts", 0, "low"))]),
        ([], []),
        (None, []),
    ],
)  # fmt: skip
def test_faults_between_values_are_found_beside_values_that_are_refused(written, expected):
    assert found(written) == expected


def test_a_value_that_was_refused_cannot_be_used():
    entry = EntryReader(Whole).read({"most": "x", "parts": [GOOD]})
    assert not entry.whole
    assert [error["loc"] for error in entry.refused.errors()] == [("most",)]
    with pytest.raises(Refused):
        _ = entry.spec.most
    assert entry.spec.parts == (Part(**GOOD),)
    with pytest.raises(AttributeError):
        _ = entry.spec.no_field_at_all


def models(of: object, seen: set[type[BaseModel]]) -> set[type[BaseModel]]:
    """Every model that one can write below another."""
    if isinstance(of, type) and issubclass(of, BaseModel) and of not in seen:
        seen.add(of)
        for field in of.model_fields.values():
            models(field.annotation, seen)
    for inner in getattr(of, "__args__", ()):
        models(inner, seen)
    return seen


def test_each_check_of_each_kind_finds_something_in_the_bad_specs(monkeypatch):
    found = set()

    def watched(model):
        def watching(method):
            def finds(self):
                for each in method(self):
                    found.add((model.__name__, method.__name__))
                    yield each

            return finds

        return tuple(watching(method) for method in checks_of(model))

    monkeypatch.setattr("cxlstate.core.model.checks_of", watched)
    load(sorted((Path(__file__).parent / "bad" / "kinds").glob("*.yaml")), kinds())
    all_models = set().union(*(models(kind.reconciler.model, set()) for kind in kinds().values()))
    checks = {(model.__name__, method.__name__) for model in all_models for method in checks_of(model)}
    assert len(checks) > 50
    assert not checks - found


def test_no_model_of_a_kind_stops_at_the_first_fault_between_its_fields():
    """A validator of pydantic may raise once, and is not asked where a field is wrong."""
    all_models = set().union(*(models(kind.reconciler.model, set()) for kind in kinds().values()))
    assert len(all_models) > 15
    for model in all_models:
        validators = model.__pydantic_decorators__.model_validators.values()
        assert not [one for one in validators if one.info.mode != "before"], model
