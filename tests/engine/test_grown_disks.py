"""A disk that its host makes larger: what is on it in the guest grows in the same plan and apply."""

from __future__ import annotations

import json

import pytest

from cxlstate.core.address import Address, ScopedAddress
from cxlstate.engine.plan import Exit, Status
from cxlstate.simulator import guests
from cxlstate.simulator.default import create
from cxlstate.simulator.world import Power
from tests.laws.bench import bench
from tests.laws.test_crash import GUEST, LIBVIRT
from tests.laws.test_guest_disks import MIB
from tests.simulator.test_first_boot import run

SECTORS = MIB // 512
FULL = {"number": 1, "start": 2048, "size": 4095 * SECTORS - 2048, "type": "ext4"}
FULL["holds"] = FULL["size"] * 512
SPEC = {
    **LIBVIRT,
    "packages": ["libvirt-daemon-system", "qemu-utils"],
    "images": {"system": {"path": "/var/lib/libvirt/images/g1.qcow2", "format": "qcow2", "size": "4GiB"}},
    "vms": {
        "g1": {
            **GUEST,
            "disks": [{"target": "vda", "image": "image.system"}],
            "guest": {"packages": ["cloud-guest-utils"], "filesystems": {"/": {"grow": True}}},
        }
    },
}
LARGER = SPEC | {"images": {"system": SPEC["images"]["system"] | {"size": "6GiB"}}}
ROOT = ScopedAddress("bench/g1", Address("filesystem", "/"))


def world_of(one):
    return guests.folder(one.directory, "g1") / "machine.json"


@pytest.fixture(scope="module")
def before():
    """The guest runs on a disk that its file system fills."""
    with bench() as one:
        create(guests.folder(one.directory, "g1"), Power())
        world = json.loads(world_of(one).read_text())
        world["disks"] = {"sda": {"size": 4096 * SECTORS, "partitions": [FULL]}}
        world_of(one).write_text(json.dumps(world))
        applied = one.apply(one.spec(SPEC))
        assert applied.exit is Exit.IN_SYNC, (applied.diagnostics, applied.plan)
        yield one


def test_it_is_one_plan_and_one_apply(before):
    one = before.fork("one")
    spec = one.spec(LARGER)
    found = one.plan(spec).at(ROOT)
    assert found.status is Status.CHANGE
    assert [change.path for change in found.changes] == [("partition",), ("size",)]
    applied = one.apply(spec)
    assert applied.exit is Exit.IN_SYNC, (applied.diagnostics, applied.plan)
    assert [str(at) for at in applied.done] == ["bench/image.system", "bench/g1:filesystem./"]
    (part,) = json.loads(world_of(one).read_text())["disks"]["sda"]["partitions"]
    assert part["size"] > 6142 * SECTORS
    assert one.plan(spec).exit is Exit.IN_SYNC
    assert one.apply(spec).done == []


def test_a_plan_file_holds_both(before):
    one = before.fork("file")
    one.spec(LARGER)
    plan = str(one.folder / "plan.json")
    assert run("plan", "--out", plan, str(one.file))[0] == Exit.CHANGES
    status, said = run("apply", "--yes", plan)
    assert status == Exit.IN_SYNC, said
    assert run("plan", str(one.file))[0] == Exit.IN_SYNC
