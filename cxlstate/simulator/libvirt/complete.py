"""A domain's definition as libvirt keeps it: what it adds, expands and refuses when one is defined.

What it adds to devices is in `devices.py`; memory and vCPUs have files of their own. Sources: libvirt 11.3
`virDomainDefPostParse`, `qemuDomainDefPostParse`, `virDomainObjListAddLocked`; looked at on Debian 13.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from cxlstate.core.units import format_cpus
from cxlstate.formats.domain_xml import meaning
from cxlstate.formats.xml import Element, set_attribute, take_out_all
from cxlstate.simulator.libvirt import devices, memory, qemu, vcpus
from cxlstate.simulator.libvirt.definitions import drawn_uuid
from cxlstate.simulator.libvirt.qemu import EMULATOR, NEWEST
from cxlstate.simulator.libvirt.refused import ARGUMENT, FAILED, UNSUPPORTED, XML, Refused
from cxlstate.simulator.libvirt.schema import check_domain
from cxlstate.simulator.libvirt.text import add, document, reordered, under

_VERSION: Final = "{}.{}".format(*NEWEST)
_MACHINES: Final = {"pc": f"pc-i440fx-{_VERSION}", "q35": f"pc-q35-{_VERSION}"}
_TYPES: Final = ("kvm", "qemu")
_EVENTS: Final = {"on_poweroff": "destroy", "on_reboot": "restart", "on_crash": "destroy"}
_SETS: Final = (
    *(("vcpu", "cpuset"), ("cputune/vcpupin", "cpuset"), ("cputune/emulatorpin", "cpuset")),
    *(("cputune/iothreadpin", "cpuset"), ("cputune/vcpusched", "vcpus")),
    *(("numatune/memory", "nodeset"), ("numatune/memnode", "nodeset")),
    ("memoryBacking/hugepages/page", "nodeset"),
)
_OVMF: Final = "/usr/share/OVMF/OVMF_{}_4M.ms.fd"
NVRAM: Final = "/var/lib/libvirt/qemu/nvram"


def complete(text: str, uuids: Mapping[str, str], *, ovmf: bool) -> Element:
    """The definition, completed. `uuids` are those of all domains by name. Raises Refused."""
    root = document(text, "domain")
    check_domain(root)
    name = _identify(root, uuids)
    _number_sets(root)
    if root.get("type") not in _TYPES:
        why = f"Emulator '{EMULATOR}' does not support virt type '{root.get('type')}'"
        raise Refused(why, UNSUPPORTED)
    qemu.check(root)
    vcpus.settle(root)
    _numatune(root)
    memory.settle(root)
    _boot(root, name, ovmf=ovmf)
    _cpu(root)
    if root.find("clock") is None:
        add(root, "clock", {"offset": "utc"})
    for tag, action in _EVENTS.items():
        one = under(root, tag)
        one.text = one.text or action
    devices.complete(root)
    vcpus.check(root)
    return root


def _identify(root: Element, uuids: Mapping[str, str]) -> str:
    name = root.findtext("name") or ""
    if not name:
        raise Refused("missing name information")
    if "/" in name:
        raise Refused(f"name {name} cannot contain '/'", XML)
    uuid = (root.findtext("uuid") or "").strip().lower()
    owner = next((other for other, its in uuids.items() if its == uuid), None)
    if owner not in (None, name):
        raise Refused(f"domain '{owner}' is already defined with uuid {uuid}", FAILED)
    if owner is None and name in uuids:
        raise Refused(f"domain '{name}' already exists with uuid {uuids[name]}", FAILED)
    under(root, "uuid").text = uuid or drawn_uuid("domain", name, frozenset(uuids.values()))
    return name


def _number_sets(root: Element) -> None:
    for path, attribute in _SETS:
        for one in root.findall(path):
            if (said := one.get(attribute)) is not None:
                try:
                    one.set(attribute, format_cpus(meaning.cpus(said)))
                except ValueError:
                    raise Refused(f"Failed to parse bitmap '{said}'", ARGUMENT) from None


def _numatune(root: Element) -> None:
    for tune in (*root.findall("numatune/memory"), *root.findall("numatune/memnode")):
        tune.set("mode", tune.get("mode", "strict"))
        reordered(tune, "cellid", "mode", "nodeset", "placement")
    # virDomainNumatuneNodeParseXML
    cells = {one.get("id", str(position)) for position, one in enumerate(root.findall("cpu/numa/cell"))}
    if any(one.get("cellid") not in cells for one in root.findall("numatune/memnode")):
        why = "Argument 'cellid' in memnode element must correspond to existing guest's NUMA cell"
        raise Refused(why, XML)


def _boot(root: Element, name: str, *, ovmf: bool) -> None:
    os = under(root, "os")
    kind = under(os, "type")
    kind.set("arch", kind.get("arch", "x86_64"))
    machine = kind.get("machine", "pc")
    kind.set("machine", _MACHINES.get(machine, machine))
    reordered(kind, "arch", "machine")
    devices_boot = any(one.find("boot") is not None for one in root.findall("devices/*"))
    if os.find("boot") is None and not devices_boot:
        add(os, "boot", {"dev": "hd"})
    if os.get("firmware") == "efi" and os.find("loader") is None:
        if not ovmf:
            why = "Unable to find 'efi' firmware that is compatible with the current configuration"
            raise Refused(why, FAILED)
        _firmware(os, name)


def _firmware(os: Element, name: str) -> None:
    features = under(os, "firmware")
    for feature in ("enrolled-keys", "secure-boot"):
        add(features, "feature", {"enabled": "yes", "name": feature})
    flash = {"readonly": "yes", "secure": "yes", "type": "pflash", "format": "raw"}
    add(os, "loader", flash, _OVMF.format("CODE"))
    template = {"template": _OVMF.format("VARS"), "templateFormat": "raw", "format": "raw"}
    take_out_all(os, "nvram")
    add(os, "nvram", template, f"{NVRAM}/{name}_VARS.fd")


def _cpu(root: Element) -> None:
    """Without a model, QEMU's own; how it is checked depends on the mode."""
    cpu = under(root, "cpu")
    mode = cpu.get("mode") or ("custom" if cpu.find("model") is not None else None)
    if mode is None:
        add(cpu, "model", {"fallback": "forbid"}, "qemu64")
    cpu.set("mode", mode or "custom")
    if cpu.get("mode") == "custom":
        cpu.set("match", cpu.get("match", "exact"))
    default = "partial" if mode in ("host-model", "custom") else "none"
    cpu.set("check", cpu.get("check", default))
    if mode == "host-passthrough":
        cpu.set("migratable", cpu.get("migratable", "on"))
    set_attribute(cpu, "fallback", None)
    reordered(cpu, "mode", "match", "check", "migratable")
