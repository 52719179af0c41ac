r"""The far half of a writer: a small shell server that holds the lock and runs scripts.

It is told what to do in lines, and every line is a sign of life. Without one for `patience` seconds
it ends, and its lock with it; while a script runs it waits for that, and so keeps the lock.

    → alive                                    ← \n<nonce> ready
    → ping <number>                            ← \n<nonce> pong <number>
    → run <number> <size>\n<script>             ← \n<nonce> done <number> <size>\n<output>

What the near half takes has bounds, in time and in size: `machine.limits`.
"""

from __future__ import annotations

import getpass
import itertools
import secrets
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass

from cxlstate.core.diagnostic import CxlstateError, fail
from cxlstate.formats.sh import quote
from cxlstate.machine import limits
from cxlstate.machine.posix import launcher
from cxlstate.machine.posix.effects import CLEAR
from cxlstate.machine.posix.frames import number
from cxlstate.machine.posix.keeping import PRUNE
from cxlstate.machine.posix.transport import Lost, Transport
from cxlstate.machine.records import STATE

_AT_ITS_END = "as soon as its process has ended"

GREETING = 60
"""Seconds to wait for the agent's first words."""

SETTING = r"""
LC_ALL=C
PATH=${PATH:-/usr/bin:/bin}:/usr/local/sbin:/usr/sbin:/sbin
export LC_ALL PATH
trap '' HUP
umask 077
cd /
tmp=$state/tmp
lease=$lock.lease
say() { printf '\n%s %s\n' "$nonce" "$1"; }
for tool in flock timeout head tail sync base64 sha256sum readlink cmp; do
    command -v "$tool" >/dev/null || { say "lacks $tool"; exit 0; }
done
mkdir -p "$state" "$tmp" "$state/blobs" "$state/applied" || exit 1
exec 9>>"$lock"
flock -n 9 || { say "locked $(head -n 1 "$lock")"; exit 0; }
sweep() { clear; rm -f "$tmp"/*; }
uptime() { read -r now rest </proc/uptime; now=${now%%.*}; }
leased() {
    owner= until=0 holds=
    { read -r owner until holds <"$lease"; } 2>/dev/null
    uptime
    [ "$now" -lt "$until" ] 2>/dev/null
}
"""
"""What both ways of holding the lock begin with, and the lock.

A lease stands beside the lock: who has it, until when by the machine's own clock, who that is. It holds
for who cannot stay on the machine with a process (`machine.qga.lease`), between one process and the next.
"""

# dash has no `read -t`, hence the process that reads for it; it takes single bytes and so leaves
# the script behind the line to `head`. What is sent back is in a file before it is sent, under a
# time limit, so that a listener who has stopped cannot hold the lock.
_SERVER = r"""
! leased || { say "locked $holds"; exit 0; }
rm -f "$lease"
printf 'process %s, for %s, since %s\n' "$$" "$holder" "$(date -u +%Y-%m-%dT%H:%M:%SZ)" >"$lock"
sweep
prune 2>/dev/null
sweep
say ready
while line=$(timeout "$patience" sh -c 'IFS= read -r line && printf %s "$line"'); do
    case $line in "run "*) ;; "ping "*) say "pong ${line#ping }"; continue ;; *) continue ;; esac
    number=${line#run }; size=${number#* }; number=${number% *}
    timeout $((patience + size / 65536)) head -c "$size" >"$tmp/script"
    [ "$(wc -c <"$tmp/script")" -eq "$size" ] || { say full; break; }
    sh "$tmp/script" </dev/null >"$tmp/output" 2>&1
    { say "done $number $(wc -c <"$tmp/output")"; cat "$tmp/output"; } >"$tmp/answer" || { say full; break; }
    timeout $((patience + $(wc -c <"$tmp/answer") / 65536)) cat "$tmp/answer" || break
done
sweep
"""


@dataclass(frozen=True, slots=True)
class Settings:
    """Paths on the machine, and how long the two halves wait for each other, in seconds.

    After `patience` without a sign of life the agent lets go of the lock. `reboot` holds firmware
    and memory training too.
    """

    state: str = STATE
    lock: str = "/run/cxlstate.lock"
    patience: int = 30
    reboot: int = 15 * 60


def words(nonce: str, settings: Settings) -> str:
    """What a script of the far half is told first. `holder` is for those who find the lock held."""
    holder = f"{getpass.getuser()}@{socket.gethostname()}"
    values = {"nonce": nonce, "holder": holder, "state": settings.state, "lock": settings.lock}
    assigned = "".join(f"{key}={quote(value)}\n" for key, value in values.items())
    return f"{assigned}patience={settings.patience:d}\n"


def refusal(name: str, said: list[str]) -> CxlstateError:
    """Why the lock cannot be had, from the far half's first words."""
    match said:
        case ["locked", *holder]:
            freed = "half a minute after its last sign of life" if "lease" in holder else _AT_ITS_END
            return fail(
                "CXC302",
                "another apply holds the lock",
                machine=name,
                found=" ".join(holder) or "a holder that has not said its name yet",
                expected="nobody",
                hint=f"wait until it is done. Nothing has to be cleaned up: the lock is free {freed}",
            )
        case ["lacks", *tool]:
            return fail(
                "CXC304",
                f"{' '.join(tool)} is missing on the machine",
                machine=name,
                expected="coreutils, diffutils and util-linux",
                hint="install them by hand",
            )
    return no_agent(name, " ".join(said))


