"""Bring a wish into a domain's XML, and leave everything else as it stands. Pure."""

from __future__ import annotations

from cxlstate.core.domain import Domain
from cxlstate.formats.domain_xml import boot, cpu, disks, interfaces, memory, nvdimms, vcpus
from cxlstate.formats.domain_xml.read import document, max_vcpu, plain_memory, sized
from cxlstate.formats.xml import Element, plain, serialise


def merge(xml: str, wish: Domain) -> str:
    """The XML with what is wished; itself where it says so already.

    ValueError where the wish cannot be had without a change of something that it does not name.
    """
    root = document(xml)
    before = plain(root)
    edit(root, wish)
    return xml if plain(root) == before else serialise(root, xml)


def edit(root: Element, wish: Domain) -> None:
    """The same in a document."""
    was = memory.Before(max_vcpu(root), sized(root.find("memory")), plain_memory(root))
    vcpus.edit(root, wish)
    cpu.edit(root, wish)
    memory.edit_cells(root, wish, was)
    if wish.vcpu is not None or wish.topology is not None or wish.cells is not None:
        cpu.check(root, cells_are_wished=wish.cells is not None)
    memory.edit_hugepages(root, wish.hugepages)
    memory.edit_numatune(root, wish)
    nvdimms.edit(root, wish.nvdimm or ())
    if wish.memory is not None or wish.cells is not None or wish.nvdimm:
        memory.edit_sums(root, wish, was)
    disks.edit(root, wish.disks or ())
    interfaces.edit(root, wish.interfaces or ())
    interfaces.edit_console(root, wished=wish.console)
    boot.edit(root, wish)
