"""A thousand forwards, from nothing to proven, take as many exchanges, questions and programs as one."""

from __future__ import annotations

import pytest

from cxlstate.engine.plan import Exit
from cxlstate.simulator.host import Host
from cxlstate.simulator.reader import SimReader
from tests.laws.bench import bench

MAC = "52:54:00:fc:10:bd"


def spec_of(number):
    listens = [{"port": 20000 + n, "address": "192.0.2.1"} for n in range(number)]
    to = {"vm": "g1", "port": 80}
    return {
        "packages": ["libvirt-daemon-system", "nftables"],
        "forwards": {f"f{n}": {"listen": listen, "to": to} for n, listen in enumerate(listens)},
        "networks": {"default": {"active": True, "reservations": [{"mac": MAC, "ip": "192.168.122.110"}]}},
        "vms": {
            "g1": {
                "state": "shut-off",
                "memory": "64MiB",
                "vcpu": 1,
                "interfaces": [{"network": "default", "mac": MAC}],
            }
        },
    }


@pytest.fixture
def counted(monkeypatch):
    """Exchanges by the number of their questions, and programs by their names, of which each is a process."""
    exchanges, programs = [], []
    read, run = SimReader.read, Host.run

    def count_read(self, reads):
        exchanges.append(len(reads))
        return read(self, reads)

    def count_run(self, argv):
        programs.append(argv[0])
        return run(self, argv)

    monkeypatch.setattr(SimReader, "read", count_read)
    monkeypatch.setattr(Host, "run", count_run)

    def of(number):
        exchanges.clear()
        programs.clear()
        with bench() as one:
            spec = one.spec(spec_of(number))
            done = one.apply(spec)
            assert done.exit is Exit.IN_SYNC, done.diagnostics
            effects = [(line["event"], line["does"]) for line in one.journal()]
            assert one.plan(spec).exit is Exit.IN_SYNC
            (table,) = (one.sets["targets"] for one in _world(one).running.nftables.values())
            assert len(table.elements) == 1
            return list(exchanges), list(programs), effects

    return of


def _world(one):
    with one.world() as world:
        return world


@pytest.mark.slow
def test_a_thousand_take_no_more_than_one(counted):
    exchanges, programs, effects = counted(1)
    assert programs.count("nft") > 3
    assert counted(1000) == (exchanges, programs, effects)
