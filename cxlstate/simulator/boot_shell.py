"""Runs the boot script's own text with the real `sh`, on this computer and for the machine in the folder.

What it reads stands as files below `.kernel` in the machine's folder while it runs: its `$root`. For what it
would write to the kernel, and for programs that only the machine has, functions of an overlay hand the words
over on one descriptor and get the answer on another. Of the programs of this computer, it finds those of
`_TOOLS`, and no others.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO

from cxlstate.simulator import kernel_writes
from cxlstate.simulator.dax import Bus
from cxlstate.simulator.ended import Ended
from cxlstate.simulator.kernel_tree import KernelTree
from cxlstate.simulator.world import World

FOLDER = ".kernel"

_TOOLS = (
    *("awk", "cat", "cut", "find", "grep", "head", "ln", "mkdir", "mv", "readlink", "rm", "sed", "sort"),
    *("tail", "tr", "uniq", "wc"),
)
_ASKED = (
    *("nft", "systemctl", "virsh"),
    *("iptables-nft-save", "iptables-nft-restore", "iptables-legacy-save", "iptables-legacy-restore"),
)
"""Programs that a shell knows by no function: some of their names are none, and they are in pipelines."""
_PROGRAM = r"""#!/bin/sh
case " $* " in *" -f - "* | *" --noflush "*) cat >"$root/given" && mv "$root/given" "$root/input" ;; esac
printf '%s\n' "${0##*/} $*" >&8
read -r answered lines <&7
[ "$answered" = 0 ] || exec >&2
while [ "$lines" -gt 0 ]; do
    IFS= read -r line <&7
    printf '%s\n' "$line"
    lines=$((lines - 1))
done
exit "$answered"
"""
_OVERLAY = r"""
export root
exec 7<&0 8>&1 </dev/null >&2
ask() {
    printf '%s\n' "$*" >&8
    read -r answered lines <&7
    while [ "$lines" -gt 0 ]; do
        IFS= read -r line <&7
        printf '%s\n' "$line"
        lines=$((lines - 1))
    done
    return "$answered"
}
tell() { complaint=$(ask tell "${2#"$root"}" "$1"); }
dmesg() { ask dmesg "$@"; }
modprobe() { ask modprobe "$@" >&2; }
id() { echo 0; }
sleep() { :; }
udevadm() { :; }
timeout() {
    shift 3
    "$@"
}
patience=0
PATH=$root/tools
"""
_PYTHON = 'python3() { ask map "${4##*/}"; }\n'


class BootShell:
    """One run at a time. `run` is for the machine's programs, with their input.

    `step` is told of each change just made.
    """

    def __init__(
        self,
        directory: Path,
        world: World,
        run: Callable[[tuple[str, ...], str], Ended],
        step: Callable[[str], None],
    ) -> None:
        self._root = (directory / FOLDER).absolute()
        self._world = world
        self._run = run
        self._step = step
        self._tree = KernelTree(self._root, world)

    @property
    def root(self) -> str:
        """What all paths of the script begin with."""
        return str(self._root)

    def overlay(self) -> str:
        """The functions in the place of what would touch this computer."""
        return _OVERLAY + (_PYTHON if self._world.python else "")

    def run(self, program: str, words: Sequence[str]) -> Ended:
        """A program with this root and overlay, and its words."""
        try:
            self._tree.grow()
            (self._root / "tools").mkdir()
            for name, path in _tools():
                (self._root / "tools" / name).symlink_to(path)
            for name in _ASKED:
                (self._root / "tools" / name).write_text(_PROGRAM)
                (self._root / "tools" / name).chmod(0o755)
            with tempfile.TemporaryFile() as said:
                status = self._converse(["/bin/sh", "-c", program, "cxlstate", *words], said)
                self._keep()
                said.seek(0)
                return Ended(status, stderr=said.read().decode("utf-8", "surrogateescape"))
        finally:
            shutil.rmtree(self._root, ignore_errors=True)

    def _converse(self, argv: list[str], said: IO[bytes]) -> int:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            cwd=self._root,
            env={"TMPDIR": self.root},  # a shell may keep a here-document there
            start_new_session=True,
            text=True,
            encoding="utf-8",
            errors="surrogateescape",
        )
        with process:
            try:
                for request in process.stdout or ():
                    ended = self._answer(request.rstrip("\n"))
                    print(ended.status, ended.output.count("\n"), file=process.stdin)
                    print(ended.output, end="", file=process.stdin, flush=True)
                return process.wait()
            except BaseException:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                raise

    def _answer(self, request: str) -> Ended:
        name, *words = request.split(" ")
        match name, words:
            case "tell", [path, *line]:
                self._keep()
                return self._told(path, " ".join(line))
            case "map", [device]:
                return Bus(self._world).mapped(device)
            case _:
                given = self._input()
                ended = self._run((name, *words), given)
                if given or words[:1] == ["-f"]:
                    self._step(f"ran: {name}{' -f' * (words[:1] == ['-f'])}")
                self._tree.grow()
                return ended

    def _input(self) -> str:
        """What a program of the machine was given on its standard input."""
        given = self._root / "input"
        text = given.read_text("utf-8", "surrogateescape") if given.exists() else ""
        given.unlink(missing_ok=True)
        return text

    def _told(self, path: str, line: str) -> Ended:
        number = kernel_writes.write(self._world, path, line)
        if number:
            return Ended(1, f"tee: {path}: {os.strerror(number)}\n")
        self._step(f"told: {path}: {line}")
        self._tree.grow()
        return Ended()

    def _keep(self) -> None:
        """Take over what the script has itself changed in /run and /dev, as one step each."""
        for what in self._tree.changed():
            self._step(what)


@cache
def _tools() -> list[tuple[str, str]]:
    found = ((name, shutil.which(name)) for name in _TOOLS)
    return [(name, path) for name, path in found if path]
