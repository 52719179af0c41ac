"""What virt-customize runs in a new guest, run in this machine's own file system laid under another one.

The programs are real (shadow, OpenSSH, systemd), and nothing outside of the upper layer is written.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from passlib.hash import sha512_crypt

from cxlstate.core.first_boot import Account, FirstBoot
from cxlstate.core.secret import Secret
from cxlstate.formats import first_boot_script, host_keys, password
from cxlstate.formats.sh import quote

pytestmark = pytest.mark.slow

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ me"
MAC = "52:54:00:fc:10:bd"
USER = Account(
    "comsys", ("sudo", "newgroup"), "/bin/bash", sudo=True, keys=(KEY, "ssh-rsa AAAA it's $(mine)"),
    password=Secret(b"correct horse", "env A"),
)  # fmt: skip
BOOT = FirstBoot("cxlstate-g", "cxl-vmx.lab", (USER, Account("plain")), (MAC,))
NEEDED = ("/usr/sbin/sshd", "/usr/bin/sudo", "/usr/sbin/useradd", "/usr/bin/unshare")
BEFORE = (
    "rm -rf etc/netplan usr/sbin/netplan usr/sbin/NetworkManager; rm -f etc/sudoers.d/90-cxlstate-provision"
)
# $1: an empty folder; $2: what the image has; $3: what is run in it.
LAYERS = """\
set -eu
mount -t tmpfs none "$1"
cd "$1"
mkdir upper work root
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" root
mount --bind /proc root/proc
mount --bind /dev root/dev
(cd root && eval "$2")
cat >root/root/first-boot
status=0
chroot root /bin/sh /root/first-boot || status=$?
umount root/proc root/dev
cp -a root/etc etc
cp -a root/home home
cp -a root/var/lib/cxlstate told 2>/dev/null || :
umount root
tar -cf "$3" etc home told 2>/dev/null || tar -cf "$3" etc home
exit $status
"""


@dataclass
class Image:
    """The file systems of an image after it."""

    folder: Path
    status: int
    said: str

    def text(self, path):
        return (self.folder / path).read_text()

    def mode(self, path):
        return oct((self.folder / path).stat().st_mode & 0o7777)

    @property
    def hash(self):
        lines = [line for line in self.text("etc/shadow").splitlines() if line.startswith("comsys:")]
        return lines[0].split(":")[1]


@pytest.fixture
def customized(tmp_path):
    """What it makes of an image that has, besides, what a line of shell puts there."""
    if os.geteuid() or not all(map(os.path.exists, NEEDED)):
        pytest.skip(f"needs root and {' '.join(NEEDED)}")

    def run(image="", boot=BOOT):
        layers, made = tmp_path / "layers", tmp_path / "made"
        layers.mkdir()
        made.mkdir()
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", LAYERS, "sh", layers, f"{BEFORE}; {image}", tmp_path / "tar"],
            input=first_boot_script.script(boot, password.sha512_crypt),
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        if not (tmp_path / "tar").exists():
            pytest.skip(f"an overlay cannot be mounted here: {done.stderr[-300:]}")
        subprocess.run(["tar", "-xf", tmp_path / "tar", "-C", made], check=True)
        return Image(made, done.returncode, done.stdout + done.stderr)

    return run


def test_users_name_keys_and_what_is_unique(customized):
    image = customized(
        "echo 127.0.1.1 old >>etc/hosts; echo 11112222333344445555666677778888 >etc/machine-id"
    )
    assert image.status == 0, image.said
    assert image.text("etc/hostname") == "cxl-vmx.lab\n"
    assert "127.0.1.1 cxl-vmx.lab cxl-vmx\n" in image.text("etc/hosts")
    assert "old" not in image.text("etc/hosts")
    assert len(image.text("etc/machine-id")) == 33
    assert "1111" not in image.text("etc/machine-id")
    assert sha512_crypt.verify(b"correct horse", image.hash)
    assert "\nplain:!" in image.text("etc/shadow")
    user = next(line for line in image.text("etc/passwd").splitlines() if line.startswith("comsys:"))
    assert user.endswith(":/home/comsys:/bin/bash")
    groups = {line.split(":")[0]: line.split(":")[3] for line in image.text("etc/group").splitlines()}
    assert "comsys" in groups["sudo"].split(",")
    assert groups["newgroup"] == "comsys"
    assert image.text("home/comsys/.ssh/authorized_keys") == f"{KEY}\nssh-rsa AAAA it's $(mine)\n"
    assert (image.mode("home/comsys/.ssh"), image.mode("home/comsys/.ssh/authorized_keys")) == (
        "0o700",
        "0o600",
    )
    assert image.text("etc/sudoers.d/90-cxlstate-provision") == "comsys ALL=(ALL) NOPASSWD:ALL\n"


def test_its_host_keys_are_new_and_their_public_halves_are_told_last(customized):
    image = customized("echo old >etc/ssh/ssh_host_ed25519_key; echo old >etc/ssh/ssh_host_ed25519_key.pub")
    first, *keys = image.text("told/provisioned").splitlines()
    assert first == "cxlstate-g"
    assert {one.kind for one in host_keys.parse("\n".join(keys))} >= {"ssh-ed25519"}
    assert image.text("etc/ssh/ssh_host_ed25519_key.pub").strip() in keys
    assert image.mode("etc/ssh/ssh_host_ed25519_key") == "0o600"


def test_no_password_and_no_root_over_ssh_before_what_images_say(customized):
    image = customized(
        "cd etc/ssh/sshd_config.d; echo PermitRootLogin yes >01-permitrootlogin.conf;"
        " echo PasswordAuthentication yes >50-cloud-init.conf"
    )
    assert image.status == 0, image.said
    written = "etc/ssh/sshd_config.d/01-cxlstate-provision.conf"
    assert image.text(written).splitlines() == [
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "PermitRootLogin no",
    ]
    assert Path(written).name < "01-permitrootlogin.conf"
    assert Path(written).name > "00-cxlstate.conf", "the guest's own `sshd` goes before it"


def test_a_server_that_reads_no_folder_is_told_in_its_own_file(customized):
    image = customized(
        "echo 'PasswordAuthentication yes' >etc/ssh/sshd_config", FirstBoot("i", accounts=(Account("root"),))
    )
    assert image.status == 0, image.said
    assert image.text("etc/ssh/sshd_config").startswith("PasswordAuthentication no\n")
    assert "PermitRootLogin prohibit-password\n" in image.text("etc/ssh/sshd_config")


@pytest.mark.parametrize("word", ["PasswordAuthentication", "KbdInteractiveAuthentication"])
def test_a_match_that_would_let_passwords_in_ends_it(customized, word):
    image = customized(f"printf 'Match User comsys\\n {word} yes\\n' >>etc/ssh/sshd_config")
    assert image.status == 1
    assert "would take a password from comsys" in image.said
    assert not (image.folder / "told/provisioned").exists()


def test_a_user_of_the_image_keeps_its_password_and_its_keys(customized):
    image = customized(
        "echo 'comsys:x:1999:1999::/home/comsys:/bin/sh' >>etc/passwd; echo 'comsys:x:1999:' >>etc/group;"
        " echo 'comsys:$6$old:1::::::' >>etc/shadow; mkdir -p home/comsys/.ssh;"
        " printf %s 'ssh-rsa OLD' >home/comsys/.ssh/authorized_keys",
        FirstBoot("i", accounts=(Account("comsys", shell="/bin/bash", keys=(KEY,)),)),
    )
    assert image.status == 0, image.said
    assert image.hash == "$6$old"
    assert image.text("home/comsys/.ssh/authorized_keys") == f"ssh-rsa OLD\n{KEY}\n"
    assert "comsys:x:1999:1999::/home/comsys:/bin/bash" in image.text("etc/passwd")


NETWORK = {
    "networkd": (":", "etc/systemd/network/00-cxlstate-525400fc10bd.network", f"MACAddress={MAC}\n", "0o644"),
    "ifupdown besides": (
        "mkdir -p etc/network; echo 'iface ens3 inet dhcp' >etc/network/interfaces",
        "etc/systemd/network/00-cxlstate-525400fc10bd.network", "DHCP=ipv4\n", "0o644",
    ),
    "netplan": (
        "printf '#!/bin/sh\\n' >usr/sbin/netplan; chmod 755 usr/sbin/netplan",
        "etc/netplan/00-cxlstate.yaml", f'match: {{macaddress: "{MAC}"}}\n      dhcp4: true\n', "0o600",
    ),
    "NetworkManager": (
        "printf '#!/bin/sh\\n' >usr/sbin/NetworkManager; chmod 755 usr/sbin/NetworkManager",
        "etc/NetworkManager/system-connections/cxlstate-525400fc10bd.nmconnection",
        f"mac-address={MAC}\n\n[ipv4]\nmethod=auto\n", "0o600",
    ),
}  # fmt: skip


@pytest.mark.parametrize("has", NETWORK)
def test_the_network_is_told_by_mac_to_what_the_image_has(customized, has):
    """Also where it has no cloud-init."""
    there, path, holds, mode = NETWORK[has]
    image = customized(f"rm -rf etc/cloud; {there}", FirstBoot("i", macs=(MAC,)))
    assert image.status == 0, image.said
    assert holds in image.text(path)
    assert image.mode(path) == mode
    assert not (image.folder / "etc/cloud").exists()


def test_an_image_with_nothing_to_tell_the_network_to_ends_it(customized):
    nothing = "rm -f lib/systemd/systemd-networkd usr/lib/systemd/systemd-networkd"
    image = customized(nothing, FirstBoot("i", macs=(MAC,)))
    assert image.status == 1
    assert "neither netplan nor NetworkManager nor systemd-networkd" in image.said


def test_cloud_init_is_kept_from_undoing_it(customized):
    image = customized("mkdir -p etc/cloud", FirstBoot("i"))
    assert (image.folder / "etc/cloud/cloud-init.disabled").exists()


@pytest.mark.parametrize("odd", ["a'; touch /etc/owned; '", "$(touch /etc/owned)", "`touch /etc/owned`\n"])
def test_no_word_of_a_spec_is_run(customized, odd):
    """Names are refused before; here every word is odd, and the first one that no program takes ends it."""
    boot = FirstBoot(odd, odd, (Account("u1", shell=odd, keys=(odd,)), Account(odd, groups=(odd,))))
    image = customized("", boot)
    assert not (image.folder / "etc/owned").exists(), quote(odd)
