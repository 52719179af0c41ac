"""A guest from nothing, by the seed of its first boot: once, and without a secret left."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from cxlstate.cli.main import main
from cxlstate.simulator import first_boot

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ me"
PASSWORD = "correct-horse-battery"
SPEC = f"""
apiVersion: cxlstate/v1
host:
  name: h
  connect: sim:h
  packages: [qemu-system-x86, libvirt-daemon-system, qemu-utils]
  services: {{libvirtd: {{enabled: true, running: true}}}}
networks:
  default: {{active: true}}
images:
  system: {{path: /var/lib/libvirt/images/g.qcow2, format: qcow2, size: 1GiB}}
vms:
  g:
    state: running
    memory: 1GiB
    vcpu: 1
    disks: [{{target: vda, image: image.system}}]
    interfaces: [{{network: default, mac: '52:54:00:fc:10:bd', model: virtio}}]
    guest:
      provision:
        method: cloud-init
        hostname: cxl-vmx
        users:
          comsys:
            groups: [sudo]
            shell: /bin/bash
            password: {{env: FIRST_BOOT}}
            authorized_keys: ['{KEY}']
        network: {{dhcp4: true}}
      packages: [ndctl]
"""
SEED = "h/root/var/lib/libvirt/images/g.cidata.iso"
"""Where it is, as long as the guest has not been proven."""


@pytest.fixture
def spec(tmp_path, monkeypatch):
    monkeypatch.setenv("FIRST_BOOT", PASSWORD)
    file = tmp_path / "spec.yaml"
    file.write_text(SPEC)
    return file


def run(*words: str) -> tuple[int, str]:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        main(words)
    return ended.value.code or 0, out.getvalue() + err.getvalue()


def guest_of(spec: Path) -> Path:
    return spec.parent / "h/guests/g/root"


def test_from_nothing_to_a_guest_that_people_can_log_in_to(spec):
    status, said = run("apply", "--yes", str(spec))
    assert status == 0, said
    assert said.index("g:provision: wait") < said.index("g:package.ndctl: ")
    guest = guest_of(spec)
    assert (guest / "etc/hostname").read_text() == "cxl-vmx\n"
    assert KEY in (guest / "home/comsys/.ssh/authorized_keys").read_text()
    assert "comsys:$6$" in (guest / "etc/shadow").read_text()
    assert not (spec.parent / SEED).exists()
    assert "cidata" not in (spec.parent / "h/root/etc/libvirt/qemu/g.xml").read_text()
    assert run("plan", str(spec))[0] == 0
    assert run("drift", str(spec)) == (0, "")


def test_neither_password_nor_hash_is_left_but_in_shadow(spec):
    _, said = run("apply", "--yes", str(spec))
    shadow = guest_of(spec) / "etc/shadow"
    line = next(line for line in shadow.read_text().splitlines() if line.startswith("comsys:"))
    hashed = line.split(":")[1]
    for path in [one for one in spec.parent.rglob("*") if one.is_file() and one != shadow]:
        content = path.read_bytes()
        assert PASSWORD.encode() not in content, path
        assert hashed.encode() not in content, path
    assert PASSWORD not in said


def test_a_spec_that_says_something_else_later_is_told_and_changes_nothing(spec):
    run("apply", "--yes", str(spec))
    spec.write_text(SPEC.replace("cxl-vmx", "other").replace("groups: [sudo]", "groups: [kvm]"))
    status, said = run("plan", str(spec))
    assert status == 0
    assert "warning[CXP403] the guest in g was provisioned otherwise" in said
    assert "hostname, users.comsys.groups" in said
    assert run("apply", "--yes", str(spec))[0] == 0
    assert (guest_of(spec) / "etc/hostname").read_text() == "cxl-vmx\n"


def test_a_guest_that_was_there_before_is_never_provisioned(spec):
    without = SPEC[: SPEC.index("      provision:")] + SPEC[SPEC.index("      packages: [ndctl]") :]
    spec.write_text(without)
    assert run("apply", "--yes", str(spec))[0] == 0
    spec.write_text(SPEC)
    status, said = run("plan", str(spec))
    assert status == 0
    assert "warning[CXP402]" in said
    run("apply", "--yes", str(spec))
    assert not (guest_of(spec) / "home/comsys").exists()


def test_a_disk_that_was_there_before_is_an_error_before_anything_is_done_to_it(spec):
    run("plan", str(spec))  # makes the host
    disk = spec.parent / "h/root/var/lib/libvirt/images/g.qcow2"
    disk.parent.mkdir(parents=True, exist_ok=True)
    disk.write_bytes(b"QFI\xfb" + 200 * b"\0")
    status, said = run("apply", "--yes", str(spec))
    assert status == 1
    assert "error[CXP401] a guest may have used the disk of g already" in said
    assert not (spec.parent / "h/root/etc/libvirt/qemu/g.xml").exists()


def test_what_cloud_init_tells_of_errors_is_told_and_the_seed_stays(spec, monkeypatch):
    def fails(self, name, user_data):
        raise ValueError("no such group: sudo")

    with monkeypatch.context() as patched:
        patched.setattr(first_boot.CloudInit, "_first", fails)
        status, said = run("apply", "--yes", str(spec))
    assert status == 1
    assert "error[CXP408] cloud-init has not done the first boot" in said
    assert "no such group: sudo" in said
    assert (spec.parent / SEED).exists()


def test_a_disk_whose_owner_a_package_brings_is_known_not_to_be_there(spec):
    spec.write_text(SPEC.replace("size: 1GiB}", "size: 1GiB, owner: libvirt-qemu}", 1))
    said = run("plan", str(spec))[1]
    assert "provision.g        + a seed for the first boot" in said


def test_a_file_of_others_where_the_seed_would_be_is_left(spec):
    run("plan", str(spec))  # makes the host
    file = spec.parent / SEED
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"somebody's")
    status, said = run("apply", "--yes", str(spec))
    assert status == 1
    assert "error[CXP412]" in said
    assert file.read_bytes() == b"somebody's"
    assert not (spec.parent / "h/root/etc/libvirt/qemu/g.xml").exists()
    command = next(line for line in said.splitlines() if " mv /" in line).partition(" mv ")[2].split()
    Path(f"{spec.parent}/h/root{command[0]}").rename(f"{spec.parent}/h/root{command[1]}")
    status, said = run("apply", "--yes", str(spec))
    assert status == 0, said


def test_a_seed_does_not_make_a_guest_of_a_disk_that_was_there_before_it(spec):
    """The run that wrote it could not make its disk, and the spec names another one since."""
    spec.write_text(SPEC.replace("size: 1GiB}", "source: {path: /srv/none.qcow2}}", 1))
    assert run("apply", "--yes", str(spec))[0] == 1
    assert (spec.parent / SEED).exists()
    disk = spec.parent / "h/root/srv/old.qcow2"
    disk.parent.mkdir(parents=True, exist_ok=True)
    disk.write_bytes(b"QFI\xfb" + 200 * b"\0")
    spec.write_text(SPEC.replace("/var/lib/libvirt/images/g.qcow2", "/srv/old.qcow2"))
    status, said = run("apply", "--yes", str(spec))
    assert status == 1
    assert "error[CXP401] a guest may have used the disk of g already" in said
    assert not (spec.parent / "h/root/etc/libvirt/qemu/g.xml").exists()


def test_no_disk_is_made_before_its_guest_can_be_provisioned(spec, monkeypatch):
    """Else it would be there before the seed, and might have been used by another guest."""
    monkeypatch.setenv("FIRST_BOOT", "")
    status, said = run("apply", "--yes", str(spec))
    assert status == 1
    assert "error[CXP406]" in said
    monkeypatch.setenv("FIRST_BOOT", PASSWORD)
    status, said = run("apply", "--yes", str(spec))
    assert status == 0, said


def unprovisioned(text: str, guest: str = "") -> str:
    """A spec without the section, or without all of the guest."""
    begin = "      provision:" if guest else "    guest:"
    return text[: text.index(begin)] + guest


@pytest.fixture
def unproven(spec, monkeypatch):
    """A guest whose first boot has failed, so that it has its seed still."""

    def fails(self, name, user_data):
        raise ValueError("no such group: sudo")

    with monkeypatch.context() as patched:
        patched.setattr(first_boot.CloudInit, "_first", fails)
        run("apply", "--yes", str(spec))
    assert (spec.parent / SEED).exists()
    return spec


@pytest.mark.parametrize("guest", ["", "      packages: [ndctl]\n"])
def test_a_seed_whose_provision_was_removed_is_told_and_goes_with_consent(unproven, guest):
    unproven.write_text(unprovisioned(SPEC, guest))
    allowed = "destroy-data=h/provision.g"
    status, said = run("plan", str(unproven))
    assert (status, f"apply --allow {allowed}" in said) == (2, True)
    status, said = run("drift", str(unproven))
    assert (status, "provision.g" in said) == (2, True)
    assert run("apply", "--yes", str(unproven))[0] == 4
    assert (unproven.parent / SEED).exists()
    assert run("apply", "--yes", "--allow", allowed, str(unproven))[0] == 0
    assert not (unproven.parent / SEED).exists()
    assert "cidata" not in (unproven.parent / "h/root/etc/libvirt/qemu/g.xml").read_text()
    assert run("plan", str(unproven))[0] == 0


def test_a_seed_that_no_vm_has_goes_by_itself(spec):
    """Of a run that has made the seed, and could not make the disk."""
    spec.write_text(SPEC.replace("size: 1GiB}", "source: {path: /srv/none.qcow2}}", 1))
    run("apply", "--yes", str(spec))
    assert (spec.parent / SEED).exists()
    spec.write_text(unprovisioned(SPEC))
    assert run("apply", "--yes", str(spec))[0] == 0
    assert not (spec.parent / SEED).exists()


def test_to_begin_again_takes_what_the_hint_of_a_failed_first_boot_says(unproven):
    said = run("plan", str(unproven))[1]
    assert "write `state: absent` for its image, and in place of the `guest` of vms.g" in " ".join(
        said.split()
    )
    gone = (
        unprovisioned(SPEC).replace("state: running", "state: absent").replace("size: 1GiB", "state: absent")
    )
    unproven.write_text(gone)
    of = ("power-off-vm", "destroy-data=h/vm.g", "destroy-data=h/image.system")
    status, said = run("apply", "--yes", "--allow", ",".join(of), str(unproven))
    assert status == 0, said
    assert not (unproven.parent / SEED).exists()
    unproven.write_text(SPEC)
    status, said = run("apply", "--yes", str(unproven))
    assert status == 0, said
    assert (guest_of(unproven) / "etc/hostname").read_text() == "cxl-vmx\n"


TWO = SPEC.replace(
    "vms:\n",
    """\
  other: {path: /var/lib/libvirt/images/o.qcow2, format: qcow2, size: 1GiB}
