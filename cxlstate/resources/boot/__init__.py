"""`host.boot`: the unit that makes again at boot what a reboot forgets. There is nothing to say."""

from __future__ import annotations

from cxlstate.resources.boot.reconcile import Boot

reconciler = Boot()
