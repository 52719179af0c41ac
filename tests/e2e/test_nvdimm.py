"""From the host's memory to a device that programs in the guest map: one spec, one apply, from nothing.

The guest starts under emulation within emulation, which takes minutes.
"""

from __future__ import annotations

import json

import pytest

from tests.e2e.test_nested_guest import spec_in as nested
from tests.e2e.vms import ADDRESS, applied, in_sync, journal
from tests.lab.guest import Guest

pytestmark = [pytest.mark.lab, pytest.mark.long, pytest.mark.timeout(5400)]

REGION = (960 - 16) << 20
MEMORY = 2 << 20
"""What a namespace with `map: mem` keeps for itself."""
INSIDE = {
    "connect": {"user": "admin"},
    "packages": ["ndctl"],
    "modules": {"nd_pmem": "present", "dax_pmem": "present"},
    "namespaces": {"cxl": {"nvdimm": 0, "map": "mem"}},
    "filesystems": {"/": {"grow": True}},
}
LONGEST = 3600
"""Seconds: a host boots, and a guest in it."""
CONSENTS = "reboot-host,destroy-data=lab/guest:namespace.cxl"


@pytest.fixture
def spec(tmp_path):
    """`align` stands once, at the device."""
    spec = nested(tmp_path)
    del spec.vm["nvdimm"][0]["alignsize"]
    spec.vm["guest"] = INSIDE
    return spec


def namespaces(guest):
    return json.loads(guest.run("sudo ndctl list -N").stdout)


def test_from_nothing_to_a_namespace_of_the_right_size_and_alignment_in_one_apply(cli, host, spec):
    done = cli.run("apply", "--yes", "--allow", CONSENTS, spec.write(), timeout=LONGEST)
    assert done.returncode == 0, done.stdout + done.stderr
    guest = Guest(host, "guest", ADDRESS)
    (found,) = namespaces(guest)
    assert (found["mode"], found["map"]) == ("devdax", "mem")
    assert (found["align"], found["size"]) == (2 << 20, REGION - MEMORY)
    device = f"/sys/bus/dax/devices/{found['chardev']}"
    assert guest.run(f"cat {device}/align {device}/size").stdout.split() == [
        str(2 << 20),
        str(REGION - MEMORY),
    ]
    assert int(guest.run("df --output=size -k / | tail -n 1").stdout) > 3700 << 10, "its disk has 4 GiB"
    in_sync(cli, spec)
    before = journal(host)
    applied(cli, spec)
    assert (journal(host), namespaces(guest)) == (before, [found])
    spec.data["host"]["dax"]["cxl0"]["align"] = "4KiB"
    done = cli.run("plan", spec.write())
    assert done.returncode == 1, done.stdout + done.stderr
    assert "error[CXQ390] dax.cxl0 cannot be aligned to 4KiB for guests" in done.stderr
