"""Options of the whole suite."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import settings

pytest_plugins = ("pytester", "tests.lab.again", "tests.lab.fixtures")

# How long an example takes says how busy the machine is, and nothing of the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_addoption(parser):
    parser.addoption(
        "--every-crash",
        action="store_true",
        help="stop after every single action and step, not only after a sample (make lab-crash)",
    )
    parser.addoption(
        "--whole-corpus",
        action="store_true",
        help="all of libvirt's own test files and all pairs of words, not only a sample (make corpus)",
    )
    parser.addoption(
        "--shard", metavar="N/OF", help="of the tests on the emulated host, these (make lab-all)"
    )
    parser.addoption("--shuffle", type=int, metavar="SEED", help="in no order: none may need another one")


@pytest.fixture(scope="session")
def every_crash(request):
    """Whether it is stopped behind every step, and not only behind a sample."""
    return request.config.getoption("--every-crash")


def pytest_terminal_summary(terminalreporter):
    """What was not tested here, for want of something, is the last that is said."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in skipped)
    if reasons:
        terminalreporter.section("left out")
        for reason, tests in reasons.most_common():
            terminalreporter.write_line(f"{tests} tests: {reason}")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    shard = config.getoption("shard")
    if shard:
        number, of = map(int, shard.split("/"))
        chosen = shards(sorted({file_of(item) for item in items}), of)[number - 1]
        items[:] = [item for item in items if file_of(item) in chosen]
    seed = config.getoption("shuffle")
    if seed is not None:
        random.Random(seed).shuffle(items)


def file_of(item):
    return item.nodeid.partition("::")[0]


# What they take all of, on two processors that have more to do; the others are short.
MINUTES = {
    "tests/conformance/test_boot.py": 7,
    "tests/conformance/test_libvirt.py": 30,
    "tests/e2e/test_nested_guest.py": 12,
    "tests/e2e/test_guest.py": 38,
    "tests/e2e/test_nvdimm.py": 20,
    "tests/e2e/test_provision.py": 40,
    "tests/e2e/test_first_boot.py": 6,
    "tests/e2e/test_virtual_machines.py": 40,
    "tests/e2e/test_host_memory.py": 15,
    "tests/e2e/test_foundation.py": 10,
}


def shards(files, of):
    """The files in so many parts that take about the same: the longest first, each to who has least."""
    parts = [set() for _ in range(of)]

    def takes(part):
        return sum(MINUTES.get(file, 4) for file in part)

    for file in sorted(files, key=lambda file: -MINUTES.get(file, 4)):
        min(parts, key=takes).add(file)
    return parts
