"""What of libvirt's schema (`docs/schemas/domain.rng`) a definition could stumble over.

Names of elements where a slip of the pen would otherwise be dropped without a word, and the forms of
sizes, MACs and sets of numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from cxlstate.formats.domain_xml import meaning
from cxlstate.formats.xml import Element
from cxlstate.simulator.libvirt.refused import Refused
from cxlstate.simulator.libvirt.text import children

_MODELS: Final = ("dimm", "nvdimm", "virtio-pmem", "virtio-mem", "sgx-epc")
_ANYTHING: Final = (("domain", "os"), ("domain", "cpu"))
"""Elements of which an order is known, and not all that may stand in them."""
_NUMA_MODES: Final = ("strict", "preferred", "interleave", "restrictive")
_UNICAST = re.compile(r"[0-9a-fA-F][02468aAcCeE](:[0-9a-fA-F]{2}){5}")
_SET = re.compile(r"\s*(\^?\d+|\d+-\d+)(\s*,\s*(\^?\d+|\d+-\d+))*\s*", re.ASCII)
_NUMBER = re.compile(r"\d+", re.ASCII)
_COUNT = re.compile(r"0*[1-9]\d*", re.ASCII)

# Texts and attributes that have to be of a form: path, attribute (empty: the text), what they have to match.
_FORMS: Final[tuple[tuple[str, str, re.Pattern[str]], ...]] = (
    ("vcpu", "", _COUNT),
    ("vcpu", "current", _COUNT),
    ("vcpu", "cpuset", _SET),
    ("iothreads", "", _NUMBER),
    ("maxMemory", "slots", _NUMBER),
    ("cputune/vcpupin", "vcpu", _NUMBER),
    ("cputune/vcpupin", "cpuset", _SET),
    ("cputune/emulatorpin", "cpuset", _SET),
    ("cputune/iothreadpin", "iothread", _NUMBER),
    ("cputune/iothreadpin", "cpuset", _SET),
    ("numatune/memory", "nodeset", _SET),
    ("numatune/memnode", "cellid", _NUMBER),
    ("numatune/memnode", "nodeset", _SET),
    ("cpu/numa/cell", "id", _NUMBER),
    ("cpu/numa/cell", "cpus", _SET),
    ("devices/interface/mac", "address", _UNICAST),
    ("devices/memory/target/node", "", _NUMBER),
)
SIZES: Final = (
    *("maxMemory", "memory", "currentMemory", "memtune/hard_limit", "memtune/soft_limit"),
    *("devices/memory/source/alignsize", "devices/memory/target/size", "devices/memory/target/label/size"),
)
"""Elements whose text is a size."""
SIZE_ATTRIBUTES: Final = (("cpu/numa/cell", "memory"), ("memoryBacking/hugepages/page", "size"))
"""Elements with a size in an attribute."""
_NEEDED: Final[tuple[tuple[str, str, str], ...]] = (
    ("os/type", "", ""),
    ("devices/disk", "target", "dev"),
    ("devices/interface[@type='network']", "source", "network"),
    ("devices/interface[@type='bridge']", "source", "bridge"),
    ("devices/memory", "target/size", ""),
    ("devices/memory[@model='nvdimm']", "source/path", ""),
)
"""Path of an element, what has to stand in it, and an attribute that this has to have."""


def check_domain(root: Element) -> None:
    """Raises Refused where the schema would not have it."""
    for wrong in _wrong(root):
        raise Refused(
            "XML document failed to validate against schema: Unable to validate doc against "
            f"/usr/share/libvirt/schemas/domain.rng\n{wrong}"
        )


def _wrong(root: Element) -> Iterator[str]:
    yield from _names(root, "")
    yield from _forms(root)
    yield from _missing(root)
    yield from _words(root)


def _forms(root: Element) -> Iterator[str]:
    for path, attribute, form in _FORMS:
        for one in root.findall(path):
            said = one.get(attribute) if attribute else one.text or ""
            if said is not None and not form.fullmatch(said.strip()):
                yield _invalid(one, attribute)
    for path, attribute in (*((path, "") for path in SIZES), *SIZE_ATTRIBUTES):
        for one in root.findall(path):
            yield from _size(one, attribute, one.get(attribute) if attribute else one.text)


def _missing(root: Element) -> Iterator[str]:
    for path, inner, attribute in _NEEDED:
        for one in root.findall(path):
            found = one.find(inner) if inner else one
            if found is None or (attribute and found.get(attribute) is None):
                yield f"Expecting an element {inner}, got nothing"


def _names(one: Element, above: str) -> Iterator[str]:
    known = children(above, str(one.tag))
    for child in one:
        if not isinstance(child.tag, str) or child.tag.startswith("{"):
            continue
        if known and (above, one.tag) not in _ANYTHING and child.tag not in known:
            yield f"Element {one.tag!s} has extra content: {child.tag}"
        if child.tag != "metadata":
            yield from _names(child, str(one.tag))


def _size(one: Element, attribute: str, said: str | None) -> Iterator[str]:
    try:
        meaning.size(said or "", one.get("unit"))
    except ValueError:
        yield _invalid(one, attribute)


def _words(root: Element) -> Iterator[str]:
    """Attributes of which there are few values."""
    if root.get("type") is None:
        yield "Element domain failed to validate attributes"
    for one in root.findall("devices/memory"):
        if one.get("model") not in _MODELS:
            yield _invalid(one, "model")
    for one in (*root.findall("numatune/memory"), *root.findall("numatune/memnode")):
        if one.get("mode", "strict") not in _NUMA_MODES:
            yield _invalid(one, "mode")


def _invalid(one: Element, attribute: str) -> str:
    if attribute:
        return f"Invalid attribute {attribute} for element {one.tag!s}"
    return f"Error validating value of element {one.tag!s}"
