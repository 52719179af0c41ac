"""What a plan asks of a libvirt with 500 domains, where the spec names one of them."""

from __future__ import annotations

import libvirt
import pytest

from cxlstate.core.read import LibvirtDomain
from cxlstate.machine.libvirt import reading

DOMAINS = 500
NAMED = LibvirtDomain("vm7")


@pytest.fixture
def connection():
    """libvirt's own test driver: calls cost what the library costs, and no line in between."""
    connection = libvirt.open("test:///default")
    for number in range(DOMAINS):
        connection.defineXML(
            f"<domain type='test'><name>vm{number}</name><memory unit='MiB'>64</memory>"
            "<os><type>hvm</type></os><devices><interface type='network'>"
            f"<mac address='52:54:00:00:{number >> 8:02x}:{number & 255:02x}'/>"
            "<source network='default'/></interface></devices></domain>"
        )
    yield connection
    connection.close()


def everything(connection):
    """As tools do that gather facts first: list it, and read all that there is."""
    return [domain.XMLDesc() for domain in connection.listAllDomains()]


def test_one_vm_among_many(connection, race):
    assert "inactive.xml" in reading.answers(connection, [NAMED])[NAMED].files
    race(
        f"one VM of {DOMAINS} read",
        lambda: reading.answers(connection, [NAMED]),
        "all of them",
        lambda: everything(connection),
    )
