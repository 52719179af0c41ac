"""The seed of a first boot, as the YAML parser of cloud-init (PyYAML's safe loader) reads it."""

from __future__ import annotations

import json

import pytest
import yaml
from passlib.hash import sha512_crypt

from cxlstate.core.first_boot import Account, FirstBoot, WriteSeed
from cxlstate.core.secret import Secret
from cxlstate.formats import cloud_init, password, seed_iso
from cxlstate.formats.cloud_init import Status

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ me@there"
HASH = "$6$salt$hash"
PASSWORD = Secret(b"correct horse", "env PASSWORD")


def hashed(secret):
    assert secret == PASSWORD
    return HASH


def written(**said):
    """Each file as cloud-init reads it."""
    made = cloud_init.files(FirstBoot("cxlstate-a", **said), hashed)
    return {name: yaml.safe_load(content) for name, content in made.items()}


def user(**said):
    """What is said of the one user, and all of the user data."""
    data = written(accounts=(Account("comsys", **said),))["user-data"]
    return data["users"][1], data


def test_the_user_data_is_known_by_its_first_line():
    assert cloud_init.files(FirstBoot("i"), hashed)["user-data"].startswith(b"#cloud-config\n{")


@pytest.mark.parametrize("said", [{}, {"keys": (KEY,)}, {"password": PASSWORD}, {"groups": ("sudo",)}])
def test_no_user_is_locked(said):
    """Without `lock_passwd: false`, a user that the image has loses its password."""
    assert user(**said)[0]["lock_passwd"] is False


def test_the_image_keeps_its_own_user():
    """`users` without `default` drops it."""
    assert user()[1]["users"][0] == "default"
    assert written()["user-data"]["users"] == ["default"]


def test_a_password_goes_in_as_a_hash_and_nothing_else():
    said, data = user(password=PASSWORD)
    assert said == {"name": "comsys", "lock_passwd": False, "hashed_passwd": HASH}
    # By `type`, and not in `list`, where old versions take `$y$` for a password; `expire` is true by default.
    assert data["chpasswd"] == {
        "expire": False,
        "users": [{"name": "comsys", "password": HASH, "type": "hash"}],
    }
    assert not {"passwd", "plain_text_passwd", "password"} & {*said, *data}


def test_nothing_is_said_of_passwords_where_there_is_none():
    assert "chpasswd" not in user(keys=(KEY,))[1]


@pytest.mark.parametrize("said", [{}, {"accounts": (Account("comsys", password=PASSWORD),)}])
def test_nobody_logs_in_with_a_password_and_root_not_at_all(said):
    data = written(**said)["user-data"]
    assert (data["ssh_pwauth"], data["disable_root"]) == (False, True)


def test_nor_by_an_answer_to_a_question():
    """`ssh_pwauth` says nothing of KbdInteractiveAuthentication, which an image may have on."""
    (file,) = written()["user-data"]["write_files"]
    assert file["path"].startswith("/etc/ssh/sshd_config.d/0")
    assert file["content"] == "KbdInteractiveAuthentication no\n"


def test_root_logs_in_where_it_is_named():
    """`disable_root` puts a refusal before its keys."""
    assert written(accounts=(Account("root", keys=(KEY,)),))["user-data"]["disable_root"] is False


def test_host_keys_are_made_anew_and_shown_on_the_console():
    data = written()["user-data"]
    assert data["ssh_deletekeys"] is True
    assert data["ssh"] == {"emit_keys_to_console": True}


def test_what_is_said_of_a_user():
    said, _ = user(groups=("sudo", "kvm"), shell="/bin/bash", sudo=True, keys=(KEY,))
    assert said == {
        "name": "comsys",
        "lock_passwd": False,
        "groups": ["sudo", "kvm"],
        "shell": "/bin/bash",
        "sudo": "ALL=(ALL) NOPASSWD:ALL",
        "ssh_authorized_keys": [KEY],
    }


@pytest.mark.parametrize(
    "odd", ["on", "12:30:45", "0123", "null", "1e3", 'a "quoted" \\ one', "ü 😀 \u2028 \x85."]
)
def test_texts_stay_texts(odd):
    """`on` is true to YAML 1.1, 12:30:45 a number, and U+2028 the end of a line."""
    assert user(keys=(odd,))[0]["ssh_authorized_keys"] == [odd]


def test_the_host_name_is_told_before_the_network_is_up():
    made = written(hostname="cxl-vmx")
    assert made["meta-data"] == {"instance-id": "cxlstate-a", "local-hostname": "cxl-vmx"}
    assert made["user-data"]["hostname"] == "cxl-vmx"
    assert written()["meta-data"] == {"instance-id": "cxlstate-a"}


