"""Rules between a guest and its VM."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from cxlstate.core.connect import Ssh, Through
from cxlstate.core.diagnostic import Diagnostic, Severity
from cxlstate.resources.provision.spec import Provision
from cxlstate.resources.sshd.spec import SshdSpec
from cxlstate.resources.vm.spec import VmSpec
from cxlstate.rules.words import Rule, TreeRule, of
from cxlstate.spec.envelope import GUEST
from cxlstate.spec.tree import Tree


def guests_have_a_vm(tree: Tree) -> Iterator[Diagnostic]:
    """CXS332: a VM that is to be absent has no guest."""
    absent = {me.address: me for me in of(tree.host.resources, VmSpec) if me.spec.state == "absent"}
    for guest in tree.guests:
        if isinstance(guest.connect, Through) and (vm := absent.get(guest.connect.vm)):
            yield Diagnostic(
                "CXS332",
                f"{vm.address} is absent and has a guest",
                path=(*vm.path, GUEST),
                address=vm.address,
                found=f"state: absent, and a section `{GUEST}`",
                expected="one of the two",
                hint=f"remove the section `{GUEST}`",
            )


def new_guests_let_us_in(tree: Tree) -> Iterator[Diagnostic]:
    """CXP411: who is provisioned can be logged in as, and become root, as cxlstate has to."""
    for guest in tree.guests:
        way = guest.connect
        for me in of(guest.resources, Provision):
            if not isinstance(way, Through) or way.via != "ssh" or not way.user:
                continue
            user = me.spec.users.get(way.user)
            lacks = "authorized_keys" if not user or not user.authorized_keys else "sudo"
            if user and user.authorized_keys and (user.sudo or way.user == "root"):
                continue
            there = (way.user,) if user else ()
            yield Diagnostic(
                "CXP411",
                f"cxlstate cannot work in {guest.id} as {way.user}",
                Severity.WARNING,
                path=(*me.path, "users", *there),
                address=me.address,
                found=f"{way.user} without {lacks}" if user else f"no user {way.user}",
                expected=f"a key to log in as {way.user}, and sudo without a password",
                hint=f"write {way.user}: {{sudo: true, authorized_keys: [{{file: ~/.ssh/id_ed25519.pub}}]}}",
            )


def the_way_to_guests_stays_open(tree: Tree) -> Iterator[Diagnostic]:
    """CXH206: guests are reached by SSH through the connection to their host, which has to forward."""
    through = [
        guest.id for guest in tree.guests if isinstance(guest.connect, Through) and guest.connect.via == "ssh"
    ]
    for me in of(tree.host.resources, SshdSpec) if isinstance(tree.host.connect, Ssh) and through else ():
        if me.spec.allow_tcp_forwarding is False:
            yield Diagnostic(
                "CXH206",
                "AllowTcpForwarding no would close the way to the guests",
                path=(*me.path, "allow_tcp_forwarding"),
                address=me.address,
                found=f"allow_tcp_forwarding: false, and {', '.join(through)} by SSH through this host",
                expected="allow_tcp_forwarding: true",
                hint="remove `allow_tcp_forwarding`, or write `connect: {via: agent}` at the guests",
            )


RULES: Final[tuple[Rule, ...]] = ()
BETWEEN: Final[tuple[TreeRule, ...]] = (guests_have_a_vm, new_guests_let_us_in, the_way_to_guests_stays_open)
