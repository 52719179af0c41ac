"""A guest inside the emulated host, for tests: wait for it, talk to it, watch that it goes on answering."""

from __future__ import annotations

import shlex
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.lab.errors import LabError

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator, Sequence

    from tests.lab.host import LabHost

GUEST_SECONDS = 900.0
GUEST_COMMAND_LINE = (
    "root=/dev/vda1 rw console=ttyS0 tsc=reliable mitigations=off nokaslr audit=0 nowatchdog "
    "8250.nr_uarts=1 quiet"
)
"""What the guest's own GRUB hands over: for a domain that starts the kernel itself."""

# Each runs on the host, where python3 is. The first ends when an SSH server greets at ADDRESS.
_WAIT = """\
import socket, sys, time
address, end = sys.argv[1], time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    try:
        with socket.create_connection((address, 22), timeout=5) as connection:
            connection.settimeout(30)
            if connection.recv(4) == b"SSH-":
                sys.exit(0)
    except OSError:
        pass
    time.sleep(0.5)
sys.exit(1)
"""
# One session for all its life; once a second a line there and back. A line of output: seconds taken.
_WATCH = """\
import os, subprocess, sys, time
pipe = subprocess.PIPE
child = subprocess.Popen(["ssh", sys.argv[1], "cat"], stdin=pipe, stdout=pipe, bufsize=0)
print(child.pid, flush=True)
while True:
    began = time.monotonic()
    try:
        child.stdin.write(b"x")
    except BrokenPipeError:
        break
    if not os.read(child.stdout.fileno(), 100):
        break
    taken = time.monotonic() - began
    print(f"{taken:.3f}", flush=True)
    time.sleep(max(0.0, 1 - taken))
print("ended", flush=True)
"""


@dataclass
class Watch:
    """How a guest has answered while it was watched."""

    answers: list[float] = field(default_factory=list)
    """Seconds that each answer took, in order."""
    ended: bool = False
    """Whether the session came to its end, as it does when its guest or its network goes."""

    @property
    def longest(self) -> float:
        """The longest wait for an answer, in seconds."""
        return max(self.answers, default=float("inf"))


class Guest:
    """One guest, by the name of its domain and its address in a network of the host."""

    def __init__(self, host: LabHost, name: str, address: str) -> None:
        """Take the guest as it is; nothing is asked yet."""
        self.name = name
        self.address = address
        self._host = host

    def wait(self, *, timeout: float = GUEST_SECONDS) -> None:
        """Wait until the guest's SSH server greets."""
        command = ["python3", "-", self.address, str(timeout)]
        if self._host.run(command, input=_WAIT, check=False, timeout=timeout + 60).returncode:
            msg = f"the guest {self.name} did not answer at {self.address} within {timeout:g} s"
            raise LabError(msg)

    def run(
        self, command: Sequence[str] | str, *, check: bool = True, timeout: float = 180
    ) -> subprocess.CompletedProcess[str]:
        """Run an argument list, or a line of shell, in the guest as root; `check` raises on a failure."""
        line = command if isinstance(command, str) else shlex.join(command)
        return self._host.run(["ssh", self.address, line], check=check, timeout=timeout)

    @contextmanager
    def watched(self) -> Iterator[Watch]:
        """Keep one SSH session to the guest busy, a line a second, from here to the end of the block.

        What it was like is in the `Watch` after the block.
        """
        log = f"/run/watch-{self.name}"
        started = f"python3 /dev/fd/3 {shlex.quote(self.address)} 3<<'END' >{log} 2>&1 </dev/null & echo $!\n"
        pid = self._host.run(f"{started}{_WATCH}END\n").stdout.strip()
        watch = Watch()
        try:
            answered = f'until [ "$(wc -l <{log})" -ge 3 ] || ! kill -0 {pid}; do sleep 0.2; done'
            self._host.run(answered, timeout=300)
            yield watch
        finally:
            since = f"$(( $(date +%s) - $(stat -c %Y {log}) ))"  # the last answer, if none comes any more
            ends = f"kill {pid} $(head -n 1 {log}) 2>/dev/null; cat {log}; rm {log}"
            waited, _, *lines = self._host.run(f"echo {since}; {ends}").stdout.split()
            watch.ended = "ended" in lines
            answers = [float(line) for line in lines if line != "ended"]
            watch.answers += [*answers[1:], float(waited)]  # the first one waited for the session
