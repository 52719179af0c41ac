"""Networks and their reservations, with virNetworkUpdate to the letter."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cxlstate.core.action import Run
from cxlstate.core.libvirt import (
    AutostartNetwork,
    DefineDomain,
    DefineNetwork,
    StartDomain,
    StartNetwork,
    StopDomain,
    StopNetwork,
    UndefineNetwork,
    Update,
    UpdateNetwork,
)
from cxlstate.core.read import Attributes, LibvirtAddresses, Names
from cxlstate.formats import network_xml
from cxlstate.machine.outcome import Result
from tests.simulator.libvirt.machine import (
    BARE,
    M1,
    M2,
    M3,
    MAC,
    ONE,
    START,
    THREE,
    TWO,
    digest,
    hosts,
    update,
)


def test_the_package_brings_a_network_that_is_off(machine):
    answer = machine.network()
    assert set(answer) == {"inactive.xml", "facts", "ports"}
    assert answer["facts"] == "active=no\nautostart=no\npersistent=yes\nbridge=virbr0\n"
    assert answer["ports"] == ""


def test_an_active_network_has_its_ports_of_nat_and_counts_its_guests(running):
    answer = running.network()
    assert "<network connections='1'>" in answer["active.xml"]
    assert "<port start='1024' end='65535'/>" in answer["active.xml"]
    assert "connections" not in answer["inactive.xml"]
    assert "<port " not in answer["inactive.xml"]
    assert answer["ports"] == f"{MAC} vm\n"


def test_a_new_network_is_completed(machine):
    ip = "<ip address='10.9.8.1' prefix='24'><dhcp/></ip>"
    machine.done(DefineNetwork("lab", f"<network><name>lab</name><forward/>{ip}</network>"))
    text = machine.network("lab")["inactive.xml"]
    assert "<forward mode='nat'/>" in text
    assert "<bridge name='virbr1' stp='on' delay='0'/>" in text
    assert "<mac address='52:54:00:" in text
    assert "<uuid>" in text
    assert "dhcp" not in text


def test_a_network_without_a_way_out_has_no_forward(machine):
    machine.done(DefineNetwork("lab", "<network><name>lab</name><forward mode='none'/></network>"))
    assert "forward" not in machine.network("lab")["inactive.xml"]
    assert network_xml.parse(machine.network("lab")["inactive.xml"]).forward == network_xml.ISOLATED


@pytest.mark.parametrize(
    ("xml", "why"),
    [
        ("<network><name>n</name><bridge name='virbr0'/></network>", "bridge name 'virbr0' already in use."),
        ("<network><name>n</name><forward/></network>", "but no IP address provided for network 'n'"),
        ("<network><name>a/b</name></network>", "XML error: name a/b cannot contain '/'"),
        ("<network/>", "missing name information"),
        ("<domain/>", "unexpected root element <domain>, expecting <network>"),
    ],
)
def test_a_network_that_cannot_be_is_refused(machine, xml, why):
    assert why in machine.refused(DefineNetwork("n", xml))
    assert machine.network("n") == {}


def test_two_networks_with_the_same_addresses_are_not_both_active(machine):
    text = machine.network()["inactive.xml"]
    other = text.replace("<name>default<", "<name>other<").replace("virbr0", "virbr9")
    uuid = other.partition("<uuid>")[2].partition("</uuid>")[0]
    assert "is already defined with uuid" in machine.refused(DefineNetwork("other", other))
    machine.done(DefineNetwork("other", other.replace(f"  <uuid>{uuid}</uuid>\n", "")))
    machine.done(StartNetwork("default"), StartNetwork("default"))
    said = machine.refused(StartNetwork("other"))
    assert said == "internal error: Network is already in use by interface virbr0"


def test_an_active_network_that_is_defined_anew_goes_on_as_it_is(running):
    before = running.network()
    new = before["inactive.xml"].replace("192.168.122.254", "192.168.122.99")
    assert running.tell(DefineNetwork("default", new))[0].result is Result.STALE
    running.done(DefineNetwork("default", new, digest(before["inactive.xml"])))
    after = running.network()
    assert after["active.xml"] == before["active.xml"]
    assert after["inactive.xml"] == new


def test_a_network_without_a_uuid_keeps_the_one_that_it_has(machine):
    text = machine.network()["inactive.xml"]
    uuid = "  <uuid>75e801f2-f13b-4dc4-a7f4-c979b41ac4f4</uuid>\n"
    machine.done(DefineNetwork("default", text.replace(uuid, ""), digest(text)))
    assert machine.network()["inactive.xml"] == text


def test_a_guest_outlives_its_network_and_is_plugged_in_again_when_it_restarts(running):
    running.done(StopNetwork("default"), StopNetwork("default"))
    assert running.state() == "running"
    assert running.network()["ports"] == ""
    running.done(StartNetwork("default"))
    assert running.network()["ports"] == ""
    assert running.ask(LibvirtAddresses("vm")) == ""
    running.done(StopDomain("vm"), StartDomain("vm"))
    assert running.network()["ports"] == f"{MAC} vm\n"
    running.done(StopDomain("vm"))
    assert running.network()["ports"] == ""


def test_an_active_network_is_not_undefined(running):
    said = running.refused(UndefineNetwork("default"))
    assert said == "it is active: undefined, it would be gone for good as soon as it is stopped"
    running.done(AutostartNetwork("default", on=True), StopNetwork("default"), UndefineNetwork("default"))
    assert running.network() == {}
    assert not (running.root / "etc/libvirt/qemu/networks/autostart/default.xml").is_symlink()


def test_a_transient_network(running):
    (running.root / "etc/libvirt/qemu/networks/default.xml").unlink()
    assert running.facts(running.network())["persistent"] == "no"
    said = running.refused(AutostartNetwork("default", on=True))
    assert said == "Requested operation is not valid: cannot set autostart for transient network"
    said = running.refused(update(Update.ADD_LAST, f"<host mac='{MAC}' ip='192.168.122.9'/>"))
    assert "cannot change persistent config of a transient network" in said
    running.done(StopNetwork("default"))
    assert running.network() == {}


MODIFIED = [
    (f"<host mac='{M2.upper()}' ip='192.168.122.99'/>", [ONE, (M2, "192.168.122.99", None), THREE]),
    (f"<host mac='{M3}' ip='192.168.122.11'/>", [(M3, "192.168.122.11", None), TWO, THREE]),
    (f"<host mac='{M3}' name='c' ip='192.168.122.9'/>", [ONE, TWO, (M3, "192.168.122.9", "c")]),
    (f"<host mac='{M2}' name='b' ip='192.168.122.11'/>", [(M2, "192.168.122.11", "b"), TWO, THREE]),
]
DELETED = [
    (f"<host mac='{M2}'/>", [ONE, THREE]),
    (f"<host mac='{M3}'/>", [ONE, TWO]),
    (f"<host mac='{M3}' ip='192.168.122.13'/>", [ONE, TWO]),
    ("<host name='a'/>", [TWO, THREE]),
]


def test_a_reservation_is_added_to_both_definitions(reserving):
    answer = reserving.network()
    assert hosts(answer["active.xml"]) == hosts(answer["inactive.xml"]) == [ONE, TWO, THREE]


@pytest.mark.parametrize(("xml", "after"), MODIFIED)
def test_the_first_entry_with_the_mac_the_address_or_the_name_is_modified(reserving, xml, after):
    reserving.done(update(Update.MODIFY, xml))
    assert hosts(reserving.network()["active.xml"]) == after


@pytest.mark.parametrize(("xml", "after"), DELETED)
def test_the_first_entry_that_agrees_is_deleted_and_one_without_a_mac_agrees_with_any(reserving, xml, after):
    reserving.done(update(Update.DELETE, xml))
    assert hosts(reserving.network()["inactive.xml"]) == after


EXISTS = "Requested operation is not valid: there is an existing dhcp host entry in network 'default'"
HOST_REFUSED = [
    (Update.ADD_LAST, START[0], EXISTS),
    (Update.ADD_LAST, f"<host mac='{M3}' name='a' ip='192.168.122.14'/>", EXISTS),
    (Update.ADD_LAST, f"<host mac='{M3}' ip='192.168.122.11'/>", EXISTS),
    (Update.ADD_LAST, "<host ip='192.168.122.14'/>", "must have mac or name attribute"),
    (Update.ADD_LAST, f"<host mac='{M3}'/>", "Missing IP address in static host definition"),
    (Update.ADD_LAST, "<host mac='01:00:5e:00:00:03' ip='192.168.122.14'/>", "found multicast"),
    (Update.ADD_LAST, "<host mac='5254' ip='192.168.122.14'/>", "Cannot parse MAC address '5254'"),
    (Update.ADD_LAST, f"<host mac='{M3}' ip='fe80::1'/>", "the address family of a host entry IP must match"),
    (Update.ADD_LAST, f"<host mac='{M3}' name='-x' ip='192.168.122.14'/>", "Cannot use host name '-x'"),
    (Update.ADD_LAST, f"<host mac='{M3}' ip='one'/>", "Invalid IP address in static host definition"),
    (Update.ADD_LAST, "<range start='1' end='2'/>", "unexpected element <range>, expecting <host>"),
    (Update.ADD_LAST, "<host", "at line 1: "),
    (Update.MODIFY, f"<host mac='{M3}' ip='192.168.122.99'/>", "couldn't locate an existing dhcp host entry"),
    (Update.DELETE, f"<host mac='{M1}' ip='192.168.122.12'/>", "couldn't locate a matching dhcp host entry"),
    (Update.DELETE, "<host/>", "At least one of name, mac, or ip attribute must be specified"),
]


@pytest.mark.parametrize(("command", "xml", "why"), HOST_REFUSED)
def test_a_change_of_reservations_that_libvirt_refuses_changes_nothing(reserving, command, xml, why):
    before = reserving.network()
    assert why in reserving.refused(update(command, xml))
    assert reserving.network() == before


def test_both_definitions_are_changed_or_none(reserving):
    other = f"<host mac='{M3}' ip='192.168.122.14'/>"
    reserving.done(update(Update.ADD_LAST, other, live=False))
    before = reserving.network()
    assert hosts(before["active.xml"]) == [ONE, TWO, THREE]
    assert EXISTS in reserving.refused(update(Update.ADD_LAST, other))
    assert reserving.network() == before
    reserving.done(update(Update.ADD_LAST, other, config=False))
    answer = reserving.network()
    assert hosts(answer["active.xml"]) == hosts(answer["inactive.xml"])
    said = reserving.refused(update(Update.DELETE, other, live=False, config=False))
    assert said == "neither the live nor the persistent definition was named"


def test_a_network_that_is_off_is_not_changed_live(machine):
    effect = update(Update.ADD_LAST, START[0])
    assert machine.refused(effect) == "Requested operation is not valid: network is not running"
    machine.done(update(Update.ADD_LAST, START[0], live=False))
    assert hosts(machine.network()["inactive.xml"]) == [ONE]


RANGE = "<range start='192.168.122.{}' end='192.168.{}'/>"
RANGE_REFUSED = [
    (Update.ADD_LAST, RANGE.format(2, "122.254"), "there is an existing dhcp range entry"),
    (
        Update.ADD_LAST,
        RANGE.format(2, "123.9"),
        "range 192.168.122.2 - 192.168.123.9 is not entirely within network 192.168.122.1/24",
    ),
    (Update.ADD_LAST, RANGE.format(9, "122.2"), "range 192.168.122.9 - 192.168.122.2 is reversed"),
    (Update.ADD_LAST, "<range start='192.168.122.9'/>", "Missing 'end' attribute in dhcp range"),
    (Update.MODIFY, RANGE.format(9, "122.20"), "dhcp ranges cannot be modified, only added or deleted"),
    (Update.DELETE, RANGE.format(9, "122.20"), "couldn't locate a matching dhcp range entry"),
]


@pytest.mark.parametrize(("command", "xml", "why"), RANGE_REFUSED)
def test_a_change_of_ranges_that_libvirt_refuses_changes_nothing(reserving, command, xml, why):
    assert why in reserving.refused(update(command, xml, "ip-dhcp-range"))


def test_a_range_takes_the_place_of_another(reserving):
    reserving.done(
        update(Update.ADD_LAST, RANGE.format(100, "122.120"), "ip-dhcp-range"),
        update(Update.DELETE, RANGE.format(2, "122.254"), "ip-dhcp-range"),
    )
    ranges = [str(one) for one in network_xml.parse(reserving.network()["active.xml"]).ranges]
    assert ranges == ["192.168.122.100-192.168.122.120"]


def test_a_guest_has_the_address_that_is_reserved_for_it_or_else_one_of_the_range(running):
    assert running.ask(LibvirtAddresses("vm")) == f"{MAC} 192.168.122.2/24\n"
    running.done(update(Update.ADD_LAST, f"<host mac='{MAC.upper()}' ip='192.168.122.77'/>"))
    assert running.ask(LibvirtAddresses("vm")) == f"{MAC} 192.168.122.77/24\n"
    running.done(StopDomain("vm"))
    assert running.ask(LibvirtAddresses("vm")) == ""


# Bridges ---------------------------------------------------------------------------------------------

PORTS, ALONE = Names("/sys/class/net/*/brif/*"), Attributes("/sys/class/net/*/brport/isolated")
INTERFACES = Names("/sys/class/net/*")


def ports(machine):
    return [tuple(path.split("/")[-3::2]) for path in machine.ask(PORTS)]


def test_taps_fall_out_of_a_bridge_that_goes_and_are_plugged_in_again_by_hand(running):
    assert ports(running) == [("virbr0", "vnet0")]
    running.done(StopNetwork("default"))
    assert "/sys/class/net/vnet0" in running.ask(INTERFACES)
    assert "/sys/class/net/virbr0" not in running.ask(INTERFACES)
    plug = Run(("ip", "link", "set", "dev", "vnet0", "master", "virbr0", "up"))
    assert "Device does not exist" in running.tell(plug)[0].output
    running.done(StartNetwork("default"))
    assert ports(running) == []
    running.done(plug)
    assert ports(running) == [("virbr0", "vnet0")]
    assert running.ask(ALONE) == {"/sys/class/net/vnet0/brport/isolated": "0"}
    running.done(Run(("bridge", "link", "set", "dev", "vnet0", "isolated", "on")))
    assert running.ask(ALONE) == {"/sys/class/net/vnet0/brport/isolated": "1"}
    assert running.network()["ports"] == "", "libvirt does not know of it"
    assert running.ask(LibvirtAddresses("vm")) == f"{MAC} 192.168.122.2/24\n"
    running.done(StopDomain("vm"))
    assert "/sys/class/net/vnet0" not in running.ask(INTERFACES)


def test_devices_that_are_not_there_cannot_be_plugged(machine):
    for words, status in (
        (("ip", "link", "set", "dev", "vnet9", "master", "virbr0", "up"), 1),
        (("bridge", "link", "set", "dev", "vnet9", "isolated", "on"), 255),
    ):
        assert machine.tell(Run(words))[0].status == status


def test_a_guest_is_plugged_into_a_bridge_of_the_host_where_there_is_one(machine):
    plug = "<interface type='bridge'><source bridge='br0'/><port isolated='yes'/></interface>"
    machine.done(DefineDomain("bare", BARE.replace("<devices/>", f"<devices>{plug}</devices>")))
    said = machine.refused(StartDomain("bare"))
    assert said == "Cannot get interface MTU on 'br0': No such device"
    machine.edit_json(lambda world: world.update(bridges=["br0"]))
    machine.done(StartDomain("bare"))
    assert ports(machine) == [("br0", "vnet0")]
    assert machine.ask(ALONE) == {"/sys/class/net/vnet0/brport/isolated": "1"}


def test_one_of_several_addresses_is_meant_by_its_number(machine):
    both = "<ip address='10.1.0.1' prefix='24'/><ip address='10.2.0.1' prefix='24'/>"
    machine.done(DefineNetwork("two", f"<network><name>two</name>{both}</network>"))
    host = f"<host mac='{MAC}' ip='10.2.0.9'/>"
    effect = UpdateNetwork("two", Update.ADD_LAST, "ip-dhcp-host", host, live=False, config=True, parent=1)
    machine.done(effect)
    text = machine.network("two")["inactive.xml"]
    assert text.index("10.2.0.1") < text.index("<dhcp>")
    assert "no <ip> element found at index 2" in machine.refused(replace(effect, parent=2))
