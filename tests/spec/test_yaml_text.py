"""YAML text ↔ a tree with positions."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from cxlstate.core.diagnostic import Source
from cxlstate.spec import yaml_text
from cxlstate.spec.document import plain


@pytest.fixture(params=["CSafeLoader", "SafeLoader"])
def _each_loader(request, monkeypatch):
    if not hasattr(yaml, request.param):
        pytest.skip("PyYAML was built without libyaml")
    monkeypatch.setattr(yaml_text, "Loader", getattr(yaml, request.param))


def read(text):
    document, problems = yaml_text.parse(text.encode(), "f")
    assert not problems
    return plain(document.root)


def codes(content):
    return [problem.code for problem in yaml_text.parse(content, "f")[1]]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("52:54:00:12:34:56", "52:54:00:12:34:56"),
        ("0000:35:00.0", "0000:35:00.0"),
        ("01234567", "01234567"),
        ("0x5080000000", "0x5080000000"),
        ("0o17", "0o17"),
        ("6.10", "6.10"),
        ("1e3", "1e3"),
        ("1_000", "1_000"),
        ("+5", "+5"),
        ("-0", "-0"),
        (".inf", ".inf"),
        ("on", "on"),
        ("No", "No"),
        ("y", "y"),
        ("2001-01-01", "2001-01-01"),
        ("=", "="),
        ("2G!320G", "2G!320G"),
        ("2G$320G", "2G$320G"),
        ("2G#320G", "2G#320G"),
        ("9" * 30, "9" * 30),
        ("'5'", "5"),
        ('"true"', "true"),
        ("''", ""),
        ("5", 5),
        ("-5", -5),
        ("0", 0),
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("null", None),
        ("", None),
        ("|\n  a\n  b\n", "a\nb\n"),
        (">-\n  a\n  b\n", "a b"),
    ],
)
@pytest.mark.usefixtures("_each_loader")
def test_a_value_is_what_was_written(written, value):
    assert read(f"key: {written}\n") == {"key": value}


@pytest.mark.usefixtures("_each_loader")
def test_a_switch_word_is_a_key_like_any_other():
    assert read("on: 1\nyes: 2\n") == {"on": 1, "yes": 2}


@pytest.mark.usefixtures("_each_loader")
def test_columns_are_characters_whatever_their_width_in_bytes():
    document, _ = yaml_text.parse("größe: 1\nlist: [日本, '🙂', {é: x}]\n".encode(), "f")
    assert document.locate(("größe",)) == Source("f", 1, 8)
    assert document.locate(("list", 1)) == Source("f", 2, 12)
    assert document.locate(("list", 2, "é")) == Source("f", 2, 21)
    assert document.locate_key(("list", 2, "é")) == Source("f", 2, 18)


def test_a_collection_is_where_its_key_stands_and_what_is_missing_where_its_parent_is():
    document, _ = yaml_text.parse(b"host:\n  memmap:\n    - size: 2\n", "f")
    assert document.locate(("host", "memmap")) == Source("f", 2, 3)
    assert document.locate(("host", "memmap", 0)) == Source("f", 3, 7)
    assert document.locate(("host", "memmap", 0, "start")) == Source("f", 3, 7)
    assert document.locate(("host", "memmap", 7, "size")) == Source("f", 2, 3)
    assert document.locate(("vms", "x")) == Source("f", 1, 1)


@pytest.mark.parametrize("text", ["a: 1\nb: 2\n", "a: 1\r\nb: 2\r\n", "a: 1\rb: 2\r", "\ufeffa: 1\nb: 2"])
@pytest.mark.usefixtures("_each_loader")
def test_line_ends_of_all_systems_and_a_byte_order_mark_are_taken(text):
    document, problems = yaml_text.parse(text.encode(), "f")
    assert not problems
    assert document.locate(("a",)) == Source("f", 1, 4)
    assert document.locate(("b",)) == Source("f", 2, 4)


@pytest.mark.parametrize(
    ("content", "code", "line", "column"),
    [
        (b"", "CXS108", 1, 1),
        (b"\xef\xbb\xbf", "CXS108", 1, 1),
        (b"\n\n# only this\n", "CXS108", 1, 1),
        (b"a: 1\nb: \xff\n", "CXS107", 2, 4),
        ("ä: ".encode() + b"\xe4\n", "CXS107", 1, 4),
        (b"a: caf\xc3", "CXS107", 1, 7),
        ("a: 1\n".encode("utf-16"), "CXS107", 1, 1),
        ("a: 1\n".encode("utf-32"), "CXS107", 1, 1),
        ("a: 1\n".encode("utf-16-le"), "CXS111", 1, 2),
        (b"a: \xed\xa0\x80\n", "CXS107", 1, 4),
        (b"a: 1\nb: x\x00y\n", "CXS111", 2, 5),
        (b"a: \x1b[31m\n", "CXS111", 1, 4),
        (b"a: x\x7f\n", "CXS111", 1, 5),
        (b"\x7fELF\x02\x01", "CXS111", 1, 1),
        ("a: 1\n\ufeffb: 2\n".encode(), "CXS111", 2, 1),
        ("a: x\u0085b: 1".encode(), "CXS111", 1, 5),
        (b"#" * (yaml_text.MAX_BYTES + 1), "CXS109", 1, 1),
        (b"[" * 900, "CXS109", 1, 33),
        (b"- " * 100_000, "CXS109", 1, 65),
        (b"{a: " * 1_000, "CXS109", 1, 126),
        (b"? " * 1_000, "CXS109", 1, 65),
    ],
)
@pytest.mark.usefixtures("_each_loader")
def test_what_is_no_text_of_ours_is_told_with_its_position(content, code, line, column):
    document, problems = yaml_text.parse(content, "f")
    assert document is None
    assert [(problem.code, problem.source) for problem in problems] == [(code, Source("f", line, column))]


@pytest.mark.usefixtures("_each_loader")
def test_what_is_nested_deeper_than_the_parser_itself_allows_is_told_alike():
    _, problems = yaml_text.parse(b"[" * 100_000, "f")
    assert [problem.code for problem in problems] == ["CXS109"]


def test_what_is_found_says_what_the_bytes_look_like():
    assert yaml_text.parse("a".encode("utf-16"), "f")[1][0].found == "UTF-16"
    assert yaml_text.parse(b"a: \xff", "f")[1][0].found == "byte 0xff"


def test_an_alias_bomb_is_not_expanded():
    levels = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9))
    assert set(codes(f"a0: &a0 [x]\n{levels}\n".encode())) == {"CXS104"}


def test_problems_have_an_end():
    assert len(codes(b"- &a 1\n" * 10_000)) == yaml_text.MAX_PROBLEMS


@given(st.binary(max_size=200))
@example(b"%YAML 1.99999999999999999999\n---\n")
@example(b'"\\UFFFFFFFF"')
@example(b"!<")
@pytest.mark.usefixtures("_each_loader")
def test_no_bytes_break_the_reader(content):
    document, problems = yaml_text.parse(content, "f")
    assert document is not None or problems
    assert all(problem.source.line > 0 and problem.source.column > 0 for problem in problems)


YAML_LIKE = st.lists(
    st.sampled_from(
        [*"abn059\t\n\r\\'\"#&*!|>%@`{}[],:?-~<=.", "  ", "\n  ", ": ", "- ", "--- ", "é", "\u2028", "<<"]
    )
)


@given(YAML_LIKE.map("".join))
@pytest.mark.usefixtures("_each_loader")
def test_no_text_breaks_the_reader_and_every_position_is_inside_of_it(text):
    _, problems = yaml_text.parse(text.encode(), "f")
    lines = yaml_text._LINE_BREAK.split(text)
    for problem in problems:
        assert problem.source.line <= len(lines)
        assert problem.source.column <= len(lines[problem.source.line - 1]) + 1


TEXT = st.text(
    st.characters(categories=["L", "M", "N", "P", "S", "Zs"], include_characters="\n\t"), max_size=20
)
DATA = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**18), 10**18) | TEXT,
    lambda below: st.lists(below, max_size=4) | st.dictionaries(TEXT, below, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(TEXT, DATA, min_size=1))
@example({"mac": "52:54:00:12:34:56", "on": "off", "x": ["0x10", "1_0", "~", "", "012", "=", "<<"]})
@example({"<<": 1})
@pytest.mark.usefixtures("_each_loader")
@pytest.mark.slow
def test_what_was_dumped_reads_back_the_same(data):
    text = yaml_text.dump(data)
    assert read(text) == data
    assert yaml.safe_load(text) == data


def test_repeated_data_is_written_out_and_never_as_an_alias():
    same = ["a"]
    assert yaml_text.dump({"x": same, "y": same}) == "x:\n- a\ny:\n- a\n"
