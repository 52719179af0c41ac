"""Try odd texts for a while: `python -m tests.fuzz SECONDS [TARGET]`, which `make fuzz` calls.

A text with which something does not hold is cut down and kept in `.fuzz/TARGET/`. Once the fault is mended it
goes into `tests/fuzz/seeds/TARGET/`, where every run of the tests tries it again.
"""

from __future__ import annotations

import sys
import tempfile
import time
from hashlib import sha256
from math import inf
from pathlib import Path
from random import Random

from tests.fuzz.mutate import mutate, shrink
from tests.fuzz.targets import TARGETS, Target

NEW = Path(".fuzz")


def problem_with(target: Target, text: bytes, folder: Path) -> str | None:
    """What does not hold, as type and first line; None if all does."""
    try:
        target.check(text, folder)
    except Exception as error:  # noqa: BLE001  # any is a finding
        return f"{type(error).__name__}: {str(error).splitlines()[:1]}"
    return None


def fuzz(
    target: Target, seed: int, folder: Path, *, texts: float = inf, seconds: float = inf
) -> tuple[int, list[Path]]:
    """How many texts were tried, and the files with those that fail, one for each kind of failure.

    It ends after so many `texts` or `seconds`. With a number of texts, every run tries the same.
    """
    random, seeds = Random(seed), target.seeds()
    seeds = [*seeds, *(path.read_bytes() for path in target.regressions())]
    tried, kinds, found = 0, set(), []
    end = time.monotonic() + seconds
    while tried < texts and time.monotonic() < end:
        tried += 1
        text = mutate(random, seeds)
        problem = problem_with(target, text, folder)
        kind = problem and problem.split(":")[0]
        if problem is None or kind in kinds:
            continue
        kinds.add(kind)
        small = shrink(text, lambda one, kind=kind: _kind(target, one, folder) == kind)
        found.append(_keep(target, small))
        print(f"{target.name}: {problem}\n  {found[-1]}", flush=True)
    return tried, found


def _kind(target: Target, text: bytes, folder: Path) -> str | None:
    problem = problem_with(target, text, folder)
    return problem and problem.split(":")[0]


def _keep(target: Target, text: bytes) -> Path:
    folder = NEW / target.name
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / sha256(text).hexdigest()[:12]
    path.write_bytes(text)
    return path


def main() -> int:
    """Each target gets an equal part of the time."""
    seconds = float(sys.argv[1]) if sys.argv[1:] else 60
    chosen = [one for one in TARGETS if not sys.argv[2:] or one.name in sys.argv[2:]]
    seed, failed = time.time_ns(), False
    for target in chosen:
        with tempfile.TemporaryDirectory() as folder:
            tried, found = fuzz(target, seed, Path(folder), seconds=seconds / len(chosen))
        failed |= bool(found)
        print(f"{target.name}: {tried} texts, {len(found)} kinds of failure (seed {seed})", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
