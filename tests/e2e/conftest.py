"""The command line as a user runs it, and a spec of what every host has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

HEAD = """\
apiVersion: cxlstate/v1
host:
  name: lab
  connect: ssh://lab
"""
AT_BOOT = """\
  grub:
    args: ['cxlstate.test=$HOME']
    absent: [nomodeset]
  memmap:
    - {size: 512MiB, start: 6GiB, type: pmem}
    - {size: 256MiB, start: 7GiB, type: reserved}
  modules:
    kmem: absent
    dummy: present
"""
"""What takes a reboot: the specs of memory and VMs have it, too, so that one reboot does for all of them."""
SPEC = f"""\
{HEAD}\
  packages: [ndctl, daxctl, hello]
  services:
    libvirtd: {{enabled: true, running: true}}
  users:
    admin: {{groups: [kvm, libvirt]}}
{AT_BOOT}"""


@dataclass
class Cli:
    """`cxlstate` in a process of its own, with the emulated host's SSH configuration."""

    ssh_config: Path

    def run(self, *arguments, timeout=900):
        return subprocess.run(
            [sys.executable, "-m", "cxlstate", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            stdin=subprocess.DEVNULL,
            env=os.environ | {"CXLSTATE_SSH_CONFIG": str(self.ssh_config)},
        )

    def module(self, name, *arguments, timeout=900):
        """What a helper of the tests says: it does what no user can, at a moment of its choice."""
        done = subprocess.run(
            [sys.executable, "-m", name, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            stdin=subprocess.DEVNULL,
            env=os.environ | {"CXLSTATE_SSH_CONFIG": str(self.ssh_config)},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self, *arguments):
        return subprocess.Popen(
            [sys.executable, "-m", "cxlstate", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env=os.environ | {"CXLSTATE_SSH_CONFIG": str(self.ssh_config)},
        )

    def statuses(self, *arguments):
        done = self.run(*arguments, "--json")
        document = json.loads(done.stdout)
        every = (resource for machine in document["machines"] for resource in machine["resources"])
        return {resource["address"].partition("/")[2]: resource["status"] for resource in every}


def cli_of(host):
    return Cli(host.ssh_config)


@pytest.fixture
def cli(host):
    return cli_of(host)


@pytest.fixture
def spec(tmp_path):
    return written(tmp_path)


def written(folder):
    path = folder / "lab.yaml"
    path.write_text(SPEC)
    return path
