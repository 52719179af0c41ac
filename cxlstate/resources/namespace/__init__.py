"""Namespaces of persistent memory (`namespaces`)."""

from cxlstate.resources.namespace.reconcile import NamespaceReconciler

reconciler = NamespaceReconciler()