def no_agent(name: str, found: str) -> CxlstateError:
    """The far half does not run as it has to."""
    return fail(
        "CXC304",
        "cannot write to the machine",
        machine=name,
        found=found,
        expected="a shell as root that can write /var/lib/cxlstate and /run",
        hint="is a file system full or read-only there? `df /var /run; mount`",
    )


class Agent:
    """The near half: sends scripts, and signs of life in between. Raises CxlstateError."""

    def __init__(self, transport: Transport, name: str, settings: Settings) -> None:
        self._name = name
        self._nonce = secrets.token_hex(16)
        self._numbers = itertools.count(1)
        self._buffer = bytearray()
        self._came = 0
        self._patience = settings.patience
        self._speaking = threading.Lock()
        self._asking = threading.Lock()
        self._over = threading.Event()
        try:
            self._stream = transport.start(launcher.WRITE)
        except Lost as lost:
            raise no_agent(self._name, str(lost)) from lost
        try:
            self._greet(settings)
        except BaseException:
            self._stream.close()
            raise
        self._pulse = threading.Thread(target=self._beat, args=(settings.patience / 4,), daemon=True)
        self._pulse.start()

    def _greet(self, settings: Settings) -> None:
        server = f"{words(self._nonce, settings)}{CLEAR}{PRUNE}{SETTING}{_SERVER}".encode()
        try:
            self._stream.send(f"{len(server)}\n".encode() + server)
            said = self._header(time.monotonic() + GREETING)
        except (Lost, TimeoutError) as silent:
            raise no_agent(self._name, str(silent) or f"nothing for {GREETING} s") from silent
        if said != ["ready"]:
            raise refusal(self._name, said)

    def run(self, script: bytes, timeout: float) -> bytes:
        """What a script printed. Raises Lost, TimeoutError (seconds)."""
        with self._asking:
            mine = self._say("run", f" {len(script)}\n".encode() + script)
            deadline = time.monotonic() + timeout
            while True:
                match self._header(deadline):
                    case ["done", of, size]:
                        output = self._take(self._number(size, limits.REPORT), deadline)
                        if self._number(of, mine) == mine:  # or else of one that was given up before
                            return output
                    case ["pong", _]:  # likewise
                        continue
                    case ["full"]:
                        raise no_agent(self._name, "no room for what is to be done")
                    case said:
                        raise self._nonsense(said)

    def confirm(self) -> None:
        """Ask whether the agent is still there: then the lock is ours, for `patience` from now.

        Raises Lost, TimeoutError.
        """
        with self._asking:
            mine = self._say("ping", b"\n")
            deadline = time.monotonic() + self._patience
            while True:
                match self._header(deadline):
                    case ["pong", of]:
                        if self._number(of, mine) == mine:
                            return
                    case ["done", _, size]:  # of one that was given up before
                        self._take(self._number(size, limits.REPORT), deadline)
                    case said:
                        raise self._nonsense(said)

    def _say(self, verb: str, more: bytes) -> int:
        mine = next(self._numbers)
        with self._speaking:
            self._stream.send(f"{verb} {mine}".encode() + more)
        return mine

    def close(self) -> None:
        """Let the lock go: the agent sees the end of its input."""
        self._over.set()
        with self._speaking:
            self._stream.close()

    def _beat(self, interval: float) -> None:
        while not self._over.wait(interval):
            with self._speaking, suppress(Lost):  # whoever waits for an answer will notice
                if not self._over.is_set():
                    self._stream.send(b"alive\n")

    def _header(self, deadline: float) -> list[str]:
        """The words of the next line of the agent's; what a login script says is passed over."""
        mark = f"\n{self._nonce} ".encode()
        seen = 0
        while True:
            at = self._buffer.find(mark, max(0, seen - len(mark)))
            end = self._buffer.find(b"\n", at + len(mark)) if at >= 0 else -1
            if end >= 0:
                line = self._buffer[at + len(mark) : end].decode("utf-8", "replace")
                del self._buffer[: end + 1]
                return line.split()
            if launcher.NO_ROOT.encode() in self._buffer:
                raise self._no_root()
            if len(self._buffer) > limits.CHATTER:
                raise Lost(f"the machine sent {limits.CHATTER} bytes that are no answer")
            seen = at if at >= 0 else len(self._buffer)
            self._more(deadline)

    def _take(self, size: int, deadline: float) -> bytes:
        while len(self._buffer) < size:
            self._more(deadline)
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def _more(self, deadline: float) -> None:
        """Wait for more. The deadline holds for a machine that never stops sending, too."""
        left = deadline - time.monotonic()
        if left < 0:
            raise TimeoutError
        data = self._stream.receive(left)
        if not data:
            raise Lost(self._stream.errors().strip() or "the agent on the machine has ended")
        self._came += len(data)
        if self._came > limits.CONVERSATION:
            raise Lost(f"the machine sent more than {limits.CONVERSATION} bytes")
        self._buffer += data

    @staticmethod
    def _number(word: str, most: int) -> int:
        try:
            return number(word, most)
        except ValueError as wrong:
            raise Lost(f"the machine's answer cannot be right: {wrong}") from wrong

    @staticmethod
    def _nonsense(said: list[str]) -> Lost:
        return Lost(f"the machine said {' '.join(said)[:200]!a}")

    def _no_root(self) -> CxlstateError:
        return fail(
            "CXC301",
            "root is required, and sudo asks for a password",
            machine=self._name,
            found=self._stream.errors().strip() or "sudo is not there, or refuses",
            expected="`sudo -n true` to succeed",
            hint="on the machine, `sudo visudo -f /etc/sudoers.d/cxlstate` and one line: "
            "USER ALL=(root) NOPASSWD: ALL; or connect as root",
        )