vms:
  o:
    state: running
    memory: 1GiB
    vcpu: 1
    disks: [{target: vda, image: image.other}]
""",
)


def test_what_one_guest_lacks_keeps_back_its_own_disks_alone(spec, monkeypatch):
    spec.write_text(TWO)
    monkeypatch.setenv("FIRST_BOOT", "")
    status, said = run("apply", "--yes", str(spec))
    assert status == 1
    assert "error[CXP406]" in said
    images = spec.parent / "h/root/var/lib/libvirt/images"
    assert [one.name for one in images.glob("*.qcow2")] == ["o.qcow2"]
    assert (spec.parent / "h/root/etc/libvirt/qemu/o.xml").exists()
    monkeypatch.setenv("FIRST_BOOT", PASSWORD)
    status, said = run("apply", "--yes", str(spec))
    assert status == 0, said


@pytest.mark.parametrize("defined", [True, False])
def test_a_first_boot_that_was_given_up_is_never_taken_for_a_proven_one(spec, monkeypatch, defined):
    """The seed goes with consent, or by itself where no VM has it; then `provision` is written again."""

    def fails(self, name, user_data):
        raise ValueError("no such group: sudo")

    with monkeypatch.context() as patched:
        patched.setattr(first_boot.CloudInit, "_first", fails)
        run("apply", "--yes", str(spec))
    definition = spec.parent / "h/root/etc/libvirt/qemu/g.xml"
    assert definition.exists()
    given_up = unprovisioned(SPEC)
    spec.write_text(given_up if defined else given_up.replace("state: running", "state: absent"))
    of = ("power-off-vm", "destroy-data=h/vm.g", "destroy-data=h/provision.g")
    status, said = run("apply", "--yes", "--allow", ",".join(of), str(spec))
    assert (status, definition.exists(), (spec.parent / SEED).exists()) == (0, defined, False), said
    spec.write_text(SPEC)
    status, said = run("plan", str(spec))
    found = ("warning[CXP402]", 0) if defined else ("error[CXP401]", 1)
    assert (found[0] in said, status) == (True, found[1]), said
