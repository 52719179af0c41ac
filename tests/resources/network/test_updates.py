"""Every way to the wished reservations is one that libvirt accepts, and stopping on it is safe."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from hypothesis import example, given, settings
from hypothesis import strategies as st

from cxlstate.core.libvirt import Update
from cxlstate.formats.network_xml import Host, host_xml
from cxlstate.resources.network.updates import (
    Wish,
    Wishes,
    differences,
    in_the_way,
    not_to_be_told_apart,
    steps,
)
from tests.resources.network.model import IPS, MACS, NAMES, Model, entries


@st.composite
def wished(draw: st.DrawFn) -> Wishes:
    macs = draw(st.lists(st.sampled_from(MACS), unique=True, max_size=5))
    size = len(macs)
    ips = draw(st.lists(st.sampled_from(IPS), unique=True, min_size=size, max_size=size))
    names = draw(st.permutations([*NAMES, *[None] * len(MACS)]))
    gone = draw(st.frozensets(st.sampled_from(MACS), max_size=2)) - set(macs)
    present = {mac: Wish(ip, name) for mac, ip, name in zip(macs, ips, names, strict=False)}
    return Wishes(present, gone)


@st.composite
def scenes(draw: st.DrawFn) -> tuple[list[Host], Wishes]:
    """Entries, and wishes that nobody is in the way of."""
    wishes, found = draw(wished()), draw(entries)
    blocking = {way.host for way in in_the_way(found, wishes)}
    hosts = [host for host in found if host not in blocking]
    while mistaken := {other for _, other in not_to_be_told_apart(hosts, wishes)}:  # each tells of one
        hosts = [host for host in hosts if host not in mistaken]
    return hosts, wishes


def _walk(model: Model, wishes: Wishes) -> Iterator[None]:
    """Each step is accepted, leaves alone what nobody named, and does here what it does there."""
    others = [host for host in model.hosts if not wishes.concern(host)]
    for step in steps(model.hosts, wishes):
        before = list(model.hosts)
        yield
        model.update(step.command, host_xml(step.host, step.command))
        assert [host for host in model.hosts if not wishes.concern(host)] == others
        assert step.was is None or before[step.at] == step.was
    yield


def _assert_wished(model: Model, wishes: Wishes) -> None:
    ours = {host.mac: host for host in model.hosts if wishes.concern(host)}
    assert len(ours) == len([host for host in model.hosts if wishes.concern(host)])
    assert set(ours) == set(wishes.present)
    for mac, wish in wishes.present.items():
        assert ours[mac].ip == wish.ip
        assert wish.name is None or ours[mac].name == wish.name
    assert differences(model.hosts, wishes) == ()
    assert steps(model.hosts, wishes) == ()


def _swap(*names: str | None) -> tuple[list[Host], Wishes]:
    """Addresses and names go round among as many MAC addresses."""
    ring = [Host(MACS[at], IPS[at], name) for at, name in enumerate(names)]
    wish = {
        one.mac or "": Wish(two.ip or "", two.name)
        for one, two in zip(ring, [*ring[1:], ring[0]], strict=True)
    }
    return ring, Wishes(wish)


@settings(max_examples=100, deadline=None)
@given(scenes())
@example(_swap("a", "b"))
@example(_swap("a", "b", "c"))
@example(_swap(None, None))
@example(
    (
        [Host(MACS[0], IPS[0], "a"), Host(MACS[1], IPS[1], "b")],
        Wishes({MACS[0]: Wish(IPS[0]), MACS[1]: Wish(IPS[1], "a")}),
    )
)
def test_every_step_is_accepted_and_a_stop_after_any_of_them_is_mended(
    scene: tuple[list[Host], Wishes],
) -> None:
    hosts, wishes = scene
    stops = len(steps(hosts, wishes)) + 1
    for stop in range(stops):
        model = Model(list(hosts))
        for _, _ in zip(range(stop + 1), _walk(model, wishes), strict=False):
            pass
        assert not [*in_the_way(model.hosts, wishes), *not_to_be_told_apart(model.hosts, wishes)]
        for _ in _walk(model, wishes):
            pass
        _assert_wished(model, wishes)


@settings(max_examples=100, deadline=None)
@given(scenes())
def test_there_are_steps_where_something_differs_and_only_there(scene: tuple[list[Host], Wishes]) -> None:
    hosts, wishes = scene
    assert bool(steps(hosts, wishes)) == bool(differences(hosts, wishes))


@settings(max_examples=100, deadline=None)
@given(scenes())
def test_a_lease_time_that_an_entry_has_is_kept(scene: tuple[list[Host], Wishes]) -> None:
    found, wishes = scene
    often = Counter(host.mac for host in found)
    hosts = [host for host in found if host.mac is None or often[host.mac] == 1]
    model = Model(list(hosts))
    for _ in _walk(model, wishes):
        pass
    before = {host.mac: host.inner for host in hosts}
    assert all(host.inner == before.get(host.mac, ()) for host in model.hosts)


@settings(max_examples=100, deadline=None)
@given(scenes())
@example(([Host(MACS[0], IPS[0], "a")], Wishes({MACS[1]: Wish(IPS[0], "a")}, {MACS[0]})))
@example(([Host(MACS[0], IPS[0])], Wishes({MACS[1]: Wish(IPS[1])}, {MACS[0]})))
def test_there_is_always_an_entry_where_one_is_left_at_last(scene: tuple[list[Host], Wishes]) -> None:
    hosts, wishes = scene
    model = Model(list(hosts))
    counts = [len(model.hosts) for _ in _walk(model, wishes)]
    assert all(counts) or not counts[0] or not counts[-1]


def test_what_a_deletion_would_take_by_mistake_is_told() -> None:
    ours, theirs = Host(MACS[0], IPS[0]), Host(None, IPS[0], "a")
    gone = Wishes({}, {MACS[0]})
    assert list(not_to_be_told_apart([theirs, ours], gone)) == [(ours, theirs)]
    assert list(not_to_be_told_apart([ours, theirs], gone)) == []
    assert list(not_to_be_told_apart([ours, theirs, ours], gone)) == [(ours, theirs)]
    assert list(not_to_be_told_apart([theirs, Host(MACS[0], IPS[0], "b")], gone)) == []


def test_a_swap_takes_one_out_and_in_again() -> None:
    done = steps(*_swap("a", "b", "c"))
    assert [step.command for step in done] == [Update.DELETE, Update.MODIFY, Update.MODIFY, Update.ADD_LAST]


def test_a_chain_needs_nobody_to_step_aside() -> None:
    ring, wishes = _swap("a", "b", "c")
    free = {mac: wish for mac, wish in wishes.present.items() if mac != MACS[2]}
    done = steps(ring, Wishes(free, {MACS[2]}))
    assert [step.command for step in done] == [Update.DELETE, Update.MODIFY, Update.MODIFY]


def test_a_thousand_in_one_circle_take_a_moment() -> None:
    ring = [
        Host(f"52:54:00:00:{at >> 8:02x}:{at & 255:02x}", f"10.0.{at >> 8}.{at & 255}") for at in range(1000)
    ]
    wish = {one.mac or "": Wish(two.ip or "") for one, two in zip(ring, [ring[-1], *ring], strict=False)}
    assert len(steps(ring, Wishes(wish))) == 1001
