"""The kernel's rule for words, quotes and names: `lib/cmdline.c`, `kernel/params.c`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxlstate.formats import kernel_cmdline
from cxlstate.formats.kernel_cmdline import Argument, holds, names, parse, read, split


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", ()),
        ("  root=/dev/vda1  ro\n", ("root=/dev/vda1", "ro")),
        ('dyndbg="file a.c +p" quiet', ('dyndbg="file a.c +p"', "quiet")),
        ('"dyndbg=file a.c +p" quiet', ('"dyndbg=file a.c +p"', "quiet")),
        ("a='b c'", ("a='b", "c'")),
        (r"a=b\ c", ("a=b\\", "c")),
        ('a="b c', ('a="b c',)),
        ('a"b c"d', ('a"b c"d',)),
    ],
)
def test_only_double_quotes_keep_blanks_together(line: str, words: tuple[str, ...]) -> None:
    assert split(line) == words


@pytest.mark.parametrize(
    ("word", "name", "value"),
    [
        ("quiet", "quiet", None),
        ("a=", "a", ""),
        ("a=b=c", "a", "b=c"),
        ("=a", "=a", None),
        ('a="b c"', "a", "b c"),
        ('"a=b c"', "a", "b c"),
        ('"a b"', "a b", None),
        ('a="b', "a", "b"),
        ("modprobe.black-list=x-y", "modprobe.black_list", "x-y"),
    ],
)
def test_a_word_has_a_name_and_a_value(word: str, name: str, value: str | None) -> None:
    assert read(word) == Argument(name, value, word)


def _kernels_next_arg(line: bytes) -> list[tuple[bytes, bytes | None]]:
    """The C function again, by index and in place, to compare with."""
    found, buffer, at = [], bytearray(line + b"\0"), 0
    while buffer[at : at + 1] in (b" ", b"\t", b"\n"):
        at += 1
    while buffer[at]:
        quoted = in_quote = buffer[at] == ord('"')
        at += quoted
        end, equals = at, 0
        while buffer[end] and (in_quote or buffer[end] not in b" \t\n"):
            if equals == 0 and buffer[end] == ord("=") and end > at:
                equals = end
            in_quote ^= buffer[end] == ord('"')
            end += 1
        following = end + 1 if buffer[end] else end
        buffer[end] = 0
        if equals:
            buffer[equals] = 0
            start = equals + 1
            if buffer[start] == ord('"'):
                start += 1
                if buffer[end - 1] == ord('"'):
                    buffer[end - 1] = 0
        if quoted and end > at and buffer[end - 1] == ord('"'):
            buffer[end - 1] = 0
        name = bytes(buffer[at : buffer.index(0, at)])
        found.append((name, bytes(buffer[start : buffer.index(0, start)]) if equals else None))
        at = following
        while buffer[at] in b" \t\n" and buffer[at]:
            at += 1
    return found


@given(st.text(alphabet='ab=" -_\t', max_size=20))
def test_words_are_cut_as_the_kernel_cuts_them(line: str) -> None:
    theirs = [
        (name.decode().replace("-", "_"), None if value is None else value.decode())
        for name, value in _kernels_next_arg(line.encode())
    ]
    assert [(one.name, one.value) for one in map(read, split(line))] == theirs


def test_what_follows_two_dashes_is_for_init() -> None:
    assert [str(one) for one in parse("quiet -- single")] == ["quiet"]


def test_order_and_repetition_count() -> None:
    def args(text: str) -> tuple[Argument, ...]:
        return parse(text)

    line = args("hugepagesz=1G hugepages=2 x hugepagesz=2M hugepages=5")
    assert holds(line, args("hugepagesz=1G hugepages=2"))
    assert holds(line, args("hugepagesz=1G hugepagesz=2M"))
    assert not holds(line, args("hugepages=2 hugepagesz=1G"))
    assert not holds(line, args("x x"))
    assert holds(line, ())


def test_a_pattern_without_value_means_every_value() -> None:
    assert names(read("nomodeset"), read("nomodeset"))
    assert names(read("console"), read("console=ttyS0"))
    assert names(read("a-b"), read("a_b=1"))
    assert not names(read("console=tty0"), read("console=ttyS0"))
    assert not names(read("console=tty0"), read("console"))


def test_the_length_is_that_of_x86() -> None:
    assert kernel_cmdline.MAX_LENGTH == 2047
