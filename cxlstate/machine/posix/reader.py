"""Reading a POSIX machine: everything that is asked is one command over the transport.

All but libvirt, which is asked by its own library at the same time.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection
from functools import partial
from typing import TypeVar

from cxlstate.core.answers import Answer, Answers, NotAsked
from cxlstate.core.diagnostic import Diagnostic, fail
from cxlstate.core.effect import Effect
from cxlstate.core.read import LibvirtRead, PosixQuestion, PosixRead, Question, Read
from cxlstate.machine import limits
from cxlstate.machine.aside import Aside
from cxlstate.machine.lacking import lacks
from cxlstate.machine.posix import launcher, read_script
from cxlstate.machine.posix.transport import Exchanger, Lost, TooMuch

_AT_ONCE = 8192  # reads in one exchange: their numbers have to fit into a pipe on the far side (64 KiB)

T = TypeVar("T")


class PosixReader:
    """Asks through a transport. There is nothing here that could change the machine."""

    def __init__(self, transport: Exchanger, name: str) -> None:
        self._transport = transport
        self._name = name

    def read(self, reads: Collection[Question]) -> Answers:
        """Answers to all reads in one exchange. Raises CxlstateError (CXC…)."""
        of_libvirt = [read for read in dict.fromkeys(reads) if isinstance(read, LibvirtRead)]
        others = [read for read in reads if not isinstance(read, LibvirtRead)]
        if not of_libvirt:
            return Answers(self._ask(others))
        self._transport.connect()  # once, and not for each of the two
        aside = Aside(partial(self._unbroken, partial(self._transport.libvirt.read, of_libvirt)))
        answers = self._ask(others)
        answers.update(aside.result().items())
        return Answers(answers)

    def lacks(self, effect: type[Effect]) -> Diagnostic | None:
        """What is missing on this computer (CXC501)."""
        return lacks(effect)

    def _ask(self, questions: Collection[PosixQuestion]) -> dict[Read, Answer | NotAsked]:
        asked_for = read_script.merge(questions)
        asked = read_script.ordered(asked_for.values())
        answers: dict[PosixRead, Answer | NotAsked] = {}
        for at in range(0, len(asked), _AT_ONCE):
            answers |= self._exchanged(asked[at : at + _AT_ONCE])
        return {read: answers[read_script.read_of(question)] for read, question in asked_for.items()}

    def _exchanged(self, asked: list[PosixQuestion]) -> dict[PosixRead, Answer | NotAsked]:
        nonce = secrets.token_hex(16)
        patience = limits.GRACE + sum(one for one in map(read_script.limit, asked) if one > limits.READ)
        output = self._exchange(read_script.script(nonce, asked), patience)
        try:
            return read_script.parse(nonce, output, asked)
        except ValueError as incomplete:
            raise fail(
                "CXC201",
                "connection closed while reading the answer",
                machine=self._name,
                found=str(incomplete),
                expected="an answer to every question",
                hint="nothing was changed; try again",
            ) from incomplete

    def _exchange(self, script: bytes, patience: int) -> bytes:
        shell = launcher.read(patience + limits.GRACE)
        try:
            exchange = partial(self._transport.exchange, shell, script, patience, limits.EXCHANGE)
            return self._unbroken(exchange).stdout
        except TooMuch as much:
            raise fail(
                "CXC202",
                "answers exceed the limit",
                machine=self._name,
                found=f"more than {limits.EXCHANGE} bytes",
                expected=f"at most {limits.EXCHANGE} bytes for everything that was asked",
                hint="ask for less at once with --target",
            ) from much
        except TimeoutError as late:
            raise fail(
                "CXC203",
                "machine did not answer in time",
                machine=self._name,
                found=f"no complete answer after {patience} s",
                hint="nothing was changed; see on the machine what hangs (a stuck mount or device?)",
            ) from late

    def _unbroken(self, ask: Callable[[], T]) -> T:
        """What came over a line that held."""
        try:
            return ask()
        except Lost as lost:
            raise fail(
                "CXC201",
                "connection lost while reading",
                machine=self._name,
                found=str(lost),
                hint="nothing was changed; try again",
            ) from lost

    def close(self) -> None:
        """End the connection."""
        self._transport.close()
