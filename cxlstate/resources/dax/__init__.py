"""Dax devices: CXL memory that programs and guests map (`host.dax`)."""

from cxlstate.resources.dax.reconcile import Dax

reconciler = Dax()
