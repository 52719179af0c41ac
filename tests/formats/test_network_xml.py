"""A network's XML is read as libvirt means it, and an edit changes what is wished and nothing else."""

from __future__ import annotations

from ipaddress import IPv4Interface
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxlstate.core.libvirt import Update
from cxlstate.formats.network_xml import (
    ISOLATED,
    Definition,
    Fields,
    Host,
    HostStep,
    Range,
    edit,
    host_xml,
    new,
    normal_mac,
    parse,
    range_xml,
)

CAPTURED = Path(__file__).parents[1] / "resources/network/captured"
TEXTS = {path.stem: path.read_text() for path in sorted(CAPTURED.glob("*.xml"))}
RICH, RESERVED, PLAIN = TEXTS["rich"], TEXTS["reserved"], TEXTS["isolated"]
WITH_DHCP = "<ip address='11.0.0.1' prefix='8'><dhcp><host mac='2:0:0:0:0:1' ip='11.0.0.2'/></dhcp></ip>"


def test_a_definition_is_read() -> None:
    assert parse(RESERVED) == Definition(
        address=IPv4Interface("192.168.122.1/24"),
        ranges=(Range("192.168.122.2", "192.168.122.254"),),
        hosts=(
            Host("52:54:00:fc:10:bd", "192.168.122.110", "cxl_vmx"),
            Host("52:54:00:fc:10:be", "192.168.122.111", "second"),
            Host(
                "52:54:00:aa:00:01",
                "192.168.122.20",
                "theirs",
                inner=('<lease expiry="1" unit="hours"/>',),
            ),
            Host(None, "192.168.122.30", "printer"),
        ),
        bridge="virbr0",
        forward="nat",
        domain=None,
        mac="52:54:00:8f:1a:02",
    )


def test_of_several_addresses_the_one_with_dhcp_for_ipv4_is_ours() -> None:
    found = parse(RICH)
    assert (found.parent, found.address) == (1, IPv4Interface("192.168.122.1/24"))
    assert [host.name for host in found.hosts] == ["theirs"]


@pytest.mark.parametrize(
    ("ips", "prefer", "address", "parent"),
    [
        ("", None, None, -1),
        ("<ip family='ipv6' address='fd00::1' prefix='64'/>", None, None, -1),
        ("<ip address='10.0.0.1' prefix='24'/>", None, "10.0.0.1/24", -1),
        ("<ip family='ipv4' address='10.0.0.1' netmask='255.255.0.0'/>", None, "10.0.0.1/16", -1),
        ("<ip address='10.0.0.1'/>", None, "10.0.0.1/8", -1),
        ("<ip address='172.16.0.1'/>", None, "172.16.0.1/16", -1),
        ("<ip address='192.168.0.1'/>", None, "192.168.0.1/24", -1),
        ("<ip address='10.0.0.1' prefix='8'/><ip address='11.0.0.1' prefix='8'/>", None, "10.0.0.1/8", 0),
        (
            "<ip address='10.0.0.1' prefix='8'/><ip address='11.0.0.1' prefix='8'/>",
            "11.0.0.1/8",
            "11.0.0.1/8",
            1,
        ),
        (f"<ip address='10.0.0.1' prefix='8'/>{WITH_DHCP}", "10.0.0.1/8", "10.0.0.1/8", 0),
        (f"<ip address='10.0.0.1' prefix='8'/>{WITH_DHCP}", "12.0.0.1/8", "11.0.0.1/8", 1),
    ],
)
def test_which_address_it_is(ips: str, prefer: str | None, address: str | None, parent: int) -> None:
    found = parse(f"<network>{ips}</network>", IPv4Interface(prefer) if prefer else None)
    assert found.address == (IPv4Interface(address) if address else None)
    assert found.parent == parent


