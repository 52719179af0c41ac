"""Facts of NVDIMMs and namespaces: what the kind `namespace` builds on. In the order of one life."""

from __future__ import annotations

import json

import pytest

from cxlstate.core.answers import Answers
from cxlstate.core.read import MapAndRead
from cxlstate.formats import blocks, dax, dax_verbs, ndctl, restore
from cxlstate.machine.outcome import Result
from tests.conformance.guests import REGION, SIZE

MAKE = ("ndctl", "create-namespace", "--force", "--reconfig=namespace0.0")
LEFT_2M = SIZE - (2 << 20)


def read(guest, *reads):
    return Answers({one: guest.answer(one) for one in reads})


def region(guest):
    (found,) = ndctl.read_regions(read(guest, *ndctl.READS))
    return found


def namespace(guest):
    (found,) = region(guest).namespaces
    return found


def devices(guest):
    found = dax.read_devices(read(guest, *dax.READS))
    return [one for one in found if one.region == "pmem"]


def make(guest, *options):
    outcome = guest.run(*MAKE, *options)
    assert outcome.status == 0, outcome.output
    return json.loads(outcome.output)


def test_a_region_without_labels_is_one_raw_namespace(guest):
    found, one = region(guest), namespace(guest)
    assert (found.start, found.size, found.align, found.labelled) == (REGION, SIZE, 16 << 20, False)
    assert (found.handles, found.dimms, found.free, found.seed) == ((1,), ("nmem0",), 0, None)
    assert (one.name, one.mode, one.size, one.device, one.uuid) == (
        "namespace0.0",
        "raw",
        SIZE,
        "pmem0",
        None,
    )
    assert devices(guest) == []


def test_without_labels_another_size_is_refused_and_nothing_is_done(guest):
    before = namespace(guest)
    outcome = guest.run(*MAKE, "--mode=devdax", f"--size={512 << 20}")
    assert outcome.status == 234
    assert "Retry without -s/--size=" in outcome.output
    assert namespace(guest) == before


@pytest.mark.parametrize("align", [4096, 2 << 20])
def test_devdax_has_a_device_of_its_alignment(guest, align):
    make(guest, "--mode=devdax", "--map=mem", f"--align={align}")
    one, found = namespace(guest), region(guest)
    assert (one.mode, one.map, one.align, one.size, one.device) == ("devdax", "mem", align, LEFT_2M, "dax0.0")
    assert one.device == one.dax_name
    assert (one.raw_size, found.labelled, found.seed) == (SIZE, True, "namespace0.1")
    (device,) = devices(guest)
    assert (device.align, device.region_align, device.driver) == (align, align, "device_dax")
    assert (device.start, device.size) == (REGION + (2 << 20), LEFT_2M)
    assert one.size == ndctl.usable(SIZE, REGION, "devdax", "mem", align)


def test_it_is_mapped_at_its_alignment_and_read(guest):
    outcome = guest.perform(dax_verbs.check("dax0.0", restore.selector(name="dax0.0")))
    assert (outcome.result, outcome.status) == (Result.DONE, 0), outcome.output
    lines = guest.answer(MapAndRead(REGION + (2 << 20))).text.splitlines()
    assert [line.split()[0] for line in lines] == ["0x0", f"{LEFT_2M - 1:#x}"]


def test_made_again_it_is_another_one(guest):
    before = namespace(guest)
    make(guest, "--mode=devdax", "--map=mem", "--align=2097152")
    after = namespace(guest)
    assert (before.uuid, before.label) != (after.uuid, after.label)
    assert before.size == after.size


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (("--mode=devdax", "--align=65536"), 250, "  Error: unsupported align: 65536\n\n"),
        (("--mode=sector", "--map=mem"), 234, "only valid for fsdax mode namespace"),
    ],
)
def test_what_ndctl_refuses_leaves_the_namespace(guest, options, status, said):
    before = namespace(guest)
    outcome = guest.run(*MAKE, *options)
    assert outcome.status == status
    assert said in outcome.output
    assert namespace(guest) == before


def test_one_that_is_not_there(guest):
    outcome = guest.run("ndctl", "create-namespace", "--force", "--reconfig=namespace0.7", "--mode=devdax")
    said = "failed to reconfigure namespace: No such device or address\n"
    assert (outcome.status, outcome.output) == (250, said)


def test_a_full_region_has_no_space(guest):
    outcome = guest.run("ndctl", "create-namespace", "--region=region0", "--mode=devdax")
    said = "failed to create namespace: No space left on device\n"
    assert (outcome.status, outcome.output) == (237, said)


def test_labels_are_those_that_the_kernel_has_read(guest):
    labels = ndctl.label_uuids(read(guest, ndctl.LABELS).text(ndctl.LABELS))
    assert labels == {"nmem0": {namespace(guest).label}}


@pytest.mark.parametrize("mode", ["fsdax", "sector", "raw"])
def test_a_disk(guest, mode):
    make(guest, f"--mode={mode}", *(["--map=dev"] if mode == "fsdax" else []))
    one = namespace(guest)
    sizes = {"fsdax": 1040187392, "sector": 1054855168, "raw": SIZE}
    assert (one.mode, one.size, one.device) == (mode, sizes[mode], "pmem0s" if mode == "sector" else "pmem0")
    assert devices(guest) == []
    if mode != "sector":
        assert one.size == ndctl.usable(SIZE, REGION, mode, "dev", 2 << 20)


def test_a_mounted_one_is_not_made_anew_even_by_force(guest):
    make(guest, "--mode=fsdax", "--map=dev")
    guest.mount("/dev/pmem0", "/mnt")
    listed = read(guest, blocks.SIGNATURES).text(blocks.SIGNATURES)
    assert blocks.signatures(listed)["pmem0"] == "ext4"
    outcome = guest.run(*MAKE, "--mode=devdax")
    said = "failed to reconfigure namespace: Device or resource busy\n"
    assert (outcome.status, outcome.output) == (240, said)
    guest.unmount("/mnt")


def test_of_a_disabled_one_nobody_sees_what_it_is(guest):
    make(guest, "--mode=fsdax", "--map=dev")
    before = namespace(guest)
    outcome = guest.run("ndctl", "disable-namespace", "namespace0.0")
    assert (outcome.status, outcome.output) == (0, "disabled 1 namespace\n")
    one = namespace(guest)
    assert (one.enabled, one.mode, one.size, one.device) == (False, "raw", SIZE, None)
    outcome = guest.run("ndctl", "enable-namespace", "namespace0.0")
    assert (outcome.status, outcome.output) == (0, "enabled 1 namespace\n")
    assert namespace(guest) == before


def test_destroyed_its_region_is_free_and_the_next_one_is_the_0th(guest):
    outcome = guest.run("ndctl", "destroy-namespace", "--force", "namespace0.0")
    assert (outcome.status, outcome.output) == (0, "destroyed 1 namespace\n")
    found = region(guest)
    assert (found.namespaces, found.free, found.seed) == ((), SIZE, "namespace0.0")
    half = 512 << 20
    options = ("--mode=devdax", "--map=dev", "--align=4096", f"--size={half}")
    assert guest.run("ndctl", "create-namespace", "--region=region0", *options).status == 0
    one = namespace(guest)
    assert (one.name, one.raw_size, one.size, region(guest).free) == (
        "namespace0.0",
        half,
        ndctl.usable(half, REGION, "devdax", "dev", 4096),
        SIZE - half,
    )
    make(guest, "--mode=devdax", "--map=mem", "--align=4096", f"--size={SIZE}")
    assert (namespace(guest).raw_size, namespace(guest).size) == (SIZE, LEFT_2M)
