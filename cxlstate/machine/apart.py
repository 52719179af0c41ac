"""SSH in a process of its own, which connects while ours reads the spec.

Loading the library and shaking hands takes as long as loading the kinds and checking the spec, and
all of it is computing, at which the threads of one interpreter would only take turns.

Until the first word after the target, the connection goes no further than the exchange of keys: who the
spec is wrong about is not told who we are.

The two talk in pickles over two pipes that nobody else holds. The process has no terminal signals
to hear, and ends with the first of: its reader is closed, its pipes break.
"""

from __future__ import annotations

import gc
import itertools
import os
import pickle
import sys
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from types import ModuleType
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from cxlstate.machine import early
from cxlstate.machine.aside import Aside
from cxlstate.machine.posix.transport import Lost, Reply

if TYPE_CHECKING:  # the process that connects has these only where they are sent to it
    from cxlstate.core.answers import Answer
    from cxlstate.core.connect import Ssh
    from cxlstate.core.guest import Accepted, Route
    from cxlstate.core.read import LibvirtRead
    from cxlstate.machine.guest import GuestExchanger, Passage

Ask = Callable[..., Any]
_What = Literal["connect", "exchange", "libvirt", "guest", "close"]
_HOST = 0  # the number of the host among the machines that the process is connected to


class ApartTransport:
    """The exchanges of an `SshTransport` that connects from now on. Several may be under way."""

    def __init__(self, connect: Ssh) -> None:
        self._process = early.take()
        self.libvirt = ApartLibvirt(partial(self._ask, _HOST))
        self._numbers = itertools.count()
        self._telling = threading.Lock()
        self._waiting: dict[int, SimpleQueue[object]] = {}
        self._ended = False
        self._tell((connect, dict(os.environb)))
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def authenticate(self) -> None:
        """Let the connection, which is made as far as the exchange of keys, go on."""
        with self._telling:
            self._tell(None)

    def connect(self) -> None:
        """Wait for the connection. What went wrong is raised by the first that needs it."""
        self._ask(_HOST, "connect")

    def exchange(self, command: str, stdin: bytes, timeout: float, limit: int) -> Reply:
        """As every transport's."""
        reply: Reply = self._ask(_HOST, "exchange", command, stdin, timeout, limit)
        return reply

    def guest(self, route: Route) -> ApartGuest:
        """A guest, connected by that process, too."""
        number, accepted = self._ask(_HOST, "guest", route)
        return ApartGuest(partial(self._ask, number), accepted)

    def close(self) -> None:
        """End the process, whatever it is waiting for. May be called twice."""
        self._process.terminate()
        self._listener.join()
        self._process.communicate()

    def _ask(self, machine: int, what: _What, *words: object) -> Any:
        """Wait for the answer to this question."""
        answers: SimpleQueue[object] = SimpleQueue()
        with self._telling:
            number = next(self._numbers)
            self._waiting[number] = answers
            if self._ended:
                answers.put(_gone())
            else:
                self._tell((number, machine, what, words))
        answer = answers.get()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _tell(self, what: object) -> None:
        assert self._process.stdin  # noqa: S101  # opened in `__init__`
        with suppress(BrokenPipeError):  # seen by who waits for the answer
            pickle.dump(what, self._process.stdin)
            self._process.stdin.flush()

    def _listen(self) -> None:
        """Hand answers to those who wait for them, until there are no more."""
        assert self._process.stdout  # noqa: S101  # opened in `__init__`
        try:
            with suppress(EOFError, pickle.UnpicklingError):
                while True:
                    number, answer = pickle.load(self._process.stdout)  # noqa: S301  # nobody else writes to it
                    self._waiting.pop(number).put(answer)
        finally:
            with self._telling:
                self._ended = True
                for answers in self._waiting.values():
                    answers.put(_gone())


class ApartLibvirt:
    """The machine's libvirt, asked by the process that holds the connection."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def read(self, reads: Collection[LibvirtRead]) -> dict[LibvirtRead, Answer]:
        """As every transport's."""
        answers: dict[LibvirtRead, Answer] = self._ask("libvirt", tuple(reads))
        return answers


