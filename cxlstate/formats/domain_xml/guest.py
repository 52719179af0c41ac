"""What the XML of a running domain says of the ways into its guest. Pure."""

from __future__ import annotations

from typing import Final

from cxlstate.formats.domain_xml.read import document

_AGENT: Final = "devices/channel/target[@name='org.qemu.guest_agent.0']"


def has_agent_channel(xml: str) -> bool:
    """Whether a guest agent can be reached; not whether one runs."""
    return document(xml).find(_AGENT) is not None


def console_log(xml: str) -> str:
    """The file on the host that has what the first serial console says; nothing, where there is none.

    `<serial type='file'>` writes to its source, any other to the `<log>` that it may have.
    """
    root = document(xml)
    for one in (*root.findall("devices/serial"), *root.findall("devices/console")):
        source, log = one.find("source"), one.find("log")
        path = log.get("file", "") if log is not None else ""
        if not path and one.get("type") == "file" and source is not None:
            path = source.get("path", "")
        if path.startswith("/"):
            return path
    return ""
