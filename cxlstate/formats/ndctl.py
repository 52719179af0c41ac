"""NVDIMM regions and namespaces, as ndctl and the kernel's nd bus tell them. Bytes everywhere.

Sources: ndctl v81 `ndctl/list.c` (`region_to_json`, `list_display`), `ndctl/json.c`
(`util_namespace_to_json`, `util_dimm_to_json`, `util_mapping_to_json`), `ndctl/dimm.c` (`dump_label_json`);
Linux 6.12 `drivers/nvdimm/region_devs.c`, `namespace_devs.c`, `pfn_devs.c` (`nd_pfn_init`).

`ndctl list -NRDi` prints one object with `dimms` and `regions`, the namespaces inside their region; only an
array where there is one of the two; nothing where there is neither. In every region with labels it
lists a seed: a namespace of size 0, which is none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from cxlstate.core.answers import Answers
from cxlstate.core.read import Attributes, Command, Glob, Read

DEVICES: Final = "/sys/bus/nd/devices"
LIST: Final = Command(("ndctl", "list", "-NRDi"))
LABELS: Final = Command(("ndctl", "read-labels", "-j"), ("all",), timeout=120)
REGIONS: Final = tuple(Attributes(f"{DEVICES}/region*/{name}") for name in ("resource", "nstype"))
NAMESPACES: Final = tuple(Attributes(f"{DEVICES}/namespace*/{name}") for name in ("size", "uuid"))
RECONFIGURED: Final = Glob("/etc/daxctl.conf.d/*.conf")
"""What `daxdev-reconfigure@.service` of daxctl does with a device whenever it comes."""
READS: Final[tuple[Read, ...]] = (LIST, *REGIONS, *NAMESPACES)

LABELLED: Final = "5"
"""`nstype` of a region whose namespaces have labels (ND_DEVICE_NAMESPACE_PMEM in uapi/linux/ndctl.h)."""

_SUBSECTION: Final = 2 << 20  # memremap_compat_align() on x86
_INFO_BLOCK: Final = 8 << 10
_PAGE: Final = 4 << 10
_STRUCT_PAGE: Final = 64
_MODES: Final = {"memory": "fsdax", "dax": "devdax", "safe": "sector"}
"""Words of ndctl before v60."""

_NAME: Final = re.compile(r"namespace([0-9]{1,6})\.([0-9]{1,6})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Namespace:
    """A namespace. `size` is what can be used of it, `raw_size` what it takes of its region (None: not told).

    `align` and `map` are None where its mode has none. `device` is its dax device, or its disk.
    `label` is the UUID in its label: ndctl shows that of the metadata inside it.
    """

    name: str
    mode: str
    size: int
    map: str | None = None
    align: int | None = None
    uuid: str | None = None
    device: str | None = None
    raw_size: int | None = None
    label: str | None = None
    enabled: bool = True

    @property
    def bare(self) -> bool:
        """Whether nobody has made anything in it that would be taken away.

        Of memory that `memmap=` makes persistent the kernel maps the pages by itself, and ndctl calls that
        fsdax: it has no metadata, and so no UUID (`pmem_should_map_pages` in namespace_devs.c).
        """
        return self.mode == "raw" or (self.mode == "fsdax" and self.uuid is None)

    @property
    def dax_name(self) -> str:
        """The kernel's name of its dax device: of both it takes the numbers (`__dax_pmem_probe`)."""
        return "dax" + self.name.removeprefix("namespace")


@dataclass(frozen=True, slots=True)
class Region:
    """Memory of NVDIMMs. `start` is None where it may not be read (only root may); `handles` are of the NFIT.

    `free` is what no namespace has of it. `seed` is the name that the next namespace in it gets: ndctl takes
    the 0th where it is idle (`region_get_namespace`).
    """

    name: str
    size: int
    align: int | None
    start: int | None
    labelled: bool
    handles: tuple[int, ...]
    namespaces: tuple[Namespace, ...]
    dimms: tuple[str, ...] = ()
    free: int = 0
    seed: str | None = None
    enabled: bool = True


def read_regions(answers: Answers) -> tuple[Region, ...]:
    """The regions by address, of the answers to `READS`. Raises ReadFailed and ValueError."""
    listed = answers.text(LIST)
    files = (answers.files(read) for read in (*REGIONS, *NAMESPACES))
    return parse(listed, {path: text.strip() for found in files for path, text in found.items()})


