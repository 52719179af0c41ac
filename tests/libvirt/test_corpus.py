"""libvirt's own test files, read, edited, and given to libvirt itself.

Many of them are of other processors, hypervisors and QEMUs: only what libvirt takes as it is is looked at. A
seeded sample here; all of them with `--whole-corpus` (`make corpus`).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator

import pytest

from cxlstate.core.domain import Domain
from cxlstate.formats.domain_xml import differences, merge, read
from cxlstate.simulator.libvirt import refused
from cxlstate.simulator.libvirt.complete import complete
from tests.corpus.domains import DEVICES, SEED, other, sample
from tests.libvirt.oracle import NoLibvirtError, Oracle, Refused

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]
SHARDS, FILES, WORDS = 4, 60, 8


class Libvirt:
    """One that is started again when a file was too much for it."""

    def __init__(self) -> None:
        self._oracle = Oracle()

    def define(self, xml: str) -> str | None:
        """What it makes of it; None where it refuses."""
        try:
            return self._oracle.define(xml)
        except Refused:
            return None
        except NoLibvirtError:
            self.close()
            self._oracle = Oracle()
            return None

    def close(self) -> None:
        self._oracle.close()


@pytest.fixture(scope="module")
def libvirt() -> Iterator[Libvirt]:
    found = Libvirt()
    yield found
    found.close()


def simulator_refuses(xml: str) -> bool:
    try:
        complete(xml, {}, ovmf=True)
    except refused.Refused:
        return True
    return False


def named_twice(live: Domain) -> bool:
    """Which of two devices is meant cannot be said: those of a team have one MAC address."""
    names = [*(one.mac for one in live.interfaces or ()), *(one.target for one in live.disks or ())]
    return len(names) > len(set(names))


def lacks_vcpus(live: Domain) -> bool:
    """libvirt puts the rest into the first cell (virDomainNumaFillCPUsInNode)."""
    held = frozenset[int]().union(*(one.cpus for one in live.cells or ()))
    return bool(held) and held != frozenset(range(live.max_vcpu or live.vcpu or 0))


@pytest.mark.parametrize("shard", range(SHARDS))
def test_what_is_read_defined_and_read_again_is_the_same(
    shard: int, libvirt: Libvirt, request: pytest.FixtureRequest
) -> None:
    """What libvirt adds is no difference. What we write it takes and keeps; what it would not, we refuse."""
    is_whole = request.config.getoption("--whole-corpus")
    counts: Counter[str] = Counter()
    wrong: list[object] = []
    chance = random.Random(SEED)
    for name, xml in sample(None if is_whole else FILES)[shard::SHARDS]:
        counts["files"] += 1
        defined = libvirt.define(xml) if xml.isascii() else None
        if defined is None or libvirt.define(defined) is None:  # 9.0 does not take all that it writes
            continue
        counts["defined"] += 1
        if named_twice(read(xml)):
            counts["with two devices of one name"] += 1
            continue
        if lacks_vcpus(read(xml)):
            counts["whose cells lack vCPUs"] += 1
        elif left := differences(read(xml), read(defined)):
            wrong.append((name, left))
        words = list(other(read(defined)))
        for word, wish in words if is_whole else chance.sample(words, WORDS):
            wrong += _violations(libvirt, counts, (name, word), defined, wish)
    print("\n" + ", ".join(f"{count} {what}" for what, count in counts.items()))
    assert not wrong, "\n".join(map(str, wrong))
    assert counts["defined"] * 4 > counts["files"]


def _violations(
    libvirt: Libvirt, counts: Counter[str], where: object, defined: str, wish: Domain
) -> Iterator[object]:
    try:
        merged = merge(defined, wish)
    except ValueError:
        counts["edits refused by the plan"] += 1
        return
    kept = libvirt.define(merged)
    counts["edits"] += 1
    if kept is not None:
        if left := differences(wish, read(kept)):
            yield where, left
    elif any(getattr(wish, word) is not None for word in DEVICES):
        counts["edits of devices refused by libvirt"] += 1
        counts["of them taken by the simulator"] += not simulator_refuses(merged)
    else:
        yield where, "libvirt refuses what was written"
