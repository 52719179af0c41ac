"""Bring a wish into a domain's XML, and leave everything else as it stands. Pure.

Two laws hold for every domain and every wish, and are kept here for all words alike: what `differences` calls
equal is not edited, alone or beside something that is; and what comes out has no difference left, or it is
`Impossible`.
"""

from __future__ import annotations

from dataclasses import fields, replace

from cxlstate.core.domain import Domain
from cxlstate.core.path import show
from cxlstate.formats.domain_xml import boot, cpu, disks, drives, interfaces, memory, nvdimms, vcpus
from cxlstate.formats.domain_xml.compare import differences
from cxlstate.formats.domain_xml.impossible import Impossible
from cxlstate.formats.domain_xml.read import document, domain
from cxlstate.formats.xml import Element, serialise


def merge(xml: str, wish: Domain) -> str:
    """The XML with what is wished; itself where it says so already.

    Impossible where the wish cannot be had without a change of something that it does not name.
    """
    root = document(xml)
    return serialise(root, xml) if edit(root, wish) else xml


def edit(root: Element, wish: Domain) -> bool:
    """The same in a document; whether there was anything to edit."""
    lacking = _lacking(wish, domain(root))
    if lacking == Domain():
        return False
    was = memory.before(root)
    vcpus.edit(root, lacking)
    cpu.edit(root, lacking)
    memory.edit_cells(root, lacking, was)
    if any(word is not None for word in (lacking.vcpu, lacking.max_vcpu, lacking.topology, lacking.cells)):
        cpu.check(root, cells_are_wished=wish.cells is not None)
    memory.edit_hugepages(root, wish.hugepages)  # of which a new cell may have none
    memory.edit_numatune(root, lacking)
    nvdimms.edit(root, lacking.nvdimm or ())
    memory.check_cells(root, wish, was)
    memory.edit_sums(root, lacking, was)
    disks.edit(root, lacking.disks or ())
    drives.settle(root, lacking.disks or ())
    interfaces.edit(root, lacking.interfaces or ())
    interfaces.edit_console(root, wished=lacking.console)
    boot.edit(root, lacking)
    disks.check(root, lacking.disks or ())
    for left in differences(wish, domain(root)):
        raise Impossible(f"{show(left.path)} would be {left.old}, and not {left.new}", left.path)
    return True


def _lacking(wish: Domain, live: Domain) -> Domain:
    """The wish without the words in which nothing differs. A list of devices differs as a whole."""
    words = {field.name: getattr(wish, field.name) for field in fields(Domain)}
    alone = {name: replace(Domain(), **{name: value}) for name, value in words.items() if value is not None}
    return replace(wish, **{name: None for name, one in alone.items() if not differences(one, live)})
