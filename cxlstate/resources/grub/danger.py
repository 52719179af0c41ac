"""What the kernel will read at the next boot, and what of it would lose the host.

Sources: Linux `arch/x86/kernel/e820.c` (`parse_memopt`, `parse_memmap_one`: a size without `@#$!%` behind it
removes all RAM above it, also where -EINVAL is the result; `exactmap` forgets the firmware's map),
`arch/x86/realmode/init.c` (processors are started from the first MiB).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Final

from cxlstate.core.diagnostic import Diagnostic, Severity
from cxlstate.core.units import format_size
from cxlstate.formats import grub_menu, grub_script, hugetlb, kernel_cmdline, memmap
from cxlstate.formats.grub_cfg import Entry
from cxlstate.formats.grub_defaults import Assignment, as_sourced
from cxlstate.formats.iomem import Range
from cxlstate.formats.kernel_cmdline import Argument
from cxlstate.resources.grub import loader
from cxlstate.resources.grub.goal import Goal
from cxlstate.resources.grub.probe import GRUB_CFG, Live

_LOW: Final = (64 << 10, 640 << 10)  # RAM of the first MiB, without what the firmware keeps there
_UNITS: Final = {
    **dict.fromkeys(("single", "s", "S", "1", "rescue"), "rescue.target"),
    **dict.fromkeys(("emergency", "_b"), "emergency.target"),
    **dict.fromkeys(("2", "3", "4"), "multi-user.target"),
    "5": "graphical.target",
}
_SHELLS: Final = frozenset({"sh", "bash", "dash", "busybox"})
_OF_OTHER_SYSTEMS: Final = "_os-prober"  # with a number in front, which decides on the place in the menu
_VARIABLE_ALONE: Final = re.compile(r"(?:[^=$]+=)?\$\{?[A-Za-z_]\w*\}?", re.ASCII)
_SCRIPTS_OWN: Final = ("$vt_handoff", "${vt_handoff}")


@dataclass(frozen=True, slots=True)
class _Line:
    """One kernel command line of grub.cfg.

    `tested`: a person wrote it for a boot that he chooses himself. `generated`: 10_linux wrote it.
    `recovery`: as a recovery entry. `section` is the script that wrote it.
    """

    title: str
    place: str
    words: tuple[str, ...]
    section: str = ""
    tested: bool = False
    generated: bool = False
    recovery: bool = False


@dataclass(frozen=True, slots=True)
class _Finding:
    """A word, the argument that the kernel reads in its place, and what that does."""

    line: _Line
    word: str
    argument: Argument | None
    effect: str
    code: str

    @property
    def reads(self) -> str:
        """The argument as the kernel reads it."""
        return self.argument.text if self.argument else ""


def now(goal: Goal, live: Live) -> tuple[Diagnostic, ...]:
    """What is wrong with the entries as grub.cfg has them."""
    ours = [_ours(one.entry, one.entry.words) for one in goal.forecasts]
    return _diagnosed((*ours, *_others(live)), goal, live)


def then(goal: Goal, live: Live) -> tuple[Diagnostic, ...]:
    """What would be wrong with the entries as grub-mkconfig will write them."""
    ours = [_ours(one.entry, one.words) for one in goal.forecasts]
    pending = _written_by_hand(live.custom_script, "/etc/grub.d/40_custom", frozenset())
    return _diagnosed((*ours, *_others(live), *pending), goal, live)


def _ours(entry: Entry, words: tuple[str, ...]) -> _Line:
    place = f"{GRUB_CFG.path}:{entry.line}"
    return _Line(entry.title, place, words, generated=True, recovery=entry.recovery)


def _others(live: Live) -> Iterator[_Line]:
    """Entries of other scripts than 10_linux, and those of custom.cfg."""
    boots = {one.item.title for one in live.boots if one.certain}
    for item in grub_menu.entries(grub_menu.menu(live.grub_cfg)):
        if item.section != "10_linux":
            yield from _lines(item, GRUB_CFG.path, boots)
    yield from _written_by_hand(live.custom_cfg, "/boot/grub/custom.cfg", boots)


def _written_by_hand(text: str, path: str, boots: AbstractSet[str]) -> Iterator[_Line]:
    for item in grub_menu.entries(grub_menu.menu(text)):
        yield from _lines(item, path, boots)


def _lines(item: grub_menu.Item, path: str, boots: AbstractSet[str]) -> Iterator[_Line]:
    for number, words in item.kernels:
        generated = item.section in (*loader.XEN, loader.TBOOT, "10_linux_zfs")
        yield _Line(
            item.title,
            f"{path}:{number}",
            words[1:],
            item.section,
            tested=not generated and item.title not in boots,
        )


def _diagnosed(lines: Iterable[_Line], goal: Goal, live: Live) -> tuple[Diagnostic, ...]:
    """One diagnostic for each word, however many entries have it; the worst severity of them."""
    running = live.running
    in_force = {text for one in running for text, _ in _effects(one, running, live)} | {
        one.text for one in running
    }
    found: dict[tuple[str, str], Diagnostic] = {}
    for line in lines:
        for finding in _findings(line, live):
            known = finding.effect in in_force or finding.reads in in_force
            eaten = grub_menu.eaten(finding.word, live.variables)
            meant = line.section.endswith(_OF_OTHER_SYSTEMS) or not eaten or finding.code == "CXG323"
            mild = known or not finding.reads or (line.tested and meant)
            severity = Severity.WARNING if mild else Severity.ERROR
            key = (finding.code, finding.reads or finding.word)
            if key not in found or (severity is Severity.ERROR and found[key].severity is not severity):
                told = _diagnostic(finding, severity, eaten, live, known=known)
                found[key] = _in_spec(told, finding, goal, live)
    return tuple(found.values())


def _findings(line: _Line, live: Live) -> Iterator[_Finding]:
    values = grub_menu.values(live.variables, line.title)
    readings = [(word, text) for word in line.words for text in _texts(word, values)]
    arguments = kernel_cmdline.for_kernel(kernel_cmdline.read(text) for _, text in readings)
    read: dict[str, list[tuple[Argument, tuple[tuple[str, str], ...]]]] = {}
    for (word, _), argument in zip(readings, arguments, strict=False):
        effects = _effects(argument, arguments, live)
        if line.generated and not line.recovery:
            effects += _rescue(argument, arguments)
        read.setdefault(word, []).append((argument, effects))
    for word in dict.fromkeys(line.words):
        results = read.get(word, [])
        found = [(argument, *effect) for argument, effects in results for effect in effects]
        for argument, effect, code in found:
            yield _Finding(line, word, argument, effect, code)
        eaten = word not in _SCRIPTS_OWN and grub_menu.eaten(word, live.variables)
        if not found and (eaten or _eaten_by_shell(word, live)):
            yield _Finding(line, word, results[0][0] if results else None, "", "CXG323")


def _texts(word: str, values: grub_script.Values) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for reading in grub_script.readings(word, values) for text in reading))


def _effects(argument: Argument, line: Sequence[Argument], live: Live) -> tuple[tuple[str, str], ...]:
    """What an argument takes away that the host needs, each with its code."""
    if argument.name == "hugepages":
        return _huge(argument, line, live)
    if argument.value is None or argument.name not in ("mem", "memmap", "efi_fake_mem"):
        return ()
    read = memmap.faked if argument.name == "efi_fake_mem" else memmap.parse_value
    items: Sequence[memmap.Item] = read(argument.value)
    if argument.name == "mem":
        size = items[0].size if isinstance(items[0], memmap.Limit | memmap.Region) else 0
        return _limited(size, live) if size else ()
    found = [effect for item in items for effect in _of_item(item, line, live)]
    regions = _regions(line)
    largest = max(regions, key=lambda one: one.size, default=None)
    left = memmap.too_little_left(regions, live.ram) if largest in items else None
    if not found and left is not None:
        found.append((f"leaves {format_size(left)} of RAM, with the other ranges of its line", "CXM380"))
    return tuple(found)


def _rescue(argument: Argument, line: Sequence[Argument]) -> tuple[tuple[str, str], ...]:
    """What starts a shell on the console and no network. Of those that choose the same the last one counts.

    Sources: Linux `init/main.c` (`init_setup`, `rdinit_setup`), systemd `src/core/main.c`
    (`parse_proc_cmdline_item`, `runlevel_to_target`: in the initrd by names with `rd.` alone), dracut
    `dracut.cmdline(7)`, initramfs-tools(7) (`break`).
    """
    chosen = [one for one in line if _unit(one) and _in_initrd(one) == _in_initrd(argument)]
    rescue = argument in chosen[-1:] and _unit(argument) in ("rescue.target", "emergency.target")
    last = next((one for one in reversed(line) if one.name == argument.name), argument)
    started = last.value if argument == last and argument.name in ("init", "rdinit") else None
    shell = posixpath.basename(started or "") in _SHELLS
    if rescue or shell or argument.name in ("rd.break", "break"):
        return (("starts a rescue shell, and no network", "CXG327"),)
    return ()


def _in_initrd(argument: Argument) -> bool:
    return argument.name.startswith("rd.")


def _unit(argument: Argument) -> str | None:
    """The unit that an argument has systemd start."""
    name = argument.name.removeprefix("rd.")
    if name == "systemd.unit":
        return argument.value
    if _in_initrd(argument) and name not in ("rescue", "emergency"):
        return None
    return _UNITS.get(name) if argument.value is None else None


def _of_item(item: memmap.Item, line: Sequence[Argument], live: Live) -> tuple[tuple[str, str], ...]:
    """What one item of a `memmap=` does by itself."""
    match item:
        case memmap.Limit(size=size):
            return _limited(size, live)
        case memmap.Other(text=what) if what.startswith("exactmap"):
            return (("forgets all RAM that no memmap=…@… gives back", "CXM307"),)
        case memmap.Region(start=start, size=size) if item.takes_ram:
            if start <= _LOW[0] and start + size >= _LOW[1]:
                return (("covers the first MiB, which starting the processors needs", "CXM320"),)
            if _fixed(line) and any(one.overlaps(Range(start, start + size)) for one in live.kernel_at):
                place = _size(min(one.start for one in live.kernel_at))
                return ((f"covers the kernel, which nokaslr puts at {place}", "CXM320"),)
    return ()


def _regions(line: Sequence[Argument]) -> list[memmap.Region]:
    fakes = [one.value for one in line if one.name == "efi_fake_mem" and one.value]
    items = (*memmap.items(line), *(region for value in fakes for region in memmap.faked(value)))
    return [one for one in items if isinstance(one, memmap.Region) and one.takes_ram]


def _huge(argument: Argument, line: Sequence[Argument], live: Live) -> tuple[tuple[str, str], ...]:
    """Huge pages are taken at boot as far as memory goes: told at the number that takes the most."""
    taken = dict(hugetlb.reserved([(one.name, one.value) for one in line]))
    largest = max(taken, key=lambda index: taken[index], default=None)
    regions = _regions(line)
    left = memmap.too_little_left(regions, live.ram, sum(taken.values()))
    if largest is None or line[largest] != argument or left is None:
        return ()
    if memmap.too_little_left(regions, live.ram) is not None:  # told as CXM380
        return ()
    return ((f"leaves {format_size(left)} of RAM, with the other huge pages of its line", "CXG384"),)


def _limited(size: int, live: Live) -> tuple[tuple[str, str], ...]:
    """A limit above all memory of the machine takes nothing away."""
    if live.memory_end is not None and size >= live.memory_end:
        return ()
    return ((f"limits RAM to {_size(size)}", "CXM307"),)


def _fixed(line: Sequence[Argument]) -> bool:
    return any(one.name == "nokaslr" for one in line)


def _size(size: int) -> str:
    for power, unit in ((3, "GiB"), (2, "MiB"), (1, "KiB")):
        if size and size % (1 << 10 * power) == 0:
            return f"{size >> 10 * power}{unit}"
    return f"{size} bytes"


def _diagnostic(
    finding: _Finding, severity: Severity, eaten: tuple[str, ...], live: Live, *, known: bool
) -> Diagnostic:
    assignment = _assignment(finding.word, live)
    place = assignment.place if assignment else finding.line.place
    by_shell = () if eaten else _eaten_by_shell(finding.word, live)
    who = "GRUB" if eaten else "the shell"
    swallowed = ", ".join(dict.fromkeys((*(f"${name}" for name in eaten), *by_shell)))
    running = " (the running kernel was started with it, too)" if known else ""
    if finding.code == "CXG323":
        written = _written(finding.word, assignment) if by_shell and assignment else finding.word
        message = f"{who} replaces {swallowed} in `{written}`"
        found = f"the kernel reads {f'`{finding.reads}`' if finding.reads else 'nothing'}; from {place}"
    else:
        message = f"`{finding.reads}` {finding.effect}"
        by = f"; {who} replaces {swallowed}" if swallowed else ""
        found = f"{finding.word} in {place}{by}"
    return Diagnostic(
        finding.code,
        message,
        severity=severity,
        found=found + running,
        expected=_expected(finding),
        hint=_cure(finding, assignment, place, eaten, swallowed=bool(swallowed)),
    )


def _in_spec(told: Diagnostic, finding: _Finding, goal: Goal, live: Live) -> Diagnostic:
    """At its place in the spec, where it is the spec that brings the word in."""
    own = next((unit.texts for unit in goal.wanted if unit.owner == "grub"), ())
    if finding.reads not in own or _assignment(finding.word, live) is not None:
        return told
    path, hint = ("args", own.index(finding.reads)), f"correct {finding.reads} in grub.args"
    return replace(told, path=path, found=finding.reads, hint=hint)


def _expected(finding: _Finding) -> str:
    match finding.code:
        case "CXM307":
            return "all RAM, or a range to take away: memmap=SIZE$START"
        case "CXM380" | "CXG384":
            return "RAM to run the host: at least an eighth of it, or 8GiB"
        case "CXG327":
            return "an entry that starts this host for use"
        case "CXM320":
            return "a range without what the kernel needs to start"
        case _:
            return "`\\$` in grub.cfg for each $ that the kernel is to read"


def _cure(
    finding: _Finding, assignment: Assignment | None, place: str, eaten: tuple[str, ...], *, swallowed: bool
) -> str:
    word, section = finding.word, finding.line.section
    if assignment is None and finding.line.generated:
        return "run `update-grub`; if it is there again, take it out of /etc/grub.d/10_linux"
    if section.endswith(_OF_OTHER_SYSTEMS):
        return f"correct it in the system that {finding.line.title!r} starts, then run `update-grub` here"
    again = ""
    if assignment is None and section:
        place, again = f"/etc/grub.d/{section}", ", then run `update-grub`"
    if not swallowed:
        return f"take {word} out of {place}{again}"
    if eaten and _VARIABLE_ALONE.fullmatch(word):
        setting = f"`grub-editenv /boot/grub/grubenv set {eaten[0]}=…`"
        return f"take {word} out of {place}{again}; or set the variable: {setting}"
    if assignment is None:
        return f"write {grub_script.escaped(word)} in {place}{again}"
    return f"write {_corrected(word, assignment)} in {place}"


def _corrected(word: str, assignment: Assignment) -> str:
    """The word as the assignment's own quotes want it: the shell and GRUB each take backslashes away."""
    single = _value(assignment).startswith("'")
    backslashes = "\\" if single else "\\\\\\"
    fixed = re.sub(r"\\*\$", lambda _: f"{backslashes}$", _written(word, assignment))
    return f"{fixed} in {'single' if single else 'double'} quotes"


def _written(word: str, assignment: Assignment) -> str:
    """A word as it stands in the shell's source; the word itself where it cannot be found there."""
    value = _value(assignment)
    chunks = (chunk for chunk in value.strip("\"'").split() if "$" in chunk)
    read = str if value.startswith("'") else as_sourced
    return next((chunk for chunk in chunks if word == read(chunk)), word)


def _eaten_by_shell(word: str, live: Live) -> tuple[str, ...]:
    """The shell's own parameters in a word of `/etc/default/grub`."""
    assignment = _assignment(word, live)
    if assignment is None or not assignment.eaten:
        return ()
    return tuple(one for one in dict.fromkeys(assignment.eaten) if one in _written(word, assignment))


def _value(assignment: Assignment) -> str:
    return assignment.source.partition("=")[2]


def _split(value: str) -> tuple[str, ...]:
    try:
        return grub_script.split(value)
    except grub_script.GrubSyntaxError:
        return tuple(value.split())


def _assignment(word: str, live: Live) -> Assignment | None:
    """The last assignment that brings a word in, and the first of those that only pass it on."""
    found: Assignment | None = None
    for assignment in live.assignments:
        if word in _split(assignment.value) and (found is None or assignment.name != found.name):
            found = assignment
    return found
