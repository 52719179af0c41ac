"""Effects on networks, by a real libvirtd with a bridge and a dnsmasq."""

from __future__ import annotations

import libvirt
import pytest

from cxlstate.core.libvirt import (
    AutostartNetwork,
    DefineNetwork,
    StartNetwork,
    StopNetwork,
    UndefineNetwork,
    Update,
    UpdateNetwork,
)
from cxlstate.formats import network_xml
from cxlstate.machine.libvirt.domains import digest
from cxlstate.machine.libvirt.way import Direct
from cxlstate.machine.libvirt.writing import perform
from cxlstate.machine.outcome import Outcome, Result
from cxlstate.machine.posix.transport import Before
from tests.libvirt.definitions import NETWORK
from tests.libvirt.unfenced import Unfenced

DONE = Outcome(Result.DONE)
INACTIVE = libvirt.VIR_NETWORK_XML_INACTIVE
ONE = "<host mac='52:54:00:00:00:01' name='one' ip='192.168.122.101'/>"
TWO = "<host mac='52:54:00:00:00:02' name='two' ip='192.168.122.102'/>"
MOVED = ONE.replace(".101", ".111")


@pytest.fixture
def writer(daemon):
    made = Unfenced(lambda: Direct(daemon.uri))
    yield made
    made.close()


def refused(outcome: Outcome, *words: str) -> None:
    assert (outcome.result, outcome.status) == (Result.FAILED, 1)
    for word in words:
        assert word in outcome.output


def update(command: Update, xml: str, section: str = "ip-dhcp-host", **more) -> UpdateNetwork:
    return UpdateNetwork("default", command, section, xml, **{"live": True, "config": True} | more)


def entries(network, flags: int) -> list[str]:
    """Reservations and ranges of one of the two definitions."""
    lines = (line.strip() for line in network.XMLDesc(flags).splitlines())
    return [line for line in lines if line.startswith(("<host", "<range"))]


RANGE = "<range start='192.168.122.2' end='192.168.122.254'/>"


def test_entries_are_added_changed_and_removed_without_a_break(writer, daemon, network):
    for effect, hosts in (
        (update(Update.ADD_LAST, ONE), [ONE]),
        (update(Update.ADD_LAST, TWO), [ONE, TWO]),
        (update(Update.MODIFY, MOVED), [MOVED, TWO]),
        (update(Update.DELETE, TWO), [MOVED]),
    ):
        assert writer.perform(effect) == DONE
        for flags in (0, INACTIVE):
            assert entries(network, flags) == [RANGE, *hosts]
    assert network.isActive()
    served = (daemon.folder / "var/lib/libvirt/dnsmasq/default.hostsfile").read_text()
    assert served.split() == ["52:54:00:00:00:01,192.168.122.111,one"]


@pytest.mark.parametrize(("live", "config"), [(True, False), (False, True)])
def test_one_of_the_two_definitions(writer, network, live, config):
    assert writer.perform(update(Update.ADD_LAST, ONE, live=live, config=config)) == DONE
    assert (ONE in entries(network, 0), ONE in entries(network, INACTIVE)) == (live, config)


def test_a_range_is_an_entry_too(writer, network):
    network.update(2, 5, -1, RANGE, 3)
    less = RANGE.replace("254", "99")
    assert writer.perform(update(Update.ADD_LAST, less, "ip-dhcp-range")) == DONE
    assert entries(network, INACTIVE) == [less]


def test_a_range_takes_its_lease_along(writer, daemon, network):
    network.update(2, 5, -1, RANGE, 3)
    leased = "<range start='192.168.122.2' end='192.168.122.99'><lease expiry='24' unit='hours'/></range>"
    assert writer.perform(update(Update.ADD_LAST, leased, "ip-dhcp-range")) == DONE
    for flags in (0, INACTIVE):
        (one,) = network_xml.parse(network.XMLDesc(flags)).ranges
        assert network_xml.range_xml(one) == leased.replace("'", '"')
    assert ",24h" in (daemon.folder / "var/lib/libvirt/dnsmasq/default.conf").read_text()
    bare = network_xml.range_xml(one, Update.DELETE)
    assert "lease" not in bare
    assert writer.perform(update(Update.DELETE, bare, "ip-dhcp-range")) == DONE
    assert entries(network, INACTIVE) == []


def test_of_several_addresses_the_one_that_is_named(writer, connection):
    """Only one may have DHCP: told to take another, libvirt refuses."""
    network = connection.networkDefineXML(
        NETWORK.replace("<ip ", "<ip address='10.9.0.1' netmask='255.255.255.0'/><ip ")
    )
    refused(writer.perform(update(Update.ADD_LAST, ONE, live=False, parent=0)), "single IPv4 address")
    assert writer.perform(update(Update.ADD_LAST, ONE, live=False, parent=1)) == DONE
    assert entries(network, INACTIVE) == [RANGE, ONE]


