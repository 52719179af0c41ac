"""XML of others: what is refused, and how it comes out again."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree

from cxlstate.formats.xml import (
    LIMIT,
    child,
    element,
    parse,
    place,
    plain,
    serialise,
    set_attribute,
    take_out,
    take_out_all,
    take_out_if_empty,
)
from tests.formats.domains import Guest, guests

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # on a busy machine
ORDER = ("a", "b", "c")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not well-formed"),
        ("<a>", "not well-formed"),
        ("<a/><b/>", "not well-formed"),
        ("<a>&x;</a>", "not well-formed"),
        ("<!DOCTYPE a><a/>", "document type"),
        (
            "<?xml version='1.0'?>\n<!-- x -->\n<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><a>&x;</a>",
            "document type",
        ),
        ("\ufeff<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>", "document type"),
        ("\ufeff<?xml version='1.0' encoding='UTF-16'?> <!DOCTYPE a><a/>", "document type"),
        ("<?pi <!-- ?><!-- ?> --><!DOCTYPE a><a/>", "document type"),
        ("\ufeff\ufeff<!DOCTYPE a><a/>", "not well-formed"),
        ("<!-- <!DOCTYPE a> --><!-", "not well-formed"),
        ("<a>\udcff</a>", "not UTF-8"),
        (f"<a>{'x' * LIMIT}</a>", "larger than libvirt takes"),
        ("<a>" * 300 + "</a>" * 300, "not well-formed"),
    ],
)
def test_what_is_no_xml_for_us_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "<a x='1' b='2'/>",
        "<?xml version='1.0' encoding='UTF-8'?>\n<!-- <a> -->\n<a/>\n<!-- end -->\n<?end?>\n",
        "<a>it&apos;s &quot;&lt;&gt;&amp;</a>\n",
        "<a b='it&apos;s &quot;&lt;&gt;&amp;'/>",
        '<a>\n  <!-- it\'s "so" -->\n  <?pi it\'s "so"?>\n  <![CDATA[it\'s "so"]]>\n</a>',
        "<a xmlns:q='urn:q'>\n  <q:b q:c='1'/>\n</a>\n",
        '<a>\n  <metadata>\n    <x:y xmlns:x="urn:x" z="\'">it\'s "so"</x:y>\n  </metadata>\n  <b/>\n</a>',
        "<a>\n  <b>\n    <metadata c='&apos;'/>\n  </b>\n</a>",
        "<a>\n  <metadata/>\n  <b>&quot;</b>\n</a>",
        "<a>\n  <?one <!-- ?>\n  <b/>\n</a>\n<?two -->?>\n",
        "<a>é ∞ 🂡</a>",
        "<a b='1' xmlns='urn:a' xmlns:q='urn:q'/>",
        "\ufeff<?xml version='1.0' encoding='UTF-8'?>\n<a/>\n",
        "<a/>  <!-- <b/> </a> > -->\n<?end </a><?end > ?>\n\n",
        "<a><a/></a><!----><?x?>",
    ],
)
def test_what_libvirt_writes_comes_out_as_it_went_in(text: str) -> None:
    assert serialise(parse(text), text) == text


MUCH = 1 << 20


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "piece", "after"),
    [
        ("<a>", " ", "</a>"),
        ("<a>x", " ", "y</a>\n"),
        ("", " ", "<a/>"),
        ("<a/>", " ", "\n"),
        ("<!--", " <", "--><a/>"),
        ("<?x ", "<!--", "?><a/>"),
        ("<?x <?xml encoding", " ", "?><a/>"),
        ("", "<!---->", "<a/>"),
        ("<a/>", "<?x?>", ""),
        ("<a/><?x ", "> <!-- <?x", "?>"),
        ("<a/><!--", "</a>\n", "-->"),
        ("<a b='", 'c=" ', "'/>"),
        ("<a>", "<![CDATA[ <!-- ]]>", "</a>"),
        ("<a>", "<!-- > -->", "</a>"),
        ("<a>", "<b c='&lt;'/>\n", "</a>"),
    ],
)
def test_what_is_large_takes_no_longer_than_it_is_long(before: str, piece: str, after: str) -> None:
    """Of MiB, what looks at each character again and again does not come to an end."""
    text = before + piece * ((3 * MUCH) // len(piece)) + after
    assert text.startswith(serialise(parse(text), text)[: len(before)])
    assert serialise(parse(text), text).endswith(after[-2:])


def test_what_others_write_comes_out_with_libvirts_quotes() -> None:
    text = '<?xml version="1.0"?><a  b="it\'s"\n c = "2" ><d></d></a>  '
    assert serialise(parse(text), text) == "<?xml version=\"1.0\"?><a b='it&apos;s' c='2'><d/></a>  "


def test_a_text_that_is_no_longer_in_its_encoding_does_not_say_so() -> None:
    text = '<?xml version="1.0" encoding="ISO-8859-1"?><a b="é"/>'
    assert serialise(parse(text), text) == '<?xml version="1.0" encoding="UTF-8"?><a b=\'é\'/>'


@settings(PATIENT, max_examples=30)
@given(guests())
def test_other_quotes_are_all_that_changes(guest: Guest) -> None:
    text = guest.xml
    written = serialise(parse(text), text)
    assert etree.canonicalize(written) == etree.canonicalize(text)
    assert serialise(parse(written), written) == written


texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=8)


@given(texts, texts, st.sampled_from(["metadata", "b"]))
def test_any_text_stays_what_it_is(inner: str, value: str, tag: str) -> None:
    root = element("a")
    one = element(tag)
    one.append(element("c", {"d": value}, inner or None))
    root.append(one)
    assert plain(parse(serialise(root, "<a/>"))) == plain(root)


# Edits ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "behind"),
    [
        ("<r>\n  <a/>\n  <c/>\n</r>", "<r>\n  <a/>\n  <b>\n    <x/>\n  </b>\n  <c/>\n</r>"),
        ("<r>\n  <c/>\n</r>", "<r>\n  <b>\n    <x/>\n  </b>\n  <c/>\n</r>"),
        ("<r>\n  <b/>\n</r>", "<r>\n  <b/>\n  <b>\n    <x/>\n  </b>\n</r>"),
        ("<r>\n  <z/>\n</r>", "<r>\n  <z/>\n  <b>\n    <x/>\n  </b>\n</r>"),
        ("<r>\n   <a/>\n   <!-- c -->\n</r>", "<r>\n   <a/>\n   <b>\n    <x/>\n  </b>\n   <!-- c -->\n</r>"),
        ("<r>\n</r>", "<r>\n  <b>\n    <x/>\n  </b>\n</r>"),
        ("<r><a/><c/></r>", "<r><a/><b><x/></b><c/></r>"),
        ("<r>\n  <a/>words<c/>\n</r>", "<r>\n  <a/>words<b>\n    <x/>\n  </b><c/>\n</r>"),
    ],
)  # fmt: skip
def test_what_is_new_stands_in_order_and_indented_as_what_is_around_it(before: str, behind: str) -> None:
    root, new = parse(before), element("b")
    new.append(element("x"))
    place(root, new, ORDER)
    assert plain(root) == behind


def test_an_empty_parent_further_down_is_opened() -> None:
    root = parse("<r>\n  <s/>\n</r>")
    place(root[0], element("b"), ORDER)
    assert plain(root) == "<r>\n  <s>\n    <b/>\n  </s>\n</r>"


def test_of_those_with_the_same_name_the_number_decides() -> None:
    root = parse("<r><a/><b n='0'/><b n='3'/><b n='x'/><c/></r>")
    place(root, element("b", {"n": "2"}), ORDER, by="n")
    assert plain(root) == '<r><a/><b n="0"/><b n="3"/><b n="x"/><b n="2"/><c/></r>'
    root = parse("<r><b n='0'/><b n='3'/></r>")
    place(root, element("b", {"n": "2"}), ORDER, by="n")
    assert plain(root) == '<r><b n="0"/><b n="2"/><b n="3"/></r>'


def test_a_child_is_found_before_it_is_made() -> None:
    root = parse("<r><c/></r>")
    assert child(root, "c", ORDER) is root[0]
    assert child(root, "a", ORDER).tag == "a"
    assert plain(root) == "<r><a/><c/></r>"


@pytest.mark.parametrize(
    ("before", "behind"),
    [
        ("<r>\n  <a/>\n  <b/>\n  <c/>\n</r>", "<r>\n  <a/>\n  <c/>\n</r>"),
        ("<r>\n  <a/>\n  <b/>\n</r>", "<r>\n  <a/>\n</r>"),
        ("<r>\n  <b/>\n  <a/>\n</r>", "<r>\n  <a/>\n</r>"),
        ("<r>\n  <b/>\n</r>", "<r/>"),
        ("<r>\n  <!-- b -->\n  <b/>\n</r>", "<r>\n  <!-- b -->\n</r>"),
        ("<r><b/>words</r>", "<r>words</r>"),
        ("<r>words<b/></r>", "<r>words</r>"),
        ("<r><a/>one<b/>two<c/></r>", "<r><a/>onetwo<c/></r>"),
        ("<r><b/></r>", "<r/>"),
    ],
)
def test_what_goes_takes_its_line_along_and_nothing_else(before: str, behind: str) -> None:
    root = parse(before)
    take_out_all(root, "b", "never")
    take_out_all(None, "b")
    assert plain(root) == behind


def test_the_outermost_element_stays() -> None:
    with pytest.raises(ValueError, match="outermost"):
        take_out(parse("<r/>"))


@pytest.mark.parametrize("text", ["<b c='1'/>", "<b>x</b>", "<b><!-- x --></b>", "<b><c/></b>"])
def test_only_what_is_empty_goes_for_being_empty(text: str) -> None:
    root = parse(f"<r>{text}<b>\n</b></r>")
    for one in list(root):
        take_out_if_empty(one)
    take_out_if_empty(None)
    assert len(root) == 1


def test_an_attribute_keeps_its_place() -> None:
    root = parse("<r a='1' b='2' c='3'/>")
    set_attribute(root, "b", "4")
    set_attribute(root, "a", None)
    set_attribute(root, "never", None)
    assert plain(root) == '<r b="4" c="3"/>'
