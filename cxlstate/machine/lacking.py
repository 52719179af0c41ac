"""What this computer lacks for an effect on another. Nothing here performs one."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from cxlstate.core.diagnostic import Diagnostic
from cxlstate.core.effect import Effect


def lacks(effect: type[Effect]) -> Diagnostic | None:
    """Why an effect of this type cannot be performed from here, told before anything is done."""
    from cxlstate.core.libvirt import LibvirtEffect  # noqa: PLC0415  # a plan in sync has no effects

    if issubclass(effect, LibvirtEffect) and find_spec("libvirt") is None:
        return without_libvirt("No module named 'libvirt'")
    return None


def without_libvirt(found: str) -> Diagnostic:
    """libvirt-python is optional."""
    return Diagnostic(
        "CXC501",
        "networks and VMs need libvirt-python, which is not installed here",
        found=found,
        expected="`import libvirt` to succeed in the Python that runs cxlstate",
        hint="sudo apt-get install gcc libvirt-dev pkg-config python3-dev && "
        f"{sys.executable} -m pip install libvirt-python",
    )
