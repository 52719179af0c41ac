r"""Which boot loader started this machine, and which entry it boots next, by evidence.

Sources: GRUB 2.12 `grub-core/loader/i386/linux.c` (`BOOT_IMAGE=` comes first; syslinux writes it, too),
`util/grub.d/25_bli.in` (GRUB itself sets `LoaderInfo`), `util/grub.d/20_linux_xen.in` (`placeholder`,
`GRUB_CMDLINE_LINUX_XEN_REPLACE*`); systemd `src/boot` (`initrd=\…` for the EFI stub, `LoaderInfo`,
`StubInfo`); Proxmox `proxmox-kernel-helper` (`/etc/kernel/proxmox-boot-uuids`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from cxlstate.core.answers import Answers
from cxlstate.core.diagnostic import Diagnostic, Severity
from cxlstate.core.read import Attributes, File, Glob, Names, Read
from cxlstate.formats import grub_cfg, grub_default, grub_menu
from cxlstate.formats.grub_defaults import Defaults, NotUnderstood, evaluate
from cxlstate.formats.grub_menu import Item
from cxlstate.formats.kernel_cmdline import Argument
from cxlstate.formats.sh import quote

GRUB2_CFG: Final = Attributes("/boot/grub2/grub.cfg")
BLS_ENTRIES: Final = Attributes("/boot/loader/entries/*.conf")
PROXMOX: Final = File("/etc/kernel/proxmox-boot-uuids")
EXTLINUX: Final = Names("/boot/extlinux/extlinux.conf")
EFI_LOADER: Final = Names("/sys/firmware/efi/efivars/LoaderInfo-*")
EFI_STUB: Final = Names("/sys/firmware/efi/efivars/StubInfo-*")
HYPERVISOR: Final = Attributes("/sys/hypervisor/type")
GRUBENV: Final = File("/boot/grub/grubenv")
EFI_GRUB: Final = Glob("/boot/efi/EFI/*/grub.cfg")
MKCONFIG: Final = File("/usr/sbin/grub-mkconfig")
TBOOT_LOG: Final = Names("/sys/kernel/debug/x86/tboot_log")
"""There where tboot started the kernel (`tboot_late_init` in Linux `arch/x86/kernel/tboot.c`)."""

BOOT_NEXT: Final = Names("/sys/firmware/efi/efivars/BootNext-*")
KEXEC: Final = File("/etc/default/kexec")
KEXEC_PROGRAM: Final = Names("/sbin/kexec")
KEXEC_LOADED: Final = File("/sys/kernel/kexec_loaded")

READS: Final[tuple[Read, ...]] = (
    *(BOOT_NEXT, KEXEC, KEXEC_PROGRAM, KEXEC_LOADED),
    *(
        GRUB2_CFG,
        BLS_ENTRIES,
        PROXMOX,
        EXTLINUX,
        EFI_LOADER,
        EFI_STUB,
        HYPERVISOR,
        GRUBENV,
        MKCONFIG,
        EFI_GRUB,
        TBOOT_LOG,
    ),
)

_ESP: Final = re.compile(r"^[^\S\n]*+[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}\b", re.MULTILINE)  # UUID of a FAT one
_DROP_INS: Final = "/default/grub.d/"  # Debian's default-grub-d.patch
_ARGUMENTS_ELSEWHERE: Final = "set the arguments where that loader keeps them: "
XEN: Final = ("20_linux_xen", "20_linux_xen_tboot")
TBOOT: Final = "20_linux_tboot"


def other(
    answers: Answers, defaults: Defaults, configuration: str | None, running: Sequence[Argument]
) -> Diagnostic | None:
    """Another loader than GRUB, or GRUB with another configuration: what is written here would do nothing."""
    if bls := _of_bls(answers, defaults, configuration):
        return Diagnostic(
            "CXG302",
            "this host boots from Boot Loader Specification entries",
            found=bls,
            expected="a Debian or Ubuntu host, whose /boot/grub/grub.cfg grub-mkconfig writes",
            hint="set the arguments there with `grubby --update-kernel=ALL --args=…`",
        )
    if seen := _elsewhere(answers, running):
        found, hint = seen
        return Diagnostic(
            "CXG320",
            "another boot loader than GRUB started this kernel",
            found=found,
            expected="BOOT_IMAGE=… in /proc/cmdline, as GRUB writes it",
            hint=_ARGUMENTS_ELSEWHERE + hint,
        )
    script = answers.text_or_none(MKCONFIG)
    if configuration is not None and script and _DROP_INS not in script:
        return Diagnostic(
            "CXG328",
            "grub-mkconfig of this host does not read /etc/default/grub.d",
            found=f"no {_DROP_INS} in {MKCONFIG.path}",
            expected="grub-mkconfig of Debian or Ubuntu, which reads the drop-ins there",
            hint="set the arguments in /etc/default/grub, then `grub-mkconfig -o /boot/grub/grub.cfg`",
        )
    if configuration is None and answers.files(GRUB2_CFG):
        return Diagnostic(
            "CXG326",
            "GRUB of this host keeps its configuration in /boot/grub2",
            found="/boot/grub2/grub.cfg",
            expected="a Debian or Ubuntu host, whose /boot/grub/grub.cfg grub-mkconfig writes",
            hint="set the arguments in /etc/default/grub, then `grub2-mkconfig -o /boot/grub2/grub.cfg`",
        )
    if configuration is None:
        image = _image(running)
        return Diagnostic(
            "CXG303",
            "/boot/grub/grub.cfg does not exist",
            found="nothing at /boot/grub/grub.cfg"
            + (f"; GRUB or syslinux started BOOT_IMAGE={image}" if image else ""),
            expected="the configuration that grub-mkconfig writes",
            hint="mount /boot, if it is a file system of its own: `findmnt --fstab /boot`"
            if image
            else "cxlstate sets kernel arguments through GRUB; install grub-pc or grub-efi-amd64",
        )
    return None


def _of_bls(answers: Answers, defaults: Defaults, configuration: str | None) -> str | None:
    """What shows that GRUB's `blscfg` makes the menu. systemd-boot has such entries, too."""
    if defaults["GRUB_ENABLE_BLSCFG"] == "true":
        return "GRUB_ENABLE_BLSCFG=true"
    if "\nblscfg" in (configuration or ""):
        return "blscfg in /boot/grub/grub.cfg"
    if configuration is None and answers.files(BLS_ENTRIES):
        return "/boot/loader/entries"
    return None


