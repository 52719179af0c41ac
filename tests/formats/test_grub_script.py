"""GRUB's words. What the real GRUB makes of them is checked on the emulated host."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxlstate.formats import kernel_cmdline
from cxlstate.formats.grub_script import UNEXPANDED, GrubSyntaxError, expand, quote, split

PRINTABLE = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in "'\\\"")


@given(st.text(alphabet=PRINTABLE, min_size=1))
def test_an_argument_comes_through_unchanged(text: str) -> None:
    source = quote(text)
    assert split(f"a {source} b") == ("a", source, "b")
    assert expand(source) == text


@given(st.text(alphabet="ab-_.", min_size=1), st.text(alphabet=PRINTABLE + " ", min_size=1))
def test_a_value_with_blanks_means_the_same_to_the_kernel(name: str, value: str) -> None:
    text = f'{name}="{value}"'
    got = kernel_cmdline.read(expand(quote(text)))
    wanted = kernel_cmdline.read(text)
    assert (got.name, got.value) == (wanted.name, wanted.value)


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("quiet", "quiet"),
        ("memmap=2G$320G", r"memmap=2G\$320G"),
        ("memmap=1G%4G-1+0xefffffff", "memmap=1G%4G-1+0xefffffff"),
        ("memmap=1G!6G", "memmap=1G!6G"),
        ("#a", r"\#a"),
        ('a="b c$d"', r'"a=b c\$d"'),
        ('a="b"', "a=b"),
    ],
)
def test_only_what_is_special_is_escaped(text: str, source: str) -> None:
    assert quote(text) == source


@pytest.mark.parametrize(
    "text", ["a b", 'a"b"c', 'a="b', 'a=b"c"', "a='b'", "a\\b", 'a="b c"d "e', 'a b="c d"']
)
def test_what_grub_would_change_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"GRUB cannot hand|blanks outside"):
        quote(text)


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("memmap=2G$320G", "memmap=2GG"),
        ("$vt_handoff", f"{UNEXPANDED}vt_handoff"),
        ("${foo}x", f"{UNEXPANDED}foox"),
        (r"a='b c'", '"a=b c"'),
        (r'"a=\$b\x"', r"a=$b\\x"),
        (r"a\'b", r"a\'b"),
        ("'a\\x41'", r"a\\x41"),
    ],
)
def test_words_expand_as_grub_expands_them(word: str, text: str) -> None:
    assert expand(word) == text


@pytest.mark.parametrize("source", ["a;b", "a & b", "a {", "a #b", "'a", '"a', "a\\", "a $", "a<b", "a\nb"])
def test_a_line_that_is_more_than_one_command_is_told(source: str) -> None:
    with pytest.raises(GrubSyntaxError):
        split(source)
