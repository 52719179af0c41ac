"""A running emulated CXL host, for tests: start it, talk to it, cut its power, go back in time."""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.lab import process
from tests.lab.errors import EmulatorError, LabError
from tests.lab.qemu import Machine, create_overlay, flavour_named, free_port
from tests.lab.qmp import Qmp
from tests.lab.ssh import Ssh

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Sequence

    from tests.lab.image import Image
    from tests.lab.process import Process
    from tests.lab.qemu import Direct
    from tests.lab.ssh import User

BOOT_SECONDS = 600.0
ATTEMPTS = 3
"""So often a machine is started whose emulator ends by itself, or that gives no first answer."""
COUNTS: Counter[str] = Counter()
"""Of the machines that this process has ended: see `counts`."""
FAULTS: list[str] = []
"""What was the emulator's fault, and was tried again."""
_live: set[LabHost] = set()
_FREEZER = "freezer"
_FIRST_ANSWER_SECONDS = 60.0
_NO_ANSWER = 255  # of ssh: here, of a boot that stalled and is made again


def socket_directory(workdir: Path) -> Path:
    """Return the folder for the sockets of the machine in `workdir`: a short path, for us alone."""
    name = hashlib.sha256(str(workdir.resolve()).encode()).hexdigest()[:12]
    path = Path(tempfile.gettempdir()) / f"cxlstate-lab-{os.getuid()}-{name}"
    path.mkdir(mode=0o700, exist_ok=True)
    if path.stat().st_uid != os.getuid():
        msg = f"{path} belongs to somebody else; remove it"
        raise LabError(msg)
    return path


def counts() -> Counter[str]:
    """Tell how many `boots` (reboots too) there were in this process, and how many were `resumed`."""
    return COUNTS + Counter(boots=sum(host.reboots for host in _live))


def aborted() -> str | None:
    """Tell of a host whose emulator ended by itself, in its own last words."""
    return next((host.last_words for host in _live if host.emulator_failed), None)


