"""What a hostile or broken machine answers: strategies for hypothesis, and a line that says it.

answers(reads)        an answer to each read, as a transport hands it over
output(nonce, reads)  what the script that reads may send: forged, cut, counted wrongly, repeated
Line(say)             a transport whose far side says what it likes: floods, dribbles, falls silent
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from hypothesis import strategies as st

from cxlstate.core.answers import Answer
from cxlstate.core.read import (
    Attributes,
    Glob,
    Included,
    LibvirtDomain,
    LibvirtNetwork,
    Links,
    Names,
    PosixQuestion,
    Read,
)
from cxlstate.machine.posix.transport import Lost, Reply

ODD = (
    b"", b"\n", b"\0", b"\xff", b"\xff\xfe\n", b"-1\n", b"0x\n", b"0-\n", b"1-0\n", b"a=b=c\n", b"=\n",
    b":\n", b"::::::\n", b"9" * 5000, b"0x" + b"f" * 5000, b"1e999", b"NaN", b"[" * 5000, b"{" * 50,
    b"null", b"[]", b"{}", b'""', b"[[]]", b"[null]", b'[{"size": "x"}]', b"<a>" * 2000, b"<a/>",
    b"<domain/>", b"<network/>", b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", b" " * 5000,
    b"\t\n" * 2000, b"'", b'"', b"\\", b"$(reboot)", b"`reboot`", b"foo={a,b}",
    b"GRUB_CMDLINE_LINUX='\n", b"reg00: base=0x (MB), size=0MB, count=x: z\n", b"00000000-00000000 : \n",
    b"\x1b[2J\x07", "٣².ü\n".encode(), b"linux /vmlinuz\n", b"menuentry 'x' {\n", b"}\n" * 100,
    b"state=\nid=x\n", b"aa:bb 1\n", b"0 0-99999999999\n",
)  # fmt: skip
"""Each went through some parser as it should not, or could."""

STATUSES = (0, 0, 0, 1, 2, 124, 127, 255)


def texts() -> st.SearchStrategy[bytes]:
    """Bytes that no parser expects, and lines made of them."""
    odd = st.sampled_from(ODD) | st.binary(max_size=60)
    return odd | st.lists(odd, max_size=4).map(b"\n".join) | st.lists(odd, max_size=4).map(b" ".join)


def damaged(good: bytes) -> st.SearchStrategy[bytes]:
    """A good answer with a piece cut out, put in or put twice."""

    def damage(at: tuple[int, int], piece: bytes) -> bytes:
        low, high = sorted(number % (len(good) + 1) for number in at)
        return good[:low] + piece + good[high:]

    return st.builds(damage, st.tuples(st.integers(0), st.integers(0)), texts())


def one(good: Answer | None = None) -> st.SearchStrategy[Answer]:
    """An answer to a file or a command."""
    said = texts() if good is None else texts() | damaged(good.stdout)
    return st.builds(
        Answer, st.sampled_from(STATUSES), said, texts().map(lambda told: told.decode("utf-8", "replace"))
    )


_PARTS = ("inactive.xml", "active.xml", "facts", "affinity", "ports")


def answer(read: Read, good: Answer | None = None) -> st.SearchStrategy[Answer]:
    """An answer to any read, of its own shape, or of another."""
    if not isinstance(read, Glob | Included | Attributes | Links | Names | LibvirtDomain | LibvirtNetwork):
        return one(good)
    if isinstance(read, LibvirtDomain | LibvirtNetwork):
        names = st.sampled_from(_PARTS)
    else:
        matching = re.sub(r"\[[^]]*\]", "0", read.pattern)
        fitting = st.sampled_from(
            [matching.replace("*", word).replace("?", "7") for word in ("0", "dax0.0", "x", "", "\udcff")]
        )
        names = fitting | st.text(max_size=10)
    known = sorted(good.files) if good else []
    names = names | st.sampled_from(known) if known else names
    files = st.dictionaries(names, one() | st.just(Answer(0)), max_size=4)
    if good and known:

        def replaced(name: str, by: Answer) -> dict[str, Answer]:
            return {**good.files, name: by}

        files |= st.sampled_from(known).flatmap(
            lambda name: st.builds(replaced, st.just(name), one(good.files[name]))
        )
        files |= st.sampled_from(known).map(lambda name: {k: v for k, v in good.files.items() if k != name})
    return st.builds(lambda status, members: Answer(status, files=members), st.sampled_from(STATUSES), files)


def answers(reads: Sequence[Read]) -> st.SearchStrategy[dict[Read, Answer]]:
    """An answer to each read, each as odd as it may be."""
    return st.fixed_dictionaries({read: answer(read) for read in reads})


def output(nonce: str, reads: Sequence[PosixQuestion]) -> st.SearchStrategy[bytes]:
    """What comes back for a script: marks with any words in any order, now and then with an end."""
    count = len(reads)
    number = st.integers(0, count + 1).map(str) | st.sampled_from(
        ("-1", "", "x", "1_0", "٣", "9" * 30, "1 2", "0x1", "+1")
    )
    words = st.builds(
        lambda verb, numbers: " ".join((verb, *numbers)),
        st.sampled_from(("out", "err", "name", "late", "left", "skip", "end", "done", "")),
        st.lists(number, max_size=3),
    )
    right = st.integers(0, max(0, count - 1)).map(lambda at: f"err {at} 0")
    piece = st.builds(
        lambda header, payload: f"\n{nonce} {header}\n".encode() + payload, words | right, texts()
    )
    whole = b"".join(f"\n{nonce} out {at}\n\n{nonce} err {at} 0\n".encode() for at in range(count))
    pieces = st.lists(piece | st.just(whole), max_size=2 * count + 4).map(b"".join)
    return st.builds(
        lambda body, end: body + end, pieces, st.sampled_from((b"", f"\n{nonce} end\n".encode()))
    )


class Line:
    """A transport. `say` is called with the nonce, and gives what comes; then it is silent."""

    def __init__(self, say: Callable[[str], Iterator[bytes]], *, deaf: bool = False) -> None:
        self._say = say
        self._deaf = deaf
        self._pieces: Iterator[bytes] = iter(())

    def connect(self) -> None:
        """We are there."""

    def exchange(self, command: str, stdin: bytes, timeout: float, limit: int) -> Reply:
        """The first piece is all that comes."""
        return Reply(0, next(self._say(_nonce(stdin)), b""), b"")

    def start(self, command: str) -> Line:
        """It begins to speak once it was told the nonce."""
        return self

    def send(self, data: bytes) -> None:
        """Only the nonce matters."""
        if self._deaf:
            raise Lost("nothing is taken any more")
        if nonce := _nonce(data):
            self._pieces = self._say(nonce)

    def receive(self, timeout: float) -> bytes:
        """The next piece; TimeoutError at the end."""
        piece = next(self._pieces, None)
        if piece is None:
            raise TimeoutError
        return piece

    def errors(self) -> str:
        """What it complains of."""
        return "x" * 100

    def end(self) -> None:
        """It does not mind."""

    def close(self) -> None:
        """It does not mind."""


def _nonce(text: bytes) -> str:
    found = re.search(rb"^nonce=([0-9a-z]+)$", text.replace(b"'", b""), re.MULTILINE)
    return found[1].decode() if found else ""
