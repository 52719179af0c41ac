"""What is asked of the machine, and what the answers say of its boot loader."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final

from cxlstate.core.answers import Answers
from cxlstate.core.diagnostic import Diagnostic, Severity
from cxlstate.core.observation import Present, Unknown
from cxlstate.core.read import File, Glob, Read
from cxlstate.formats import grub_drop_in as drop_in
from cxlstate.formats import grub_linux_script, grub_menu, grub_script, kernel_cmdline, memmap
from cxlstate.formats.grub_cfg import Entry, UnexpectedLine, entries, module_entries
from cxlstate.formats.grub_defaults import WATCHED, Assignment, Defaults, NotUnderstood, evaluate
from cxlstate.formats.grub_drop_in import CommandLines
from cxlstate.formats.grub_linux_script import Script
from cxlstate.formats.iomem import RAM, Range, joined, parse_iomem
from cxlstate.formats.kernel_cmdline import Argument
from cxlstate.resources.grub import loader
from cxlstate.resources.grub.pending import pending, waiting

DEFAULTS: Final = File("/etc/default/grub")
DROP_INS: Final = Glob("/etc/default/grub.d/*.cfg")
GRUB_CFG: Final = File("/boot/grub/grub.cfg")
RUNNING: Final = File("/proc/cmdline")
LINUX_SCRIPT: Final = File("/etc/grub.d/10_linux")
CUSTOM_SCRIPT: Final = File("/etc/grub.d/40_custom")
TUNED_SCRIPT: Final = File("/etc/grub.d/00_tuned")
"""Sets `tuned_params`, which tuned puts into the defaults before grub.cfg is generated (tuned 2.20)."""
CUSTOM_CFG: Final = File("/boot/grub/custom.cfg")
IOMEM: Final = File("/proc/iomem")

_MEMORY: Final = ("System RAM", "Soft Reserved", "Persistent Memory", "CXL Window", "dax", "region")
"""Names of memory in `/proc/iomem`: CXL windows and regions since Linux 6.0 (`drivers/cxl`)."""

READS: Final[tuple[Read, ...]] = (
    *(DEFAULTS, DROP_INS, GRUB_CFG, RUNNING, LINUX_SCRIPT, TUNED_SCRIPT, CUSTOM_SCRIPT, CUSTOM_CFG, IOMEM),
    *loader.READS,
)


@dataclass(frozen=True, slots=True)
class Live:
    """The boot loader's configuration. `by_hand` is what it comes to without our drop-in.

    `memory_end` is where the memory ends (None: unknown), `ram` all RAM (empty: unknown), `boots` are the
    entries that boot next and what says so, `doubts` why GRUB may not be what boots, `astray` why the next
    entry may have none of the arguments, and `lost` why it may start no network. `xen` and `tboot` are
    entries of theirs, `for_xen` is what takes the place of the configured arguments there. `pending` are
    edits by others besides arguments that are not in grub.cfg yet.
    """

    by_hand: CommandLines
    assignments: tuple[Assignment, ...]
    ours: str | None
    grub_cfg: str
    entries: tuple[Entry, ...]
    running: tuple[Argument, ...]
    script: Script
    variables: grub_menu.Variables
    custom_script: str = ""
    custom_cfg: str = ""
    boots: tuple[loader.Boot, ...] = ()
    refusals: tuple[Diagnostic, ...] = ()
    kernel_at: tuple[Range, ...] = ()
    memory_end: int | None = None
    ram: tuple[Range, ...] = ()
    doubts: tuple[Diagnostic, ...] = ()
    astray: Diagnostic | None = None
    lost: Diagnostic | None = None
    xen: tuple[Entry, ...] = ()
    tboot: tuple[Entry, ...] = ()
    for_xen: CommandLines = field(default_factory=CommandLines)
    pending: tuple[str, ...] = ()

    @property
    def drop_in(self) -> drop_in.DropIn | None:
        """What our file holds; None where it is not there or was edited."""
        return None if self.ours is None else drop_in.recognise(self.ours)


def observe(answers: Answers) -> Present[Live] | Unknown:
    """Read it all. A shell file that only a shell could read makes it unknown."""
    files = answers.files(DROP_INS)
    ours = files.pop(drop_in.PATH, None)
    main = answers.text_or_none(DEFAULTS)
    # With CRLF grub-mkconfig would abort (CXG325): what the lines mean is still worth reading.
    plain = {path: text.replace("\r\n", "\n") for path, text in files.items()}
    first = (DEFAULTS.path, (main or "").replace("\r\n", "\n"))
    before = [first, *((path, text) for path, text in plain.items() if not _late(path))]
    try:
        defaults = evaluate(before)
        refusals = [_too_late(path) for path, text in plain.items() if _late(path) and _touches(path, text)]
    except NotUnderstood as error:
        unread = Diagnostic("CXG306", str(error))  # an error: grub.cfg is not generated, and boots as it is
        partly = _live(answers, Defaults({}, ()), ours, [unread])
        return Unknown(str(error), hint=_plainly(error), partly=partly)
    refusals += _line_endings([(DEFAULTS.path, main or ""), *files.items()])
    return Present(_live(answers, defaults, ours, refusals))


def _plainly(error: NotUnderstood) -> str:
    """A lone $ may be meant for the kernel; an expansion that only a shell can make is not."""
    if "the shell's own $" in error.why or "which is not set here" in error.why:
        return r"where the kernel is to read a $, write \\\$ in double quotes or \$ in single quotes"
    return f"write plain {WATCHED}…= assignments: cxlstate reads these files and never runs them"


def _live(answers: Answers, defaults: Defaults, ours: str | None, refusals: list[Diagnostic]) -> Live:
    by_hand = CommandLines(defaults[WATCHED], defaults[f"{WATCHED}_DEFAULT"], defaults[f"{WATCHED}_RECOVERY"])
    running = kernel_cmdline.parse(answers.text(RUNNING))
    grub_cfg = answers.text_or_none(GRUB_CFG)
    custom_cfg = answers.text_or_none(CUSTOM_CFG) or ""
    custom_script = answers.text_or_none(CUSTOM_SCRIPT) or ""
    to_set = "\n".join((grub_cfg or "", custom_cfg, answers.text_or_none(TUNED_SCRIPT) or "", custom_script))
    environment = grub_menu.environment(answers.text_or_none(loader.GRUBENV) or "")
    sources = "\n".join((answers.text_or_none(DEFAULTS) or "", *answers.files(DROP_INS).values()))
    as_it_will_be = grub_menu.regenerated(grub_cfg or "", custom_script)
    menus = [f"{menu}\n{custom_cfg}" for menu in dict.fromkeys((grub_cfg or "", as_it_will_be))]
    found: tuple[Entry, ...] = ()
    boots: tuple[loader.Boot, ...] = ()
    if foreign := loader.other(answers, defaults, grub_cfg, running):
        refusals = [foreign]
    elif unusable := _unusable(by_hand):
        refusals += unusable
    else:
        found, refused = _entries(grub_cfg or "")
        each = (loader.next_entries(menu, environment, defaults) for menu in menus)
        boots = tuple(one for several in each for one in several)
        refusals += refused
    lost = loader.lost([one for one in boots if one.certain])
    tboot = module_entries(grub_cfg or "", loader.TBOOT)
    script, not_understood = _script(answers.text_or_none(LINUX_SCRIPT))
    return Live(
        by_hand=by_hand,
        assignments=defaults.assignments,
        ours=ours,
        grub_cfg=grub_cfg or "",
        entries=found,
        running=running,
        script=script,
        variables=grub_menu.variables(to_set, environment),
        custom_script=custom_script,
        custom_cfg=custom_cfg,
        boots=boots,
        refusals=(*refusals, *not_understood),
        kernel_at=_kernel(_iomem(answers), running),
        memory_end=_memory_end(_iomem(answers), running),
        ram=_ram(_iomem(answers), running),
        doubts=()
        if foreign
        else (*loader.doubts(answers, running, tboot=bool(tboot)), *waiting(defaults, menus)),
        astray=loader.astray(boots, defaults),
        lost=lost,
        xen=module_entries(grub_cfg or "", *loader.XEN),
        tboot=tboot,
        pending=tuple(pending(defaults, sources, grub_cfg or "", custom_script, found)),
        for_xen=CommandLines(*(defaults[name] for name in loader.XEN_REPLACES)),
    )


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
        f"{path} overrides the drop-in of cxlstate",
        found=path,
        expected=f"a name that sorts before zz-cxlstate.cfg, since it sets {WATCHED}…",
        hint=f"mv {path} /etc/default/grub.d/50-site.cfg",
    )


def _iomem(answers: Answers) -> tuple[Range, ...]:
    """Nothing, where it cannot be read."""
    answer = answers.raw(IOMEM)
    try:
        return parse_iomem(answer.text) if answer.status == 0 else ()
    except ValueError:
        return ()


def _ram(iomem: Iterable[Range], running: Iterable[Argument]) -> tuple[Range, ...]:
    """RAM of the firmware, with what the running kernel was told to leave alone."""
    items = memmap.items(running)
    if any(one.name == "mem" for one in running) or not all(isinstance(one, memmap.Region) for one in items):
        return ()
    taken = [Range(one.start, one.start + one.size) for one in items if isinstance(one, memmap.Region)]
    there = [one for one in iomem if one.depth == 0 and one.name == RAM]
    return joined([*there, *taken]) if there else ()


def _memory_end(iomem: Iterable[Range], running: Iterable[Argument]) -> int | None:
    """The end of RAM and of what can become RAM, as long as no argument hides memory from the kernel."""
    if any(one.name in ("mem", "memmap") for one in running):
        return None
    return max((one.end for one in iomem if one.name.startswith(_MEMORY)), default=None)


def _kernel(iomem: Iterable[Range], running: Iterable[Argument]) -> tuple[Range, ...]:
    """Where a kernel without KASLR lies: where it lies now, if it runs without, else where x86 puts it.

    Source: Linux `arch/x86/Kconfig`, PHYSICAL_START (16 MiB); the size is that of a large one.
    """
    found = tuple(one for one in iomem if one.name.startswith("Kernel "))
    if found and any(one.name == "nokaslr" for one in running):
        return found
    return (Range(16 << 20, 48 << 20, "Kernel"),)


def _script(text: str | None) -> tuple[Script, list[Diagnostic]]:
    """What the machine's own 10_linux writes; of one that cannot be read, what the known versions write."""
    if text is None:
        return grub_linux_script.KNOWN, []
    try:
        found = grub_linux_script.read(text)
    except grub_linux_script.NotUnderstood as error:
        where, why = f"{LINUX_SCRIPT.path}:{error.line}", error.why
    else:
        if found.normal:
            return found, []
        where, why = LINUX_SCRIPT.path, "no call of linux_entry"
    return grub_linux_script.KNOWN, [
        Diagnostic(
            "CXG324",
            f"cannot tell which arguments {LINUX_SCRIPT.path} adds",
            severity=Severity.WARNING,
            found=f"{where}: {why}",
            expected="10_linux as Debian or Ubuntu ship it",
            hint="read the words that the plan names under foreign-boot with care: the script may add them",
        )
    ]


