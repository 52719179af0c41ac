"""The hints for a host key that nobody confirms: what each says is done, and then the guest is reached.

With real SSH servers and a real guest agent: a simulated guest has no host key.
"""

from __future__ import annotations

import os
import re

import pytest

from cxlstate.core.diagnostic import CxlstateError
from cxlstate.core.guest import Accepted, Source
from cxlstate.core.read import File
from cxlstate.formats import host_keys
from cxlstate.machine.guest import reach
from cxlstate.machine.posix.reader import PosixReader
from cxlstate.machine.qga.ask import Silent
from tests.machine.test_guest_agent import Asked, inside  # noqa: F401  # a fixture
from tests.machine.test_guest_ssh import OTHER, route

KEPT = host_keys.path("vm")
UNCONFIRMED = pytest.mark.parametrize(
    ("code", "keys"), [("CXC120", (OTHER,)), ("CXC121", ())], ids=["CXC120", "CXC121"]
)


def hint_of(host, way, code):
    with pytest.raises(CxlstateError) as refused:
        reach(host, "box", way)
    (said,) = refused.value.diagnostics
    assert said.code == code
    return said.hint


class AgentOff(Asked):
    """A host whose VM has a channel to which no agent is connected."""

    def agent(self, vm):
        def ask(command, patience):
            raise Silent("QEMU guest agent is not connected")

        return ask


@UNCONFIRMED
def test_once_the_agent_runs_it_confirms_the_key(pair, inside, code, keys):  # noqa: F811
    way = route(pair, keys=keys, agent=True)
    before = AgentOff(None)
    assert re.search("`(systemctl start|apt-get install) qemu-guest-agent`", hint_of(before, way, code))
    before.close()
    host = Asked(inside)
    guest = reach(host, "box", way)
    assert guest.accepted == Accepted(pair.key(), Source.AGENT)
    guest.close()
    host.close()


@UNCONFIRMED
def test_without_a_channel_for_it_the_key_is_read_from_the_disk(pair, tmp_path, code, keys):
    host = Asked(None)
    host.agent = lambda _vm: None
    command = re.fullmatch("while the VM is off: `(.*)`", hint_of(host, route(pair, keys=keys), code))[1]
    _as_libguestfs(tmp_path / "virt-cat", pair.folder / "guest_key.pub")
    pair.host.space.run("sh", "-c", command, env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"})
    kept = PosixReader(host, "box").read([File(KEPT)]).text(File(KEPT))
    guest = reach(host, "box", route(pair, keys=host_keys.parse(kept)))
    assert guest.accepted == Accepted(pair.key(), Source.KEPT)
    guest.close()
    host.close()
    pair.host.space.run("rm", KEPT)


def _as_libguestfs(program, key):
    """virt-cat(1), which takes a domain of libvirt with a disk."""
    program.write_text(f'#!/bin/sh\n[ "$*" = "-d vm /etc/ssh/ssh_host_ed25519_key.pub" ] && cat {key}\n')
    program.chmod(0o755)


def test_where_the_agent_says_another_key_its_start_is_no_cure(pair, inside):  # noqa: F811
    (pair.folder / "etc-ssh/ssh_host_ed25519_key.pub").write_text(f"{OTHER.kind} {OTHER.key}\n")
    host = Asked(inside)
    hint = hint_of(host, route(pair, keys=(), agent=True), "CXC120")
    host.close()
    assert "qemu-guest-agent" not in hint
    address = re.search("`(ip -brief address)`", hint)[1]
    assert "127." in pair.guest.run(*address.split(), text=True).stdout
