"""What the kernel keeps of arguments that share a name, and which of a command line are in force.

The rule of a name is what its handler does when it is called again, read in Linux 6.12; each entry of
the tables names the file. Handlers run in the order of the line (`parse_args`), so a handler that
stores its value keeps the last one, one that tests a flag first keeps the first one, and one that fills
a list keeps them all. A name in none of the tables is one of user space or unknown: every value counts
as present, and none is said to replace another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Final, Protocol

from cxlstate.formats import hugetlb, kernel_forced
from cxlstate.formats.last_wins import LAST_WINS
from cxlstate.formats.memparse import memparse


class Named(Protocol):
    """An argument: `name` has every `-` as `_`."""

    @property
    def name(self) -> str:
        """What stands before the `=`."""

    @property
    def value(self) -> str | None:
        """What stands behind it."""


class Keep(Enum):
    """Which of several values of one setting the kernel keeps."""

    LAST = "last"
    FIRST = "first"
    ALL = "all"
    LEAST = "least"


@dataclass(frozen=True, slots=True)
class Setting:
    """One thing that an argument sets. `implied`: without its having been asked for."""

    slot: str
    value: str
    keep: Keep = Keep.LAST
    implied: bool = False


@dataclass(frozen=True, slots=True)
class InForce:
    """A setting that the kernel keeps; `by` is the index of the argument that makes it."""

    slot: str
    value: str
    by: int
    implied: bool = False

    @property
    def effect(self) -> tuple[str, str]:
        """Slot and value, equal for values that the kernel takes for the same."""
        return self.slot, ",".join(map(_number, self.value.split(",")))


def _number(word: str) -> str:
    """Numbers and sizes as decimals, booleans as 0 or 1 (`memparse`; `kstrtobool` of `lib/kstrtox.c`).

    Of a handler that takes one of two spellings only, the other one changes nothing.
    """
    if word.lower() in _BOOLEANS:
        return _BOOLEANS[word.lower()]
    value, rest = memparse(word)
    return word if rest or not word[:1].isdigit() else str(value)


_BOOLEANS: Final = {
    **dict.fromkeys(("y", "yes", "true", "on"), "1"),
    **dict.fromkeys(("n", "no", "false", "off"), "0"),
}

Rule = Callable[[Named], Iterable[Setting]]


def _whole(argument: Named, keep: Keep = Keep.LAST, slot: str = "") -> Iterator[Setting]:
    """The value as a whole is one setting."""
    value = "" if argument.value is None else argument.value
    yield Setting(slot or argument.name, value, keep)


def _listed(argument: Named) -> Iterator[Setting]:
    """Each word of a comma list adds to what is there."""
    for word in (argument.value or "").split(","):
        yield Setting(argument.name, word, Keep.ALL)


def _switches(*opposites: str, by: str = ",", slot: str = "") -> Rule:
    """Each word of a comma list is a switch; `opposites` are words that set the same one.

    A word with a value (`key=value`, `key:value`) keeps the last value of its key. Without `by` the value
    is one word.
    """

    def settings(argument: Named) -> Iterator[Setting]:
        value = argument.value or ""
        for word in value.split(by) if by else (value,):
            key = word.partition("=")[0].partition(":")[0]
            same = next((group for group in opposites if word in group.split()), None)
            yield Setting(f"{slot or argument.name} {same or key}", f"{argument.name}={word}")

    return settings


def _named(argument: Named, value: str) -> Iterator[Setting]:
    """The argument's name is a switch with two positions."""
    yield Setting(value, argument.name if argument.value is None else f"{argument.name}={argument.value}")


_IOMMU_WORDS: Final = ("pt nopt", "force noforce", "merge nomerge biomerge", "panic nopanic")


def _passthrough(argument: Named) -> Iterator[Setting]:
    """`iommu.passthrough=` sets what the words `pt` and `nopt` of `iommu=` do (drivers/iommu/iommu.c)."""
    word = {"1": "iommu=pt", "0": "iommu=nopt"}.get(_number(argument.value or ""))
    if word:
        yield Setting(f"iommu {_IOMMU_WORDS[0]}", word)


def _kernelcore(argument: Named) -> Iterator[Setting]:
    """`mirror`, or a size or percentage (`cmdline_parse_core`)."""
    value = argument.value or ""
    yield Setting("kernelcore mirror" if value == "mirror" else "kernelcore", value)


def _swiotlb(argument: Named) -> Iterator[Setting]:
    """A number of slabs, one of areas, and a word (`setup_io_tlb_npages`)."""
    numbers = iter(("slabs", "areas"))
    for word in (argument.value or "").split(","):
        yield Setting(f"swiotlb {next(numbers, '') if word[:1].isdigit() else 'force'}", word)


