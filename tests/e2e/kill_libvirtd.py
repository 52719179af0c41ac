"""Run an apply during whose n-th call to libvirt its daemon is killed.

    python -m tests.e2e.kill_libvirtd SPEC N

Prints `killed in N: what was being done`, and then how the apply ended; `ended` alone where there were
fewer calls. All risks but the destruction of data are allowed.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

from cxlstate.adapters.open_writer import open_writer
from cxlstate.core.consent import parse_consents
from cxlstate.core.diagnostic import CxlstateError
from cxlstate.core.libvirt import LibvirtEffect
from cxlstate.engine.apply import Converger
from cxlstate.engine.writing import Writers
from cxlstate.render.progress import Progress
from cxlstate.resources import kinds
from cxlstate.spec.load import load

RISKS = ("network-blip,restart-vm,power-off-vm",)


def main(path: str, number: int, ssh_config: str) -> None:
    (tree,) = load([Path(path)]).trees
    progress = Progress(quiet=True)
    writer = open_writer(tree.host.connect, tree.host.id, progress=progress.waits)
    perform, calls = writer.perform, 0

    def kill():
        script = "kill -KILL $(pidof libvirtd)"
        subprocess.run(["ssh", "-F", ssh_config, "lab-root", script], check=False)

    def performed(effect, entry):
        nonlocal calls
        calls += isinstance(effect, LibvirtEffect)
        if calls == number and isinstance(effect, LibvirtEffect):
            print(f"killed in {number}: {entry.does}", flush=True)
            killing = threading.Thread(target=kill)
            killing.start()
            try:
                return perform(effect, entry)
            finally:
                killing.join()
        return perform(effect, entry)

    writer.perform = performed
    consents = parse_consents(RISKS).with_live()
    converger = Converger(tree, Writers(lambda *_: writer), kinds(), consents, "kill", "test", progress)
    try:
        print("ended", int(converger.converge(converger.plan()).exit), flush=True)
    except CxlstateError as error:
        print("ended", error.diagnostics[0].code, flush=True)
    finally:
        writer.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
