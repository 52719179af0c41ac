"""XML in and out as libvirt does it: out in its own order, two blanks a level, and without comments.

What stands in `<metadata>` is left alone. Sources: libvirt 11.3 `src/conf/domain_conf.c`, `network_conf.c`,
`virXMLFormatMetadata`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from cxlstate.formats import xml
from cxlstate.formats.domain_xml import order
from cxlstate.formats.xml import Element
from cxlstate.simulator.libvirt.refused import XML, Refused

_NETWORK: Final = (
    *("name", "uuid", "title", "description", "metadata", "forward", "bridge", "mtu", "mac", "domain"),
    *("dns", "vlan", "bandwidth", "port", "ip", "route", "virtualport", "portgroup"),
)
# The order of the children, by the element's own name and its parent's.
_ORDERS: Final[Mapping[tuple[str, str], Sequence[str]]] = {
    ("", "domain"): order.DOMAIN,
    ("domain", "cputune"): order.CPUTUNE,
    ("domain", "numatune"): order.NUMATUNE,
    ("domain", "os"): order.OS,
    ("domain", "cpu"): order.CPU,
    ("domain", "devices"): order.DEVICES,
    ("devices", "disk"): order.DISK,
    ("devices", "interface"): order.INTERFACE,
    ("devices", "memory"): order.MEMORY,
    ("memory", "source"): order.MEMORY_SOURCE,
    ("memory", "target"): order.MEMORY_TARGET,
    ("", "network"): _NETWORK,
    ("network", "ip"): ("tftp", "dhcp"),
    ("ip", "dhcp"): ("range", "host", "bootp"),
}
_METADATA: Final = "metadata"


def document(text: str, tag: str) -> Element:
    """The outermost element, of that name. Raises Refused."""
    try:
        root = xml.parse(text)
    except ValueError as error:
        raise Refused(f"at line 1: {error}") from None
    if root.tag != tag:
        raise Refused(f"unexpected root element <{root.tag!s}>, expecting <{tag}>", XML)
    return root


def written(root: Element) -> str:
    """The text that libvirt makes of it; the document is brought into that form."""
    _drop_comments(root)
    _sort(root, "")
    _indent(root, 0)
    return xml.serialise(root, "") + "\n"


def children(parent: str, tag: str) -> Sequence[str]:
    """What an element may hold, in order; nothing where no order is known."""
    return _ORDERS.get((parent, tag), ())


def under(parent: Element, tag: str) -> Element:
    """The first child of a name, made if there is none; where it stands is seen to when it is written."""
    found = parent.find(tag)
    if found is None:
        found = add(parent, tag)
    return found


def add(
    parent: Element, tag: str, attributes: Mapping[str, str] | None = None, text: str | None = None
) -> Element:
    """One more child."""
    new = xml.element(tag, attributes, text)
    parent.append(new)
    return new


def reordered(one: Element, *first: str) -> None:
    """Attributes in libvirt's order: those named, then the others."""
    has = {str(key): str(value) for key, value in one.attrib.items()}
    one.attrib.clear()
    for key in (*first, *has):
        if key in has:
            one.set(key, has[key])


def _drop_comments(parent: Element) -> None:
    for one in list(parent):
        if not isinstance(one.tag, str):
            before, behind = one.getprevious(), one.tail or ""
            if before is not None:
                before.tail = (before.tail or "") + behind
            else:
                parent.text = (parent.text or "") + behind
            parent.remove(one)
        elif one.tag != _METADATA:
            _drop_comments(one)


def _sort(parent: Element, above: str) -> None:
    tag = str(parent.tag)
    if tag == _METADATA:
        return
    names = children(above, tag)
    if names:
        rank = {name: number for number, name in enumerate(names)}
        parent[:] = sorted(parent, key=lambda one: rank.get(str(one.tag), len(rank)))
    for one in parent:
        _sort(one, tag)


def _indent(parent: Element, level: int) -> None:
    """Not where text stands between the elements."""
    inner = list(parent)
    if not inner:
        if not (parent.text or "").strip():
            parent.text = None
        return
    if any((text or "").strip() for text in (parent.text, *(one.tail for one in inner))):
        return
    parent.text = "\n" + xml.INDENT * (level + 1)
    for one in inner:
        one.tail = parent.text
        _indent(one, level + 1)
    inner[-1].tail = "\n" + xml.INDENT * level