@pytest.mark.parametrize(
    ("forward", "mode"),
    [
        ("", ISOLATED),
        ("<forward/>", "nat"),
        ("<forward mode='route'/>", "route"),
        ("<forward mode='vepa'/>", "vepa"),
    ],
)
def test_the_mode_of_forward(forward: str, mode: str) -> None:
    assert parse(f"<network>{forward}</network>").forward == mode


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("<domain/>", "not the XML of a network: <domain>"),
        ("<network>", "not well-formed XML"),
        ("<!DOCTYPE network><network/>", "document type"),
        ("<network><ip address='10.0.0.300' prefix='8'/></network>", "10.0.0.300"),
        ("<network><ip address='10.0.0.1'><dhcp><range start='x' end='y'/></dhcp></ip></network>", "'x'"),
    ],
)
def test_what_is_no_definition(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse(text)


@pytest.mark.parametrize("text", ["52:54:00:0a:00:01", "52:54:00:0A:00:01", "52:54:0:a:0:1"])
def test_one_mac_address_is_one_text(text: str) -> None:
    assert normal_mac(text) == "52:54:00:0a:00:01"


def test_what_libvirt_is_told_of_an_entry() -> None:
    lease = Host("52:54:00:aa:00:01", "10.0.0.2", "a", (("id", "1"),), ('<lease expiry="5"/>',))
    assert host_xml(lease, Update.MODIFY) == (
        '<host mac="52:54:00:aa:00:01" name="a" ip="10.0.0.2" id="1"><lease expiry="5"/></host>'
    )
    assert host_xml(lease, Update.DELETE) == '<host mac="52:54:00:aa:00:01" name="a" ip="10.0.0.2"/>'
    assert range_xml(Range("10.0.0.2", "10.0.0.9")) == '<range start="10.0.0.2" end="10.0.0.9"/>'


LEASE = "<lease expiry='24' unit='hours'/>"
TWICE = f"""<network><name>a</name><ip address='10.0.0.1' prefix='24'><dhcp>
<range start='10.0.0.2' end='10.0.0.9'/>
<range start='10.0.0.20' end='10.0.0.29' odd='1'>{LEASE}<x:y xmlns:x="urn:x"/></range>
<bootp file='pxelinux.0' server='10.0.0.3'/></dhcp></ip></network>"""


@pytest.mark.parametrize(
    ("start", "end", "kept"),
    [("2", "99", ""), ("21", "99", LEASE), ("10", "19", ""), ("20", "29", LEASE)],
    ids=["both", "second", "neither", "same"],
)
def test_a_range_keeps_what_else_stands_in_the_one_that_it_replaces(start: str, end: str, kept: str) -> None:
    wanted = Range(f"10.0.0.{start}", f"10.0.0.{end}")
    found = edit(TWICE, Fields(dhcp=wanted))
    (one,) = parse(found).ranges
    assert one == wanted
    assert ("odd='1'" in found, LEASE in found, "x:y" in found) == (bool(kept),) * 3
    assert "<bootp file='pxelinux.0' server='10.0.0.3'/>" in found
    told = wanted.in_place_of(parse(TWICE).ranges)
    assert ("<lease" in range_xml(told), "<lease" in range_xml(told, Update.DELETE)) == (bool(kept), False)


@pytest.mark.parametrize("name", TEXTS)
def test_a_wish_for_nothing_changes_nothing(name: str) -> None:
    assert edit(TEXTS[name], Fields()) == TEXTS[name]


@pytest.mark.parametrize("name", [name for name in TEXTS if name != "bridged"])
def test_a_wish_for_what_is_there_changes_nothing(name: str) -> None:
    found = parse(TEXTS[name])
    only = found.ranges[0] if len(found.ranges) == 1 else None
    assert (
        edit(TEXTS[name], Fields(found.address, only, found.bridge, found.forward, found.domain))
        == TEXTS[name]
    )


def test_what_another_mode_cannot_have_goes() -> None:
    assert "<forward dev='eth0' mode='route'>\n    <interface dev='eth0'/>" in edit(
        RICH, Fields(forward="route")
    )
    assert "<forward mode='open'/>" in edit(RICH, Fields(forward="open")).replace(">\n  </forward>", "/>")
    assert "<forward " not in edit(RICH, Fields(forward=ISOLATED))
    assert "  <forward mode='nat'/>\n  <bridge" in edit(PLAIN, Fields(forward="nat"))


def test_entries_are_changed_where_they_stand() -> None:
    first, second, third, *_ = parse(RESERVED).hosts
    steps = (
        HostStep(Update.DELETE, 0, first, first),
        HostStep(Update.MODIFY, 1, third, third),
        HostStep(Update.ADD_LAST, 3, Host("52:54:00:fc:10:bf", "192.168.122.112")),
    )
    found = edit(RESERVED, Fields(), steps)
    assert parse(found).hosts == (second, third, Host(None, "192.168.122.30", "printer"), steps[2].host)
    behind = "      <host name='printer' ip='192.168.122.30'/>\n      <host mac='52:54:00:fc:10:bf'"
    assert behind in found
    assert "<host mac='52:54:00:FC:10:BE' name='second' ip='192.168.122.111'/>" in found


def test_a_new_one_is_libvirts_to_complete() -> None:
    wish = Fields(IPv4Interface("10.0.0.1/24"), Range("10.0.0.2", "10.0.0.9"))
    assert (
        new("lab", wish, [Host("52:54:00:fc:10:bd", "10.0.0.5", "a")])
        == """<network>
  <name>lab</name>
  <forward mode='nat'/>
  <ip address='10.0.0.1' prefix='24'>
    <dhcp>
      <range start='10.0.0.2' end='10.0.0.9'/>
      <host mac='52:54:00:fc:10:bd' name='a' ip='10.0.0.5'/>
    </dhcp>
  </ip>
</network>"""
    )


wishes = st.builds(
    Fields,
    st.sampled_from([None, IPv4Interface("192.168.122.1/24"), IPv4Interface("10.9.0.1/16")]),
    st.sampled_from([None, Range("192.168.122.2", "192.168.122.99")]),
    st.sampled_from([None, "virbr0", "virbr9"]),
    st.sampled_from([None, "nat", "route", "open", ISOLATED]),
    st.sampled_from([None, "lab", "vms.example.org"]),
)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(TEXTS)), wishes)
def test_an_edit_does_what_is_wished_and_a_second_one_nothing(name: str, wish: Fields) -> None:
    before, text = parse(TEXTS[name], wish.address), edit(TEXTS[name], wish)
    after = parse(text, wish.address)
    assert edit(text, wish) == text
    assert after.address == (wish.address or before.address)
    assert after.bridge == (wish.bridge or before.bridge)
    assert after.forward == (wish.forward or before.forward)
    assert after.domain == (wish.domain or before.domain)
    assert after.ranges == ((wish.dhcp,) if wish.dhcp and after.address else before.ranges)
    assert (after.hosts, after.parent) == (before.hosts, before.parent)


@settings(max_examples=60, deadline=None)
@given(wishes)
def test_all_else_stays_to_the_byte(wish: Fields) -> None:
    changed = ("<ip ", "<range", "<forward", "<nat>", "</nat>", "<port ", "<interface", "<bridge", "<domain")
    ends = ("</forward>", "</range>", "<lease")

    def rest(text: str) -> list[str]:
        return [line for line in text.splitlines() if not line.strip().startswith((*changed, *ends))]

    assert rest(edit(RICH, wish)) == rest(RICH)
