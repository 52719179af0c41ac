"""Rules between a guest and its VM."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from cxlstate.core.connect import Through
from cxlstate.core.diagnostic import Diagnostic
from cxlstate.resources.vm.spec import VmSpec
from cxlstate.rules.words import TreeRule, of
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


RULES: Final[tuple[TreeRule, ...]] = (guests_have_a_vm,)
