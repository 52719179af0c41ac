"""Host keys in the texts that vouch for them."""

from __future__ import annotations

import subprocess

import pytest

from cxlstate.core.guest import Accepted, GuestAccess, HostKey, Source
from cxlstate.formats import host_keys

ED = HostKey("ssh-ed25519", "AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ")
OTHER = HostKey("ssh-ed25519", "AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl")
BEGIN, END = "-----BEGIN SSH HOST KEY KEYS-----", "-----END SSH HOST KEY KEYS-----"


def line(key, comment=" root@guest"):
    return f"{key.kind} {key.key}{comment}"


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("", ()),
        (line(ED), (ED,)),
        (f"{line(ED)}\r\n{line(ED, '')}\n", (ED,)),
        (f"# {line(ED)}\n\n{line(OTHER)}\n", (OTHER,)),
        (f"guest {line(ED)}\n", ()),  # names are not kept
        ("ssh-ed25519 AAAA\n", ()),
        (f"ssh-rsa {ED.key}\n", ()),  # the key itself says another type
        (f"ssh-ed25519 {ED.key[:-1]}!\n", ()),
    ],
)
def test_a_line_is_a_key_or_passed_over(text, keys):
    assert host_keys.parse(text) == keys


def test_what_is_kept_is_read_back():
    assert host_keys.parse(host_keys.dump((ED, OTHER))) == (ED, OTHER)


@pytest.mark.parametrize(
    ("log", "keys"),
    [
        (f"boot\r\n{BEGIN}\r\n{line(ED)}\r\n{END}\r\nlogin: ", (ED,)),
        (f"{BEGIN}\n{line(ED)}\n{END}\n{BEGIN}\n{line(OTHER)}\n{END}\n", (OTHER,)),
        (f"{BEGIN}\n{line(ED)}\n{END}\n{BEGIN}\n{line(OTHER)}\n", (ED,)),  # cut: not believed yet
        (f"{BEGIN}\n[   9.1] audit: type=1400\n{line(ED)}\n{END}\n", (ED,)),
        (f"{line(ED)}\n", ()),  # outside of a block anybody may have typed it
        (f"login: {BEGIN}\n{line(ED)}\n{END}\n", ()),
        (f"h1.lab login: {BEGIN}\r\n{line(ED)}\r\nh1.lab login: {END}\r\n", (ED,)),
        (f"h1 login: {BEGIN}\nh1 login: {line(ED)}\nh1 login: {END}\n", ()),  # typed at the prompt
        ("", ()),
    ],
)
def test_the_last_whole_block_of_a_console_counts(log, keys):
    assert host_keys.on_console(log) == keys


def test_a_fingerprint_is_that_of_ssh_keygen(tmp_path):
    public = tmp_path / "key.pub"
    public.write_text(f"{line(ED)}\n")
    said = subprocess.run(["ssh-keygen", "-lf", public], capture_output=True, text=True, check=True)
    assert said.stdout.split()[1] == ED.fingerprint


@pytest.mark.parametrize("vm", ["..", "a/b", "cxl_vmx"])
def test_no_name_leads_out_of_the_folder(vm):
    folder = "/var/lib/cxlstate/guests/"
    assert host_keys.path(vm).startswith(folder)
    inner = host_keys.path(vm).removeprefix(folder)
    assert inner.count("/") == 1
    assert not inner.startswith(".")


def test_only_a_new_key_is_kept_and_in_place_of_the_old_ones():
    before = GuestAccess(running=True, keys=(OTHER,), kept="a" * 64)
    assert host_keys.keep("vm", before, Accepted(OTHER, Source.KEPT)) is None
    effect = host_keys.keep("vm", before, Accepted(ED, Source.AGENT))
    assert (effect.path, effect.expected, effect.mode) == (host_keys.path("vm"), "a" * 64, 0o600)
    assert host_keys.parse(effect.content.decode()) == (ED,)