class ApartGuest:
    """The exchanges with a guest of the host."""

    def __init__(self, ask: Ask, accepted: Accepted | None) -> None:
        self._ask = ask
        self.accepted = accepted
        self.libvirt = ApartLibvirt(ask)

    def connect(self) -> None:
        """As every transport's."""
        self._ask("connect")

    def exchange(self, command: str, stdin: bytes, timeout: float, limit: int) -> Reply:
        """As every transport's."""
        reply: Reply = self._ask("exchange", command, stdin, timeout, limit)
        return reply

    def close(self) -> None:
        """End its connection, if there is still somebody to tell."""
        with suppress(Lost):
            self._ask("close")


def _gone() -> Lost:
    return Lost("the process that held the connection ended")


def serve(questions: BinaryIO, answers: BinaryIO) -> None:
    """The other side: connect, and answer for as long as it is asked, each question by itself."""
    lighten()
    from cxlstate.machine.ssh import SshTransport  # noqa: PLC0415  # slow to load, and for this side only

    try:
        target: tuple[Ssh, dict[bytes, bytes]] = pickle.load(questions)  # noqa: S301  # nobody else writes to it
    except EOFError:
        return
    connect, environment = target
    os.environb.clear()  # it may have been started before secrets were taken out of it
    os.environb.update(environment)
    asked = threading.Event()
    transport = SshTransport(connect, connect.host, before_authentication=asked.wait)
    machines = Machines(transport, connect.host)
    connecting = Aside(transport.connect)
    telling = threading.Lock()

    def tell(number: int, said: object) -> None:
        with telling, suppress(BrokenPipeError):  # nobody is left to be told
            pickle.dump((number, said), answers)
            answers.flush()

    def act(machine: int, what: _What, words: tuple[Any, ...]) -> object:
        connecting.result()
        return machines.act(machine, what, words)

    with suppress(EOFError):
        while True:
            question = pickle.load(questions)  # noqa: S301  # as above
            asked.set()
            if question is not None:
                number, machine, what, words = question
                answer = partial(_answer, partial(act, machine, what, words), partial(tell, number))
                threading.Thread(target=answer, daemon=True).start()
    transport.close()


def lighten() -> None:
    """Have the SSH library loaded without what it loads for the tests of its users (`invoke.MockContext`).

    That is unittest.mock, and with it asyncio: a fifth of all that this process loads.
    """
    mock = ModuleType("unittest.mock")
    mock.Mock = object  # type: ignore[attr-defined]  # all that is taken from it
    sys.modules.setdefault(mock.__name__, mock)


class Machines:
    """The host, and the guests that were reached through it, by number."""

    def __init__(self, host: Passage, name: str) -> None:
        self._host = host
        self._name = name
        self._guests: dict[int, GuestExchanger] = {}
        self._numbers = itertools.count(_HOST + 1)

    def act(self, machine: int, what: _What, words: tuple[Any, ...]) -> object:
        """What one of them answers."""
        transport = self._host if machine == _HOST else self._guests[machine]
        match what:
            case "connect":
                transport.connect()
            case "exchange":
                return transport.exchange(*words)
            case "libvirt":
                return transport.libvirt.read(*words)
            case "guest":
                return self._reach(*words)
            case "close":
                transport.close()
        return None

    def _reach(self, route: Route) -> tuple[int, Accepted | None]:
        from cxlstate.machine.guest import reach  # noqa: PLC0415  # for this side only

        guest = reach(self._host, self._name, route)
        number = next(self._numbers)
        self._guests[number] = guest
        return number, guest.accepted


def _answer(act: Callable[[], object], tell: Callable[[object], None]) -> None:
    try:
        tell(act())
    except Exception as error:  # noqa: BLE001  # it is raised on the other side
        tell(error)


if __name__ == "__main__":
    gc.disable()  # while it loads, the collector would go through the library again and again
    serve(sys.stdin.buffer, sys.stdout.buffer)
