"""Texts that are nearly right: pieces of good ones cut, doubled, swapped, and replaced by odd ones."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from random import Random

_PIECES = re.compile(rb"\n|[ \t]+|[A-Za-z0-9_.+-]+|.", re.DOTALL)

ODD = (
    b"", b"\0", b"\xff", b"\xed\xa0\x80", "\u202e".encode(), "\u200b".encode(), "\u2028".encode(),
    b"\x1b[2J", b"-1", b"0", b"01", b"0x", b"1e9", b"2GB", b"16EiB", b"9" * 400, b"null", b"~", b"true",
    b"on", b"{", b"}", b"[", b"]", b"{}", b"[]", b":", b": ", b"- ", b"&a", b"*a",
    b"!!python/object:os.system", b"<<: *a", b"|", b">-", b"'", b'"', b"#", b"\t", b"\r", b"---\n", b"...\n",
    b"%YAML 1.1\n", b"\\ud800",
    b"$(reboot)", b"a" * 3000, b"<", b">", b"&amp;", b"&a;", b"&#0;", b"]]>", b"<![CDATA[", b"<!--", b"-->",
    b"<?x?>", b"xmlns:a='b'", b"<!DOCTYPE a [<!ENTITY a 'b'>]>",
    "\ufeff<!DOCTYPE a [<!ENTITY a 'b'>]>".encode(),
    b"<a/>", b"</a>", b"unit='EiB'",
    "٣".encode(), b"name", b"connect", b"host",
)  # fmt: skip


def mutate(random: Random, seeds: Sequence[bytes]) -> bytes:
    """One of the seeds with a few changes, each at the border of a word."""
    pieces = _PIECES.findall(random.choice(seeds))
    for _ in range(random.choice((1, 1, 1, 2, 3, 8))):
        random.choice(_CHANGES)(random, pieces, seeds)
    return b"".join(pieces)[: 1 << 17]


def shrink(text: bytes, fails: Callable[[bytes], bool], tries: int = 300) -> bytes:
    """A shorter text that fails, too: what can be left out is left out, in ever smaller pieces."""
    pieces = _PIECES.findall(text)
    size = max(1, len(pieces) // 2)
    while size and tries:
        at = 0
        while at < len(pieces) and tries:
            tries -= 1
            shorter = pieces[:at] + pieces[at + size :]
            if fails(b"".join(shorter)):
                pieces = shorter
            else:
                at += size
        size //= 2
    return b"".join(pieces)


def _span(random: Random, pieces: list[bytes]) -> tuple[int, int]:
    start = random.randint(0, len(pieces))
    return start, min(len(pieces), start + random.choice((1, 1, 2, 5, 30)))


def _cut(random: Random, pieces: list[bytes], _: Sequence[bytes]) -> None:
    start, end = _span(random, pieces)
    del pieces[start:end]


def _double(random: Random, pieces: list[bytes], _: Sequence[bytes]) -> None:
    start, end = _span(random, pieces)
    pieces[start:start] = pieces[start:end] * random.choice((1, 1, 3, 60))


def _move(random: Random, pieces: list[bytes], _: Sequence[bytes]) -> None:
    start, end = _span(random, pieces)
    taken = pieces[start:end]
    del pieces[start:end]
    at = random.randint(0, len(pieces))
    pieces[at:at] = taken


def _replace(random: Random, pieces: list[bytes], _: Sequence[bytes]) -> None:
    start, end = _span(random, pieces)
    pieces[start:end] = [random.choice(ODD)]


def _put_in(random: Random, pieces: list[bytes], _: Sequence[bytes]) -> None:
    pieces.insert(random.randint(0, len(pieces)), random.choice(ODD))


def _cross(random: Random, pieces: list[bytes], seeds: Sequence[bytes]) -> None:
    other = _PIECES.findall(random.choice(seeds))
    start, end = _span(random, other)
    at = random.randint(0, len(pieces))
    pieces[at:at] = other[start:end]


def _flip(random: Random, pieces: list[bytes], _: Sequence[bytes]) -> None:
    if pieces:
        at = random.randrange(len(pieces))
        pieces[at] = bytes(byte ^ (1 << random.randrange(8)) for byte in pieces[at][:4]) + pieces[at][4:]


_CHANGES = (_cut, _double, _move, _replace, _replace, _put_in, _cross, _flip)
