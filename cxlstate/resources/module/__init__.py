"""Kernel modules (`host.modules`)."""

from cxlstate.resources.module.reconcile import ModuleReconciler

reconciler = ModuleReconciler()
