"""What a domain ran with, as a persistent definition again."""

from __future__ import annotations

from cxlstate.formats import xml
from cxlstate.formats.domain_xml.compare import differences
from cxlstate.formats.domain_xml.read import read
from cxlstate.formats.xml import Element


def as_it_ran(persistent: str, active: str) -> str | None:
    """The active definition without what belongs to one run; None where the persistent one is the same.

    libvirt itself leaves most of that out of what it is given to define (VIR_DOMAIN_DEF_PARSE_INACTIVE in
    `src/conf/domain_conf.c`: id, aliases, port ids, `vnet` names). Backing chains and dynamic security labels
    it would keep, though those of a domain that runs are what it found and made.
    """
    if not differences(read(persistent), read(active), running=True):
        return None
    root = xml.parse(active)
    root.attrib.pop("id", None)
    for disk in root.findall("devices/disk"):
        xml.take_out_all(disk, "backingStore")
    for source in root.findall("devices/interface[@type='network']/source"):
        for run in ("portid", "bridge"):
            source.attrib.pop(run, None)
    for label in root.findall("seclabel[@type='dynamic']"):
        if label.find("baselabel") is None:
            xml.take_out(label)
    for alias in root.findall("devices//alias"):
        _forget(alias)
    return xml.serialise(root, active)


def _forget(alias: Element) -> None:
    """One that a user gave begins with `ua-`, and stays."""
    if not alias.get("name", "").startswith("ua-"):
        xml.take_out(alias)


def host_devices(text: str) -> tuple[str, ...]:
    """Paths below /dev behind its NVDIMMs: where one leads nowhere, QEMU would make a plain file."""
    paths = (one.path for one in read(text).nvdimm or ())
    return tuple(path for path in paths if path and path.startswith("/dev/"))
