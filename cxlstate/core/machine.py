"""Machines as a spec names them: a host, and the guests in it."""

from __future__ import annotations

from enum import StrEnum

MachineId = str
"""`cloudcxl2` for a host, `cloudcxl2/cxl_vmx` for a guest in it. A host's name holds no slash."""


class Scope(StrEnum):
    """Where in a file the words of a kind stand, and so whose they are."""

    HOST = "host"
    """Below `host`."""
    GUEST = "guest"
    """Below `vms.X.guest`: the machine is the guest X."""
    ROOT = "root"
    """At the top (networks, vms): what the host has for its guests. The machine is the host."""
    VM = "vm"
    """Below `vms.X.guest`, too, but the machine is the host: what the guest needs before it runs, named X."""


HOST_AND_GUEST = frozenset({Scope.HOST, Scope.GUEST})
HOST_ONLY = frozenset({Scope.HOST})
ROOT_ONLY = frozenset({Scope.ROOT})
VM_AND_GUEST = frozenset({Scope.VM, Scope.GUEST})
OF_HOSTS = frozenset({Scope.HOST, Scope.ROOT, Scope.VM})


def guest_id(host: MachineId, vm: str) -> MachineId:
    """The id of the guest in a VM of a host."""
    return f"{host}/{vm}"


def is_guest(machine: MachineId) -> bool:
    """Whether an id is that of a guest."""
    return "/" in machine


def host_of(machine: MachineId) -> MachineId:
    """The host that a guest runs on; a host itself."""
    return machine.partition("/")[0]