class LabHost:
    """One emulated host with its own disk.

    As a context manager it ends with its machine off and its sockets removed. The machine also
    ends with this program, or with the thread that started it, however that ends.
    """

    def __init__(
        self,
        image: Image,
        workdir: Path,
        *,
        flavour: str = "hmem",
        disk: Path | None = None,
    ) -> None:
        """Prepare a host in `workdir`; nothing runs yet."""
        workdir.mkdir(parents=True, exist_ok=True)
        self.workdir = workdir.resolve()
        self.disk = disk or self.workdir / "disk.qcow2"
        self._image = image
        self._sockets = socket_directory(self.workdir)
        port = free_port()
        self._machine = Machine(
            flavour=flavour_named(flavour),
            kvm=image.kvm,
            disk=self.disk,
            port=port,
            directory=self.workdir,
            sockets=self._sockets,
        )
        self._process: Process | None = None
        self.ssh = Ssh(self.workdir, self._sockets, port=port)
        self.ssh.configure(identity=image.identity, host_key=image.host_key, guest_key=image.guest_key)

    @classmethod
    def start(
        cls,
        image: Image,
        workdir: Path,
        *,
        flavour: str = "hmem",
        cold: bool = False,
        detached: bool = False,
    ) -> Self:
        """Return a host that answers, on a fresh disk: resumed in seconds, or booted if `cold`."""
        host = cls(image, workdir, flavour=flavour)

        def boot() -> None:
            host.create_disk(image.disk)
            host.boot(detached=detached)

        def resume() -> None:
            host.create_disk(image.warm_disk)
            host._resume(image.warm_state, detached=detached)

        try:
            host._try(boot if cold or not flavour_named(flavour).resumable else resume)
        except BaseException:
            host.close()
            raise
        return host

    def __enter__(self) -> Self:
        """Return the host itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the machine."""
        self.close()

    @property
    def ssh_config(self) -> Path:
        """The ssh_config with the aliases `lab` (admin), `lab-reader` and `lab-root`."""
        return self.ssh.config

    @property
    def port(self) -> int:
        """The loopback port of the host's SSH server."""
        return self._machine.port

    @property
    def pid(self) -> int:
        """The process id of QEMU."""
        return self._running().pid

    @property
    def reboots(self) -> int:
        """How often the machine was rebooted since it was started."""
        return self._process.reboots() if self._process else 0

    @property
    def emulator_failed(self) -> bool:
        """Whether the emulator has ended by itself."""
        return self._process is not None and self._process.failed

    @property
    def last_words(self) -> str:
        """The end of what the emulator said."""
        said = (self.workdir / "qemu.log").read_text(errors="replace").strip()
        return f"the emulator ended: {said[-500:] or 'without a word'}"

    @property
    def monitor(self) -> Qmp:
        """QEMU's control connection."""
        return self._running().qmp

    @property
    def console(self) -> str:
        """What the host has written to its serial console since its start."""
        return (self.workdir / "console.log").read_text(errors="replace")

    def run(
        self,
        command: Sequence[str] | str,
        *,
        user: User = "root",
        check: bool = True,
        input: str | None = None,  # noqa: A002 - the name subprocess.run gives it
        timeout: float = 120,
    ) -> subprocess.CompletedProcess[str]:
        """Run an argument list, or a line of shell, on the host; `check` raises on a failure."""
        return self.ssh.run(command, user=user, check=check, input=input, timeout=timeout)

    # power ------------------------------------------------------------------------------------

    def create_disk(self, base: Path) -> None:
        """Give the host a fresh disk over `base`, which stays as it is."""
        create_overlay(base, self.disk)

    def boot(self, *, direct: Direct | None = None, detached: bool = False) -> None:
        """Switch the machine on and wait until it has started."""
        COUNTS["boots"] += 1
        self._start(direct=direct, detached=detached)
        self.wait_booted()

    def reboot_and_wait(self, *, timeout: float = BOOT_SECONDS) -> None:
        """Reboot from inside and wait until the host has started again."""
        before = self.boot_id()
        self.run(["systemctl", "reboot"], check=False)
        self.wait_booted(after=before, timeout=timeout)

    def power_cut(self) -> None:
        """Switch the machine off without notice: what the host had not synced is lost."""
        self.ssh.disconnect()
        if self._process is not None:
            COUNTS["boots"] += self._process.reboots()
            self._process.kill()
            self._process = None
        _live.discard(self)

    def shutdown(self, *, timeout: float = 120) -> None:
        """Shut the host down from inside and wait until the machine is off."""
        COUNTS["boots"] += self.reboots
        self.run(["systemctl", "poweroff"], check=False)
        self.ssh.disconnect()
        self._running().wait(timeout)
        self._process = None

    def detach(self) -> None:
        """Leave a machine that was started detached to itself."""
        self.ssh.disconnect()
        if self._process is not None:
            self._process.detach()
            self._process = None

    def close(self) -> None:
        """End the machine and remove its sockets; the disk and the logs stay."""
        self.power_cut()
        atexit.unregister(self.close)
        shutil.rmtree(self._sockets, ignore_errors=True)

    # boots ------------------------------------------------------------------------------------

    def boot_id(self) -> str:
        """Return the kernel's name for this boot."""
        return self.run(["cat", "/proc/sys/kernel/random/boot_id"], timeout=30).stdout.strip()

    def wait_booted(self, *, after: str | None = None, timeout: float = BOOT_SECONDS) -> str:
        """Wait until a boot other than `after` has started all its services; return its boot id."""
        self.ssh.disconnect()
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            try:
                self.ssh.wait_banner(timeout=left)
                found = self.boot_id()
                if found != after:
                    settled = ["systemctl", "is-system-running", "--wait"]
                    if self.run(settled, check=False, timeout=max(left, 10)).returncode != _NO_ANSWER:
                        return found
            except LabError:
                if not self._running().running():
                    raise EmulatorError(self.last_words) from None
                self.ssh.disconnect()
            time.sleep(0.5)
        msg = f"the host did not start within {timeout:g} s; see {self.workdir / 'console.log'}"
        raise LabError(msg)

    def add_firmware(self, kernel_args: Sequence[str]) -> None:
        """Reboot with more arguments for the kernel, which stand for the firmware too.

        `memmap=96G%322G+0xefffffff` is a 96 GiB device with no memory behind it: not to be touched.
        """
        line = f'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX {" ".join(kernel_args)}"\n'
        self.run(["tee", "/etc/default/grub.d/11-firmware.cfg"], input=line)
        self.run(["update-grub"])
        self.reboot_and_wait()

    # faults and time --------------------------------------------------------------------------

    def freeze_network(self, frozen: bool) -> None:  # noqa: FBT001 - reads well: freeze_network(True)
        """Hold back every packet in both directions, or let them all go.

        Connections become half-open: neither side sees a link go down.
        """
        status = "on" if frozen else "off"
        self.monitor.command("qom-set", path=f"/objects/{_FREEZER}", property="status", value=status)

    def snapshot(self, name: str) -> None:
        """Remember the machine as it runs now, its disk included."""
        self._snapshot_command(f"savevm {name}")

    def restore(self, name: str) -> None:
        """Go back to a snapshot; also after `power_cut` and `shutdown`.

        In another process: time stamp counters never go back in the same one (`cpu_get_ticks` of QEMU), and
        a guest that has lost minutes all at once takes them for a stall.
        """

        def back() -> None:
            self.power_cut()
            self._start(snapshot=name)
            self._answer()

        self._try(back)

    def save(self, state: Path) -> None:
        """Write the running machine to `state` and end it; the disk must be kept with it."""
        self.run(["sync"])
        self.ssh.disconnect()
        process = self._running()
        process.save(state)
        process.qmp.command("quit")
        process.wait(30)
        self._process = None

    # inside -----------------------------------------------------------------------------------

    def _start(
        self,
        *,
        direct: Direct | None = None,
        state: Path | None = None,
        snapshot: str | None = None,
        detached: bool = False,
    ) -> None:
        """Start QEMU, unless it runs."""
        if self._process is not None and self._process.running():
            msg = "the machine is on already"
            raise LabError(msg)
        if not detached:
            atexit.register(self.close)
        self._process = process.start(
            self._machine, direct=direct, state=state, snapshot=snapshot, detached=detached
        )
        _live.add(self)

    def _resume(self, state: Path, *, detached: bool) -> None:
        """Start from a saved state."""
        self._start(state=state, detached=detached)
        self._answer()

    def _answer(self) -> None:
        """Wait for the first answer after a jump in time, and set the host's clock."""
        COUNTS["resumed"] += 1
        try:
            self.ssh.wait_banner(timeout=_FIRST_ANSWER_SECONDS)
            self.run(["date", "--set", f"@{time.time():.3f}"])
        except LabError as error:
            raise EmulatorError(self.last_words if self.emulator_failed else str(error)) from error

    def _try(self, start: Callable[[], None]) -> None:
        """Start the machine; where the emulator ends or nothing answers, cut the power and start again."""
        for left in reversed(range(ATTEMPTS)):
            try:
                return start()
            except EmulatorError as error:
                if not left:
                    raise
                FAULTS.append(f"at a start: {error}")
                self.power_cut()
        return None

    def _snapshot_command(self, line: str) -> None:
        """Run a monitor command which is silent when it succeeds."""
        if answer := self.monitor.monitor(line).strip():
            msg = f"{line}: {answer}"
            raise LabError(msg)

    def _running(self) -> Process:
        """Return the process of the machine."""
        if self._process is None:
            msg = "the machine is off"
            raise LabError(msg)
        return self._process
