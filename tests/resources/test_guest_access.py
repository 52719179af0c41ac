"""The way into a guest, from what libvirt says of its VM and what the host keeps."""

from __future__ import annotations

from hashlib import sha256

import pytest

from cxlstate.core.answers import Answer, Answers, ReadFailed
from cxlstate.core.guest import GuestAccess, HostKey
from cxlstate.core.read import File, LibvirtAddresses, LibvirtDomain
from cxlstate.formats import cloud_init, domain_xml, host_keys
from cxlstate.resources.vm.access import access, reads, with_reserved

MAC, OTHER = "52:54:00:fc:10:bd", "52:54:00:fc:10:be"
KEPT = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
NOT_THERE = Answer(1, b"", "No such file or directory")
CHANNEL = "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>"
SEED = f"<disk type='file'><source file='{cloud_init.seed('vm')}'/><target dev='vdz'/></disk>"
LOG = "<log file='/var/log/libvirt/qemu/vm-console.log' append='off'/>"


def xml(devices=""):
    return (
        "<domain type='kvm'><name>vm</name><devices>"
        f"<interface type='network'><mac address='{MAC.upper()}'/></interface>{devices}</devices></domain>"
    )


def asked(parts, leases="", kept=NOT_THERE):
    files = {name: Answer(0, text.encode()) for name, text in parts.items()}
    return Answers(
        {
            LibvirtDomain("vm"): Answer(0, files=files),
            LibvirtAddresses("vm"): leases if isinstance(leases, Answer) else Answer(0, leases.encode()),
            File(host_keys.path("vm")): kept,
        }
    )


def running(devices=""):
    return {"active.xml": xml(devices), "inactive.xml": xml(), "facts": "state=running\nid=1\n"}


def test_the_reservation_comes_before_the_lease():
    answers = asked(running(), f"{OTHER} 10.0.0.7/24\n{MAC} 192.168.122.110/24\n{MAC} fd00::7/64\n")
    reserved = ((MAC, "192.168.122.110"), (OTHER, "192.168.122.9"))
    found = with_reserved(access("vm", answers), [MAC], reserved)
    assert found.addresses == ("192.168.122.110", "10.0.0.7", "fd00::7")


def test_what_is_kept_is_read_with_its_digest():
    text = f"{KEPT} root@vm\n"
    found = access("vm", asked(running(), kept=Answer(0, text.encode())))
    assert found.keys == (HostKey(*KEPT.split()),)
    assert found.kept == sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({}, GuestAccess(running=False, defined=False)),
        ({"inactive.xml": xml(), "facts": "state=shut-off\n"}, GuestAccess(running=False)),
        (running(), GuestAccess(running=True)),
        (running(CHANNEL), GuestAccess(running=True, agent=True)),
        (running(f"<serial type='pty'>{LOG}</serial>"), GuestAccess(running=True, console=LOG.split("'")[1])),
        (running(SEED), GuestAccess(running=True, first_boot=True)),
    ],
)
def test_the_domain_says_what_runs_and_what_is_logged(parts, expected):
    assert access("vm", asked(parts)) == expected


def test_what_cannot_be_read_is_not_nothing():
    for answers in (
        asked(running(), kept=Answer(1, b"", "Permission denied")),
        asked(running(), Answer(1, b"", "libvirt does not answer")),
    ):
        with pytest.raises(ReadFailed):
            access("vm", answers)
    assert len(reads("vm")) == 2


@pytest.mark.parametrize(
    ("devices", "path"),
    [
        ("", ""),
        ("<serial type='pty'/><console type='pty'/>", ""),
        (f"<serial type='pty'>{LOG}</serial>", "/var/log/libvirt/qemu/vm-console.log"),
        (f"<console type='pty'>{LOG}</console>", "/var/log/libvirt/qemu/vm-console.log"),
        ("<serial type='file'><source path='/var/log/vm'/></serial>", "/var/log/vm"),
        ("<serial type='unix'><source mode='bind' path='/run/vm'/></serial>", ""),
        ("<serial type='file'><source path='relative'/></serial>", ""),
    ],
)
def test_the_log_of_a_console(devices, path):
    assert domain_xml.console_log(xml(devices)) == path
