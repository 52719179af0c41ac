"""Mounted file systems (`filesystems`)."""

from cxlstate.resources.filesystem.reconcile import FileSystemReconciler

reconciler = FileSystemReconciler()
