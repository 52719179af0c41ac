"""Secrets are planted by every way, and found nowhere but in the file that they are for."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from pathlib import Path

import pytest

from cxlstate.cli.main import _run

HASHES = "$6$saltsalt$firstfirstfirst", "$y$j9T$saltsalt$secondsecond"
FIRST, SECOND, LONG = b"hunter1", b"hunter2", bytes(range(256)) * 40
SPEC = """\
apiVersion: cxlstate/v1
host:
  name: h
  connect: sim:host
  files:
    /etc/lab/env: {content: {env: LAB_TOKEN}, mode: '0600'}
    /etc/lab/file: {content: {file: secret.bin}, mode: '0400', owner: admin}
    /etc/lab/command: {content: {command: [cat, token]}, mode: '0600'}
  users:
    lab: {password_hash: {env: LAB_HASH}}
"""


def spellings(secret: bytes) -> list[bytes]:
    return [
        secret,
        sha256(secret).hexdigest().encode(),
        b64encode(secret),
        repr(secret).encode(),
        secret.hex().encode(),
    ]


@pytest.fixture
def run(tmp_path, monkeypatch, capfdbinary):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAB_TOKEN", FIRST.decode())
    monkeypatch.setenv("LAB_HASH", HASHES[0])
    (tmp_path / "secret.bin").write_bytes(LONG)
    (tmp_path / "token").write_bytes(b"first-token")
    (tmp_path / "spec.yaml").write_text(SPEC)

    def run(*words: str) -> tuple[int, bytes]:
        status = _run(words)
        said = capfdbinary.readouterr()
        return status, said.out + said.err

    return run


@pytest.mark.slow
def test_secrets_are_found_nowhere_but_in_their_files(run, tmp_path, monkeypatch):
    said = [run("plan", "spec.yaml", "--out", "plan.json"), run("plan", "spec.yaml", "--json")]
    said += [run("apply", "--yes", "spec.yaml"), run("plan", "spec.yaml")]
    assert [status for status, _ in said] == [2, 2, 0, 0]
    files = [tmp_path / "host/root/etc/lab" / name for name in ("env", "file", "command")]
    assert [one.read_bytes() for one in files] == [FIRST, LONG, b"first-token"]
    assert [one.stat().st_mode & 0o777 for one in files] == [0o600, 0o400, 0o600]

    shadow = tmp_path / "host/root/etc/shadow"
    assert f"lab:{HASHES[0]}:" in shadow.read_text()

    monkeypatch.setenv("LAB_TOKEN", SECOND.decode())
    monkeypatch.setenv("LAB_HASH", HASHES[1])
    (tmp_path / "token").write_bytes(b"other-token")
    said += [run("plan", "spec.yaml"), run("drift", "spec.yaml"), run("drift", "--json", "spec.yaml")]
    said += [run("show", "spec.yaml"), run("apply", "--yes", "--json", "spec.yaml"), run("plan", "spec.yaml")]
    assert [status for status, _ in said[4:]] == [2, 2, 2, 0, 0, 0]
    assert files[0].read_bytes() == SECOND

    assert f"lab:{HASHES[1]}:" in shadow.read_text()

    planted = {tmp_path / "secret.bin", tmp_path / "token", shadow, *files}
    found = b"".join(text for _, text in said)
    found += b"".join(one.read_bytes() for one in tmp_path.rglob("*") if one.is_file() and one not in planted)
    for secret in (FIRST, SECOND, LONG, b"first-token", b"other-token", *(one.encode() for one in HASHES)):
        for spelling in spellings(secret):
            assert spelling not in found


def test_validate_needs_no_secret_and_runs_nothing(run, tmp_path, monkeypatch):
    monkeypatch.delenv("LAB_TOKEN")
    monkeypatch.delenv("LAB_HASH")
    (tmp_path / "spec.yaml").write_text(SPEC.replace("[cat, token]", "[touch, ran]"))
    assert run("validate", "spec.yaml")[0] == 0
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("reference", "found"),
    [
        ("{env: LAB_TOKEN_2}", "not set"),
        ("{file: gone}", "No such file or directory"),
        ("{command: [sh, -c, 'echo hunter2; echo hunter2 >&2; exit 3']}", "exit status 3"),
        ("{command: [not-a-program]}", "No such file or directory"),
        ("{command: ['true']}", "no output"),
    ],
)
def test_a_secret_that_cannot_be_had_is_an_error_without_it(run, tmp_path, reference, found):
    Path("spec.yaml").write_text(SPEC.replace("{env: LAB_TOKEN}", reference))
    status, said = run("plan", "spec.yaml")
    assert status == 1
    assert b"error[CXS215]" in said
    assert b"spec.yaml:6:20" in said
    assert f"found    {found}".encode() in said
    assert b"hunter2" not in said.replace(reference.encode(), b"").replace(b"echo hunter2", b"")


def test_a_literal_secret_is_not_repeated(run):
    Path("spec.yaml").write_text(SPEC.replace("{env: LAB_TOKEN}", "[hunter2]"))
    status, said = run("validate", "spec.yaml")
    assert status == 1
    assert b"CXS214" in said
    assert b"hunter2" not in said
