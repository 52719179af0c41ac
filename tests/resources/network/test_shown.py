"""What is done to a network is shown as what a person would have typed."""

from __future__ import annotations

import pytest

from cxlstate.core.libvirt import (
    AutostartNetwork,
    DefineNetwork,
    NetworkEffect,
    StartNetwork,
    StopNetwork,
    UndefineNetwork,
    Update,
    UpdateNetwork,
)

HOST = '<host mac="52:54:00:fc:10:bd" ip="10.0.0.2"/>'


@pytest.mark.parametrize(
    ("effect", "typed"),
    [
        (DefineNetwork("lab", "<network/>"), "virsh net-define lab.xml"),
        (DefineNetwork("lab", "<network/>", "0f"), "edit the definition of the network lab"),
        (UndefineNetwork("lab"), "virsh net-undefine lab"),
        (StartNetwork("lab"), "virsh net-start lab"),
        (StopNetwork("lab"), "virsh net-destroy lab"),
        (AutostartNetwork("lab", on=True), "virsh net-autostart lab"),
        (AutostartNetwork("lab", on=False), "virsh net-autostart lab --disable"),
        (
            UpdateNetwork("lab", Update.ADD_LAST, "ip-dhcp-host", HOST, live=True, config=True),
            f"virsh net-update lab add-last ip-dhcp-host '{HOST}' --live --config",
        ),
        (
            UpdateNetwork("lab", Update.MODIFY, "ip-dhcp-host", HOST, live=True, config=False, parent=1),
            f"virsh net-update lab modify ip-dhcp-host '{HOST}' --parent-index 1 --live",
        ),
        (
            UpdateNetwork("lab", Update.DELETE, "ip-dhcp-range", "<range/>", live=False, config=True),
            "virsh net-update lab delete ip-dhcp-range '<range/>' --config",
        ),
    ],
)
def test_as_virsh_would_be_told(effect: NetworkEffect, typed: str) -> None:
    assert effect.shown() == typed
