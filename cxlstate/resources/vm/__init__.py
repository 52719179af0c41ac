"""Virtual machines of libvirt (`vms`)."""

from cxlstate.resources.vm.reconcile import VmReconciler

reconciler = VmReconciler()