def _elsewhere(answers: Answers, running: Sequence[Argument]) -> tuple[str, str] | None:
    """What was seen of another loader, and how the arguments are set there."""
    if _ESP.search(answers.text_or_none(PROXMOX) or ""):
        return (
            "/etc/kernel/proxmox-boot-uuids: proxmox-boot-tool keeps the boot files on other partitions",
            "/etc/kernel/cmdline or /etc/default/grub, then `proxmox-boot-tool refresh`",
        )
    if _image(running) is not None:
        return None
    initrd = next((one.text for one in running if one.name == "initrd" and "\\" in (one.value or "")), None)
    if initrd is not None:
        return (
            f"{initrd} in /proc/cmdline, as systemd-boot or rEFInd hands it to the kernel's EFI stub",
            "/etc/kernel/cmdline, then `kernel-install add-all` or `bootctl update`; /boot/refind_linux.conf",
        )
    if stub := list(answers.files(EFI_STUB)):
        return f"{stub[0]}: a unified kernel image", "/etc/kernel/cmdline, then build the image again"
    return None


def _image(running: Sequence[Argument]) -> str | None:
    return next((one.value for one in running if one.name == "BOOT_IMAGE"), None)


def doubts(answers: Answers, running: Sequence[Argument], *, tboot: bool = False) -> Iterator[Diagnostic]:
    """Why it may not be GRUB, with this menu, that starts the next kernel."""
    found = (_unproven(answers, running, tboot=tboot), _by_kexec(answers), _by_firmware(answers))
    return filter(None, found)


def _unproven(answers: Answers, running: Sequence[Argument], *, tboot: bool) -> Diagnostic | None:
    """GRUB is not ruled out, and nothing shows that it started this kernel. `tboot`: its menu has tboot.

    A unified kernel image may hold a copy of an earlier `/proc/cmdline`, with GRUB's `BOOT_IMAGE=` in it;
    `StubInfo` is set at each boot (systemd `src/boot/stub.c`).
    """
    image, stubs = _image(running), list(answers.files(EFI_STUB))
    extlinux = list(answers.files(EXTLINUX))
    initrd = next(
        (one.text for one in running if one.name == "initrd"), None
    )  # syslinux names it, GRUB does not
    is_grubs = image is not None and initrd is None and not (extlinux or stubs)
    by_tboot = tboot and image is None and bool(answers.files(TBOOT_LOG))
    if is_grubs or by_tboot or _is_dom0(answers, running):
        return _another_menu(answers)
    seen = "BOOT_IMAGE=" + image if image is not None else "no BOOT_IMAGE= in /proc/cmdline"
    seen += f" {initrd}" if initrd else ""
    for path in (*extlinux, *answers.files(EFI_LOADER), *stubs):
        seen += f"; {path} exists"
    hint = "after kexec or a direct kernel boot, boot this host once through GRUB, then plan again"
    if tboot and image is None:
        seen += f"; no {TBOOT_LOG.pattern}"
        hint = f"if tboot started it: `mount -t debugfs none /sys/kernel/debug`, then plan again; {hint}"
    return Diagnostic(
        "CXG321",
        "cannot tell which boot loader started this kernel",
        found=seen,
        expected="BOOT_IMAGE=… in /proc/cmdline, as GRUB writes it, and no other loader's files",
        hint=hint,
    )