def test_interfaces_are_known_by_their_addresses():
    made = written(macs=("52:54:00:fc:10:bd", "52:54:00:12:34:56"))["network-config"]
    assert made == {
        "version": 2,
        "ethernets": {
            "port0": {"match": {"macaddress": "52:54:00:fc:10:bd"}, "dhcp4": True},
            "port1": {"match": {"macaddress": "52:54:00:12:34:56"}, "dhcp4": True},
        },
    }


def test_an_interface_may_ask_for_nothing():
    made = written(macs=("52:54:00:fc:10:bd",), dhcp4=False)["network-config"]
    assert made["ethernets"]["port0"]["dhcp4"] is False


def test_without_a_word_on_it_the_network_is_left_to_the_image():
    assert "network-config" not in written()


def test_the_instance_is_the_same_for_the_same_vm_whatever_else_changes():
    assert cloud_init.instance("cxl_vmx") == "cxlstate-cxl_vmx"


def test_the_seed_says_nothing_of_a_secret():
    effect = WriteSeed("/seed.iso", FirstBoot("i", accounts=(Account("a", password=PASSWORD),)))
    told = f"{effect!r} {effect.shown()} {effect.journalled()}"
    assert "correct horse" not in told
    again = Secret(b"another", "env PASSWORD")
    same = WriteSeed("/seed.iso", FirstBoot("i", accounts=(Account("a", password=again),)))
    assert effect.fingerprint() == same.fingerprint()


# The hash -------------------------------------------------------------------------------------------------


def test_a_hash_is_of_the_password():
    first, second = password.sha512_crypt(PASSWORD), password.sha512_crypt(PASSWORD)
    assert first.startswith("$6$rounds=")
    assert first != second
    assert sha512_crypt.verify(b"correct horse", first)
    assert not sha512_crypt.verify(b"correct  horse", first)


def test_what_no_password_can_hold():
    with pytest.raises(ValueError, match=r"NUL|null"):
        password.sha512_crypt(Secret(b"a\0b"))


# The image ------------------------------------------------------------------------------------------------


def test_an_image_holds_the_files_under_their_names():
    files = {"meta-data": b"{}\n", "user-data": b"#cloud-config\n" + 5000 * b"x", "network-config": b""}
    made = seed_iso.image(files)
    assert seed_iso.read(made) == ("cidata", files)
    assert made[0x8001:0x8006] == b"CD001"
    assert made[0x8028:0x8048] == b"cidata".ljust(32)  # what blkid(8) takes for its label


@pytest.mark.parametrize("content", [b"", b"QFI\xfb", 40_000 * b"\0"])
def test_what_is_no_image(content):
    with pytest.raises(ValueError, match=r"."):
        seed_iso.read(content)


# In the guest -----------------------------------------------------------------------------------------------

DONE_25 = {
    "boot_status_code": "enabled-by-generator",
    "detail": "DataSourceNoCloud [seed=/dev/vdb]",
    "errors": [],
    "extended_status": "degraded done",
    "recoverable_errors": {"WARNING": ["Failed at merging", "Failed at merging"], "ERROR": ["no locale"]},
    "status": "done",
}


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (DONE_25, Status("done", "enabled-by-generator", (), ("Failed at merging", "no locale"))),
        ({"status": "done", "errors": [], "detail": "x"}, Status("done", "x")),  # 22.4 has no more
        (
            {"status": "error", "errors": ["('scripts-user', …)"]},
            Status("error", errors=("('scripts-user', …)",)),
        ),
        (
            {"status": "disabled", "boot_status_code": "disabled-by-generator"},
            Status("disabled", "disabled-by-generator"),
        ),
        ({"status": "running"}, Status("running")),
    ],
)
def test_a_status_is_read(said, status):
    assert cloud_init.status(json.dumps(said)) == status


@pytest.mark.parametrize(
    ("state", "ended"),
    [
        ("running", False),
        ("not run", False),
        ("not started", False),
        ("done", True),
        ("error", True),
        ("disabled", True),
    ],
)
def test_when_it_is_over(state, ended):
    assert Status(state).ended is ended


@pytest.mark.parametrize(
    "text", ["", "status: done", "[]", "{}", '{"status": "done", "recoverable_errors": []}']
)
def test_what_is_no_status(text):
    with pytest.raises(ValueError, match=r"."):
        cloud_init.status(text)


def test_what_a_seed_leaves():
    left = cloud_init.leftovers("cxlstate-a")
    assert "/var/lib/cloud/instances/cxlstate-a/user-data.txt" in left
    assert "/var/lib/cloud/instances/cxlstate-a/obj.pkl" in left


@pytest.mark.parametrize(
    ("vm", "path"),
    [
        ("cxl_vmx", "/var/lib/cxlstate/guests/cxl_vmx/first_boot"),
        ("a:b", "/var/lib/cxlstate/guests/a:b/first_boot"),
    ],
)
def test_where_the_host_keeps_what_it_was_made_from(vm, path):
    assert cloud_init.made_from(vm) == path
