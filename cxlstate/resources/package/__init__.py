"""Debian packages (`host.packages`)."""

from cxlstate.resources.package.reconcile import PackageReconciler

reconciler = PackageReconciler()
