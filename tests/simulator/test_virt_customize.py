"""A guest from nothing, its image made by virt-customize: once, whole or not at all, and never a used one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cxlstate.simulator import customizing
from cxlstate.simulator.qcow2 import Header
from tests.simulator.test_first_boot import KEY, PASSWORD, SPEC, guest_of, run

OFFLINE = (
    SPEC.replace("method: cloud-init", "method: virt-customize")
    .replace("size: 1GiB}", "source: {path: /srv/cloud.qcow2}}", 1)
    .replace("qemu-utils]", "qemu-utils, libguestfs-tools]")
)
DISK = "h/root/var/lib/libvirt/images/g.qcow2"
GOLDEN = Path(__file__).parents[1] / "golden"
KEPT = "h/root/var/lib/cxlstate/guests/g"


@pytest.fixture
def spec(tmp_path, monkeypatch):
    monkeypatch.setenv("FIRST_BOOT", PASSWORD)
    file = tmp_path / "spec.yaml"
    file.write_text(OFFLINE)
    run("plan", str(file))  # makes the host
    source = tmp_path / "h/root/srv/cloud.qcow2"
    source.parent.mkdir(parents=True)
    source.write_bytes(Header(1 << 30).pack())
    return file


def test_from_nothing_to_a_guest_that_people_can_log_in_to(spec):
    status, said = run("apply", "--yes", str(spec))
    assert status == 0, said
    places = [said.index(one) for one in ("  ✓ image.system", "  ✓ provision.g", "  ✓ vm.g")]
    assert places == sorted(places)
    guest = guest_of(spec)
    assert (guest / "etc/hostname").read_text() == "cxl-vmx\n"
    assert KEY in (guest / "home/comsys/.ssh/authorized_keys").read_text()
    assert "comsys:$6$" in (guest / "etc/shadow").read_text()
    assert (guest / "etc/cloud/cloud-init.disabled").exists()
    assert "cidata" not in (spec.parent / "h/root/etc/libvirt/qemu/g.xml").read_text()
    assert run("plan", str(spec))[0] == 0
    assert run("drift", str(spec)) == (0, "")


@pytest.mark.parametrize(
    ("name", "words"), [("customize-1-plan", ("plan",)), ("customize-2-apply", ("apply", "--yes"))]
)
def test_it_is_told_as_it_was(spec, name, words):
    said = run(*words, str(spec))[1].replace(f"{spec.parent}/", "")
    assert re.sub(r" \(\d+ s\)", "", said) == (GOLDEN / f"{name}.txt").read_text()


def test_a_plan_of_a_bare_host_tells_all_of_it_and_waits_for_the_program(spec):
    said = run("plan", str(spec))[1]
    line = next(line for line in said.splitlines() if "provision.g" in line)
    assert "+ /var/lib/libvirt/images/g.qcow2 customized: cxl-vmx; users comsys; DHCP" in line
    spec.write_text(OFFLINE.replace(", libguestfs-tools", ""))
    status, said = run("apply", "--yes", str(spec))
    assert status == 5
    said = run("plan", str(spec))[1]
    assert "virt-customize is not installed" in said
    assert "add libguestfs-tools to `packages`" in said
    assert not (spec.parent / "h/root/etc/libvirt/qemu/g.xml").exists()


def test_neither_password_nor_hash_is_kept_or_told(spec):
    said = run("apply", "--yes", str(spec))[1]
    line = next(
        x for x in (guest_of(spec) / "etc/shadow").read_text().splitlines() if x.startswith("comsys:")
    )
    hashed = line.split(":")[1]
    of_the_guest = {spec.parent / DISK, guest_of(spec) / "etc/shadow"}
    for path in [one for one in spec.parent.rglob("*") if one.is_file() and one not in of_the_guest]:
        content = path.read_bytes()
        assert PASSWORD.encode() not in content, path
        assert hashed.encode() not in content, path
    assert PASSWORD not in said
    assert hashed not in said


def test_a_spec_that_says_something_else_later_is_told_and_changes_nothing(spec):
    run("apply", "--yes", str(spec))
    spec.write_text(OFFLINE.replace("cxl-vmx", "other"))
    status, said = run("plan", str(spec))
    assert status == 0
    assert "warning[CXP403] the guest in g was provisioned otherwise" in said
    spec.write_text(OFFLINE.replace("virt-customize\n", "cloud-init\n"))
    status, said = run("plan", str(spec))
    assert (status, "method: not as when it was provisioned" in said) == (0, True), said


def test_a_disk_that_a_guest_may_have_used_is_left_as_it_is(spec):
    """It cannot be told before it is looked at, and that is said in the plan."""
    disk = spec.parent / DISK
    disk.parent.mkdir(parents=True, exist_ok=True)
    disk.write_bytes(Header(1 << 30).pack() + b"somebody's")
    status, said = run("apply", "--yes", str(spec))
    assert status == 1
    assert "holds something else than /srv/cloud.qcow2" in said
    assert disk.read_bytes().endswith(b"somebody's")
    assert not (spec.parent / "h/root/etc/libvirt/qemu/g.xml").exists()
    said = " ".join(run("plan", "--verbose", str(spec))[1].split())
    assert "that /var/lib/libvirt/images/g.qcow2 holds what /srv/cloud.qcow2 does" in said


def test_an_image_without_a_source_is_an_error_before_anything_is_done(spec):
    spec.write_text(OFFLINE.replace("source: {path: /srv/cloud.qcow2}", "size: 1GiB"))
    status, said = run("apply", "--yes", str(spec))
    assert status == 1
    assert "error[CXP420] virt-customize needs an image that the spec makes for g" in said
    assert not (spec.parent / "h/root/etc/libvirt/qemu/g.xml").exists()


def test_a_new_image_in_the_place_of_a_provisioned_one_is_provisioned(spec):
    run("apply", "--yes", str(spec))
    gone = OFFLINE[: OFFLINE.index("    guest:")].replace("state: running", "state: absent")
    spec.write_text(gone.replace("source: {path: /srv/cloud.qcow2}", "state: absent"))
    of = "power-off-vm,destroy-data=h/vm.g,destroy-data=h/image.system"
    assert run("apply", "--yes", "--allow", of, str(spec))[0] == 0
    assert not (spec.parent / DISK).exists()
    spec.write_text(OFFLINE.replace("cxl-vmx", "another"))
    status, said = run("apply", "--yes", str(spec))
    assert status == 0, said
    assert b"customized" in (spec.parent / DISK).read_bytes()
    assert "another" in (spec.parent / KEPT / "first_boot").read_text()


def test_what_virt_customize_says_of_its_failure_is_told_with_its_log(spec, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(
            customizing, "_refused", lambda *_: "cxlstate: comsys is to have sudo, and the image has none"
        )
        status, said = run("apply", "--yes", str(spec))
    assert status == 1
    assert "comsys is to have sudo" in said
    assert "/var/lib/cxlstate/guests/g/virt-customize.log" in said
    assert not (spec.parent / "h/root/etc/libvirt/qemu/g.xml").exists()
    assert run("apply", "--yes", str(spec))[0] == 0
