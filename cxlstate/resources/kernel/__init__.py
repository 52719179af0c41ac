"""A kernel source tree, its patches, and the proof that a kernel built from it runs (`kernel`)."""

from cxlstate.resources.kernel.reconcile import Kernel

reconciler = Kernel()
