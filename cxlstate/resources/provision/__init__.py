"""What the first boot of a guest makes of its image (`vms.NAME.guest.provision`)."""

from cxlstate.resources.provision.reconcile import ProvisionReconciler

reconciler = ProvisionReconciler()
