"""`host.memmap`: ranges of memory that the kernel is to leave alone."""

from __future__ import annotations

from cxlstate.resources.memmap.reconcile import Memmap

reconciler = Memmap()
