"""Machines with an NVDIMM of 1 GiB and a label of 16 MiB, as a guest has them: simulated, and emulated."""

from __future__ import annotations

from pathlib import Path

from cxlstate.adapters.open_writer import open_writer
from cxlstate.core.connect import Ssh
from tests.conformance.machines import Emulated, Simulated
from tests.lab.bare_guest import BareGuest

REGION = 0x100000000
SIZE = (1024 - 16) << 20


class SimulatedGuest(Simulated):
    """The default host of the simulator, with an NVDIMM, its drivers and ndctl."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        with self._edited() as world:
            world["nvdimms"] = [{"start": f"{REGION:#x}", "end": f"{REGION + SIZE - 1:#x}"}]
            world["autoload"] += ["nd_pmem", "dax_pmem", "device_dax"]
            world["installed"]["ndctl"] = {"version": "81-1"}
            world["installed"]["cloud-guest-utils"] = {"version": "0.33-1"}
        self.reboot()

    disk = "sda"

    def grow_disk(self, mib: int) -> None:
        with self._edited() as world:
            part = {"number": 1, "start": 2048, "size": (2047 << 20) // 512, "holds": 2047 << 20}
            world["disks"] = world["disks"] or {"sda": {"size": 0, "partitions": [part]}}
            world["disks"]["sda"]["size"] = (mib << 20) // 512

    def add_partition(self, mib: int) -> None:
        """Of one MiB, behind the first `mib` of the disk."""
        with self._edited() as world:
            part = {"number": 2, "start": (mib << 20) // 512, "size": 2048, "type": ""}
            world["disks"]["sda"]["partitions"].append(part)

    def remove_partition(self) -> None:
        with self._edited() as world:
            del world["disks"]["sda"]["partitions"][1]

    def mount(self, device: str, point: str) -> None:
        with self._edited() as world:
            world["mounts"][point] = f"ext4 {device}"
            world["nvdimms"][0]["namespaces"][0]["holds"] = "ext4"

    def unmount(self, point: str) -> None:
        with self._edited() as world:
            del world["mounts"][point]


class EmulatedGuest(Emulated):
    """The emulated one of `tests/lab/bare_guest.py`."""

    def __init__(self, guest: BareGuest) -> None:  # without the units and the archive of a host
        self._host = guest
        self._open()

    disk = "vda"

    def grow_disk(self, mib: int) -> None:
        self._host.grow_disk(mib)

    def add_partition(self, mib: int) -> None:
        row = f"start={(mib << 20) // 512}, size=2048, type=83"
        self.shell(
            f"echo '{row}' | sfdisk --append --no-reread --force /dev/vda; partx --add --nr 2 /dev/vda"
        )

    def remove_partition(self) -> None:
        self.shell("sfdisk --delete --no-reread --force /dev/vda 2; partx --delete --nr 2 /dev/vda")

    def _open(self) -> None:
        self.writer = open_writer(Ssh("lab-root"), "guest", progress=lambda _: None)

    def mount(self, device: str, point: str) -> None:
        self.shell(f"mkfs.ext4 -qF {device} && mount {device} {point} && udevadm settle")

    def unmount(self, point: str) -> None:
        self.shell(f"umount {point}")
