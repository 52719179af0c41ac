"""Users and their groups (`host.users`)."""

from cxlstate.resources.user.reconcile import UserReconciler

reconciler = UserReconciler()
