"""Real machines' definitions in which not all is plugged in: what an edit writes, line by line."""

from __future__ import annotations

from difflib import ndiff
from pathlib import Path

import pytest

from cxlstate.core.domain import Domain, Topology
from cxlstate.formats.domain_xml import Impossible, differences, merge, plugged, read

CAPTURED = Path(__file__).parents[1] / "resources/vm/captured"
GIB = 1 << 30
EMULATORPIN = Domain(emulatorpin=frozenset({0}))


def captured(name: str) -> str:
    return (CAPTURED / f"{name}.xml").read_text()


def edited(name: str, wish: Domain) -> list[str]:
    """The lines that go and come."""
    xml = captured(name)
    lines = ndiff(xml.splitlines(), merge(xml, wish).splitlines())
    return [" ".join(line.split()) for line in lines if line[0] in "+-"]


TWO_OF_8 = "- <vcpu placement='static' current='2'>8</vcpu>"
PIN = "+ <emulatorpin cpuset='0'/>"
EDITS = {
    "only what is named": ("plugged_2_of_8", Domain(vcpu=2, emulatorpin=frozenset({0})), [PIN]),
    "the balloon stays": (
        "balloon",
        Domain(memory=8 * GIB, emulatorpin=frozenset({0})),
        ["+ <cputune>", PIN, "+ </cputune>"],
    ),
    "one more is plugged in": (
        "plugged_2_of_8",
        Domain(vcpu=3),
        [
            TWO_OF_8,
            "+ <vcpu placement='static' current='3'>8</vcpu>",
        ],
    ),
    "one less": (
        "plugged_2_of_8",
        Domain(vcpu=1),
        [
            TWO_OF_8,
            "+ <vcpu placement='static' current='1'>8</vcpu>",
        ],
    ),
    "all of them": (
        "plugged_2_of_8",
        Domain(vcpu=8),
        [TWO_OF_8, "+ <vcpu placement='static'>8</vcpu>"],
    ),
    "more than there may be": (
        "plugged_2_of_8",
        Domain(vcpu=10),
        [TWO_OF_8, "+ <vcpu placement='static'>10</vcpu>"],
    ),
    "a maximum for a VM that has none": (
        "balloon",
        Domain(max_vcpu=6),
        ["- <vcpu placement='static'>4</vcpu>", "+ <vcpu placement='static' current='4'>6</vcpu>"],
    ),
    "a lower maximum takes the pins beyond it": (
        "plugged_2_of_8",
        Domain(vcpu=2, max_vcpu=3),
        [
            TWO_OF_8,
            "+ <vcpu placement='static' current='2'>3</vcpu>",
            "- <vcpupin vcpu='3' cpuset='10'/>",
        ],
    ),
    "less dies": (
        "dies",
        Domain(vcpu=8, topology=Topology(1, 4, 2, dies=1)),
        [
            "- <vcpu placement='static'>16</vcpu>",
            "+ <vcpu placement='static'>8</vcpu>",
            "- <topology sockets='1' dies='2' cores='4' threads='2'/>",
            "+ <topology sockets='1' dies='1' cores='4' threads='2'/>",
        ],
    ),
    "clusters": (
        "dies",
        Domain(topology=Topology(1, 2, 2, clusters=2)),
        [
            "- <topology sockets='1' dies='2' cores='4' threads='2'/>",
            "+ <topology sockets='1' dies='2' cores='2' threads='2' clusters='2'/>",
        ],
    ),
    "what is plugged in one by one, with an edit of something else": (
        "plugged_one_by_one",
        Domain(vcpu=8, emulatorpin=frozenset({0})),
        ["- <emulatorpin cpuset='0,3,6,9'/>", PIN],
    ),
}


@pytest.mark.parametrize(("name", "wish", "lines"), EDITS.values(), ids=EDITS)
def test_nothing_else_is_edited(name: str, wish: Domain, lines: list[str]) -> None:
    assert sorted(edited(name, wish)) == sorted(lines)
    assert differences(wish, read(merge(captured(name), wish))) == ()


ONE_BY_ONE = """\
<domain>
  <vcpu current='2'>4</vcpu>
  <vcpus>
    <vcpu id='0' enabled='yes' hotpluggable='no' order='1'/>
    <vcpu id='1' enabled='yes' hotpluggable='yes' order='2'/>
    <vcpu id='2' enabled='no' hotpluggable='yes'/>
    <vcpu id='3' enabled='no' hotpluggable='yes'/>
  </vcpus>
</domain>
"""


