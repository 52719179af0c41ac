from __future__ import annotations

import shutil

import pytest

from cxlstate.core.action import Run
from cxlstate.core.libvirt import DefineDomain, StartDomain, StartNetwork, Update
from cxlstate.machine.outcome import Result
from cxlstate.resources.dax import verbs as dax_verbs
from cxlstate.simulator import qcow2
from cxlstate.simulator.writer import SimWriter
from tests.simulator.libvirt.machine import DEVICE, DISK, ENTRY, GIB, MIB, START, XML, Machine, update


@pytest.fixture(scope="package")
def template(tmp_path_factory):
    """A machine with libvirt, whose dax device is bound and has its link, and with a disk image."""
    directory = tmp_path_factory.mktemp("libvirt") / "host"
    with SimWriter(directory, "host") as writer:
        (directory / "root/etc/modprobe.d/kmem.conf").write_text("blacklist kmem\n")
        writer.reboot(ENTRY, lambda _: None)
        for effect in (
            Run(("apt-get", "update")),
            Run(("apt-get", "--yes", "install"), ("libvirt-daemon-system", "qemu-utils", "ovmf")),
            dax_verbs.bind("dax0.0", DEVICE, 2 * MIB),
            dax_verbs.link("cxl0", "dax0.0", DEVICE),
        ):
            assert writer.perform(effect, ENTRY).result is Result.DONE
    disk = directory / "root" / DISK.lstrip("/")
    disk.parent.mkdir(parents=True)
    disk.write_bytes(qcow2.Header(GIB).pack())
    return directory


@pytest.fixture
def machine(template, tmp_path):
    shutil.copytree(template, tmp_path / "host", symlinks=True)
    return Machine(tmp_path / "host")


@pytest.fixture
def running(machine):
    machine.done(StartNetwork("default"), DefineDomain("vm", XML), StartDomain("vm"))
    return machine


@pytest.fixture
def reserving(machine):
    machine.done(StartNetwork("default"), *(update(Update.ADD_LAST, host) for host in START))
    return machine
