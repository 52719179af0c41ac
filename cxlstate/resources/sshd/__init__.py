"""Who may log in by SSH, and how (`host.sshd`)."""

from cxlstate.resources.sshd.reconcile import SshdReconciler

reconciler = SshdReconciler()
