"""libvirt's networks, and which guest has which address on them (`networks`)."""

from cxlstate.resources.network.reconcile import Network

reconciler = Network()
