"""XML that others wrote and that is to stay as they wrote it: parsed, edited, and written out again.

Nothing is fetched, no entity is expanded, and a document type is refused. What is written has the
quotes that libvirt writes, so that its own texts come out as they went in.

Sources: libvirt 9.0 `src/util/virbuffer.c` (`virBufferEscapeString`), `src/remote/remote_protocol.x`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from lxml import etree

Element = etree._Element  # noqa: SLF001 -- lxml's own name for the type of what it gives

LIMIT: Final = 4 << 20
"""Bytes that libvirt takes for one text (REMOTE_STRING_MAX)."""

INDENT: Final = "  "
_DOCUMENT_TYPE: Final = "the XML has a document type (<!DOCTYPE>); libvirt needs none"
_METADATA: Final = "metadata"  # libvirt leaves what is in it to libxml2, and so its quotes
_BYTE_ORDER_MARK: Final = "\ufeff"
_AROUND: Final = {"<!--": "-->", "<?": "?>"}
"""What may stand before and behind the outermost element, besides blanks: where it begins and ends."""

_NOT_BLANK = re.compile(r"\S|\Z")
_DECLARED = re.compile(r"""(\ufeff?<\?xml\s[^>]*?encoding\s*=\s*)(["'])[^"']*\2""")
_TOKEN = re.compile(r"<!--.*?-->|<\?.*?\?>|<!\[CDATA\[.*?\]\]>|<[^>]*>|[^<]+", re.DOTALL)
_ATTRIBUTE = re.compile(r'\s([^\s=]+)="([^"]*)"')


def parse(text: str) -> Element:
    """The outermost element. ValueError, with what is wrong with it, where it is no XML for us."""
    try:
        content = text.encode()
    except UnicodeEncodeError:
        raise ValueError("the XML is not UTF-8") from None
    if len(content) > LIMIT:
        raise ValueError(f"the XML is larger than libvirt takes: {len(content)} bytes, at most {LIMIT}")
    if text.startswith("<!DOCTYPE", _passed(text, 0)):
        raise ValueError(_DOCUMENT_TYPE)
    parser = etree.XMLParser(
        encoding="utf-8",  # of the bytes made here, whatever the text says of itself
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        strip_cdata=False,
    )
    try:
        root = etree.fromstring(content, parser)
    except etree.XMLSyntaxError as error:
        raise ValueError(f"not well-formed XML: {error.msg}") from None
    if root.getroottree().docinfo.internalDTD is not None:  # whatever was seen of it above
        raise ValueError(_DOCUMENT_TYPE)
    return root


def serialise(root: Element, source: str) -> str:
    """The text of an edited document; what stands around the outermost element is that of the source."""
    prolog = source[: _passed(source, 0)]
    if declared := _DECLARED.match(prolog):
        prolog = f"{declared[1]}{declared[2]}UTF-8{declared[2]}{prolog[declared.end() :]}"
    return prolog + _as_libvirt_quotes(plain(root)) + source[_end(root, source) :]


def _passed(text: str, at: int) -> int:
    """Where blanks, comments and instructions end that begin at a place. Each character is looked at once."""
    at += text.startswith(_BYTE_ORDER_MARK, at) and at == 0
    while True:
        found = _NOT_BLANK.search(text, at)
        at = found.start() if found else len(text)
        begins = next((mark for mark in _AROUND if text.startswith(mark, at)), None)
        end = text.find(_AROUND[begins], at + len(begins)) if begins else -1
        if begins is None or end < 0:
            return at
        at = end + len(_AROUND[begins])


def _end(root: Element, text: str) -> int:
    """Where the outermost element ends: in front of the comments and instructions behind it."""
    at = _without_blanks(text, len(text))
    for one in reversed(list(root.itersiblings())):
        if isinstance(one, etree._Comment):  # noqa: SLF001 -- as Element
            at = text.rfind("<!--", 0, at)
        else:  # its own text may look like its beginning
            at = text.rfind(f"<?{one.target}", 0, at - len(one.text or "") - len("?>"))  # type: ignore[attr-defined]
        at = _without_blanks(text, at)
    return at


def _without_blanks(text: str, at: int) -> int:
    while at > 0 and text[at - 1].isspace():
        at -= 1
    return at


def plain(root: Element) -> str:
    """As lxml writes it: equal where two documents are."""
    return etree.tostring(root, encoding="unicode", with_tail=False)


def _as_libvirt_quotes(text: str) -> str:
    written, depth, foreign = [], 0, False
    for token in _TOKEN.findall(text):
        opens = token.startswith("<") and not token.startswith(("</", "<!", "<?"))
        if token.startswith("</"):
            depth -= 1
            foreign = foreign and depth > 1
        written.append(token if foreign else _tag(token) if opens else _text(token))
        if opens and not token.endswith("/>"):
            foreign = foreign or (depth == 1 and _name(token) == _METADATA)
            depth += 1
    return "".join(written)


def _name(tag: str) -> str:
    return re.split(r"[\s/>]", tag[1:], maxsplit=1)[0]


def _tag(token: str) -> str:
    """Single quotes, and what libxml2 puts first, namespaces, behind the attributes."""
    name, end = _name(token), "/>" if token.endswith("/>") else ">"
    words = sorted(_ATTRIBUTE.findall(token), key=lambda word: str(word[0]).startswith("xmlns"))
    quoted = (f" {key}='{value.replace(chr(39), '&apos;')}'" for key, value in words)
    return f"<{name}{''.join(quoted)}{end}"


def _text(token: str) -> str:
    return token if token.startswith("<") else token.replace("'", "&apos;").replace('"', "&quot;")


# Edits ------------------------------------------------------------------------------------------------


def element(tag: str, attributes: Mapping[str, str] | None = None, text: str | None = None) -> Element:
    """A new element, not yet in its place."""
    new = etree.Element(tag, attributes or {})
    new.text = text
    return new


def child(parent: Element, tag: str, order: Sequence[str]) -> Element:
    """The first child of a name; made, where there is none, in the place that `order` gives it."""
    found = parent.find(tag)
    if found is None:
        found = element(tag)
        place(parent, found, order)
    return found


def place(
    parent: Element, new: Element, order: Sequence[str], by: str | None = None, *, first: bool = False
) -> None:
    """Put a new child where libvirt would have written it, indented as what is around it.

    Of those with the same name it is the last, or the first, or stands by the number in the attribute `by`.
    """

    def rank(one: Element) -> tuple[int, int]:
        number = one.get(by, "") if by and one.tag == new.tag else ""
        return order.index(str(one.tag)), int(number) if number.isdecimal() else 0

    mine = rank(new)
    known = [(rank(one), index) for index, one in enumerate(parent) if one.tag in order]
    before = [index for other, index in known if other < mine or (other == mine and not first)]
    behind = [index for other, index in known if other > mine or (other == mine and first)]
    _insert(parent, before[-1] + 1 if before else behind[0] if behind else len(parent), new)


def take_out(one: Element) -> None:
    """Remove an element, and the line that it stood on; a parent that is left empty is left so."""
    parent, before = one.getparent(), one.getprevious()
    if parent is None:
        raise ValueError("the outermost element cannot be removed")
    lead, behind = (parent.text if before is None else before.tail) or "", one.tail or ""
    usual = behind if one.getnext() is None else lead
    kept = lead + behind if (lead + behind).strip() else usual
    parent.remove(one)
    if before is not None:
        before.tail = kept or None
    else:
        parent.text = kept if len(parent) or kept.strip() else None


def take_out_all(parent: Element | None, *tags: str) -> None:
    """Remove every child of these names."""
    for tag in tags:
        for one in parent.findall(tag) if parent is not None else ():
            take_out(one)


def take_out_if_empty(one: Element | None) -> None:
    """Remove an element that holds nothing any more, not even a comment."""
    if one is not None and not len(one) and not one.attrib and not (one.text or "").strip():
        take_out(one)


def set_attribute(one: Element, name: str, value: str | None) -> None:
    """Write an attribute, None to remove it; one that is there keeps its place."""
    if value is None:
        one.attrib.pop(name, None)
    elif one.get(name) != value:
        one.set(name, value)


def _insert(parent: Element, index: int, new: Element) -> None:
    level = sum(1 for _ in parent.iterancestors())
    root = parent.getroottree().getroot()
    if "\n" not in ((parent if len(parent) else root).text or ""):
        parent.insert(index, new)
        return
    outer, inner = "\n" + INDENT * level, "\n" + INDENT * (level + 1)
    if len(parent) and parent.text and not parent.text.strip():
        inner = "\n" + parent.text.rpartition("\n")[2]
    etree.indent(new, INDENT, level=level + 1)
    if not len(parent):
        parent.text, new.tail = (parent.text or "").rstrip() + inner, outer
    elif index == 0:
        parent.text, new.tail = inner, parent.text
    else:
        neighbour = parent[index - 1]
        if not (neighbour.tail or "").strip():
            neighbour.tail, new.tail = inner, neighbour.tail
    parent.insert(index, new)
