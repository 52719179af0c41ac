"""Files by their absolute path (`host.files`)."""

from cxlstate.resources.file.reconcile import FileReconciler

reconciler = FileReconciler()
