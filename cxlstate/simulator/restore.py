"""The verbs of the boot script on a simulated machine, with the rules of `formats/restore.sh`.

That script runs in a real shell on a real machine; here the same is done to the simulated kernel. Each
write to it is a step of its own, so that a power cut can come between any two.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial

from cxlstate.formats.mtrr import UNCACHABLE, WRITE_BACK, Block, effective
from cxlstate.formats.restore import LINKS, NOTED, Words
from cxlstate.simulator.dax import DEVDAX, KMEM, Bus, extents
from cxlstate.simulator.ended import Ended
from cxlstate.simulator.kernel import Modules
from cxlstate.simulator.registers import RefusedError, Registers, block_of, shown
from cxlstate.simulator.world import Dax, World

_WRONG_VERB = 64


class Restore:
    """Runs verbs. `step` is told of each change that has just been made."""

    def __init__(self, world: World, modules: Modules, step: Callable[[str], None]) -> None:
        self._world = world
        self._modules = modules
        self._step = step
        self._bus = Bus(world)
        self._registers = Registers(world, step)
        self._said: list[str] = []
        self._about = ""

    def run(self, words: Words) -> Ended:
        """One verb and its words."""
        verb, *operands = words or ("",)
        verbs: dict[str, Callable[..., object]] = {
            "mtrr-add": self._registers.add,
            "mtrr-remove": self._registers.remove,
            "dax-bind": self._bind,
            "dax-unbind": self._unbind,
            "dax-reclaim": self._reclaim,
            "dax-link": self._link,
            "dax-unlink": self._unlink,
            "dax-check": self._check,
        }
        if verb not in verbs:
            return Ended(_WRONG_VERB, stderr=f"cxlstate: not a verb: {verb}\n")
        return self._ended(partial(verbs[verb], *operands))

    def restore(self, table: Iterable[Words]) -> Ended:
        """The table: registers first, all or none, then each device."""
        lines = list(table)
        registers = [line for line in lines if line[0] == "mtrr"]
        devices = [line for line in lines if line[0] == "dax"]
        return self._ended(lambda: self._restore(registers, devices))

    def _ended(self, do: Callable[[], object]) -> Ended:
        status = 0
        try:
            do()
        except RefusedError as why:
            self._say(str(why))
            status = 1
        return Ended(status, stderr="".join(f"{line}\n" for line in self._said))

    def _say(self, line: str) -> None:
        self._said.append(f"cxlstate: {self._about}{line}")

    # Devices -------------------------------------------------------------------------------------

    def _locate(self, selector: str) -> tuple[str, Dax]:
        found = list(self._matching(selector))
        if not found:
            raise RefusedError(f"no dax device is {selector}")
        if len(found) > 1:
            raise RefusedError(f"more than one dax device is {selector}")
        return found[0]

    def _matching(self, selector: str) -> Iterator[tuple[str, Dax]]:
        by, _, value = selector.partition("=")
        for name, one in self._bus.devices.items():
            if by == "range":
                same = value == _written(one)
            else:
                same = value == (name if by == "name" else str(one.node))
            if same:
                yield name, one

    def _bind(self, selector: str, align: str) -> None:
        name, one = self._locate(selector)
        wanted = one.align if align == "-" else int(align, 16)
        if one.driver == DEVDAX and one.align != wanted:
            raise RefusedError(f"{name} is in use with alignment {one.align}, not {wanted}")
        if one.driver not in ("", DEVDAX):
            raise RefusedError(f"{name} belongs to {one.driver}")
        if one.driver == DEVDAX:
            return
        if one.align != wanted:
            number = self._bus.set_align(name, wanted)
            if number:
                raise RefusedError(f"the kernel refuses alignment {wanted} for {name}: {os.strerror(number)}")
            self._step(f"aligned: {name}")
        if DEVDAX not in self._world.running.modules and self._modules.modprobe([DEVDAX]).status:
            raise RefusedError("there is no driver device_dax")
        number = self._bus.bind(name)
        if number:
            raise RefusedError(f"the kernel does not bind {name}: {os.strerror(number)}")
        self._say(f"{name} is bound")
        self._step(f"bound: {name}")
        self._note(one)

    def _note(self, one: Dax) -> None:
        files, line = self._world.running.files, f"{_written(one)}\n"
        if self._cached(one) and line not in files.get(NOTED, "").splitlines(keepends=True):
            files[NOTED] = files.get(NOTED, "") + line
            self._step(f"noted: {NOTED}")

    def _cached(self, one: Dax) -> bool:
        """Whether it is known to be mapped write-back although its MTRRs are uncachable."""
        if self._world.debugfs != "mounted" or not self._world.mtrr.registers:
            return False
        kinds = {effective(start, end, self._registers.used()) for start, end in extents(one)}
        return one.memory_type == WRITE_BACK and UNCACHABLE in kinds

    def _not_cached(self, name: str, one: Dax) -> None:
        if self._cached(one):
            raise RefusedError(f"{name} is mapped write-back, although its MTRRs are uncachable")

    def _unbind(self, selector: str) -> None:
        name, one = self._locate(selector)
        if one.driver not in ("", DEVDAX):
            raise RefusedError(f"{name} belongs to {one.driver}")
        if one.driver:
            for process in self._bus.holders(name)[:1]:
                raise RefusedError(f"{name} is held by process {process.pid}: {process.command}")
            self._detach(name)

    def _detach(self, name: str) -> None:
        driver = self._bus.devices[name].driver
        self._bus.unbind(name)
        self._say(f"{name} is taken from {driver}")
        self._step(f"unbound: {name}")

    def _reclaim(self, selector: str) -> None:
        name, one = self._locate(selector)
        if one.driver != KMEM:
            raise RefusedError(f"{name} belongs to {one.driver or 'no driver'}, and not to kmem")
        if self._bus.take_offline(name):
            why = os.strerror(errno.EBUSY)
            raise RefusedError(f"memory of {name} stays in use: {why}")
        self._step(f"offline: {name}")
        self._detach(name)

    def _link(self, name: str, selector: str) -> None:
        device, one = self._locate(selector)
        if one.driver != DEVDAX:
            raise RefusedError(f"{device} is not bound, and gets no link")
        self._not_cached(device, one)
        if self._world.running.links.get(f"{LINKS}/{name}") != f"../{device}":
            self._world.running.links[f"{LINKS}/{name}"] = f"../{device}"
            self._say(f"{LINKS}/{name} leads to {device}")
            self._step(f"linked: {name}")

    def _unlink(self, name: str) -> None:
        if self._world.running.links.pop(f"{LINKS}/{name}", None):
            self._step(f"link removed: {name}")

    def _check(self, selector: str) -> None:
        name, one = self._locate(selector)
        if one.driver != DEVDAX:
            raise RefusedError(f"{name} is not bound, and cannot be mapped")
        self._not_cached(name, one)
        if not self._world.python:
            self._say("not checked: python3 is not installed")

    # The table -----------------------------------------------------------------------------------

    def _restore(self, registers: list[Words], devices: list[Words]) -> None:
        added: list[Words] = []
        try:
            self._restore_registers(registers, devices, added)
        except RefusedError as why:
            self._say(str(why))
            self._about = ""
            for operands in reversed(added):
                self._attempt(partial(self._registers.remove, *operands))
            for _, name, *_ in devices:
                self._unlink(name)
            raise RefusedError("an MTRR is missing: no device is bound, and no link is there") from None
        missing = [line[1] for line in devices if not self._restored(line)]
        if missing:
            raise RefusedError(f"not restored, and without a link: {' '.join(missing)}")

    def _restore_registers(self, registers: list[Words], devices: list[Words], added: list[Words]) -> None:
        for _, name, *operands in registers:
            base, size, kind = operands
            with self._of(f"mtrr.{name}: "):
                block = block_of(base, size)
                if self._registers.in_effect(block, kind):
                    continue
                self._vacate(block, devices)
                if self._registers.add(base, size, kind):
                    self._say(f"{kind} {shown(base, size)} is written")
                    added.append((base, size, kind))

    def _vacate(self, block: Block, devices: list[Words]) -> None:
        """The kernel looks at the MTRRs when a device is bound."""
        for _, _, selector, *_ in devices:
            found = list(self._matching(selector))
            if len(found) != 1 or not any(block.overlaps(*part) for part in extents(found[0][1])):
                continue
            if found[0][1].driver == KMEM:
                self._reclaim(selector)
            else:
                self._unbind(selector)

    def _restored(self, line: Words) -> bool:
        _, name, selector, align = line
        with self._of(f"dax.{name}: "):
            done = self._attempt(lambda: self._restore_device(name, selector, align))
            if not done:
                self._unlink(name)
            return done

    def _restore_device(self, name: str, selector: str, align: str) -> None:
        _, one = self._locate(selector)
        if one.driver == DEVDAX and align != "-" and int(align, 16) != one.align:
            self._unbind(selector)
        elif one.driver == KMEM:  # one that is built in takes the device at every boot
            self._reclaim(selector)
        self._bind(selector, align)
        self._link(name, selector)

    def _attempt(self, do: Callable[[], object]) -> bool:
        """Whether it went well; if not, it is said."""
        try:
            do()
        except RefusedError as why:
            self._say(str(why))
            return False
        return True

    @contextmanager
    def _of(self, about: str) -> Iterator[None]:
        """What is said meanwhile is about one line of the table; after a failure, too."""
        self._about = about
        yield
        self._about = ""


def _written(one: Dax) -> str:
    """Its ranges as a selector has them: by address, neighbours as one."""
    runs: list[list[int]] = []
    for start, end in sorted(extents(one)):
        if runs and runs[-1][1] == start:
            runs[-1][1] = end
        else:
            runs.append([start, end])
    return ":".join(f"{start:#x}+{end - start:#x}" for start, end in runs)
