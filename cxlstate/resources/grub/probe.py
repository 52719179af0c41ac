"""What is asked of the machine, and what the answers say of its boot loader."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cxlstate.core.diagnostic import Diagnostic
from cxlstate.core.observation import Present, Unknown
from cxlstate.core.read import Answers, Attributes, File, Glob, Read
from cxlstate.formats import grub_drop_in as drop_in
from cxlstate.formats import grub_script, kernel_cmdline
from cxlstate.formats.grub_cfg import Entry, UnexpectedLine, entries
from cxlstate.formats.grub_defaults import WATCHED, Assignment, Defaults, NotUnderstood, evaluate
from cxlstate.formats.grub_drop_in import CommandLines
from cxlstate.formats.kernel_cmdline import Argument

DEFAULTS: Final = File("/etc/default/grub")
DROP_INS: Final = Glob("/etc/default/grub.d/*.cfg")
GRUB_CFG: Final = File("/boot/grub/grub.cfg")
RUNNING: Final = File("/proc/cmdline")
GRUB2_CFG: Final = Attributes("/boot/grub2/grub.cfg")
BLS_ENTRIES: Final = Attributes("/boot/loader/entries/*.conf")

READS: Final[tuple[Read, ...]] = (DEFAULTS, DROP_INS, GRUB_CFG, RUNNING, GRUB2_CFG, BLS_ENTRIES)


@dataclass(frozen=True, slots=True)
class Live:
    """The boot loader's configuration. `by_hand` is what it comes to without our drop-in."""

    by_hand: CommandLines
    assignments: tuple[Assignment, ...]
    ours: str | None
    grub_cfg: str
    entries: tuple[Entry, ...]
    running: tuple[Argument, ...]
    refusals: tuple[Diagnostic, ...] = ()

    @property
    def drop_in(self) -> drop_in.DropIn | None:
        """What our file holds; None where it is not there or was edited."""
        return None if self.ours is None else drop_in.recognise(self.ours)


def observe(answers: Answers) -> Present[Live] | Unknown:
    """Read it all. A shell file that only a shell could read makes it unknown."""
    files = answers.files(DROP_INS)
    ours = files.pop(drop_in.PATH, None)
    main = answers.text_or_none(DEFAULTS)
    before = [(DEFAULTS.path, main or ""), *((path, text) for path, text in files.items() if not _late(path))]
    running = kernel_cmdline.parse(answers.text(RUNNING))
    grub_cfg = answers.text_or_none(GRUB_CFG)
    try:
        defaults = evaluate(before)
        refusals = [_too_late(path) for path, text in files.items() if _late(path) and _touches(path, text)]
    except NotUnderstood as error:
        return Unknown(
            str(error),
            hint=f"write it as plain {WATCHED}…= assignments; cxlstate reads these files and never runs them",
        )
    by_hand = CommandLines(defaults[WATCHED], defaults[f"{WATCHED}_DEFAULT"], defaults[f"{WATCHED}_RECOVERY"])
    found: tuple[Entry, ...] = ()
    if foreign := _other_loader(answers, defaults, grub_cfg):
        refusals = [foreign]
    elif unusable := _unusable(by_hand):
        refusals += unusable
    else:
        found, refused = _entries(grub_cfg or "")
        refusals += refused
    return Present(Live(by_hand, defaults.assignments, ours, grub_cfg or "", found, running, tuple(refusals)))


def _late(path: str) -> bool:
    """Whether some shell sources it after our file: they sort by bytes, or by language."""

    def letters(text: str) -> str:
        return "".join(filter(str.isalnum, text)).casefold()

    return path > drop_in.PATH or letters(path) > letters(drop_in.PATH)


def _touches(path: str, text: str) -> bool:
    return bool(evaluate([(path, text)]).assignments)


def _too_late(path: str) -> Diagnostic:
    return Diagnostic(
        "CXG301",
        f"{path} is sourced after our {drop_in.PATH} and sets {WATCHED}…",
        found=path,
        expected="a name that sorts before zz-cxlstate.cfg",
        hint="rename it, for example to 50-site.cfg",
    )


def _other_loader(answers: Answers, defaults: Defaults, grub_cfg: str | None) -> Diagnostic | None:
    """Boot Loader Specification entries (RHEL, Fedora) are not made from /etc/default/grub."""
    entries_there = bool(answers.files(BLS_ENTRIES))
    bls = defaults["GRUB_ENABLE_BLSCFG"] == "true" or "\nblscfg" in (grub_cfg or "")
    if bls or (grub_cfg is None and (entries_there or answers.files(GRUB2_CFG))):
        return Diagnostic(
            "CXG302",
            "this host boots from Boot Loader Specification entries",
            found="GRUB_ENABLE_BLSCFG=true" if bls else "/boot/loader/entries or /boot/grub2/grub.cfg",
            expected="a Debian or Ubuntu host, whose /boot/grub/grub.cfg grub-mkconfig writes",
            hint="set the arguments there with `grubby --update-kernel=ALL --args=…`",
        )
    if grub_cfg is None:
        return Diagnostic(
            "CXG303",
            "there is no /boot/grub/grub.cfg",
            found="nothing at /boot/grub/grub.cfg",
            expected="the configuration that grub-mkconfig writes",
            hint="cxlstate sets kernel arguments through GRUB; install grub-pc or grub-efi-amd64",
        )
    return None


def _entries(grub_cfg: str) -> tuple[tuple[Entry, ...], list[Diagnostic]]:
    try:
        found = entries(grub_cfg)
    except UnexpectedLine as error:
        return (), [
            Diagnostic(
                "CXG304",
                f"{GRUB_CFG.path}:{error.line}: {error.why}",
                found=grub_cfg.split("\n")[error.line - 1].strip()[:200],
                expected="a line as /etc/grub.d/10_linux writes it",
                hint="look for changes in /etc/grub.d/10_linux and for unescaped signs in /etc/default/grub",
            )
        ]
    if found:
        return found, []
    return (), [
        Diagnostic(
            "CXG305",
            f"{GRUB_CFG.path} has no boot entry of /etc/grub.d/10_linux",
            found="no `linux` line in that section",
            expected="at least one",
            hint="is 10_linux executable? 10_linux_zfs, which stands in for it on ZFS, is not supported",
        )
    ]


def _unusable(lines: CommandLines) -> list[Diagnostic]:
    """Values that break the `linux` line they are pasted into, or end the kernel's part of it."""
    refusals = []
    for name, value in (("", lines.linux), ("_DEFAULT", lines.default), ("_RECOVERY", lines.recovery)):
        try:
            words = [grub_script.expand(word) for word in grub_script.split(value)]
            why = "`--` ends the kernel's arguments" if "--" in words else ""
        except grub_script.GrubSyntaxError as error:
            why = f"GRUB's script language sees {error}"
        if why:
            refusals.append(
                Diagnostic(
                    "CXG306",
                    f"{WATCHED}{name} cannot be extended: {why}",
                    found=value,
                    expected="kernel arguments, with what is special to GRUB escaped",
                    hint="correct it in /etc/default/grub or its drop-ins",
                )
            )
    return refusals
