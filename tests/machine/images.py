"""Disk images that somebody uses."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager


@contextmanager
def held(path, mode="rw"):
    """Somebody has it open, as QEMU does: it says itself when it has read, and so has its locks.

    To ask with qemu-img would be to lock it, too: for as long as that takes, nobody else could open it.
    """
    options = ["-r"] if mode == "ro" else []
    words = ["stdbuf", "-oL", "qemu-io", *options, "-c", "read 0 512", "-c", "sleep 600000", str(path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline().startswith("read ")
            yield process
        finally:
            process.kill()