def _console(argument: Named) -> Iterator[Setting]:
    """Each console counts; of one console the options that come first (`__add_preferred_console`)."""
    device, comma, options = (argument.value or "").partition(",")
    yield Setting("console", device, Keep.ALL)
    yield Setting(f"console {device}", options, Keep.FIRST, implied=not comma)


LOGLEVEL: Final = "console loglevel"
"""How much of the kernel's log is shown on the console: nothing runs otherwise for it."""


def _loglevel(argument: Named) -> Iterator[Setting]:
    """`quiet` and `debug` store a level where `loglevel` stores its (init/main.c). Others read them, too."""
    levels = {"quiet": "4", "debug": "10"}
    if argument.name in levels:
        yield Setting(argument.name, "")
    value = levels.get(argument.name, argument.value or "")
    yield Setting(LOGLEVEL, value, implied=argument.name in levels)


def _lockdown(argument: Named) -> Iterator[Setting]:
    """`lock_kernel_down()` only adds: confidentiality has all of integrity, and is not taken back."""
    level = argument.value or ""
    for one in ("integrity", "confidentiality") if level == "confidentiality" else (level,):
        yield Setting(f"lockdown {one}", "", Keep.ALL)


def _cpus(argument: Named) -> Iterator[Setting]:
    """`housekeeping_setup()`: another list for the same purpose is refused, and the first one stays."""
    words = (argument.value or "").split(",")
    purposes = {word for word in words if word[:1].isalpha()} or {"domain"}
    if argument.name == "nohz_full":
        purposes = {"nohz", "noise"}
    cpus = ",".join(word for word in words if not word[:1].isalpha())
    for purpose in sorted(purposes):
        yield Setting(f"housekeeping {purpose}", cpus, Keep.FIRST)


def _crashkernel(argument: Named) -> Iterator[Setting]:
    """Three settings, told apart by what the value ends with (`get_last_crashkernel`)."""
    suffix = (argument.value or "").rpartition(",")[2]
    slot = f"crashkernel {suffix}" if suffix in ("high", "low", "cma") else "crashkernel"
    yield Setting(slot, argument.value or "", Keep.ALL if suffix == "cma" else Keep.LAST)


def _nodes(argument: Named) -> Iterator[Setting]:
    """`SIZE`, or `NODE:SIZE` of several nodes."""
    for word in (argument.value or "").split(","):
        node, colon, _ = word.partition(":")
        yield Setting(f"{argument.name} {node}" if colon else argument.name, word)


def _video(argument: Named) -> Iterator[Setting]:
    """`video_setup()`: one for each connector, and one for all others."""
    connector, colon, _ = (argument.value or "").partition(":")
    yield Setting(f"video {connector}" if colon else "video", argument.value or "")


def _reboot(argument: Named) -> Iterator[Setting]:
    """`reboot_setup()`: mode, type and force are told by the first letter of each word."""
    kinds = {**dict.fromkeys("wchsg", "mode"), **dict.fromkeys("bakteqp", "type"), "f": "force"}
    for word in (argument.value or "").split(","):
        yield Setting(f"reboot {kinds.get(word[:1], word)}", word)


_FIRST: Final = partial(_whole, keep=Keep.FIRST)
_ALL: Final = partial(_whole, keep=Keep.ALL)
_LEAST: Final = partial(_whole, keep=Keep.LEAST)
_FLAGS: Final = _switches()
_WORD: Final = _switches(by="")