def test_the_first_ones_are_plugged_in_and_out_where_each_is_named() -> None:
    more = merge(ONE_BY_ONE, Domain(vcpu=3))
    assert [line for line in more.splitlines() if "vcpu id" in line] == [
        "    <vcpu id='0' enabled='yes' hotpluggable='no'/>",
        "    <vcpu id='1' enabled='yes' hotpluggable='yes'/>",
        "    <vcpu id='2' enabled='yes' hotpluggable='yes'/>",
        "    <vcpu id='3' enabled='no' hotpluggable='yes'/>",
    ]
    assert (read(more).vcpu, read(more).max_vcpu) == (3, 4)
    fixed = ONE_BY_ONE.replace(
        "id='1' enabled='yes' hotpluggable='yes'", "id='1' enabled='yes' hotpluggable='no'"
    )
    less = merge(fixed, Domain(vcpu=1))
    assert "    <vcpu id='1' enabled='no' hotpluggable='yes'/>\n" in less
    assert "<vcpus>" not in merge(ONE_BY_ONE, Domain(vcpu=4))


def test_vcpus_that_libvirt_says_one_by_one_are_counted_and_never_guessed() -> None:
    xml = captured("plugged_one_by_one")
    assert plugged(xml) == frozenset({0, 1, 2, 3, 8, 9, 10, 11})
    with pytest.raises(Impossible, match="the vCPUs 0-3,8-11 of 12 are plugged in one by one") as told:
        merge(xml, Domain(vcpu=10))
    assert told.value.path == ("vcpu",)


def test_virtio_mem_that_is_not_requested_is_no_balloon() -> None:
    xml = (
        "<domain><memory unit='GiB'>10</memory><currentMemory unit='GiB'>9</currentMemory>"
        "<cpu><numa><cell id='0' cpus='0' memory='2' unit='GiB'/></numa></cpu>"
        "<devices><memory model='virtio-mem'>"
        "<target><size unit='GiB'>8</size><node>0</node><requested unit='GiB'>7</requested></target>"
        "</memory></devices></domain>"
    )
    assert merge(xml, Domain(memory=2 * GIB)) == xml
    more = merge(xml, Domain(memory=3 * GIB))
    assert "<memory unit='KiB'>11534336</memory><currentMemory unit='KiB'>10485760</currentMemory>" in more
    balloon = xml.replace("'GiB'>9<", "'GiB'>4<")
    assert "<currentMemory unit='GiB'>4</currentMemory>" in merge(balloon, Domain(memory=3 * GIB))


@pytest.mark.parametrize("ids", [(), (5, 6), (2,), (1, 3)])
@pytest.mark.parametrize("thread", [1, 2, 3, 7])
def test_a_pin_of_an_iothread_that_is_not_there_is_refused_and_the_cure_works(
    ids: tuple[int, ...], thread: int
) -> None:
    written = "".join(f"<iothread id='{one}'/>" for one in ids)
    xml = f"<domain><iothreadids>{written}</iothreadids></domain>" if ids else "<domain/>"
    pin = ((thread, frozenset({0})),)
    if thread in ids:
        assert read(merge(xml, Domain(iothreadpin=pin))).iothreadpin == pin
        return
    with pytest.raises(Impossible, match=f"names I/O thread {thread}, and there") as told:
        merge(xml, Domain(iothreadpin=pin))
    count = int((told.value.cure or "").removeprefix("write iothreads: "))
    assert read(merge(xml, Domain(iothreads=count, iothreadpin=pin))).iothreadpin == pin


WORDS = ("sockets", "dies", "clusters", "cores", "threads")
LAYOUTS = (Topology(1, 4, 2, 2), Topology(1, 3, 1, None, 2), Topology(3, 1, 1), Topology(1, 1, 7))


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("count", [1, 5, 8, 12, 14])
def test_the_topology_that_is_proposed_is_taken(layout: Topology, count: int) -> None:
    named = "".join(f" {word}='{number}'" for word in WORDS if (number := getattr(layout, word)))
    xml = f"<domain><vcpu>{layout.count}</vcpu><cpu><topology{named}/></cpu></domain>"
    with pytest.raises(Impossible) as told:
        merge(xml, Domain(vcpu=count))
    text = (told.value.cure or "").removeprefix("write cpu.topology: {").removesuffix("}")
    parts = dict(part.split(": ") for part in text.split(", "))
    proposed = Topology(**{word: int(number) for word, number in parts.items()})
    assert read(merge(xml, Domain(vcpu=count, topology=proposed))).vcpu == count


def test_vcpus_beyond_255_are_had_with_an_iommu() -> None:
    iommu = "<devices><iommu model='intel'><driver intremap='on' eim='on'/></iommu></devices>"
    assert read(merge(f"<domain><vcpu>4</vcpu>{iommu}</domain>", Domain(vcpu=256))).vcpu == 256
    there = "<domain><vcpu>300</vcpu></domain>"  # somebody else's, whatever it is
    assert read(merge(there, Domain(emulatorpin=frozenset({0})))).vcpu == 300
