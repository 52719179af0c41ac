"""The model of virNetworkUpdate, and the definitions that we make, beside libvirt's own test driver."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxlstate.core.libvirt import Update
from cxlstate.formats.network_xml import ISOLATED, Fields, Host, Range, edit, host_xml, new, parse
from tests.resources.network.model import Model, Refused, entries, hosts

CAPTURED = Path(__file__).parent / "captured"

libvirt = pytest.importorskip("libvirt", reason="libvirt's Python library is not there")


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    libvirt.registerErrorHandler(lambda *_: None, None)
    connection = libvirt.open("test:///default")
    connection.networkLookupByName("default").destroy()
    connection.networkLookupByName("default").undefine()
    yield connection
    connection.close()


NETWORK = """<network><name>model</name><ip address='192.168.122.1' netmask='255.255.255.0'>
<dhcp>{}</dhcp></ip></network>"""
COMMANDS: Mapping[Update, int] = {
    Update.ADD_LAST: libvirt.VIR_NETWORK_UPDATE_COMMAND_ADD_LAST,
    Update.MODIFY: libvirt.VIR_NETWORK_UPDATE_COMMAND_MODIFY,
    Update.DELETE: libvirt.VIR_NETWORK_UPDATE_COMMAND_DELETE,
}


def _update(network: Any, command: Update, xml: str) -> None:
    section, live = libvirt.VIR_NETWORK_SECTION_IP_DHCP_HOST, libvirt.VIR_NETWORK_UPDATE_AFFECT_LIVE
    network.update(COMMANDS[command], section, -1, xml, live)


def _does(update: Callable[[], None]) -> bool:
    try:
        update()
    except Refused:
        return False
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID:
            raise
        return False
    return True


updates = st.lists(st.tuples(st.sampled_from(Update), hosts), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(entries=entries, updates=updates)
def test_the_model_does_what_libvirt_does(
    driver: Any, entries: list[Host], updates: list[tuple[Update, Host]]
) -> None:
    start = "".join(host_xml(host, Update.ADD_LAST) for host in entries)
    network = driver.networkCreateXML(NETWORK.format(start))
    model = Model(list(entries))
    try:
        for command, host in updates:
            xml = host_xml(host, command)
            assert _does(lambda c=command, x=xml: model.update(c, x)) == _does(
                lambda c=command, x=xml: _update(network, c, x)
            )
            assert list(parse(network.XMLDesc(0)).hosts) == model.hosts
    finally:
        network.destroy()


wishes = st.builds(
    Fields,
    st.sampled_from([None, IPv4Interface("192.168.122.1/24"), IPv4Interface("192.168.122.5/23")]),
    st.sampled_from([None, Range("192.168.122.2", "192.168.122.99")]),
    st.sampled_from([None, "virbr9", "lab-bridge_0.1"]),
    st.sampled_from([None, "nat", "route", "open", ISOLATED]),
    st.sampled_from([None, "lab", "vms.example.org"]),
)


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from(["default", "default.active", "reserved", "rich"]), wish=wishes)
def test_libvirt_takes_what_was_edited_and_means_the_same(driver: Any, name: str, wish: Fields) -> None:
    _assert_taken(driver, edit((CAPTURED / f"{name}.xml").read_text(), wish))


@settings(max_examples=30, deadline=None)
@given(wish=wishes, entries=st.lists(hosts, max_size=3))
def test_libvirt_takes_what_was_made_and_means_the_same(
    driver: Any, wish: Fields, entries: list[Host]
) -> None:
    address = wish.address or IPv4Interface("192.168.122.1/24")
    _assert_taken(driver, new("made", replace(wish, address=address), entries))


def _assert_taken(driver: Any, text: str) -> None:
    network = driver.networkDefineXMLFlags(text, libvirt.VIR_NETWORK_DEFINE_VALIDATE)
    try:
        assert parse(network.XMLDesc(0)) == parse(text)
    finally:
        network.undefine()
