"""Run an apply that stops after its n-th effect: killed, or waiting for the power to be cut.

    python -m tests.e2e.stop_after SPEC N kill|wait [CONSENT]...

Prints `stopped N` and ends, or waits, there; prints `ended` where there were fewer effects.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from cxlstate.adapters.open_writer import open_writer
from cxlstate.core.consent import parse_consents
from cxlstate.engine.apply import Converger
from cxlstate.engine.writing import Writers
from cxlstate.render.progress import Progress
from cxlstate.resources import kinds
from cxlstate.spec.load import load


def main(path: str, number: int, how: str, *allowed: str) -> None:
    (tree,) = load([Path(path)]).trees
    progress = Progress(quiet=True)
    writer = open_writer(tree.host.connect, tree.host.id, progress=progress.waits)
    perform, done = writer.perform, 0

    def performed(effect, entry):
        nonlocal done
        outcome = perform(effect, entry)
        done += 1
        if done == number:
            print(f"stopped {number}: {entry.does}", flush=True)
            if how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(3600)
        return outcome

    writer.perform = performed
    consents = parse_consents(allowed).with_live()
    converger = Converger(tree, Writers(lambda *_: writer), kinds(), consents, "stop-after", "test", progress)
    converger.converge(converger.plan())
    print("ended", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
