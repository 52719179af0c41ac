"""Disk images on the host (`images`)."""

from cxlstate.resources.image.reconcile import ImageReconciler

reconciler = ImageReconciler()
