"""`host.mtrr`: memory types of physical ranges, by memory type range registers."""

from __future__ import annotations

from cxlstate.resources.mtrr.reconcile import Mtrr

reconciler = Mtrr()
