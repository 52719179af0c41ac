"""Ratios in one run, round about: what is compared takes turns, so that both meet the same machine.

Nothing here fails for being slow. `chrt -f 10 make bench` (as root) keeps out what else runs.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.bench import scene
from tests.machine import sshd

HEADING = f"{'':34} {'min':>6} {'median':>6}   {'against':20} {'min':>6} {'median':>6}   ratio of both"
TABLE = pytest.StashKey["list[str]"]()


def pytest_configure(config):
    config.stash[TABLE] = []


def pytest_ignore_collect(config):
    """Only `make bench` takes the time; without it there is nothing to see here."""
    return None if config.getoption("benchmark_only", default=False) else True


def pytest_terminal_summary(terminalreporter, config):
    if config.stash[TABLE]:
        terminalreporter.section("ratios, ms")
        terminalreporter.write_line(HEADING)
        for row in config.stash[TABLE]:
            terminalreporter.write_line(row)


@dataclass(frozen=True)
class Command:
    argv: tuple[str, ...]
    stdin: bytes = b""
    env: dict[str, str] = field(default_factory=dict)
    says: bytes = b""

    def __call__(self) -> None:
        done = subprocess.run(self.argv, input=self.stdin, env=self.env, capture_output=True, check=False)
        said = done.stdout + done.stderr
        assert done.returncode == 0 and self.says in said, (self.argv, said[-1000:])  # noqa: PT018  # one message


@pytest.fixture
def race(benchmark, request) -> Callable[..., None]:
    def run(name: str, ours: Command, rival: str, theirs: Command, rounds: int = 15) -> None:
        times: list[float] = []

        def theirs_first() -> None:
            begun = time.perf_counter()
            theirs()
            times.append(time.perf_counter() - begun)

        benchmark.pedantic(ours, setup=theirs_first, rounds=rounds, warmup_rounds=1)
        a, b = benchmark.stats.stats.data, times[1:]
        low, middle = min(a) / min(b), statistics.median(a) / statistics.median(b)
        benchmark.extra_info.update(against=rival, ratio_of_minima=low, ratio_of_medians=middle)
        request.config.stash[TABLE].append(
            f"{name:34} {_ms(a)}   {rival:20} {_ms(b)}   {low:.2f} {middle:.2f}"
        )

    return run


def _ms(times: list[float]) -> str:
    return f"{1000 * min(times):6.0f} {1000 * statistics.median(times):6.0f}"


@pytest.fixture(scope="session")
def environment(tmp_path_factory) -> dict[str, str]:
    """Ours, with compiled modules kept, as they are wherever a program is installed."""
    ours = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return ours | {"PYTHONPYCACHEPREFIX": str(tmp_path_factory.mktemp("compiled"))}


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """With `SHLVL=2` bash does not take the session for one of its own, whose ~/.bashrc it reads first."""
    if os.geteuid() != 0 or not Path("/usr/sbin/sshd").exists():
        pytest.skip("a private sshd needs openssh-server and root")
    started = sshd.start(tmp_path_factory.mktemp("sshd"), "SetEnv SHLVL=2\n")
    yield started
    started.stop()


@pytest.fixture(params=[scene.SMALL, 500])
def spec(request, tmp_path) -> Path:
    """A spec that is in sync with this machine, without systemd or libvirt."""
    text = scene.in_sync(request.param)
    if text is None:
        pytest.skip(f"fewer than {request.param} packages are installed here")
    path = tmp_path / f"{request.param}.yaml"
    path.write_text(text)
    return path


@pytest.fixture
def tools() -> Path:
    """Where the programs of other projects are, which ours does not depend on."""
    folder = os.environ.get("BENCH_TOOLS")
    if not folder:
        pytest.skip("BENCH_TOOLS names no folder with ansible-playbook and pyinfra (a venv's bin)")
    return Path(folder)
