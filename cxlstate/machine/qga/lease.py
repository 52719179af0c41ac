r"""Holding a guest's lock over its agent, where no process can stay.

Each command takes the `flock` itself, and lets it go at its end. Between them a lease stands beside it: a
file that names its holder, and until when it holds by the guest's own clock. Each command renews it, and so
does a sign of life in between; without one for `patience` seconds it is anybody's.

    take              → \n<nonce> ready        the lock was free: the lease is ours
    look              → \n<nonce> ready        it still is
    run <script>      → \n<nonce> done <size>\n<output>
    give              → \n<nonce> ready

or else `locked <holder>`, `lacks <tool>`, `lost` (the lease is another's, or the guest was booted), `full`.
"""

from __future__ import annotations

import secrets
import threading
from contextlib import suppress
from typing import Final

from cxlstate.core.diagnostic import CxlstateError
from cxlstate.machine.posix import launcher
from cxlstate.machine.posix.agent import GREETING, SETTING, Settings, no_agent, refusal, words
from cxlstate.machine.posix.effects import CLEAR
from cxlstate.machine.posix.frames import number
from cxlstate.machine.posix.keeping import PRUNE
from cxlstate.machine.posix.transport import Exchanger, LockLost, Lost, TooMuch
from cxlstate.machine.qga.ask import MOST

_LEASE: Final = r"""
renew() {
    uptime
    printf '%s %s %s\n' "$me" "$((now + patience))" "lease over the guest agent, for $holder" >"$lease.new" &&
        mv -f "$lease.new" "$lease" || { say full; exit 0; }
}
leased && valid=1 || valid=
case $verb in
take) if [ -n "$valid" ] && [ "$owner" != "$me" ]; then say "locked $holds"; exit 0; fi ;;
*) [ "$owner" = "$me" ] || { say lost; exit 0; } ;;
esac
printf 'process %s, for %s\n' "$$" "$holder" >"$lock"
case $verb in
take) sweep; prune 2>/dev/null; sweep; renew ;;
look) renew ;;
give) sweep; rm -f "$lease" ;;
run)
    renew
    cat >"$tmp/script"
    [ "$(wc -c <"$tmp/script")" -eq "$size" ] || { say full; exit 0; }
    sh "$tmp/script" </dev/null >"$tmp/output" 2>&1
    renew
    say "done $(wc -c <"$tmp/output")"
    exec cat "$tmp/output" ;;
esac
say ready
"""


class Lease:
    """Sends scripts, and signs of life in between. Raises CxlstateError."""

    def __init__(self, transport: Exchanger, name: str, settings: Settings) -> None:
        self._transport = transport
        self._settings = settings
        self._me = secrets.token_hex(16)
        self._asking = threading.Lock()
        self._over = threading.Event()
        try:
            said, _ = self._ask("take", b"", GREETING)
        except (Lost, TimeoutError) as silent:
            raise no_agent(name, str(silent) or f"nothing for {GREETING} s") from silent
        if said != ["ready"]:
            raise refusal(name, said)
        threading.Thread(target=self._beat, args=(settings.patience / 4,), daemon=True).start()

    def run(self, script: bytes, timeout: float) -> bytes:
        """What a script printed. Raises LockLost, Lost, TimeoutError (seconds)."""
        with self._asking:
            match self._ask("run", script, timeout):
                case ["done", size], output if number(size, MOST) == len(output):
                    return output
                case said, _:
                    raise _nonsense(said)

    def confirm(self) -> None:
        """Ask whether the lease is ours: then it is, for `patience` from now. Raises Lost, TimeoutError."""
        with self._asking:
            self._look()

    def close(self) -> None:
        """Give the lease up; one that cannot be given up ends by itself."""
        self._over.set()
        with self._asking, suppress(Lost, TimeoutError, CxlstateError):
            self._ask("give", b"", self._settings.patience)

    def _look(self) -> None:
        said, _ = self._ask("look", b"", self._settings.patience)
        if said != ["ready"]:
            raise _nonsense(said)

    def _beat(self, interval: float) -> None:
        """While a script runs, it holds the lock itself."""
        while not self._over.wait(interval):
            if self._asking.acquire(blocking=False):
                try:
                    with suppress(Lost, TimeoutError, CxlstateError):  # whoever runs a script will notice
                        if not self._over.is_set():
                            self._look()
                finally:
                    self._asking.release()

    def _ask(self, verb: str, script: bytes, timeout: float) -> tuple[list[str], bytes]:
        """The words of the answer, and what came with it. Raises Lost, TimeoutError."""
        nonce = secrets.token_hex(16)
        told = f"{words(nonce, self._settings)}me={self._me}\nverb={verb}\nsize={len(script)}\n"
        program = f"{told}{CLEAR}{PRUNE}{SETTING}{_LEASE}".encode()
        stdin = f"{len(program)}\n".encode() + program + script
        try:
            reply = self._transport.exchange(launcher.WRITE, stdin, timeout, MOST)
        except TooMuch:
            raise Lost(f"the guest reported more than {MOST} bytes") from None
        _, mark, answer = reply.stdout.partition(f"\n{nonce} ".encode())
        if not mark:
            raise Lost(reply.stderr.decode("utf-8", "replace").strip() or "the guest did not answer")
        line, _, output = answer.partition(b"\n")
        return line.decode("utf-8", "replace").split(), output


def _nonsense(said: list[str]) -> Lost:
    match said:
        case ["lost"]:
            return LockLost("the lease ended, or the guest was booted")
        case ["locked", *holder]:
            return LockLost(f"the lock is held by {' '.join(holder)[:200]}")
        case ["full"]:
            return Lost("no room in the guest for what is to be done")
    return Lost(f"the guest said {' '.join(said)[:200]!a}")
