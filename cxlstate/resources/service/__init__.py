"""systemd units (`host.services`)."""

from cxlstate.resources.service.reconcile import ServiceReconciler

reconciler = ServiceReconciler()
