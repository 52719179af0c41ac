"""The whole definition of a new domain."""

from __future__ import annotations

import pytest

from cxlstate.core.domain import Disk, Domain, Interface, Nvdimm
from cxlstate.formats.domain_xml import differences, identity, new, read
from tests.formats.domain_example import DOMAIN

GIB = 1 << 30


def test_without_a_base_it_is_a_current_guest_with_what_is_wished() -> None:
    wish = Domain(memory=4 * GIB, vcpu=2, disks=(Disk("vda", "/a.qcow2", "qcow2"),), os_variant="x")
    assert (
        new("a & b", wish)
        == """\
<domain type='kvm'>
  <name>a &amp; b</name>
  <metadata>
    <libosinfo:libosinfo xmlns:libosinfo="http://libosinfo.org/xmlns/libvirt/domain/1.0">
      <libosinfo:os id="x"/>
    </libosinfo:libosinfo>
  </metadata>
  <memory unit='KiB'>4194304</memory>
  <vcpu placement='static'>2</vcpu>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <boot dev='hd'/>
  </os>
  <features>
    <acpi/>
    <apic/>
  </features>
  <cpu mode='host-passthrough' check='none' migratable='on'/>
  <clock offset='utc'>
    <timer name='rtc' tickpolicy='catchup'/>
    <timer name='pit' tickpolicy='delay'/>
    <timer name='hpet' present='no'/>
  </clock>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <pm>
    <suspend-to-mem enabled='no'/>
    <suspend-to-disk enabled='no'/>
  </pm>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/>
      <source file='/a.qcow2'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <serial type='pty'>
      <target type='isa-serial' port='0'/>
    </serial>
    <console type='pty'>
      <target type='serial' port='0'/>
    </console>
    <channel type='unix'>
      <target type='virtio' name='org.qemu.guest_agent.0'/>
    </channel>
    <memballoon model='virtio'/>
    <rng model='virtio'>
      <backend model='random'>/dev/urandom</backend>
    </rng>
  </devices>
</domain>
"""
    )


@pytest.mark.parametrize(
    "wish",
    [
        Domain(memory=GIB, console=False, cpu_mode="host-model", firmware="efi", machine="pc"),
        Domain(
            memory=GIB,
            vcpu=4,
            nvdimm=(Nvdimm("/dev/cxlstate/cxl0", GIB, slot=1),),
            interfaces=(Interface("52:54:00:00:00:01", network="default"),),
        ),
    ],
)
@pytest.mark.parametrize("base", [None, "<domain/>", "<!-- ours --><domain>\n  <uuid/>\n</domain>"])
def test_it_is_what_was_wished(wish: Domain, base: str | None) -> None:
    made = new("x", wish, base)
    assert differences(wish, read(made)) == ()
    assert identity(made) == ("x", None)


def test_a_base_gives_all_but_the_name() -> None:
    assert new("y", Domain(), DOMAIN) == DOMAIN.replace("<name>cxl_vmx</name>", "<name>y</name>")


def test_a_base_without_a_name_gets_one() -> None:
    assert new("y", Domain(memory=1 << 20), "<domain/>") == (
        "<domain><name>y</name><memory unit='KiB'>1024</memory></domain>"
    )


@pytest.mark.parametrize(
    ("wish", "base", "why"),
    [
        (Domain(vcpu=2), None, "nothing says how much memory x has"),
        (Domain(vcpu=2), "<domain/>", "nothing says how much memory x has"),
        (Domain(memory=GIB), "<network/>", "not a domain"),
        (Domain(memory=GIB), "no XML", "not well-formed"),
    ],
)
def test_what_cannot_be_made_is_told(wish: Domain, base: str | None, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        new("x", wish, base)
