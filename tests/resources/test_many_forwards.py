"""A thousand forwards take as many reads and actions as one."""

from __future__ import annotations

from cxlstate.core.address import Address
from cxlstate.core.exports import Inputs
from cxlstate.core.observation import Present
from cxlstate.core.reconciler import Resource
from cxlstate.resources import kinds
from cxlstate.resources.forward.probe import Live
from cxlstate.resources.forward.spec import Forward
from cxlstate.spec.entry import EntryReader

KIND = kinds()["forward"].reconciler


def resource(number: int) -> Resource:
    forwards = {
        f"f{n}": {
            "listen": {"port": 20000 + n, "address": "192.0.2.1"},
            "to": {"address": f"192.168.122.{100 + n % 100}", "port": 8000 + n // 100},
        }
        for n in range(number)
    }
    read = EntryReader(KIND.model).read(forwards)
    assert read.whole
    return Resource(Address("forward"), read.spec)


def test_reads_and_actions_do_not_grow_with_the_forwards():
    one, many = resource(1), resource(1000)
    assert KIND.reads(one) == KIND.reads(many)
    live = Present(Live(gates={"iptables-nft": "missing"}))
    few, all_ = (KIND.assess(each, live, Inputs({})) for each in (one, many))
    assert [action.does for action in few.actions] == [action.does for action in all_.actions]
    assert len(all_.changes) == len(few.changes) + 999


def test_clashes_are_looked_for_among_neighbours_alone(monkeypatch):
    """All pairs would be half a million."""
    compared = []
    monkeypatch.setattr(Forward, "clashes", lambda one, other: compared.append((one, other)))
    resource(1000)
    assert len(compared) == 0
