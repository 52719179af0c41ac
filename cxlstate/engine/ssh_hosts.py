"""How an SSH client comes to the machines of a tree, by its spec and by one exchange with the host.

What a host tells of its guests is what their VMs export: an address, and the host keys that an apply kept.
Holds nothing that could change a machine.
"""
# ruff: noqa: PLC0415  # SSH costs 100 ms to load, and most specs are written without

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_address

from cxlstate.core.address import ScopedAddress
from cxlstate.core.connect import Sim, Ssh
from cxlstate.core.defect import defect
from cxlstate.core.diagnostic import CxlstateError, Diagnostic, Severity
from cxlstate.core.guest import GuestAccess
from cxlstate.core.machine import MachineId
from cxlstate.core.observation import Unknown
from cxlstate.engine.assessing import TOLD, Assessed, assess_resources
from cxlstate.engine.graph import Graph
from cxlstate.engine.observe import Kinds
from cxlstate.engine.plan import Exit
from cxlstate.engine.reading import Opener, Readers, TreeReader, way_of
from cxlstate.formats.ssh_client import SshHost, Words, is_name
from cxlstate.machine import ssh_config
from cxlstate.spec.tree import Machine, Tree

_OF_A_GUEST = ("User", "Port", "IdentitiesOnly", "IdentityFile")


@dataclass(frozen=True, slots=True)
class SshHosts:
    """Those of a tree that can be written, and what is not known of the others."""

    tree: Tree
    hosts: tuple[SshHost, ...] = ()
    problems: tuple[Diagnostic, ...] = ()

    @property
    def unknown(self) -> frozenset[MachineId]:
        """Guests of which no address is known now: what was known of them is not wrong for that."""
        return frozenset(one.machine for one in self.problems if one.code == _NO_ADDRESS and one.machine)

    @property
    def exit(self) -> Exit:
        """An error, or unknown where anything is missing that only a machine can tell."""
        if any(one.severity is Severity.ERROR for one in self.problems):
            return Exit.ERROR
        return Exit.UNKNOWN if any(one.code in _NOT_KNOWN for one in self.problems) else Exit.IN_SYNC


_NO_KEY, _NO_ADDRESS = "CXC603", "CXC604"
_NOT_KNOWN = frozenset({_NO_KEY, _NO_ADDRESS})


def ssh_hosts(tree: Tree, kinds: Kinds, opener: Opener) -> SshHosts:
    """The host is asked only where it has guests. What goes wrong with it is a problem of this tree."""
    if isinstance(tree.host.connect, Sim):
        return SshHosts(tree, problems=(_simulated(tree.host),))
    try:
        host = tuple(_host(tree.host))
        found = [_guest(tree, guest, seen) for guest, seen in _asked(tree, kinds, opener)]
    except CxlstateError as error:
        return SshHosts(tree, problems=tuple(one.on(tree.host.id) for one in error.diagnostics))
    except Exception as error:  # noqa: BLE001  # the others get their configuration
        return SshHosts(tree, problems=(defect(error).on(tree.host.id),))
    guests = tuple(one for one, _ in found if one)
    return SshHosts(tree, (*host, *guests), tuple(problem for _, several in found for problem in several))


def _asked(tree: Tree, kinds: Kinds, opener: Opener) -> Iterator[tuple[Machine, GuestAccess | str]]:
    """Each guest with the way to it, or why that is not known."""
    if not tree.guests:
        return
    alone, readers = _narrowed(tree, kinds), Readers(opener)
    try:
        assessed = assess_resources(alone, TreeReader(alone, kinds, readers).read(), kinds)
    finally:
        readers.close()
    for guest in tree.guests:
        yield guest, _way(assessed, ScopedAddress(tree.host.id, way_of(guest).vm))


def _narrowed(tree: Tree, kinds: Kinds) -> Tree:
    """The host with the VMs of its guests, and with what those are told: nothing else is asked about."""
    host = tree.host
    needs = {
        ScopedAddress(host.id, one.address): kinds[one.address.kind].reconciler.needs(one)
        for one in host.resources
    }
    vms = [ScopedAddress(host.id, way_of(guest).vm) for guest in tree.guests]
    told = {at.address for at in Graph(needs).reached(vms, *TOLD)}
    resources = tuple(one for one in host.resources if one.address in told)
    return replace(tree, machines=(replace(host, resources=resources),))


