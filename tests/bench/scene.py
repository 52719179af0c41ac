"""What is compared: a spec that this machine is in sync with, and its reads as one script."""

from __future__ import annotations

import grp
import json
import pwd
import subprocess
from collections.abc import Collection
from pathlib import Path

from cxlstate.core.answers import Answers
from cxlstate.core.diagnostic import Diagnostic
from cxlstate.core.effect import Effect
from cxlstate.core.read import Question
from cxlstate.engine.observe import observe
from cxlstate.machine.posix import read_script
from cxlstate.resources import kinds
from cxlstate.spec.load import load

LAB_SPEC = """\
apiVersion: cxlstate/v1
host:
  name: lab
  connect: ssh://lab
  packages: [bash, coreutils, dash]
  services: {ssh: {running: true}, systemd-journald: {running: true}}
"""
"""In sync with the emulated host as it is first started."""

LAB_DEPLOY = """\
from pyinfra.operations import apt, systemd
apt.packages(packages=["bash", "coreutils", "dash"])
systemd.service(service="ssh.service", running=True)
systemd.service(service="systemd-journald.service", running=True)
"""

LAB_PLAYBOOK = """\
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.command: dpkg-query --show bash coreutils dash
      check_mode: false
      changed_when: false
    - ansible.builtin.systemd_service: {name: '{{ item }}', state: started}
      loop: [ssh, systemd-journald]
"""
"""Packages by a command: the module `apt` wants python3-apt on the host even to check."""

USERS = 2
SMALL = 10


def packages() -> list[str]:
    listed = subprocess.run(
        ["dpkg-query", "--show", "--showformat=${db:Status-Abbrev}${Package}\n"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    return sorted({line.removeprefix("ii ") for line in listed if line.startswith("ii ")})


def users() -> dict[str, str]:
    """Some users of this machine, and the group that each is in."""
    return {user.pw_name: grp.getgrgid(user.pw_gid).gr_name for user in pwd.getpwall()[:USERS]}


def in_sync(resources: int) -> str | None:
    """A spec of that many resources; None where there are not that many packages."""
    wanted = packages()[: resources - USERS]
    if len(wanted) < resources - USERS:
        return None
    return "\n".join(
        [
            "apiVersion: cxlstate/v1",
            "host:",
            "  name: box",
            "  connect: ssh://box",
            "  packages:",
            *(f"    - '{package}'" for package in wanted),
            "  users:",
            *(f"    {user}: {{groups: [{group}]}}" for user, group in users().items()),
            "",
        ]
    )


class Recorder:
    """A reader that only learns what it is asked."""

    def __init__(self) -> None:
        self.asked: list[Question] = []

    def read(self, reads: Collection[Question]) -> Answers:
        self.asked += reads
        return Answers({})

    def lacks(self, effect: type[Effect]) -> Diagnostic | None:
        return None

    def close(self) -> None:
        pass


def script(spec: Path) -> bytes:
    """What a plan of the spec has the machine run."""
    (loaded,) = load([spec]).trees
    recorder = Recorder()
    observe(recorder, loaded.host, kinds())
    questions = read_script.ordered(read_script.merge(recorder.asked).values())
    return read_script.script("0" * 32, questions)


def playbook() -> str:
    """The same wishes for Ansible (YAML, with JSON in it)."""
    return (
        "- hosts: all\n  gather_facts: false\n  tasks:\n"
        f"    - ansible.builtin.apt: {{name: {json.dumps(packages()[: SMALL - USERS])}, state: present}}\n"
        "    - ansible.builtin.user: {name: '{{ item.key }}', group: '{{ item.value }}'}\n"
        f"      loop: '{{{{ wanted | dict2items }}}}'\n      vars: {{wanted: {json.dumps(users())}}}\n"
    )


def deploy() -> str:
    """The same wishes for pyinfra."""
    lines = [f"server.user(user={user!r}, group={group!r})" for user, group in users().items()]
    return "\n".join(
        [
            "from pyinfra.operations import apt, server",
            f"apt.packages(packages={packages()[: SMALL - USERS]!r})",
            *lines,
            "",
        ]
    )
