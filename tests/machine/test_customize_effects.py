"""An image that is customized: the script around libguestfs, whose three programs stand in here.

The real ones take minutes: `tests/e2e/test_virt_customize.py`. qemu-img and the file system are real.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess

import pytest

from cxlstate.core.first_boot import Account, CustomizeImage, FirstBoot
from cxlstate.core.secret import Secret
from cxlstate.formats import first_boot_script
from cxlstate.machine.local import LocalTransport
from cxlstate.machine.outcome import Result
from cxlstate.machine.posix import customize_effects
from cxlstate.machine.posix.agent import Settings
from cxlstate.machine.posix.writer import PosixWriter
from tests.machine.conftest import ENTRY
from tests.machine.images import held

pytestmark = [
    pytest.mark.skipif(shutil.which("qemu-img") is None, reason="needs qemu-utils"),
    pytest.mark.skipif(os.geteuid() != 0, reason="images are in folders of root's"),
]

BOOT = FirstBoot("cxlstate-g", accounts=(Account("a", password=Secret(b"correct horse", "env A")),))
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ"
GUESTFISH = """\
echo /dev/sda1
echo "Filesystem features: has_journal extent $(cat "$LAB/features" 2>/dev/null)"
"""
# It keeps what it was run with, and writes into the disk, as the real one.
CUSTOMIZE = """\
cat /proc/$$/cmdline >"$LAB/cmdline"
while [ $# -gt 0 ]; do case $1 in --add) disk=$2 ;; --run) script=$2 ;; esac; shift; done
stat -c %a -- "$script" >"$LAB/mode"
cp -- "$script" "$LAB/script"
echo '[   0.0] Examining the guest ...'
[ ! -e "$LAB/fails" ] || { echo 'virt-customize: error: the log of it' >/dev/stderr; exit 1; }
qemu-io -f qcow2 -c 'write -P 7 0 64k' -- "$disk" >/dev/null
"""
CAT = """\
printf '%s\\n' "$(cat "$LAB/told" 2>/dev/null || echo cxlstate-g)" 'KEY root@vm'
""".replace("KEY", KEY)


@pytest.fixture
def lab(places, tmp_path, monkeypatch):
    """A base image, the image that was made from it, and the programs."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in {"guestfish": GUESTFISH, "virt-customize": CUSTOMIZE, "virt-cat": CAT}.items():
        (programs / name).write_text(f"#!/bin/sh\nset -e\n{text}")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("LAB", str(tmp_path))
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    for name in ("disk", "identity"):
        monkeypatch.setattr(first_boot_script, name, lambda _vm, name=name: f"{tmp_path}/guests/{name}")
    monkeypatch.setattr(customize_effects.host_keys, "path", lambda _vm: f"{tmp_path}/guests/host_keys")
    monkeypatch.setattr(
        customize_effects.cloud_init, "made_from", lambda _vm: f"{tmp_path}/guests/first_boot"
    )
    base, disk = tmp_path / "base.qcow2", tmp_path / "g.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", base, "1M"], check=True)
    subprocess.run(
        ["qemu-io", "-f", "qcow2", "-c", "write -P 5 0 512k", base], check=True, capture_output=True
    )
    subprocess.run(["qemu-img", "convert", "-q", "-O", "qcow2", base, disk], check=True)
    subprocess.run(["qemu-img", "resize", "-q", disk, "2M"], check=True)
    disk.chmod(0o640)
    made = PosixWriter(
        LocalTransport(), "box", survives_reboot=False, settings=Settings(**places, patience=5)
    )
    yield made
    made.close()


@pytest.fixture
def effect(tmp_path):
    log = f"{tmp_path}/guests/log"
    return CustomizeImage("g", f"{tmp_path}/g.qcow2", "qcow2", f"{tmp_path}/base.qcow2", BOOT, "{}\n", log)


