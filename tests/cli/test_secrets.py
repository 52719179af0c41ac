"""How a secret is had, and what is said where it cannot be. Where it may be: `tests/laws/test_secrets.py`."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic_core import PydanticCustomError

from cxlstate.cli.main import _run
from cxlstate.core.reference import Reference
from cxlstate.spec.fetching import fetching

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


@pytest.fixture
def run(tmp_path, monkeypatch, capfdbinary):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAB_TOKEN", "hunter1")
    monkeypatch.setenv("LAB_HASH", "$6$saltsalt$hash")
    (tmp_path / "secret.bin").write_bytes(bytes(range(256)))
    (tmp_path / "token").write_bytes(b"first-token")
    (tmp_path / "spec.yaml").write_text(SPEC)

    def run(*words: str) -> tuple[int, bytes]:
        status = _run(words)
        said = capfdbinary.readouterr()
        return status, said.out + said.err

    return run


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
        ("{command: [cat, /dev/zero]}", "more than 65536 bytes"),
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


@pytest.mark.parametrize("script", ["sleep 9 & echo hunter2", "echo hunter2; exec >&-; sleep 9"])
def test_a_command_that_does_not_end_is_not_waited_for(tmp_path, monkeypatch, script):
    monkeypatch.setattr("cxlstate.spec.fetching._SECONDS", 0.5)
    with pytest.raises(PydanticCustomError) as refused:
        fetching(tmp_path)(Reference("command", ("sh", "-c", script)))
    assert (refused.value.context or {})["found"] == "still running after 0.5 s"


def test_a_literal_secret_is_not_repeated(run):
    Path("spec.yaml").write_text(SPEC.replace("{env: LAB_TOKEN}", "[hunter2]"))
    status, said = run("validate", "spec.yaml")
    assert status == 1
    assert b"CXS214" in said
    assert b"hunter2" not in said


def test_no_program_that_is_started_inherits_what_the_spec_names_as_a_secret(run, tmp_path, monkeypatch):
    """Neither a command that prints another secret, nor what an SSH configuration starts."""
    command = "[sh, -c, 'env >printed; echo x']"
    Path("spec.yaml").write_text(SPEC.replace("[cat, token]", command))
    assert run("plan", "spec.yaml")[0] == 2
    monkeypatch.setenv("LAB_TOKEN", "hunter1")
    (tmp_path / "config").write_text(f"Host h\n  ProxyCommand env >{tmp_path}/proxied\n")
    monkeypatch.setenv("CXLSTATE_SSH_CONFIG", f"{tmp_path}/config")
    Path("spec.yaml").write_text(SPEC.replace("sim:host", "ssh://h"))
    assert run("plan", "spec.yaml")[0] == 1
    for name in ("printed", "proxied"):
        inherited = (tmp_path / name).read_text()
        assert "PATH=" in inherited
        assert "hunter1" not in inherited
        assert "saltsalt" not in inherited
