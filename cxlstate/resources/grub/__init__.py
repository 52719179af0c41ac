"""`host.grub`: arguments on the kernel command line of every boot entry."""

from __future__ import annotations

from cxlstate.resources.grub.reconcile import Grub

reconciler = Grub()
