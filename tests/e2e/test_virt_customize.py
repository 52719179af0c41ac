"""What a real libguestfs makes of a cloud image: read from its disk, then booted. No emulated host is needed.

Three starts of its small machine, each half a minute and more under emulation. The image is that of
`test_first_boot.py`, where cloud-init does the same; the guest that comes of it has to be the same, too.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from passlib.hash import sha512_crypt

from cxlstate.core.first_boot import CustomizeImage
from cxlstate.formats import first_boot_script, host_keys
from cxlstate.machine.local import LocalTransport
from cxlstate.machine.outcome import Entry, Result
from cxlstate.machine.posix import customize_effects
from cxlstate.machine.posix.agent import Settings
from cxlstate.machine.posix.writer import PosixWriter
from tests.e2e.conftest import Cli
from tests.e2e.test_first_boot import (
    MIB,
    PASSWORD,
    Guest,
    first_boot,
    only_its_user_logs_in,
    the_kinds_go_on,
    written,
)
from tests.lab.bare_guest import CloudGuest
from tests.lab.guest_variants import ensure_variant
from tests.lab.steps import tool
from tests.libvirt import tiny

pytestmark = [pytest.mark.lab, pytest.mark.long, pytest.mark.timeout(7200)]

PROGRAMS = ("virt-customize", "virt-cat", "guestfish")


def kernel_for_it(folder):
    """A kernel for libguestfs where this machine has none of its own, as in a container (supermin(1))."""
    if any(Path("/boot").glob("vmlinuz-*")):
        return {}
    copy = folder / "kernel"
    shutil.copytree(tiny.unpacked(), copy, symlinks=True)
    (kernel,) = (copy / "boot").glob("vmlinuz-*")
    (modules,) = (copy / "lib/modules").iterdir()
    subprocess.run(["depmod", "-b", copy, modules.name], check=True)
    Path("/lib/modules").mkdir(exist_ok=True)  # supermin 5.2 looks there all the same
    return {"SUPERMIN_KERNEL": str(kernel), "SUPERMIN_MODULES": str(modules)}


class Customized:
    """The image, what the effect came to, and what its host keeps."""

    def __init__(self, folder, patch):
        self.kept, self.disk = folder / "guests", folder / "g.qcow2"
        base, self.image = folder / "base.qcow2", ensure_variant("cloud")
        shutil.copy(self.image.packed_disk, base)
        shutil.copy(base, self.disk)
        for name in ("disk", "identity"):
            patch.setattr(first_boot_script, name, lambda _vm, name=name: f"{self.kept}/{name}")
        patch.setattr(customize_effects.host_keys, "path", lambda _vm: f"{self.kept}/host_keys")
        patch.setattr(customize_effects.cloud_init, "made_from", lambda _vm: f"{self.kept}/first_boot")
        log, boot = f"{self.kept}/log", first_boot(self.image)
        effect = CustomizeImage("g", str(self.disk), "qcow2", str(base), boot, "{}\n", log)
        places = Settings(str(folder / "state"), str(folder / "lock"))
        with closing(PosixWriter(LocalTransport(), "box", survives_reboot=False, settings=places)) as writer:
            self.outcome = writer.perform(effect, Entry("run", ("provision.g",), "customize", "live"))

    def cat(self, *paths):
        """What is in files on its disk."""
        words = ["virt-cat", "--format=qcow2", "--add", self.disk, *paths]
        return subprocess.run(words, check=True, capture_output=True, text=True, timeout=1800).stdout


@pytest.fixture(scope="module")
def customized(tmp_path_factory):
    if os.geteuid() or not all(map(shutil.which, PROGRAMS)):
        pytest.skip("needs root and libguestfs: apt-get install libguestfs-tools")
    folder = tmp_path_factory.mktemp("offline")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in kernel_for_it(folder).items():
            patch.setenv(name, value)
        # A KVM that is there and does not work makes QEMU end at once.
        patch.setenv("LIBGUESTFS_BACKEND_SETTINGS", "force_tcg")
        patch.setenv("LIBGUESTFS_BACKEND", "direct")
        made = Customized(folder, patch)
        assert made.outcome.result is Result.DONE, made.outcome.output
        yield made


def test_what_is_on_its_disk(customized):
    said = customized.cat(
        "/etc/hostname",
        "/etc/shadow",
        "/etc/group",
        "/home/comsys/.ssh/authorized_keys",
        "/etc/sudoers.d/90-cxlstate-provision",
        "/etc/ssh/sshd_config.d/01-cxlstate-provision.conf",
        "/etc/cloud/cloud-init.disabled",
        "/etc/machine-id",
    )
    lines = said.splitlines()
    assert lines[0] == "cxl-vmx"
    hashed = next(line for line in lines if line.startswith("comsys:$")).split(":")[1]
    assert sha512_crypt.verify(PASSWORD, hashed)
    assert Path(f"{customized.image.identity}.pub").read_text().strip() in lines
    assert "comsys ALL=(ALL) NOPASSWD:ALL" in lines
    assert {"PasswordAuthentication no", "PermitRootLogin no"} <= set(lines)
    kept = host_keys.parse((customized.kept / "host_keys").read_text())
    assert set(kept) == set(host_keys.parse(customized.cat(first_boot_script.TOLD)))
    assert customized.image.guest_key.split()[1] not in {one.key for one in kept}, "made anew"


def test_no_secret_is_left_beside_it(customized):
    hashed = customized.cat("/etc/shadow").partition("comsys:")[2].split(":")[0]
    assert hashed.startswith("$6$")
    for path in [one for one in customized.kept.parent.rglob("*") if one.is_file() and not one.is_symlink()]:
        if path != customized.disk and "kernel" not in path.parts:
            content = path.read_bytes()
            assert hashed.encode() not in content, path
            assert PASSWORD.encode() not in content, path
    words = ["guestfish", "--ro", "--format=qcow2", "--add", customized.disk, "--inspector", "exists"]
    for path in ("/tmp/builder.log", "/builder.log"):  # of the guest
        said = subprocess.run([*words, path], check=True, capture_output=True, text=True, timeout=1800)
        assert said.stdout.strip() == "false", path


def test_booted_it_is_the_guest_that_cloud_init_makes(customized, tmp_path, monkeypatch):
    """Its user logs in by the host keys that came back, nobody else does, and the kinds go on from there."""
    machine = CloudGuest(customized.image, tmp_path)
    machine.create_disk(customized.disk)
    tool(["qemu-img", "resize", "-q", str(machine.disk), f"{MIB}M"])
    keys = host_keys.parse((customized.kept / "host_keys").read_text())
    with machine:
        machine.start_and_wait("login:")
        guest = Guest(tmp_path, customized.image, machine, keys)
        monkeypatch.setenv("CXLSTATE_SSH_CONFIG", str(guest.config))
        only_its_user_logs_in(guest)
        assert "disabled" in guest.told("cloud-init status || true")
        the_kinds_go_on(guest, Cli(guest.config), written(tmp_path))
