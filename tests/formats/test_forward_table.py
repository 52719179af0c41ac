"""The table of forwards: what its text says, and what is read from lists of either version of nft."""

from __future__ import annotations

import json
from ipaddress import IPv4Network

import pytest

from cxlstate.formats.forward_table import Element, Table, apart, parse, render

WEB = Element("outside", "tcp", 8080, 8080, "192.168.122.110")
MOVED = Element("outside", "tcp", 80, 80, "192.168.122.110", 8080, "eno1", "192.0.2.1")


def of(*elements: Element) -> Table:
    return Table({f"f{number}": frozenset([one]) for number, one in enumerate(elements)})


@pytest.mark.parametrize(
    ("element", "name", "written"),
    [
        (WEB, "outside_any_same", 'tcp . 8080 comment "f0" : 192.168.122.110'),
        (
            MOVED,
            "outside_interface_address_moved",
            '"eno1" . 192.0.2.1 . tcp . 80 comment "f0" : 192.168.122.110 . 8080',
        ),
        (
            Element("host", "udp", 60000, 61000, "192.168.122.7", address="192.0.2.1"),
            "host_address_same",
            '192.0.2.1 . udp . 60000-61000 comment "f0" : 192.168.122.7',
        ),
    ],
)
def test_an_element_stands_in_the_map_of_its_origin_and_form(element, name, written):
    text = render(of(element))
    assert f" map {name} {{" in text
    assert f"   {written}" in text
    assert f'map @{name} comment "{name}"' in text
    assert text.count("dnat ip to") == 1


def test_the_narrowest_form_is_looked_up_first():
    text = render(of(WEB, MOVED, Element("outside", "tcp", 1, 1, "192.0.2.9", interface="eno1")))
    lookups = [line.split('"')[-2] for line in text.splitlines() if "dnat ip to" in line]
    assert lookups == ["outside_interface_address_moved", "outside_interface_same", "outside_any_same"]


def test_ports_of_one_target_that_touch_or_overlap_are_one_range():
    """A set of intervals refuses elements that overlap."""
    table = of(
        Element("outside", "tcp", 8000, 8100, "192.0.2.9"),
        Element("outside", "tcp", 80, 80, "192.0.2.9", 8080),
        Element("outside", "tcp", 8101, 8110, "192.0.2.9"),
        Element("outside", "udp", 8000, 8000, "192.0.2.9"),
        Element("outside", "tcp", 9000, 9000, "192.0.2.9"),
    )
    assert table.targets == {
        "192.0.2.9 . tcp . 8000-8110",
        "192.0.2.9 . tcp . 9000",
        "192.0.2.9 . udp . 8000",
    }


def test_a_network_within_another_is_left_out():
    lan, part = IPv4Network("10.0.0.0/16"), IPv4Network("10.0.3.0/24")
    assert apart([part, lan, lan]) == {lan}


def test_nothing_is_in_force_without_forwards():
    assert "dnat ip to" not in render(Table())


MAPS = (
    {"map": "ipv4_addr . inet_service"},  # nft 1.0.6
    {"map": ["ipv4_addr", "inet_service"]},  # nft 1.1.3
)


@pytest.mark.parametrize("form", MAPS, ids=["1.0.6", "1.1.3"])
def test_a_map_is_read_in_the_form_of_either_version(form):
    element = {"elem": {"val": {"concat": ["tcp", 80]}, "comment": "web"}}
    one = {"name": "outside_any_moved", **form, "elem": [[element, {"concat": ["192.0.2.9", 8080]}]]}
    read = parse(json.dumps({"nftables": [{"metainfo": {}}, {"map": one}]}))
    assert read.forwards == {"web": {Element("outside", "tcp", 80, 80, "192.0.2.9", 8080)}}
    assert "chain outside" in read.strange  # nobody looks it up
    assert "set targets" in read.strange