def parse(listed: str, attributes: Mapping[str, str]) -> tuple[Region, ...]:
    """What ndctl listed, with the attributes of the nd bus by path. ValueError for another form."""
    try:
        found = json.loads(listed) if listed.strip() else {}
        if isinstance(found, dict) and "dev" in found:  # one alone, as older versions print it
            found = [found]
        if isinstance(found, list):  # only regions, or only dimms
            found = {"regions": [one for one in found if "persistence_domain" in one or "type" in one]}
        handles = {one["dev"]: int(one.get("handle", -1)) for one in found.get("dimms", ())}
        regions = [_region(one, handles, attributes) for one in found.get("regions", ())]
    except (KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"ndctl list: {type(error).__name__}: {error}") from error
    return tuple(sorted(regions, key=lambda one: (one.start is None, one.start, one.name)))


def _region(one: Mapping[str, Any], handles: Mapping[str, int], attributes: Mapping[str, str]) -> Region:
    name = str(one["dev"])
    start = attributes.get(f"{DEVICES}/{name}/resource")
    dimms = tuple(str(mapping["dimm"]) for mapping in one.get("mappings", ()))
    spaces = [_namespace(each, attributes) for each in one.get("namespaces", ())]
    return Region(
        name=name,
        size=int(one["size"]),
        align=int(one["align"]) if "align" in one else None,
        start=int(start, 16) if start and int(start, 16) else None,
        labelled=attributes.get(f"{DEVICES}/{name}/nstype") == LABELLED,
        handles=tuple(handles[dimm] for dimm in dimms if dimm in handles),
        namespaces=tuple(each for each in spaces if each.size),
        dimms=dimms,
        free=int(one.get("available_size", 0)),
        seed=min((each.name for each in spaces if not each.size), default=None, key=_number),
        enabled=one.get("state") != "disabled",
    )


def _namespace(one: Mapping[str, Any], attributes: Mapping[str, str]) -> Namespace:
    name = str(one["dev"])
    if not _NAME.fullmatch(name):
        raise ValueError(f"ndctl list: not a namespace: {name[:40]!r}")
    raw_size = attributes.get(f"{DEVICES}/{name}/size", "")
    return Namespace(
        name=name,
        mode=_MODES.get(mode := str(one.get("mode", "unknown")), mode),
        size=int(one.get("size", 0)),
        map=_word(one, "map"),
        align=int(one["align"]) if "align" in one else None,
        uuid=_word(one, "uuid"),
        device=_word(one, "chardev") or _word(one, "blockdev"),
        raw_size=int(raw_size) if raw_size.isdigit() else None,
        label=attributes.get(f"{DEVICES}/{name}/uuid") or None,
        enabled=one.get("state") != "disabled",
    )


def _word(one: Mapping[str, Any], key: str) -> str | None:
    return str(one[key]) if key in one else None


def _number(name: str) -> int:
    return int(name.partition(".")[2])


def label_uuids(text: str) -> dict[str, frozenset[str]]:
    """UUIDs of the labels that are in the label areas now, by `nmem`, of the answer to `LABELS`.

    The kernel keeps what it read when the NVDIMM was found: another guest may have written since.
    """
    found = json.loads(text) if text.strip() else []
    dimms = found if isinstance(found, list) else [found]
    return {str(one["dev"]): frozenset(_labels(one)) for one in dimms}


def _labels(dimm: Mapping[str, Any]) -> Iterator[str]:
    """None at all where there is no index: what ndctl lists then is the zeros of an empty area."""
    if any(one.get("signature") for one in dimm.get("index", ())):
        yield from (str(each["uuid"]) for each in dimm.get("label", ()))


def made_ram_by(files: Mapping[str, str], uuid: str) -> str | None:
    """The file of `RECONFIGURED` that has daxctl make system RAM of a namespace whenever it comes.

    By the UUID inside it: `[reconfigure-device NAME]` and below `nvdimm.uuid = …`, `mode = system-ram`
    (`parse_config_reconfig` in daxctl/device.c).
    """
    for path, text in files.items():
        for section in re.split(r"^\s*\[", text, flags=re.MULTILINE):
            lines = (line for line in section.splitlines() if not line.lstrip().startswith("#"))
            words = {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in lines)}
            told = section.startswith("reconfigure-device") and words.get("mode") == "system-ram"
            if told and words.get("nvdimm.uuid") == uuid:
                return path
    return None


def usable(size: int, start: int, mode: str, location: str, align: int) -> int:
    """What a namespace of all of a region leaves for use: `nd_pfn_init` for devdax and fsdax; raw: all.

    Not for `sector`, whose arenas take more.
    """
    if mode == "raw":
        return size
    step = max(align, _SUBSECTION)
    pages = (size - _INFO_BLOCK) // _PAGE * _STRUCT_PAGE if location == "dev" else 0
    offset = -(-(start + _INFO_BLOCK + pages) // step) * step - start
    return size - offset - (start + size) % step