def _way(assessed: Assessed, vm: ScopedAddress) -> GuestAccess | str:
    for one in assessed.made[vm].exports:
        if isinstance(one, GuestAccess):
            return one
    seen = assessed.observations[vm]
    return seen.reason if isinstance(seen, Unknown) else f"{vm.address} tells no way into it"


# Entries ----------------------------------------------------------------------------------------------


def _host(host: Machine) -> Iterator[SshHost]:
    """What the spec says. This machine itself takes none; its guests are reached from here."""
    if isinstance(host.connect, Ssh):
        yield SshHost(
            host.id,
            host.id,
            user=host.connect.user,
            port=host.connect.port,
            more=_copied(host.connect.host, host.id),
        )


def _guest(
    tree: Tree, guest: Machine, way: GuestAccess | str
) -> tuple[SshHost | None, tuple[Diagnostic, ...]]:
    through = way_of(guest)
    vm = through.vm.name
    if not is_name(vm):
        return None, (_no_name(guest, vm),)
    address = "" if isinstance(way, str) else next(filter(_is_address, way.addresses), "")
    if isinstance(way, str) or not address:
        return None, (_no_address(guest, way),)
    entry = SshHost(
        guest.id,
        vm,
        address=address,
        user=through.user,
        port=through.port,
        jump=tree.host.id if isinstance(tree.host.connect, Ssh) else "",
        keys=way.keys,
        more=tuple(one for one in _copied(vm, vm) if one[0] in _OF_A_GUEST),
    )
    return entry, () if way.keys else (_no_key(tree, guest),)


def _is_address(text: str) -> bool:
    """What a host tells gets into the user's configuration. A zone (`fe80::1%eth0`) is any text."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return "%" not in text


def _copied(alias: str, name: str) -> Words:
    """What the user's configuration says, where `ssh NAME` does not come to it by itself.

    Where it does, it is not said twice: it may change.
    """
    if alias == name and ssh_config.named() is None:
        return ()
    from cxlstate.machine.ssh_words import copy

    return copy(alias)


# Problems ---------------------------------------------------------------------------------------------


def _simulated(host: Machine) -> Diagnostic:
    return Diagnostic(
        "CXC606",
        f"{host.id} is simulated: there is no SSH server",
        machine=host.id,
        expected="a host that is reached by ssh:// or is local",
    )


def _no_name(guest: Machine, vm: str) -> Diagnostic:
    return Diagnostic(
        "CXC605",
        f"ssh takes {vm} for no host name",
        Severity.WARNING,
        machine=guest.id,
        found=vm,
        expected="letters, digits and _ . - alone",
        hint="`virsh domrename` renames the VM while it is off; rename it in the spec, too",
    )


def _no_address(guest: Machine, way: GuestAccess | str) -> Diagnostic:
    if isinstance(way, str):
        found = way
    elif not way.defined:
        found = "the VM is not defined yet"
    else:
        found = f"no reservation and no lease; the VM {'runs' if way.running else 'is off'}"
    return Diagnostic(
        _NO_ADDRESS,
        f"address of {guest.id} is not known",
        Severity.WARNING,
        machine=guest.id,
        found=found,
        expected="an address that a libvirt network reserves or has given to the VM",
        hint="add a reservation to `networks`, or start the VM; then run this again",
    )


def _no_key(tree: Tree, guest: Machine) -> Diagnostic:
    hint = f"`cxlstate apply {tree.file}` keeps the key once it reaches the guest; then run this again"
    if way_of(guest).via == "agent":
        hint = "cxlstate keeps host keys of guests that it reaches by SSH: write `connect: {via: ssh}`"
    return Diagnostic(
        _NO_KEY,
        f"host key of {guest.id} is not kept on its host",
        Severity.WARNING,
        machine=guest.id,
        found="no host key",
        expected="one that the hypervisor has confirmed; until then ssh refuses to connect",
        hint=hint,
    )