def _another_menu(answers: Answers) -> Diagnostic | None:
    """A whole menu on the EFI system partition, where Debian's GRUB has a stub that leads to /boot/grub.

    GRUB's signed image reads that file and no other (`grub-install --uefi-secure-boot` writes the stub:
    Debian's `install-signed.patch`). Beside a stub it may be that of another system.
    """
    found = answers.files(EFI_GRUB)
    menus = [path for path, text in found.items() if grub_menu.entries(grub_menu.menu(text))]
    if not menus:
        return None
    return Diagnostic(
        "CXG329",
        "GRUB may boot by another configuration than /boot/grub/grub.cfg",
        Severity.WARNING if len(menus) < len(found) else Severity.ERROR,
        found=f"boot entries in {menus[0]}",
        expected="a stub there, whose last line is `configfile $prefix/grub.cfg`",
        hint=f"move {menus[0]} away and run `grub-install`, which writes the stub",
    )


def _by_kexec(answers: Answers) -> Diagnostic | None:
    """What makes of the next reboot a start of another kernel by kexec, with a command line of its own.

    Sources: kexec-tools of Debian, `/etc/init.d/kexec-load` (without USE_GRUB_CONFIG the new kernel gets
    APPEND or the running command line; kdump-tools brings the package, and LOAD_KEXEC=true is its default;
    settings stay where it was removed);
    systemctl(1): a reboot is done by kexec where a kernel is loaded.
    """
    if (answers.text_or_none(KEXEC_LOADED) or "").strip() == "1":
        found, hint = f"{KEXEC_LOADED.path} is 1: a kernel is loaded", "run `kexec -u`, which unloads it"
    elif answers.files(KEXEC_PROGRAM) and _loads_at_reboot(answers.text_or_none(KEXEC) or ""):
        found, hint = f"LOAD_KEXEC=true in {KEXEC.path}", f"set LOAD_KEXEC=false in {KEXEC.path}"
    else:
        return None
    return Diagnostic(
        "CXG345",
        "the next reboot starts a kernel by kexec, without GRUB",
        found=found,
        expected="a reboot through the firmware and GRUB, which hands over the arguments of grub.cfg",
        hint=hint,
    )


def _by_firmware(answers: Answers) -> Diagnostic | None:
    """`BootNext` is for one boot (UEFI 2.10, 3.1.2); efibootmgr and fwupd set it."""
    if not (chosen := list(answers.files(BOOT_NEXT))):
        return None
    return Diagnostic(
        "CXG346",
        "the firmware may start another loader at the next boot",
        Severity.WARNING,
        found=f"{chosen[0]}, which chooses a loader for one boot",
        expected="GRUB, by the boot order of the firmware",
        hint="see where it leads with `efibootmgr`; `efibootmgr --delete-bootnext` takes it back",
    )


def _loads_at_reboot(settings: str) -> bool:
    """Whether kexec-tools load a kernel with the running command line."""
    try:
        values = evaluate([(KEXEC.path, settings)])
    except NotUnderstood:
        return False
    return values["LOAD_KEXEC"] == "true" and values["USE_GRUB_CONFIG"] != "true"


def _is_dom0(answers: Answers, running: Sequence[Argument]) -> bool:
    """GRUB's entry for Xen hands `placeholder` over in place of the image."""
    xen = any(kind.strip() == "xen" for kind in answers.files(HYPERVISOR).values())
    return xen and any(one.text == "placeholder" for one in running)


@dataclass(frozen=True, slots=True)
class Boot:
    """An entry that boots next, and what says so. Not `certain`: a condition of grub.cfg decides on it.

    `instead` is how GRUB calls the first entry of 10_linux.
    """

    item: Item
    source: str
    certain: bool = True
    instead: str = "0"

    @property
    def named(self) -> str:
        """For people."""
        return f"{self.item.name}, by {'' if self.certain else 'a condition around '}{self.source}"


