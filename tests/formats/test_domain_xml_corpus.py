"""Over libvirt's own test files: what `differences` calls equal, `merge` does not change.

A seeded sample here; all files and all pairs of words with `--whole-corpus` (`make corpus`).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, fields

import pytest

from cxlstate.core.domain import Domain
from cxlstate.formats.domain_xml import differences, merge, read
from tests.corpus.domains import SEED, domains, equal, other, sample, together
from tests.formats.test_domain_xml_laws import rest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]
SHARDS = 8
FILES_ALONE, FILES_IN_PAIRS, PARTNERS = 320, 32, 2


@pytest.fixture(scope="module")
def counts(request: pytest.FixtureRequest) -> Iterator[Counter[str]]:
    """Told at the end, with -s."""
    found: Counter[str] = Counter()
    yield found
    print(f"\n{request.node.name}: " + ", ".join(f"{count} {what}" for what, count in found.items()))


@dataclass(frozen=True)
class Extent:
    """How much is looked at: everything, or a sample."""

    is_whole: bool

    def files(self, shard: int, count: int) -> list[tuple[str, str]]:
        return sample(None if self.is_whole else count)[shard::SHARDS]


@pytest.fixture(scope="module")
def extent(request: pytest.FixtureRequest) -> Extent:
    return Extent(is_whole=bool(request.config.getoption("--whole-corpus")))


def named(live: Domain) -> list[tuple[str, Domain]]:
    """The words that are so; what libvirt takes for something else as soon as it is written is none."""
    return [(word, wish) for word, wish in equal(live) if not differences(wish, live)]


@pytest.mark.parametrize("shard", range(SHARDS))
def test_a_word_that_is_so_changes_nothing(shard: int, extent: Extent, counts: Counter[str]) -> None:
    for name, xml in extent.files(shard, FILES_ALONE):
        live = read(xml)
        words = named(live)
        for word, wish in words:
            assert merge(xml, wish) == xml, (name, word)
        for (word, one), (partner, two) in _pairs(words, words, extent=extent):
            both = together(one, two)
            assert both is None or merge(xml, both) == xml, (name, word, partner)
            counts["equal pairs"] += 1
        counts["files"] += 1
        counts["equal words"] += len(words)


@pytest.mark.parametrize("shard", range(SHARDS))
def test_a_word_that_is_so_changes_nothing_beside_one_that_is_not(
    shard: int, extent: Extent, counts: Counter[str]
) -> None:
    """What one wish does is the same with the other beside it, and touches what is its own alone."""
    wrong = []
    for name, xml in extent.files(shard, FILES_IN_PAIRS):
        live = read(xml)
        words = named(live)
        for word, wish in other(live):
            merged = _merged(xml, wish)
            counts["other words"] += 1
            if merged is not None:
                if differences(wish, read(merged)) or merge(merged, wish) != merged:
                    wrong.append((name, word, "is not what was wished"))
                if rest(merged, wish, live) != rest(xml, wish, live):
                    wrong.append((name, word, "touches more"))
            for _, (partner, so) in _pairs([(word, wish)], words, extent=extent):
                both = together(wish, so)
                found = None if both is None else _merged(xml, both)
                if found not in (None, merged):
                    wrong.append((name, word, f"is another edit beside {partner}"))
                counts["pairs"] += 1
    assert not wrong, "\n".join(map(str, wrong))


def test_every_word_is_among_them() -> None:
    """A new field of a domain needs its words in `tests/corpus/domains.py`."""
    so, not_so = set(), set()
    for _, xml in sample(FILES_ALONE):
        so |= {word.partition(".")[0] for word, _ in equal(read(xml))}
    for _, xml in sample(FILES_IN_PAIRS):
        not_so |= {word.partition(".")[0] for word, _ in other(read(xml))}
    everything = {field.name for field in fields(Domain)}
    assert so == everything
    assert not_so == everything - {"memnodes"}


def test_the_corpus_is_what_it_was_taken_for() -> None:
    assert len(domains()) > 2000


def _merged(xml: str, wish: Domain) -> str | None:
    try:
        return merge(xml, wish)
    except ValueError:
        return None


def _pairs(
    ones: list[tuple[str, Domain]], others: list[tuple[str, Domain]], *, extent: Extent
) -> Iterator[tuple[tuple[str, Domain], tuple[str, Domain]]]:
    """Each with all of the others, or with a few that chance picks."""
    chance = random.Random(SEED + len(others))
    for one in ones:
        partners = others if extent.is_whole else chance.sample(others, min(PARTNERS, len(others)))
        yield from ((one, partner) for partner in partners)
