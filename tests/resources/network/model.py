"""What virNetworkUpdate does to the hosts of one definition. `test_as_libvirt` tells whether that is so."""

from __future__ import annotations

from dataclasses import dataclass, field
from xml.etree import ElementTree as ET

from hypothesis import strategies as st

from cxlstate.core.libvirt import Update
from cxlstate.formats.network_xml import Host

MACS = [f"52:54:00:00:00:0{number}" for number in range(1, 7)]
IPS = [f"192.168.122.{number}" for number in range(11, 18)]
NAMES = ["a", "b", "c", "d"]
LEASE = ('<lease expiry="5" unit="minutes"/>',)


class Refused(Exception):
    """What libvirt answers with VIR_ERR_OPERATION_INVALID."""


@dataclass
class Model:
    """The hosts of a network's `<dhcp>`, as virNetworkUpdate changes them."""

    hosts: list[Host] = field(default_factory=list)

    def update(self, command: Update, xml: str) -> None:
        element = ET.fromstring(xml)
        mac, ip, name = (element.get(key) for key in ("mac", "ip", "name"))
        new = Host(mac, ip, name, inner=LEASE if element.find("lease") is not None else ())
        any_of = [
            at
            for at, one in enumerate(self.hosts)
            if (mac and mac == one.mac) or (ip and ip == one.ip) or (name and name == one.name)
        ]
        all_of = [
            at
            for at, one in enumerate(self.hosts)
            if (not mac or one.mac in (None, mac))
            and (not name or name == one.name)
            and (not ip or ip == one.ip)
        ]
        match command:
            case Update.ADD_LAST if not any_of:
                self.hosts.append(new)
            case Update.MODIFY if any_of:
                self.hosts[any_of[0]] = new
            case Update.DELETE if all_of:
                del self.hosts[all_of[0]]
            case _:
                raise Refused(f"{command} {xml}")


hosts = st.builds(
    Host,
    st.sampled_from(MACS),
    st.sampled_from(IPS),
    st.sampled_from([None, *NAMES]),
    inner=st.sampled_from([(), LEASE]),
) | st.builds(Host, st.none(), st.sampled_from(IPS), st.sampled_from(NAMES))
entries = st.lists(hosts, max_size=6)
