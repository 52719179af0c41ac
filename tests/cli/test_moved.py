"""What is said of two plans that are not equal."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cxlstate.render.moved import moved, without_places

SIDES = st.sampled_from([None, "yes", 1])
CHANGES = st.fixed_dictionaries(
    {"path": st.sampled_from([[], ["active"], ["pins", 0]]), "from": SIDES, "to": SIDES}
)
ACTIONS = st.fixed_dictionaries(
    {
        "does": st.sampled_from(["start it", "stop it"]),
        "risk": st.sampled_from(["live", "restart-vm"]),
        "run": SIDES,
    }
)
RESOURCES = st.fixed_dictionaries(
    {
        "address": st.sampled_from(["vm.a", "vm.b"]),
        "status": st.sampled_from(["change", "in-sync"]),
        "source": st.sampled_from([None, {"line": 1}]),
        "changes": st.lists(CHANGES, max_size=2),
        "actions": st.lists(ACTIONS, max_size=2),
        "waits_for": st.lists(st.just("vm.a"), max_size=1),
    }
)
MACHINES = st.fixed_dictionaries(
    {
        "name": st.just("bench"),
        "status": st.sampled_from(["change", "in-sync"]),
        "resources": st.lists(RESOURCES, max_size=2, unique_by=lambda one: one["address"]),
    }
).map(without_places)


@given(MACHINES, MACHINES)
def test_of_machines_that_differ_something_is_said(before, now):
    assert bool(moved(before, now)) == (before != now)


def resource(address, status="change", **more):
    return {"address": address, "status": status, "changes": [], "actions": [], **more}


def test_of_a_resource_what_says_most():
    start = {"does": "start it", "risk": "live"}
    before = [
        resource("vm.a"),
        resource("vm.b"),
        resource("vm.c", actions=[start]),
        resource("vm.d", waits_for=["vm.a"]),
    ]
    active = {"path": ["active"], "from": False, "to": True}
    now = [
        resource("vm.a", "in-sync", actions=[start]),
        resource("vm.b", actions=[start], changes=[active]),
        resource("vm.c", actions=[{**start, "risk": "restart-vm"}]),
        resource("vm.d"),
    ]
    assert moved({"resources": before}, {"resources": now}).splitlines() == [
        "vm.a  change → in-sync",
        "vm.b  active  no → yes is new",
        "vm.c  start it (live) is not there any more",
        "vm.c  start it (restart-vm) is new",
    ]


def test_of_many_lines_the_first_and_how_many_more():
    lines = moved({"resources": []}, {"resources": [resource(f"vm.{n}") for n in range(20)]}).splitlines()
    assert (len(lines), lines[-1]) == (13, "and 8 more")
