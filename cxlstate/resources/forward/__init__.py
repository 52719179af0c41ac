"""Ports of the host that lead to a guest (`host.forwards`)."""

from cxlstate.resources.forward.reconcile import ForwardReconciler

reconciler = ForwardReconciler()