@pytest.mark.parametrize(
    ("effect", "words"),
    [
        (update(Update.ADD_LAST, ONE), "existing dhcp host entry"),
        (update(Update.DELETE, TWO), "couldn't locate a matching dhcp host entry"),
        (update(Update.ADD_LAST, "<host"), "xml"),
        (update(Update.ADD_LAST, ONE, live=False, config=False), "neither"),
        (
            UpdateNetwork("none", Update.DELETE, "ip-dhcp-host", ONE, live=True, config=True),
            "no network none",
        ),
    ],
)
def test_what_libvirt_refuses_is_told(writer, network, effect, words):
    network.update(3, 4, -1, ONE, 3)
    refused(writer.perform(effect), words)
    assert entries(network, INACTIVE) == [RANGE, ONE]


def test_live_is_refused_where_it_is_not_active_and_nothing_is_done(writer, connection):
    network = connection.networkDefineXML(NETWORK)
    refused(writer.perform(update(Update.ADD_LAST, ONE)), "not running")
    assert entries(network, INACTIVE) == [RANGE]


def test_a_network_is_defined_and_defined_anew_under_its_uuid(writer, connection):
    assert writer.perform(DefineNetwork("default", NETWORK)) == DONE
    network = connection.networkLookupByName("default")
    network.setAutostart(1)
    first, uuid = network.XMLDesc(INACTIVE), network.UUIDString()
    without = NETWORK.replace("</forward>", "").replace("255.255.255.0", "255.255.0.0")
    assert writer.before(DefineNetwork("default", without, digest(first))) == Before(first)
    assert writer.perform(DefineNetwork("default", without, digest(first))) == DONE
    assert (network.UUIDString(), network.autostart()) == (uuid, 1)
    second = network.XMLDesc(INACTIVE)
    assert "255.255.0.0" in second
    assert writer.perform(DefineNetwork("default", first, digest(second))) == DONE
    assert network.XMLDesc(INACTIVE) == first


def test_somebody_elses_definition_is_not_lost(writer, connection):
    assert writer.perform(DefineNetwork("default", NETWORK, "0" * 64)).result is Result.STALE
    assert connection.listAllNetworks() == []
    network = connection.networkDefineXML(NETWORK)
    theirs = network.XMLDesc(INACTIVE)
    for expected in (None, "0" * 64):
        assert writer.perform(DefineNetwork("default", NETWORK, expected)).result is Result.STALE
    assert network.XMLDesc(INACTIVE) == theirs


def test_a_word_that_libvirt_does_not_know_is_an_error(writer):
    slip = NETWORK.replace("<forward", "<froward/><forward")
    refused(writer.perform(DefineNetwork("default", slip)), "schema")


class Old:
    """A connection to a daemon of before libvirt 7.7: it has no such call, and says so."""

    def __init__(self, connection):
        self._connection = connection

    def __getattr__(self, name):
        return getattr(self._connection, name)

    def networkDefineXMLFlags(self, xml, flags):  # noqa: N802  # libvirt's name for it
        return self._connection.nwfilterDefineXML(xml)  # which the test driver does not have


def test_a_daemon_that_is_too_old_to_check_defines_without():
    connection = libvirt.open("test:///default")
    effect = DefineNetwork("other", NETWORK.replace("default", "other"))
    assert perform(Old(connection), effect) == DONE
    assert connection.networkLookupByName("other").isPersistent()


def test_a_network_is_started_and_stopped_once(writer, connection):
    network = connection.networkDefineXML(NETWORK)
    for effect, active in (
        (StartNetwork("default"), True),
        (StartNetwork("default"), True),
        (StopNetwork("default"), False),
        (StopNetwork("default"), False),
    ):
        assert writer.perform(effect) == DONE
        assert bool(network.isActive()) is active


def test_autostart(writer, network):
    for on in (True, True, False):
        assert writer.perform(AutostartNetwork("default", on)) == DONE
        assert bool(network.autostart()) is on


def test_only_a_network_that_is_not_active_is_forgotten(writer, connection, network):
    refused(writer.perform(UndefineNetwork("default")), "it is active")
    assert network.isPersistent()
    network.destroy()
    assert writer.perform(UndefineNetwork("default")) == DONE
    assert connection.listAllNetworks() == []


def test_what_is_changed_or_ended_is_seen_before(writer, network):
    definition = Before(network.XMLDesc(INACTIVE))
    for effect in (update(Update.ADD_LAST, ONE), StopNetwork("default"), UndefineNetwork("default")):
        assert writer.before(effect) == definition
    for effect in (StartNetwork("default"), AutostartNetwork("default", on=True)):
        assert writer.before(effect) == Before()
