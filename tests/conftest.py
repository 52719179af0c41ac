"""Options of the whole suite."""

from __future__ import annotations

import gc
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


def pytest_collection_finish():
    """What was found stays as long as the run: it is not looked through again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    shard = config.getoption("shard")
    if shard:
        number, of = map(int, shard.split("/"))
        files = sorted({file_of(item) for item in items})
        chosen = shards(files, of, SHORT if "not long" in config.option.markexpr else ALL)[number - 1]
        items[:] = [item for item in items if file_of(item) in chosen]
    seed = config.getoption("shuffle")
    if seed is not None:
        random.Random(seed).shuffle(items)


def file_of(item):
    return item.nodeid.partition("::")[0]


# Minutes that the tests of a file take on an emulated host that has another one beside it.
SHORT = {
    "tests/conformance/test_accounts.py": 0.6,
    "tests/conformance/test_boot.py": 1.9,
    "tests/conformance/test_files.py": 1.3,
    "tests/conformance/test_forwards.py": 1.1,
    "tests/conformance/test_host_memory.py": 1.3,
    "tests/conformance/test_images.py": 1.4,
    "tests/conformance/test_modules.py": 0.3,
    "tests/conformance/test_mtrr_kernel.py": 0.5,
    "tests/conformance/test_packages.py": 0.9,
    "tests/conformance/test_sshd.py": 0.4,
    "tests/conformance/test_units.py": 0.8,
    "tests/e2e/test_eaten_dollar.py": 0.3,
    "tests/e2e/test_foundation.py": 3.7,
    "tests/e2e/test_forwards.py": 1.5,
    "tests/e2e/test_guest.py": 4.8,
    "tests/e2e/test_host_memory.py": 4.2,
    "tests/e2e/test_newest_host.py": 2.9,
    "tests/e2e/test_stop_anywhere.py": 0.8,
    "tests/e2e/test_virtual_machines.py": 1.9,
}
ALL = {
    "tests/conformance/test_boot.py": 7,
    "tests/conformance/test_libvirt.py": 30,
    "tests/e2e/test_nested_guest.py": 12,
    "tests/e2e/test_guest.py": 38,
    "tests/e2e/test_nvdimm.py": 20,
    "tests/e2e/test_provision.py": 40,
    "tests/e2e/test_runbook.py": 30,
    "tests/e2e/test_first_boot.py": 6,
    "tests/e2e/test_virt_customize.py": 6,
    "tests/e2e/test_forwards.py": 14,
    "tests/e2e/test_virtual_machines.py": 40,
    "tests/e2e/test_host_memory.py": 15,
    "tests/e2e/test_foundation.py": 10,
}
OTHERS = 4


def shards(files, of, minutes):
    """The files in so many parts that take about the same: the longest first, each to who has least."""
    parts = [set() for _ in range(of)]
    for file in sorted(files, key=lambda file: -minutes.get(file, OTHERS)):
        min(parts, key=lambda part: takes(part, minutes)).add(file)
    return parts


def takes(part, minutes):
    """Minutes, of a shard."""
    return sum(minutes.get(file, OTHERS) for file in part)
