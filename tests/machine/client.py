"""A client of its own process, to be killed or stopped: opens a writer and runs what it is given.

Arguments: `local` or `ssh`, state folder, lock, patience in seconds, then a program to run, if any.
"""

from __future__ import annotations

import sys
import time

from cxlstate.core.action import Run
from cxlstate.core.connect import Ssh
from cxlstate.machine.local import LocalTransport
from cxlstate.machine.outcome import Entry
from cxlstate.machine.posix.agent import Settings
from cxlstate.machine.posix.writer import PosixWriter
from cxlstate.machine.ssh import SshTransport

where, state, lock, patience, *argv = sys.argv[1:]
transport = LocalTransport() if where == "local" else SshTransport(Ssh("box"), "box")
settings = Settings(state, lock, int(patience))
writer = PosixWriter(transport, "box", survives_reboot=False, settings=settings)
print("locked", flush=True)  # what the test waits for
if argv:
    writer.perform(Run(tuple(argv)), Entry("run", (), "does it", "live"))
    print("done", flush=True)  # what the test waits for
time.sleep(600)