RULES: Final[Mapping[str, Rule]] = {
    # kernel/printk/printk.c, drivers/tty/serial/earlycon.c, arch/x86/kernel/early_printk.c
    "console": _console,
    **dict.fromkeys(("loglevel", "quiet", "debug"), _loglevel),
    "earlycon": _FIRST,
    "earlyprintk": _FIRST,
    # arch/x86/kernel/e820.c: each range is put in; each `mem=` takes away what lies above
    "memmap": _listed,
    "mem": _LEAST,
    "nr_cpus": _LEAST,  # kernel/smp.c: only a smaller number is taken
    # In drivers/firmware/efi, mm/memblock.c, mm/mm_init.c, mm/hugetlb.c and kernel/dma/contiguous.c
    "efi_fake_mem": _listed,
    "reserve_mem": _ALL,
    "kernelcore": _kernelcore,
    "hugetlb_cma": _nodes,
    "numa_cma": _nodes,
    **dict.fromkeys(hugetlb.NAMES, _ALL),  # read together, by `hugetlb.in_force`
    "thp_anon": _switches(by=";"),
    "thp_shmem": _switches(by=";"),
    "crashkernel": _crashkernel,  # kernel/crash_reserve.c
    # kernel/sched/isolation.c
    "isolcpus": _cpus,
    "nohz_full": _cpus,
    "nosmt": _WORD,  # kernel/cpu.c: `force` stays
    # In arch/x86/kernel/pci-dma.c, drivers/iommu/intel/iommu.c, amd/init.c and irq_remapping.c
    "iommu": _switches(*_IOMMU_WORDS),
    "iommu.passthrough": _passthrough,
    "intel_iommu": _switches("on off", "sm_on sm_off"),
    "nointremap": lambda _: (Setting("intremap on off", "intremap=off"),),
    "amd_iommu": _switches("pgtbl_v1 pgtbl_v2", "nohugepages v2_pgsizes_only"),
    "intremap": _switches("on off"),
    **dict.fromkeys(("ivrs_ioapic", "ivrs_hpet", "ivrs_acpihid"), _ALL),
    # In drivers/pci/pci.c, arch/x86/pci/common.c and drivers/pci/pcie
    "pci": _switches(
        "bfsort nobfsort",
        "use_crs nocrs",
        "use_e820 no_e820",
        "bios nobios",
        "pcie_bus_tune_off pcie_bus_safe pcie_bus_perf pcie_bus_peer2peer",
    ),
    "pcie_acs_override": _FLAGS,  # a patch of many distributions' kernels: downstream, multifunction, id:…
    **dict.fromkeys(("pcie_aspm", "pcie_ports", "pcie_port_pm", "pcie_pme"), _WORD),
    # In arch/x86/kernel/acpi (boot.c, sleep.c) and drivers/acpi (osi.c, sysfs.c, pci_link.c)
    "acpi": _switches("off force", by=""),
    "acpi_osi": _ALL,
    "acpi_mask_gpe": _ALL,
    "acpi_irq_isa": _listed,
    "acpi_irq_pci": _listed,
    "acpi_sleep": _switches("s4_hwsig s4_nohwsig"),
    # In drivers/firmware/efi/efi.c, arch/x86 (mm/numa.c, kernel/tsc.c, hpet.c, apic) and kernel/reboot.c
    "efi": _switches("runtime noruntime"),
    "noefi": lambda _: (Setting("efi runtime noruntime", "efi=noruntime"),),
    "numa": _switches("off on", by=""),
    "tsc": _WORD,
    "hpet": _FLAGS,
    "apic": _switches("debug verbose", by=""),
    "reboot": _reboot,
    # In arch/x86/kernel/cpu (bugs.c, mce, resctrl) and arch/x86/kernel/alternative.c
    "retbleed": _switches("off auto unret ibpb stuff"),
    "cfi": _switches("auto off kcfi fineibt"),
    "mce": _switches("bootlog nobootlog", by=""),
    "rdt": _switches(),
    "sev": _FLAGS,  # arch/x86/coco/sev/core.c
    # drivers/cpufreq/intel_pstate.c, kernel/watchdog.c, kernel/power/hibernate.c, kernel/dma/swiotlb.c
    "intel_pstate": _switches("active passive", by=""),
    "nmi_watchdog": _switches("panic nopanic", "0 1"),
    "hibernate": _WORD,
    "swiotlb": _swiotlb,
    # In kernel/cgroup and mm/memcontrol.c; cgroup_enable is a patch of Debian and Raspberry Pi
    "cgroup_disable": _switches(slot="cgroup"),
    "cgroup_enable": _switches(slot="cgroup"),
    "cgroup_no_v1": _FLAGS,
    "cgroup.memory": _FLAGS,
    # In security/lockdown/lockdown.c and security/integrity/ima (ima_policy.c, ima_main.c, ima_template.c)
    "lockdown": _lockdown,
    "ima_policy": _switches(by="|"),
    "ima_hash": _FIRST,
    **dict.fromkeys(("ima_template", "ima_template_fmt"), partial(_FIRST, slot="ima_template")),
    # In init/main.c, lib/dynamic_debug.c, kernel/trace, drivers/net/Space.c, kernel/resource.c
    "initcall_blacklist": _listed,
    "dyndbg": _ALL,
    "trace_event": _listed,
    "trace_instance": _ALL,
    "netdev": _ALL,
    "reserve": _ALL,
    # drivers/video/cmdline.c, drivers/video/fbdev/core/fbcon.c, drivers/md/md-autodetect.c
    "video": _video,
    "fbcon": _FLAGS,
    "md": _switches(by=""),
    "raid": _switches("autodetect noautodetect"),
    # Two names of one switch: init/do_mounts.c, arch/x86 (cpu/mtrr/cleanup.c, mm/init.c), mm/slab_common.c
    **dict.fromkeys(("ro", "rw"), partial(_named, value="root file system")),
    **dict.fromkeys(("enable_mtrr_cleanup", "disable_mtrr_cleanup"), partial(_named, value="mtrr_cleanup")),
    **dict.fromkeys(("gbpages", "nogbpages"), partial(_named, value="gbpages")),
    "pti": partial(_whole, slot="pti"),
    "nopti": lambda _: (Setting("pti", "off"),),  # arch/x86/mm/pti.c
    **dict.fromkeys(
        ("slab_merge", "slab_nomerge", "slub_merge", "slub_nomerge"), partial(_named, value="slab_merge")
    ),
    # User space: kmod libkmod-config.c; dracut's `getargs`; kernel-command-line(7) of systemd
    **dict.fromkeys(
        ("modprobe.blacklist", "rd.driver.blacklist", "rd.driver.pre", "rd.driver.post"), _listed
    ),
    "module_blacklist": _whole,  # kernel/module/main.c: a charp parameter, unlike modprobe.blacklist
    "blacklist": _whole,  # initramfs-tools' init
}
"""By name. What is not here is in LAST_WINS, is a module's parameter, or is not known."""

