"""The seed of a guest on a real file system, and the wait for its first boot."""

from __future__ import annotations

import json
import stat
import subprocess

import pytest
from passlib.hash import sha512_crypt

from cxlstate.core.first_boot import Account, AwaitFirstBoot, FirstBoot, WriteSeed
from cxlstate.core.secret import Secret
from cxlstate.formats import seed_iso
from cxlstate.machine.outcome import Outcome, Result
from cxlstate.machine.posix import first_boot_effects
from tests.machine.conftest import ENTRY

DONE = Outcome(Result.DONE)
BOOT = FirstBoot("cxlstate-g", accounts=(Account("a", password=Secret(b"correct horse", "env A")),))


def hash_in(path) -> str:
    label, files = seed_iso.read(path.read_bytes())
    assert label == "cidata"
    (user,) = json.loads(files["user-data"].removeprefix(b"#cloud-config\n"))["users"][1:]
    return user["hashed_passwd"]


def test_a_seed_is_for_root_alone_and_holds_the_hash_of_the_password(writer, tmp_path):
    path = tmp_path / "images/g.cidata.iso"
    assert writer.perform(WriteSeed(str(path), BOOT), ENTRY) == DONE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sha512_crypt.verify(b"correct horse", hash_in(path))


def test_it_takes_the_place_of_an_earlier_one_of_which_nothing_is_kept(writer, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "images").symlink_to("elsewhere")
    path = tmp_path / "images/g.cidata.iso"
    path.write_bytes(b"an earlier one")
    path.chmod(0o644)
    assert writer.perform(WriteSeed(str(path), BOOT, replaces=True), ENTRY) == DONE
    first = hash_in(path)
    assert writer.perform(WriteSeed(str(path), BOOT, replaces=True), ENTRY) == DONE
    assert hash_in(path) != first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    kept = [one for one in (tmp_path / "state").rglob("*") if one.is_file()]
    assert kept
    for one in kept:
        assert not {b"$6$", b"earlier", b"correct horse"} & set(one.read_bytes().split()), one
        assert b"CD001" not in one.read_bytes()
        assert first.encode() not in one.read_bytes()
    assert not list(tmp_path.rglob("*.cxlstate"))


def test_something_else_in_its_place_is_left(writer, tmp_path):
    (tmp_path / "seed").mkdir()
    outcome = writer.perform(WriteSeed(str(tmp_path / "seed"), BOOT, replaces=True), ENTRY)
    assert (outcome.result, "is not a regular file" in outcome.output) == (Result.FAILED, True)


def test_a_file_that_has_come_meanwhile_is_nobodys_to_replace(writer, tmp_path):
    path = tmp_path / "g.cidata.iso"
    path.write_bytes(b"somebody's")
    assert writer.perform(WriteSeed(str(path), BOOT), ENTRY).result is Result.STALE
    assert path.read_bytes() == b"somebody's"
    assert not list(tmp_path.rglob("*.cxlstate"))


@pytest.mark.parametrize(("status", "ends"), [(0, 0), (1, 1), (2, 0), (127, 1)])
def test_errors_that_cloud_init_went_on_from_are_none(tmp_path, status, ends):
    """Its exit statuses: an error is 1, done with errors is 2."""
    program = tmp_path / "cloud-init"
    program.write_text(f'#!/bin/sh\n[ "$*" = "status --wait --long" ] || exit 9\nexit {status}\n')
    program.chmod(0o755)
    done = subprocess.run(
        ["sh", "-c", first_boot_effects.AWAIT], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, check=False
    )
    assert done.returncode == ends


def test_without_cloud_init_there_is_nothing_to_wait_for(writer):
    assert writer.perform(AwaitFirstBoot(), ENTRY).result is Result.FAILED