def next_entries(configuration: str, environment: dict[str, str], defaults: Defaults) -> tuple[Boot, ...]:
    """The entries that boot next, by grub.cfg and by the defaults; the certain ones first."""
    menu = grub_menu.menu(configuration)
    wanted = [*grub_default.defaults(configuration, environment)]
    set_later = [one for one in wanted if one.source.startswith("`set default`")]  # also when written anew
    if (configured := defaults["GRUB_DEFAULT"]) and not any(one.certain for one in set_later):
        line = 'default="${saved_entry}"' if configured == "saved" else f"default='{configured}'"
        found = grub_default.defaults(line, environment)
        wanted += [replace(one, certain=not set_later) for one in found]
    chosen = ((grub_menu.chosen(menu, one.value), one) for one in sorted(wanted, key=_is_uncertain))
    instead = _first_of_10_linux(menu)
    boots = [Boot(item, one.source, one.certain, instead) for item, one in chosen if item is not None]
    return tuple(one for at, one in enumerate(boots) if one not in boots[:at])


def _first_of_10_linux(menu: list[Item]) -> str:
    """By number where it is the first of all; else by its id, which no other script can move."""
    found = next((one for one in menu if one.section == "10_linux" and one.items is None), None)
    return "0" if found is None or found is menu[0] else found.id or found.title


def _is_uncertain(one: grub_default.Default) -> bool:
    return not one.certain


def astray(boots: Sequence[Boot], defaults: Defaults) -> Diagnostic | None:
    """What is wrong with the entries that boot next; what is certain goes first."""
    certain = [one for one in boots if one.certain]
    found = (without_arguments(certain, defaults), lost(certain), without_arguments(boots, defaults))
    return next(filter(None, found), None) or lost(boots)


def lost(boots: Sequence[Boot]) -> Diagnostic | None:
    """The entry that boots next starts no network: recovery, another system, a memory test."""
    for one in boots:
        recovery = grub_cfg.RECOVERY in one.item.id
        if recovery or not any(_starts_linux(words) for _, words in one.item.kernels):
            return _astray(
                one,
                "is a recovery entry" if recovery else "starts no Linux",
                expected="an entry that starts this host for use",
            )
    return None


def _starts_linux(words: Sequence[str]) -> bool:
    """A memory test is started by `linux`, too, and mounts no root; a line that is not understood counts."""
    return not words or any(word.startswith(("root=", "boot=", "$")) for word in words[1:])


def without_arguments(boots: Sequence[Boot], defaults: Defaults) -> Diagnostic | None:
    """The entry that boots next gets no argument from `GRUB_CMDLINE_LINUX`."""
    replaced = (
        XEN_REPLACES[0] if defaults[XEN_REPLACES[0]] else None
    )  # the drop-in adds to GRUB_CMDLINE_LINUX
    for one in boots:
        section = one.item.section
        if section in ("10_linux", TBOOT) or (section in XEN and replaced is None):
            continue
        told = _astray(
            one,
            "takes no configured arguments",
            expected="an entry that /etc/grub.d/10_linux wrote",
            replaced=replaced,
        )
        if section in XEN:
            found = f"{told.found}; {replaced} takes the place of GRUB_CMDLINE_LINUX there"
            return replace(told, found=found)
        return told
    return None


def _astray(one: Boot, what: str, *, expected: str, replaced: str | None = None) -> Diagnostic:
    """A warning where a condition, which only GRUB can tell, decides on the entry."""
    return Diagnostic(
        "CXG322",
        f"the entry that {'boots' if one.certain else 'may boot'} next {what}",
        severity=Severity.ERROR if one.certain else Severity.WARNING,
        found=one.named,
        expected=expected,
        hint=_choose(one, replaced),
    )


XEN_REPLACES: Final = ("GRUB_CMDLINE_LINUX_XEN_REPLACE", "GRUB_CMDLINE_LINUX_XEN_REPLACE_DEFAULT")


def _choose(one: Boot, replaced: str | None) -> str:
    source, instead = one.source, one.instead if one.instead.isdigit() else quote(one.instead)
    if one.item.section in XEN:
        return f"write the arguments into {replaced}, and take them out of the specification"
    if source.startswith("next_entry"):
        return "boot that entry first, or run `grub-editenv /boot/grub/grubenv unset next_entry`"
    if source.startswith("saved_entry"):
        return f"run `grub-set-default {instead}`, if the newest kernel is to boot"
    if source.startswith("`set default`"):
        return f"take it out of {source.rpartition(' ')[2]}, if the newest kernel is to boot"
    return f"set GRUB_DEFAULT={instead} in /etc/default/grub, if the newest kernel is to boot"