REPEATED: Final = frozenset(
    {
        *("ip", "ifname", "nameserver", "bond", "bridge", "team", "vlan", "fcoe", "netroot", "rd.route"),
        *("rd.lvm.lv", "rd.lvm.vg", "rd.md.uuid", "rd.dm.uuid", "rd.znet", "rd.zfcp", "rd.dasd"),
        *("rd.luks.uuid", "rd.luks.name", "rd.luks.key", "rd.luks.options", "rd.luks.data", "rd.iscsi.param"),
        *("luks.uuid", "luks.name", "luks.key", "luks.options", "luks.data", "rd.luks.partuuid"),
        *("rd.luks.serial", "rd.luks.crypttab", "rd.nvmf.discover", "cryptopts", "cryptdevice"),
        *("systemd.mask", "systemd.wants", "systemd.setenv", "systemd.set_credential", "systemd.run"),
        *("systemd.mount_extra", "systemd.swap_extra", "rd.systemd.mask", "rd.systemd.wants"),
    }
)
"""Arguments of user space that are meant to be repeated: dracut `getargs`, systemd, cryptsetup."""

_USER_SPACE: Final = frozenset(
    {"systemd", "rd", "luks", "udev", "mount", "fsck", "vconsole", "locale", "nvmf"}
)
"""Prefixes that look like a module's name and are none."""


def rule(name: str) -> Rule | None:
    """The rule of a name (with every `-` as `_`); None where it is not known."""
    if name in RULES:
        return RULES[name]
    prefix, dot, parameter = name.partition(".")
    if dot and parameter == "dyndbg":
        return _ALL
    if name in LAST_WINS or (dot and prefix not in _USER_SPACE):
        return _whole  # kernel/params.c: param_set_* store the value, also those of arrays
    return None


def in_force(arguments: Sequence[Named]) -> tuple[InForce, ...]:
    """The settings that the kernel keeps of a command line."""
    written: dict[str, list[tuple[int, Setting]]] = {}
    for index, argument in enumerate(arguments):
        for setting in (rule(argument.name) or _ALL)(argument):
            written.setdefault(setting.slot, []).append((index, setting))
    weaker = {
        slot for stronger, slots in kernel_forced.OVERRULED.items() if stronger in written for slot in slots
    }
    for slot in (*weaker, *hugetlb.NAMES):
        written.pop(slot, None)
    kept = [one for every in written.values() for one in _kept(every)]
    values = [(one.slot, one.value) for _, one in kept]
    kept = [one for one in kept if not kernel_forced.is_beaten(one[1].slot, one[1].value, values)]
    pages = [InForce(*one) for one in hugetlb.in_force([(one.name, one.value) for one in arguments])]
    return (*(InForce(one.slot, one.value, by, one.implied) for by, one in kept), *pages)


def _kept(every: Sequence[tuple[int, Setting]]) -> Sequence[tuple[int, Setting]]:
    match every[-1][1].keep:
        case Keep.ALL:
            return every
        case Keep.FIRST:
            return every[:1]
        case Keep.LEAST:
            return (min(every, key=lambda one: memparse(one[1].value)[0]),)
        case Keep.LAST:
            return every[-1:]


def lacking(present: Sequence[Named], wanted: Sequence[Named]) -> tuple[InForce, ...]:
    """What the wanted arguments set where they stand alone, and what the present ones do not set."""
    there = {one.effect for one in in_force(present)}
    return tuple(one for one in in_force(wanted) if not one.implied and one.effect not in there)


def kept_in_words(argument: Named) -> str:
    """Which of several values the kernel keeps."""
    keep = next((one.keep for one in (rule(argument.name) or _ALL)(argument)), Keep.ALL)
    return {Keep.LAST: "the last one", Keep.FIRST: "the first one", Keep.LEAST: "the least"}.get(
        keep, "all of them"
    )
