"""The life of one QEMU process: started, saved, resumed, ended."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from typing import TYPE_CHECKING

from tests.lab.errors import EmulatorError, LabError
from tests.lab.qmp import Qmp

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.qemu import Direct, Machine

_CONTROL_SOCKET_SECONDS = 30


def start(
    machine: Machine,
    *,
    direct: Direct | None = None,
    state: Path | None = None,
    snapshot: str | None = None,
    detached: bool = False,
) -> Process:
    """Start QEMU: by BIOS and GRUB, with a kernel of its own, from a saved `state`, or from
    a `snapshot` in its disk.

    The machine ends with the thread that started it, unless it is `detached`.
    """
    argv = machine.arguments()
    argv += direct.arguments() if direct else []
    argv += ["-incoming", "defer"] if state else []
    argv += ["-loadvm", snapshot] if snapshot else []
    if detached:
        keep: list[str] = []
    else:
        keep = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
    machine.control_socket.unlink(missing_ok=True)
    log = machine.directory / "qemu.log"
    with log.open("wb") as output:
        child = subprocess.Popen(
            [*keep, *argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=detached,
        )
    process = Process(child, _connect(machine.control_socket, child, log))
    try:
        if state:
            process.resume(state)
    except BaseException:
        process.kill()  # or it would keep the files of the next one
        raise
    return process


def _connect(socket: Path, child: subprocess.Popen[bytes], log: Path) -> Qmp:
    """Connect to the control socket as soon as it is there."""
    deadline = time.monotonic() + _CONTROL_SOCKET_SECONDS
    while time.monotonic() < deadline and child.poll() is None:
        try:
            return Qmp(socket)
        except (OSError, LabError):
            time.sleep(0.02)
    child.kill()
    child.wait()
    msg = f"QEMU did not start: {log.read_text(errors='replace').strip() or 'no message'}"
    raise EmulatorError(msg)


class Process:
    """A running QEMU that this program started."""

    def __init__(self, child: subprocess.Popen[bytes], qmp: Qmp) -> None:
        """Take charge of `child`."""
        self._child = child
        self.qmp = qmp

    @property
    def pid(self) -> int:
        """The process id."""
        return self._child.pid

    def running(self) -> bool:
        """Tell whether the process lives."""
        return self._child.poll() is None

    @property
    def failed(self) -> bool:
        """Whether the process ended otherwise than by a shutdown of its machine."""
        return bool(self._child.poll())

    def reboots(self) -> int:
        """Tell how often the machine was rebooted from inside."""
        with contextlib.suppress(LabError, OSError, ValueError):
            self.qmp.command("query-status")  # what was told before the answer is counted
        return self.qmp.reboots

    def kill(self) -> None:
        """End the machine the way a power cut does."""
        if self.running():
            self._child.kill()
            self._child.wait()
        self.qmp.close()

    def detach(self) -> None:
        """Close the control connection and leave the machine to itself."""
        self.qmp.close()
        self._child.returncode = 0  # nobody waits for it

    def wait(self, timeout: float) -> None:
        """Wait for the machine to end by itself, as after a shutdown."""
        try:
            self._child.wait(timeout)
        except subprocess.TimeoutExpired as error:
            msg = f"the machine did not power off within {timeout:g} s"
            raise LabError(msg) from error
        self.qmp.close()

    def save(self, state: Path) -> None:
        """Stop the machine and write its state."""
        self.qmp.command("stop")
        self._mapped_ram(on=True)
        self.qmp.migrate(f"file:{state}")

    def resume(self, state: Path) -> None:
        """Load a saved state into a machine that waits for one, and let it run."""
        self._mapped_ram(on=True)
        self.qmp.command("migrate-incoming", uri=f"file:{state}")
        deadline = time.monotonic() + _CONTROL_SOCKET_SECONDS
        while self.qmp.command("query-status")["status"] == "inmigrate":
            if time.monotonic() > deadline:
                msg = f"the saved state {state} did not load"
                raise EmulatorError(msg)
            time.sleep(0.05)
        self._mapped_ram(on=False)  # a later savevm would abort QEMU
        self.qmp.command("cont")

    def _mapped_ram(self, *, on: bool) -> None:
        """Give every memory page a fixed place in the state's file: it loads at the speed of a read."""
        capabilities = [{"capability": name, "state": on} for name in ("multifd", "mapped-ram")]
        self.qmp.command("migrate-set-capabilities", capabilities=capabilities)
