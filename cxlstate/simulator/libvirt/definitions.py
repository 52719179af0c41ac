"""Where libvirt keeps what is defined: a file each, and links to those that start by themselves.

A real daemon reads the files when it starts; here an edit by hand counts at once. One that is no XML, or
has another name than its file, is nobody's definition (`virDomainObjListLoadConfig`).
"""

from __future__ import annotations

from uuid import NAMESPACE_URL, uuid5

from cxlstate.simulator.files import Files
from cxlstate.simulator.libvirt.refused import Refused
from cxlstate.simulator.libvirt.text import document, written

DOMAINS = "/etc/libvirt/qemu"
NETWORKS = "/etc/libvirt/qemu/networks"
_HEADER = """\
<!--
WARNING: THIS IS AN AUTO-GENERATED FILE. CHANGES TO IT ARE LIKELY TO BE
OVERWRITTEN AND LOST. Changes to this xml configuration should be made using:
  virsh {edit} {name}
or other application using the libvirt API.
-->

"""


class Definitions:
    """The persistent definitions of all domains, or of all networks (`tag`)."""

    def __init__(self, files: Files, tag: str) -> None:
        self._files = files
        self._tag = tag
        self._folder = DOMAINS if tag == "domain" else NETWORKS

    def names(self) -> list[str]:
        """Of all of them."""
        paths = self._files.glob(f"{self._folder}/*.xml")
        names = (path.removeprefix(f"{self._folder}/").removesuffix(".xml") for path in paths)
        return [name for name in names if self.get(name) is not None]

    def get(self, name: str) -> str | None:
        """The definition, secrets and all, as libvirt would write it."""
        if not self._files.is_file(self._file(name)):
            return None
        try:
            root = document(self._files.text(self._file(name)), self._tag)
        except Refused:
            return None
        return written(root) if root.findtext("name") == name else None

    def uuids(self) -> dict[str, str]:
        """The UUID of each by its name."""
        found = {name: document(self.get(name) or "", self._tag).findtext("uuid") for name in self.names()}
        return {name: uuid for name, uuid in found.items() if uuid}

    def put(self, name: str, xml: str) -> None:
        """Write it, for root alone."""
        edit = "edit" if self._tag == "domain" else "net-edit"
        text = _HEADER.format(edit=edit, name=name) + xml
        self._files.write(self._file(name), text.encode("utf-8", "surrogateescape"), mode=0o600)

    def drop(self, name: str) -> None:
        """Forget it, and that it starts by itself."""
        self.set_autostart(name, on=False)
        self._files.remove(self._file(name))

    def autostart(self, name: str) -> bool:
        """Whether it starts by itself: its link has to lead to its file."""
        return self._files.link(self._link(name)) == self._file(name)

    def set_autostart(self, name: str, *, on: bool) -> None:
        """Make or remove the link."""
        there = self._files.link(self._link(name)) is not None
        if there and not (on and self.autostart(name)):
            self._files.remove(self._link(name))
            there = False
        if on and not there:
            self._files.make_link(self._link(name), self._file(name))

    def _file(self, name: str) -> str:
        return f"{self._folder}/{name}.xml"

    def _link(self, name: str) -> str:
        return f"{self._folder}/autostart/{name}.xml"


def drawn_uuid(tag: str, name: str, taken: frozenset[str]) -> str:
    """A UUID for something new. The same for the same name, where libvirt draws one."""
    for number in range(len(taken) + 1):
        uuid = str(uuid5(NAMESPACE_URL, f"libvirt {tag} {name} {number}"))
        if uuid not in taken:
            break
    return uuid


def drawn_mac(seed: str) -> str:
    """A MAC for something new, of those that QEMU's machines have."""
    tail = uuid5(NAMESPACE_URL, seed).bytes[:3]
    return "52:54:00:" + ":".join(f"{byte:02x}" for byte in tail)