def untouched(tmp_path):
    """Nothing of it is left, and the image is as it was."""
    same = ["qemu-img", "compare", "-q", tmp_path / "base.qcow2", tmp_path / "g.qcow2"]
    return (
        not subprocess.run(same, check=False).returncode
        and not list(tmp_path.rglob("*.cxlstate"))
        and not list(tmp_path.rglob("first-boot"))
        and not (tmp_path / "guests/first_boot").exists()
    )


def test_its_place_is_taken_whole_and_what_is_kept_names_the_file(lab, effect, tmp_path):
    assert lab.perform(effect, ENTRY).result is Result.DONE
    disk, kept = tmp_path / "g.qcow2", tmp_path / "guests"
    told = subprocess.run(
        ["stat", "--dereference", f"--format={first_boot_script.IDENTITY}", kept / "disk"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert told == (kept / "identity").read_text()
    assert (kept / "host_keys").read_text() == f"{KEY}\n"
    assert (kept / "first_boot").read_text() == "{}\n"
    assert "Examining the guest" in (kept / "log").read_text()
    assert stat.S_IMODE(disk.stat().st_mode) == 0o640
    shown = subprocess.run(
        ["qemu-io", "-c", "read -P 7 0 64k", disk], capture_output=True, text=True, check=True
    )
    assert "failed" not in shown.stdout
    assert not list(tmp_path.rglob("*.cxlstate"))


def test_no_hash_is_in_a_list_of_processes_or_left(lab, effect, tmp_path):
    assert lab.perform(effect, ENTRY).result is Result.DONE
    hashed = next(word for word in (tmp_path / "script").read_text().split("'") if word.startswith("$6$"))
    assert (tmp_path / "mode").read_text().strip() == "600"
    assert hashed.encode() not in (tmp_path / "cmdline").read_bytes()
    (tmp_path / "script").unlink()
    for path in [one for one in tmp_path.rglob("*") if one.is_file()]:
        assert hashed.encode() not in path.read_bytes(), path
        assert b"correct horse" not in path.read_bytes(), path


def test_a_disk_that_was_used_is_left(lab, effect, tmp_path):
    write = ["qemu-io", "-f", "qcow2", "-c", "write -P 9 1M 64k", tmp_path / "g.qcow2"]
    subprocess.run(write, check=True, capture_output=True)
    outcome = lab.perform(effect, ENTRY)
    assert outcome.result is Result.FAILED
    assert "holds something else than" in outcome.output
    assert not (tmp_path / "cmdline").exists()


@pytest.mark.parametrize("file", ["g.qcow2", "base.qcow2"])
def test_what_somebody_has_open_is_left(lab, effect, tmp_path, file):
    """A guest that runs on it; a guest that writes to what it was made from."""
    with held(tmp_path / file):
        outcome = lab.perform(effect, ENTRY)
    assert outcome.result is Result.FAILED
    assert '"write" lock' in outcome.output
    assert untouched(tmp_path)


def test_a_file_system_that_was_not_unmounted_is_left(lab, effect, tmp_path):
    (tmp_path / "features").write_text("needs_recovery extent")
    made = lab.perform(effect, ENTRY)
    assert made.result is Result.FAILED
    assert "/dev/sda1 in" in made.output
    assert "was not unmounted" in made.output
    assert untouched(tmp_path)


def test_what_fails_says_why_and_leaves_the_image(lab, effect, tmp_path):
    (tmp_path / "fails").touch()
    made = lab.perform(effect, ENTRY)
    assert (made.result, made.status) == (Result.FAILED, 1)
    assert "the log of it" in made.output
    assert "Examining the guest" in (tmp_path / "guests/log").read_text(), "not cut off by the log of it"
    assert untouched(tmp_path)


def test_a_disk_that_does_not_tell_that_all_was_done_is_not_used(lab, effect, tmp_path):
    (tmp_path / "told").write_text("cxlstate-other")
    made = lab.perform(effect, ENTRY)
    assert made.result is Result.FAILED
    assert "what was done is not on the disk" in made.output
    assert untouched(tmp_path)
