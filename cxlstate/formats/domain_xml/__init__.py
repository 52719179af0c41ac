"""The XML of a libvirt domain: read, compared by meaning, edited in what a spec owns, and made new."""

from cxlstate.formats.domain_xml.compare import Difference, differences
from cxlstate.formats.domain_xml.disks import backing, encrypted
from cxlstate.formats.domain_xml.guest import console_log, has_agent_channel
from cxlstate.formats.domain_xml.impossible import Impossible
from cxlstate.formats.domain_xml.interfaces import kept
from cxlstate.formats.domain_xml.meaning import pair
from cxlstate.formats.domain_xml.merge import merge
from cxlstate.formats.domain_xml.new import new
from cxlstate.formats.domain_xml.ran import as_it_ran, host_devices
from cxlstate.formats.domain_xml.read import identity, networks, plugged, read
from cxlstate.formats.domain_xml.seed import given

__all__ = [
    "Difference",
    "Impossible",
    "as_it_ran",
    "backing",
    "console_log",
    "differences",
    "encrypted",
    "given",
    "has_agent_channel",
    "host_devices",
    "identity",
    "kept",
    "merge",
    "networks",
    "new",
    "pair",
    "plugged",
    "read",
]