def _line_endings(files: Iterable[tuple[str, str]]) -> Iterator[Diagnostic]:
    """The shell takes the carriage return of a blank line for a command, and `set -e` ends grub-mkconfig."""
    for path, text in files:
        if "\r\n" in text:
            yield Diagnostic(
                "CXG325",
                f"{path} has CRLF line endings",
                found=f"a carriage return in line {text[: text.index(chr(13))].count(chr(10)) + 1}",
                expected="lines that end with a line feed alone: grub-mkconfig sources the file with sh",
                hint=f"sed -i 's/\\r$//' {path}",
            )


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
    others = {item.section for item in grub_menu.entries(grub_menu.menu(grub_cfg)) if item.kernels}
    return (), [
        Diagnostic(
            "CXG305",
            f"{GRUB_CFG.path} has no boot entry of /etc/grub.d/10_linux",
            found=f"entries of {', '.join(sorted(filter(None, others))) or 'no script'}",
            expected="at least one `linux` line in the section of 10_linux",
            hint=_stand_in(others),
        )
    ]


def _stand_in(sections: AbstractSet[str]) -> str:
    """What to do about the script that made the entries in place of 10_linux."""
    if any(section.endswith("_proxy") for section in sections):
        return "reset the changes of grub-customizer: its *_proxy scripts rewrite the entries of 10_linux"
    if "10_linux_zfs" in sections:
        return "set the arguments by hand: entries of 10_linux_zfs are not supported"
    if moved := next((one for one in sorted(sections) if re.fullmatch(r"\d+_linux", one)), None):
        return f"run `mv /etc/grub.d/{moved} /etc/grub.d/10_linux && update-grub`: another name is not known"
    return "run `chmod +x /etc/grub.d/10_linux && update-grub`"


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
                    f"cannot extend {WATCHED}{name}: {why}",
                    found=value,
                    expected="kernel arguments, with what is special to GRUB escaped",
                    hint=f"correct {WATCHED}{name} in /etc/default/grub or its drop-ins",
                )
            )
    return refusals
