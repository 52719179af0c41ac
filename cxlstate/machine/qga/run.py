r"""One command in a guest, by guest-exec: its input in one piece, its output in one piece, both bounded.

What was tried (qemu-ga 7.2 and 10.0): it runs as root in `/`; its status can be read once; `exited` waits
until everybody has closed standard output, so a daemon that holds it is waited for; 16 MiB of a stream are
kept, and what is more is dropped in silence. So the guest itself ends the output at a byte too many. The
input is compressed, since little of it may travel.
"""

from __future__ import annotations

import gzip
import time
from base64 import b64decode, b64encode
from typing import Final

from cxlstate.machine import limits
from cxlstate.machine.posix.transport import Lost, Reply, TooMuch
from cxlstate.machine.qga.ask import INPUT, MOST, Ask, Denied, call, text, whole

PATIENCE: Final = 10
"""Seconds for the agent's answer to a call, none of which takes any time; what travels is not counted."""

_SLOWEST: Final = 1 << 16  # bytes a second of a virtio port: an emulated guest had 300 KiB/s
_FIRST, _LONGEST = 0.02, 1.0  # seconds between two looks at whether it ended

# Both outputs pass through `head`; 3 carries the status, 4 and 5 lead out, 6 is the way to the second `head`.
_BOUNDED: Final = (
    "exec 4>&1 5>&2; "
    'status=$( { { { gzip -dc 3>&- 4>&- 5>&- 6>&- | sh -c "$0" 3>&- 4>&- 5>&- 6>&-; echo $? >&3; } 2>&1 >&6 '
    f"| {{ head -c {limits.COMPLAINT}; cat >/dev/null; }} >&5; }} 6>&1 "
    f"| head -c {MOST + 1} >&4; }} 3>&1 ); "
    'exit "$status"'
)


def run(ask: Ask, command: str, stdin: bytes, timeout: float, limit: int) -> Reply:
    """How the command ended and what it said, up to `limit` bytes. It goes on where we give up.

    Raises Silent, Denied, Lost, TooMuch, TimeoutError (seconds).
    """
    packed = gzip.compress(stdin, 6, mtime=0)
    if len(packed) > INPUT:
        raise Lost(f"{len(packed)} bytes are more than the guest agent takes at once ({INPUT})")
    deadline = time.monotonic() + timeout
    begun = call(
        ask,
        "guest-exec",
        PATIENCE + len(packed) // _SLOWEST,
        path="/bin/sh",
        arg=["-c", _BOUNDED, command],
        **{"input-data": b64encode(packed).decode(), "capture-output": True},
    )
    ended = _awaited(ask, whole(begun, "pid"), deadline)
    stdout, stderr = _bytes(text(ended, "out-data")), _bytes(text(ended, "err-data"))
    if len(stdout) > min(limit, MOST):
        raise TooMuch
    if "exitcode" not in ended:
        raise Lost("the command was killed in the guest")
    return Reply(whole(ended, "exitcode"), stdout, stderr)


def _awaited(ask: Ask, pid: int, deadline: float) -> dict[str, object]:
    pause = _FIRST
    while True:
        try:
            answer = call(ask, "guest-exec-status", PATIENCE + MOST // _SLOWEST, pid=pid)
        except Denied as forgotten:  # the agent was started anew, or the guest was
            raise Lost(f"the guest agent does not know the command any more: {forgotten}") from forgotten
        if not isinstance(answer, dict):
            raise Lost("the guest agent forgot the command")
        if answer.get("exited") is True:
            return answer
        left = deadline - time.monotonic()
        if left < 0:
            raise TimeoutError
        time.sleep(min(pause, left))
        pause = min(pause * 1.5, _LONGEST)


def _bytes(encoded: str) -> bytes:
    try:
        return b64decode(encoded, validate=True)
    except ValueError as odd:  # binascii.Error, and what it says of signs beyond ASCII
        raise Lost("the guest agent's answer is not base64") from odd


def content(ask: Ask, path: str, most: int) -> bytes:
    """A file's first bytes, by the agent's own calls: no process is started for it.

    Raises Silent, Denied, Lost.
    """
    handle = call(ask, "guest-file-open", PATIENCE, path=path, mode="r")
    if not isinstance(handle, int):
        raise Lost("the guest agent names no open file")
    try:
        return _bytes(text(call(ask, "guest-file-read", PATIENCE, handle=handle, count=most), "buf-b64"))
    finally:
        call(ask, "guest-file-close", PATIENCE, handle=handle)
