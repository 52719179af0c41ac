"""Disks, as lsblk(8) shows them."""

from __future__ import annotations

import json

from cxlstate.simulator.ended import Ended, unknown
from cxlstate.simulator.ndctl import Nd
from cxlstate.simulator.world import World


def lsblk(world: World, words: list[str]) -> Ended:
    """Names and what is on them: the machine's own disk, and those of persistent memory."""
    if words != ["--json", "--output=NAME,FSTYPE,PTTYPE"]:
        return unknown(("lsblk", *words))
    part = {"name": "sda1", "fstype": "ext4", "pttype": "dos"}
    disks = [
        {"name": "sda", "fstype": None, "pttype": "dos", "children": [part]},
        *(
            {"name": name, "fstype": kind or None, "pttype": None}
            for name, kind in Nd(world, lambda _: None).disks()
        ),
    ]
    return Ended(stdout=json.dumps({"blockdevices": disks}, indent=3) + "\n")
