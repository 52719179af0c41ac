"""The whole definition of a domain that is not there yet. Pure."""

from __future__ import annotations

from typing import Final

from cxlstate.core.domain import Domain
from cxlstate.formats.domain_xml import order
from cxlstate.formats.domain_xml.impossible import Impossible
from cxlstate.formats.domain_xml.merge import edit
from cxlstate.formats.domain_xml.read import document
from cxlstate.formats.domain_xml.seed import give
from cxlstate.formats.xml import child, serialise

# What virt-install makes for a current Linux guest, without graphics.
_BASE: Final = """\
<domain type='kvm'>
  <name/>
  <vcpu placement='static'>1</vcpu>
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


def new(name: str, wish: Domain, base: str | None = None, seed: str | None = None) -> str:
    """With everything that is wished, the seed of its first boot, and the rest as `base` or as usual today.

    Impossible without memory; ValueError of a base that is no domain.
    """
    source = _BASE if base is None else base
    root = document(source)
    child(root, "name", order.DOMAIN).text = name
    edit(root, wish)
    if seed is not None:
        give(root, name, seed)
    if root.find("memory") is None and root.find("cpu/numa/cell") is None:
        raise Impossible(f"nothing says how much memory {name} has", ("memory",), "write memory: 4GiB")
    return serialise(root, source)
