from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cxlstate.machine.posix import launcher
from tests.bench import scene
from tests.bench.conftest import Command

CXLSTATE = (sys.executable, str(Path(sys.executable).with_name("cxlstate")))


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_start(option, race, environment):
    nothing = Command((sys.executable, "-c", "pass"), env=environment)
    race(f"cxlstate {option}", Command((*CXLSTATE, option), env=environment), "python -c pass", nothing)


def test_plan_over_ssh_of_what_is_in_sync(spec, race, environment, server):
    env = environment | {"CXLSTATE_SSH_CONFIG": str(server.config)}
    ours = Command((*CXLSTATE, "plan", str(spec)), env=env)
    ssh = Command(("ssh", "-F", str(server.config), "box", launcher.read(600)), scene.script(spec), env)
    race(f"cxlstate plan, {spec.stem} resources", ours, "ssh, same reads", ssh)


def test_ansible_for_the_same_check(tools, tmp_path, race, environment, server):
    """With what makes it quick: no facts, pipelining, the interpreter named."""
    (tmp_path / "play.yaml").write_text(scene.playbook())
    options = (
        *("--check", "-i", "box,", "-e", "ansible_python_interpreter=/usr/bin/python3"),
        *("--ssh-common-args", f"-F {server.config}", str(tmp_path / "play.yaml")),
    )
    env = environment | {"ANSIBLE_PIPELINING": "1", "ANSIBLE_HOME": str(tmp_path), "LC_ALL": "C.UTF-8"}
    ansible = Command((str(tools / "ansible-playbook"), *options), env=env, says=b"changed=0")
    race("ansible-playbook --check, 10", ansible, "cxlstate plan, 10", ours(tmp_path, server, env), rounds=5)


def test_pyinfra_for_the_same_check(tools, tmp_path, race, environment, server):
    (tmp_path / "deploy.py").write_text(scene.deploy())
    options = (
        "--dry",
        "--data",
        f"ssh_config_file={server.config}",
        "@ssh/box",
        str(tmp_path / "deploy.py"),
    )
    pyinfra = Command((str(tools / "pyinfra"), *options), env=environment, says=b"Connected")
    mine = ours(tmp_path, server, environment)
    race("pyinfra --dry, 10", pyinfra, "cxlstate plan, 10", mine, rounds=5)


@pytest.mark.lab
@pytest.mark.looks
def test_pyinfra_on_the_emulated_host(tools, tmp_path, race, environment, host):
    """Where a process costs some 35 ms, what counts is how many a plan starts there."""
    (tmp_path / "deploy.py").write_text(scene.LAB_DEPLOY)
    options = (
        "--dry",
        "--data",
        f"ssh_config_file={host.ssh_config}",
        "@ssh/lab",
        str(tmp_path / "deploy.py"),
    )
    pyinfra = Command((str(tools / "pyinfra"), *options), env=environment, says=b"Connected")
    race("pyinfra --dry, emulated host", pyinfra, "cxlstate plan", of_the_lab(tmp_path, host, environment), 7)


@pytest.mark.lab
@pytest.mark.looks
def test_ansible_on_the_emulated_host(tools, tmp_path, race, environment, host):
    """As above on this machine: no facts but the packages, pipelining, the interpreter named."""
    (tmp_path / "play.yaml").write_text(scene.LAB_PLAYBOOK)
    options = (
        *("--check", "-i", "lab,", "-e", "ansible_python_interpreter=/usr/bin/python3"),
        *("--ssh-common-args", f"-F {host.ssh_config}", str(tmp_path / "play.yaml")),
    )
    env = environment | {"ANSIBLE_PIPELINING": "1", "ANSIBLE_HOME": str(tmp_path), "LC_ALL": "C.UTF-8"}
    ansible = Command((str(tools / "ansible-playbook"), *options), env=env, says=b"failed=0")
    race("ansible --check, emulated host", ansible, "cxlstate plan", of_the_lab(tmp_path, host, env), 7)


@pytest.mark.lab
@pytest.mark.looks
def test_ssh_on_the_emulated_host(tmp_path, race, environment, host):
    """What cxlstate adds there to the script that it sends."""
    ours_ = of_the_lab(tmp_path, host, environment)
    argv = ("ssh", "-F", str(host.ssh_config), "lab", launcher.read(600))
    ssh = Command(argv, scene.script(tmp_path / "lab.yaml"), environment)
    race("cxlstate plan, emulated host", ours_, "ssh, same reads", ssh, 7)


def of_the_lab(folder, host, env):
    (folder / "lab.yaml").write_text(scene.LAB_SPEC)
    return Command(
        (*CXLSTATE, "plan", str(folder / "lab.yaml")), env=env | {"CXLSTATE_SSH_CONFIG": str(host.ssh_config)}
    )


def ours(folder, server, env):
    spec = folder / "box.yaml"
    spec.write_text(scene.in_sync(scene.SMALL))
    return Command((*CXLSTATE, "plan", str(spec)), env=env | {"CXLSTATE_SSH_CONFIG": str(server.config)})
