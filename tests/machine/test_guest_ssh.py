"""Into a guest by SSH, through its host: reached, and by no other key than its own."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from cxlstate.adapters.open_reader import ahead, open_reader
from cxlstate.core.address import Address
from cxlstate.core.connect import Ssh, Through
from cxlstate.core.diagnostic import CxlstateError
from cxlstate.core.guest import Accepted, GuestAccess, HostKey, Route, Source
from cxlstate.core.read import File
from cxlstate.engine.reading import DENIED
from cxlstate.machine.guest import reach
from cxlstate.machine.local import LocalTransport
from tests.machine import guests

VERSION = File("/proc/version")
OTHER = HostKey("ssh-ed25519", "AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl")
RSA = HostKey(
    "ssh-rsa", "AAAAB3NzaC1yc2EAAAADAQABAAAAgQC7nSjcx2WLIPOZcvVJ4H0wT7n0Yw8k0n0sY3qkYw8k0n0sY3qkYw8k0n0sY3qk"
)
BLOCK = "-----BEGIN SSH HOST KEY KEYS-----\r\n{key}\r\n-----END SSH HOST KEY KEYS-----\r\n"


def route(pair, **more):
    access = GuestAccess(running=True, addresses=(guests.ADDRESS,), **{"keys": (pair.key(),), **more})
    return Route("box/vm", Through(Address("vm", "vm")), access)


@pytest.fixture
def host(pair):
    made = open_reader(Ssh("box"), "box")
    yield made
    made.close()


def refused(host, way):
    with pytest.raises(CxlstateError) as error:
        host.guest(way)
    (diagnostic,) = error.value.diagnostics
    assert diagnostic.machine == "box/vm"
    assert diagnostic.found
    assert diagnostic.hint
    return diagnostic


def test_it_is_not_reached_in_any_other_way(pair):
    log = len(pair.guest_log)
    with suppress(OSError), socket.create_connection((guests.ADDRESS, guests.PORT), 0.5) as other:
        other.sendall(b"SSH-2.0-nobody\r\n")
    time.sleep(0.2)
    assert "nobody" not in pair.guest_log[log:]


def test_a_guest_is_read_over_the_connection_to_its_host(pair, host):
    pair.guest.run("sh", "-c", "echo inside >/var/lib/cxlstate/where")
    where = File("/var/lib/cxlstate/where")
    assert host.read([where]).text_or_none(where) is None
    connections = pair.host.connections
    guest = host.guest(route(pair))
    assert guest.read([where]).text(where) == "inside\n"
    assert guest.accepted == Accepted(pair.key(), Source.KEPT)
    guest.close()
    guest.close()
    assert host.read([VERSION]).text(VERSION)
    assert pair.host.connections == connections


def test_the_process_that_connected_ahead_leads_on(pair):
    connections = pair.host.connections
    with ahead(Ssh("box")) as (opener, _):
        host = opener(Ssh("box"), "box")
        assert host.read([VERSION]).text(VERSION)
        two = [host.guest(route(pair)) for _ in range(2)]
        assert [one.read([VERSION]).text(VERSION) for one in two]
        assert two[0].accepted == Accepted(pair.key(), Source.KEPT)
        assert refused(host, route(pair, keys=(OTHER,))).code == "CXC120"
        for one in (*two, host):
            one.close()
    assert pair.host.connections - connections == 1


def test_the_next_address_is_tried(pair, host):
    way = route(pair)
    way = replace(way, access=replace(way.access, addresses=("127.99.0.9", guests.ADDRESS)))
    guest = host.guest(way)
    assert guest.read([VERSION]).text(VERSION)
    guest.close()


@pytest.mark.parametrize("addresses", [(), ("127.99.0.9",), ("no such name",)])
def test_a_guest_without_an_address_that_answers_is_named(pair, host, addresses):
    way = route(pair)
    said = refused(host, replace(way, access=replace(way.access, addresses=addresses)))
    assert said.code == "CXC122"
    assert (addresses[0] if addresses else "no address of it is known") in said.found


def test_a_host_that_forbids_forwarding_is_told_as_such(pair):
    pair.host.configure("AllowTcpForwarding no\n")
    try:
        host = open_reader(Ssh("box"), "box")
        said = refused(host, route(pair))
        host.close()
    finally:
        pair.host.configure("")
    assert said.code == "CXC122"
    assert "AllowTcpForwarding" in said.found


def test_another_port_comes_from_the_spec_or_from_the_configuration(pair, host):
    """Nothing listens there, which shows that it was tried."""
    way = route(pair)
    said = refused(host, replace(way, through=replace(way.through, port=2222)))
    assert f"{guests.ADDRESS}:2222" in said.found
    config = pair.config.read_text()
    try:
        pair.config.write_text(f"Host vm\n  Port 2223\n{config}")
        assert f"{guests.ADDRESS}:2223" in refused(host, way).found
        pair.config.write_text(f"Host vm\n  IdentityFile /dev/null\n{config}")
        assert host.guest(way).read([VERSION]).text(VERSION)
        pair.config.write_text(f"Host vm\n  User nobody-of-that-name\n{config}")
        said = refused(host, way)
        assert said.code == "CXC106"
        assert f"nobody-of-that-name@{guests.ADDRESS}" in said.message
        pair.config.write_text(f"Host vm\n  HostName 127.0.0.1\n  ProxyJump nowhere\n{config}")
        assert host.guest(way).read([VERSION]).text(VERSION)
    finally:
        pair.config.write_text(config)


def test_a_login_that_is_refused_is_told_from_no_answer_and_may_be_taken_later(pair, host):
    """As where cloud-init makes the user, and puts the key in, while sshd answers already."""
    assert host.read([VERSION]).text(VERSION)  # the connection to the host is open
    keys, server = pair.folder / "authorized_keys", route(pair)
    content = keys.read_text()
    try:
        keys.write_text("")
        assert refused(host, server).code == DENIED
        nobody_listens = replace(server, through=replace(server.through, port=2222))
        assert refused(host, nobody_listens).code == "CXC122"
    finally:
        keys.write_text(content)
    guest = host.guest(server)
    assert guest.read([VERSION]).text(VERSION)
    guest.close()


def test_a_host_key_is_not_believed_because_it_was_offered(pair, host):
    log = len(pair.guest_log)
    said = refused(host, route(pair, keys=()))
    assert said.code == "CXC121"
    assert pair.key().fingerprint in said.found
    assert "Accepted" not in pair.guest_log[log:]


def test_the_users_own_known_hosts_has_no_say(pair, host):
    known = pair.folder / "known_hosts"
    content = known.read_text()
    try:
        known.write_text(f"{content}vm,{guests.ADDRESS} {pair.key().kind} {pair.key().key}\n")
        assert refused(host, route(pair, keys=())).code == "CXC121"
        known.write_text(f"{content}vm {OTHER.kind} {OTHER.key}\n")
        host.guest(route(pair)).close()
    finally:
        known.write_text(content)


def test_another_key_than_the_one_that_is_kept_ends_it(pair, host):
    log = len(pair.guest_log)
    said = refused(host, route(pair, keys=(OTHER, RSA)))
    assert said.code == "CXC120"
    assert pair.key().fingerprint in said.found
    assert OTHER.fingerprint in said.expected
    assert "Accepted" not in pair.guest_log[log:]


@pytest.mark.parametrize("kept", [(), (OTHER,)])
def test_the_console_confirms_a_new_key(pair, host, tmp_path, kept):
    console = tmp_path / "console.log"
    public = (pair.folder / "guest_key.pub").read_text().strip()
    console.write_bytes(b"\xff booting\r\n" + BLOCK.format(key=public).encode() + b"vm login: ")
    guest = host.guest(route(pair, keys=kept, console=str(console)))
    assert guest.accepted == Accepted(pair.key(), Source.CONSOLE)
    guest.close()


def test_the_log_that_virtlogd_moved_away_is_read_too(pair, host, tmp_path):
    public = (pair.folder / "guest_key.pub").read_text().strip()
    (tmp_path / "console.log.0").write_text(BLOCK.format(key=public))
    guest = host.guest(route(pair, keys=(), console=str(tmp_path / "console.log")))
    assert guest.accepted == Accepted(pair.key(), Source.CONSOLE)
    guest.close()


def test_a_console_that_says_another_key_is_a_change(pair, host, tmp_path):
    console = tmp_path / "console.log"
    console.write_text(BLOCK.format(key=f"{OTHER.kind} {OTHER.key} root@vm"))
    said = refused(host, route(pair, keys=(), console=str(console)))
    assert said.code == "CXC120"
    assert "the serial console" in said.expected
    assert "guest agent" in said.expected  # why it does not say more


def test_a_host_key_of_a_type_that_is_kept_is_asked_for_first(pair, host):
    """The server has two, and the client would rather have the other."""
    ecdsa = pair.key("guest_ecdsa")
    guest = host.guest(route(pair, keys=(ecdsa,)))
    assert guest.accepted == Accepted(ecdsa, Source.KEPT)
    guest.close()


def test_this_machine_is_a_host_like_any_other(pair, tmp_path):
    """By a port of our own, since this machine has no way to the guest of the other tests."""
    host = LocalTransport()
    way = route(pair)
    local = replace(
        way,
        access=replace(way.access, addresses=("127.0.0.1",), keys=(host_key(pair),)),
        through=replace(way.through, port=pair.host.port),
    )
    guest = reach(host, "here", local)
    assert guest.exchange("sh", b"echo $((6 * 7))", 10, 100).stdout == b"42\n"
    guest.close()
    host.close()


def host_key(pair):
    kind, key, *_ = Path(pair.folder / "host_key.pub").read_text().split()
    return HostKey(kind, key)
