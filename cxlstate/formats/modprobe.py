"""Whether a kernel module is kept out at boot: the one place for all evidence of it.

Sources: kmod 34 `libkmod/libkmod.c` (`default_config_paths`), `libkmod-config.c` (`conf_files_list`,
`kmod_config_parse`, `kcmdline_parse_result`), `libkmod-module.c` (`kmod_module_probe_insert_module`: an alias
is looked up in the configuration first; a blacklist holds back what is loaded by alias, which is how udev,
systemd-modules-load and daxctl load; of `install` lines the first counts); Linux `kernel/module/main.c`
(`module_blacklist`: as a parameter its last value counts, and names are compared as they stand),
`init/main.c` (`initcall_blacklist`, of modules too). What an initramfs has copied of it cannot be seen.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from cxlstate.core.answers import Answer, Answers
from cxlstate.core.read import Command, File, Glob, Links, Names, PosixRead
from cxlstate.formats import kernel_cmdline

NO_SUCH: Final = "there is no such module for the running kernel"
KMEM: Final = "kmem"
COMMAND_LINE: Final = File("/proc/cmdline")
LOADED: Final = File("/proc/modules")
"""`NAME SIZE REFERENCES USERS STATE ADDRESS` a line (m_show in kernel/module/procfs.c)."""

DAX_DRIVERS: Final = Names("/sys/bus/dax/drivers/*")
"""A driver that is here while its module is not loaded is built in."""

# A file of an earlier folder takes the place of one of the same name in a later one.
FOLDERS: Final = ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib")
FILES: Final = tuple(Glob(f"{folder}/modprobe.d/*.conf") for folder in FOLDERS)
MASKS: Final = tuple(Links(f"{folder}/modprobe.d/*.conf") for folder in FOLDERS)
"""A link to /dev/null is no regular file, and is not among `FILES`."""

CONFIGURATION: Final[tuple[PosixRead, ...]] = (COMMAND_LINE, *FILES, *MASKS)

# By module: what the kernel asks udev to load, and the function that sets the driver up.
_MODALIAS: Final = {KMEM: "dax:t0"}  # DAX_DEVICE_MODALIAS_FMT in drivers/dax/dax-private.h
_INITCALL: Final = {KMEM: "dax_kmem_init"}  # drivers/dax/kmem.c

_DOES_NOTHING: Final = frozenset({"false", "true", ":", "exit"})
_BETWEEN_WORDS: Final = re.compile("[ \t]+")
_OF_A_SHELL: Final = re.compile(r"[;&|$`<>(){}\\\n]")


def info(name: str) -> Command:
    """Asks kmod for the module that it would load into the running kernel."""
    return Command(("modinfo",), (name,))


KMEM_READS: Final[tuple[PosixRead, ...]] = (*CONFIGURATION, LOADED, DAX_DRIVERS, info(KMEM))


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a module at boot. `kept_out_by` is the evidence that it is not loaded.

    Without one, `doubt` may say why it cannot be told; `pulled`: a blacklist would not change that.
    `built_in`: there is nothing to load.
    """

    kept_out_by: str | None = None
    doubt: str | None = None
    built_in: bool = False
    pulled: bool = False

    @property
    def holds_for_all(self) -> bool:
        """Whether it is kept out of what other modules need, too: a blacklist is about aliases alone."""
        by = self.kept_out_by
        return by is not None and not by.startswith(("modprobe.blacklist=", "`blacklist"))


@dataclass(frozen=True, slots=True)
class Line:
    """A line of modprobe.d, in the order in which libkmod reads them."""

    path: str
    words: tuple[str, ...]
    text: str

    def __str__(self) -> str:
        return f"`{self.text}` in {self.path}"


def canonical(name: str) -> str:
    """The name as the kernel and libkmod compare it: `-` and `_` are the same."""
    return name.replace("-", "_")


def configuration(answers: Answers) -> tuple[Line, ...]:
    """All lines that are in force. Raises ReadFailed."""
    texts: dict[str, tuple[str, str]] = {}
    for files, masks in zip(FILES, MASKS, strict=True):
        here = {path: ("", path) for path, to in answers.files(masks).items() if _is_null(path, to)}
        here |= {path: (text, path) for path, text in answers.files(files).items()}
        texts = {posixpath.basename(path): one for path, one in here.items()} | texts
    return tuple(line for _, (text, path) in sorted(texts.items()) for line in _lines(path, text))


def of_kmem(answers: Answers) -> Fate:
    """Of the module that makes system RAM of dax devices. Raises ReadFailed.

    A kernel without modules has no /proc/modules.
    """
    lines = (answers.text_or_none(LOADED) or "").splitlines()
    loaded = any(line.split(" ", 1)[0] == KMEM for line in lines)
    registered = any(posixpath.basename(path) == KMEM for path in answers.files(DAX_DRIVERS))
    said = answers.raw(info(KMEM))
    built_in = (registered and not loaded) or is_built_in(KMEM, said)
    return fate(
        KMEM,
        answers.text(COMMAND_LINE),
        configuration(answers),
        built_in=built_in,
        missing=not loaded and not built_in and is_missing(KMEM, said),
    )


def fate(
    name: str, command_line: str, lines: Sequence[Line], *, built_in: bool = False, missing: bool = False
) -> Fate:
    """Of one module, by all the evidence there is. What is built in, no list keeps out."""
    name = canonical(name)
    told = None if built_in else by_command_line(name, command_line.split("\n", 1)[0])
    told = told or by_initcall(name, command_line)
    if told is None and missing:
        told = NO_SUCH
    if told is None and not built_in:
        told = _by_install(name, lines) or _by_alias(name, lines)
    listed = None if built_in else _listed(name, lines)
    if told is None and listed:
        told = str(listed)
    pulled = None if built_in or (told and not _only_listed(told, listed)) else _pulled(name, lines)
    if pulled:
        return Fate(None, f"{pulled} loads it along", pulled=True)
    doubt = _command(name, lines) if told is None and not built_in else None
    return Fate(told, f"{doubt} runs a command" if doubt else None, built_in)


def by_command_line(name: str, command_line: str) -> str | None:
    """The argument that keeps a module out, whose names are taken as they stand."""
    arguments = kernel_cmdline.parse(command_line)
    lists = [one for one in arguments if one.name == "module_blacklist"][-1:]
    lists += [one for one in arguments if one.name == "modprobe.blacklist"]
    return next((one.text for one in lists if name in (one.value or "").split(",")), None)


def refused(name: str, command_line: str, lines: Sequence[Line]) -> str | None:
    """What keeps a module from being loaded by its name, which a blacklist of modprobe's does not."""
    lists = [one for one in kernel_cmdline.parse(command_line) if one.name == "module_blacklist"][-1:]
    by_kernel = next((one.text for one in lists if name in (one.value or "").split(",")), None)
    return by_kernel or _by_install(name, lines)


def by_initcall(name: str, command_line: str) -> str | None:
    """The argument that keeps the driver of a module from being set up, also of one that is built in."""
    wanted = _INITCALL.get(name)
    lists = [one for one in kernel_cmdline.parse(command_line) if one.name == "initcall_blacklist"]
    return next((one.text for one in lists if wanted and wanted in (one.value or "").split(",")), None)


def added_offline(command_line: str) -> bool:
    """Whether memory that kmem adds stays offline; the last one counts (mm/memory_hotplug.c)."""
    states = [one.value for one in kernel_cmdline.parse(command_line) if one.name == "memhp_default_state"]
    return states[-1:] == ["offline"]


def is_missing(name: str, said: Answer) -> bool:
    """Whether modinfo knows no such module for the running kernel."""
    return f"modinfo: ERROR: Module {canonical(name)} not found." in said.stderr.replace("-", "_")


def is_built_in(name: str, said: Answer) -> bool:
    """Whether modinfo says that a module is built in (kmod 27 and later do)."""
    blocks = re.findall(r"^name: +(\S+)\nfilename: +\(builtin\)$", said.text, re.MULTILINE)
    return canonical(name) in map(canonical, blocks)


def _lines(path: str, text: str) -> Iterator[Line]:
    """`freadline_wrapped`: a backslash joins lines; a comment is a line that begins with `#`.

    Words end at a blank or tab alone (`strtok_r` in `kmod_config_parse`): in a file with DOS line ends the
    last word has a carriage return, and `blacklist` is one of another module. Only of a `softdep` other
    white space is none (`isspace` in `kmod_config_add_softdep`).
    """
    for raw in text.replace("\\\n", "").split("\n"):
        words = tuple(filter(None, _BETWEEN_WORDS.split(raw)))
        if words[:1] == ("softdep",):
            words = tuple(raw.split())
        if words and not words[0].startswith("#"):
            yield Line(path, words, raw.strip())


def _is_null(path: str, to: str) -> bool:
    return posixpath.normpath(posixpath.join(posixpath.dirname(path), to)) == "/dev/null"


def _listed(name: str, lines: Sequence[Line]) -> Line | None:
    """`blacklist NAME`: one name, and what stands behind it is not looked at."""
    found = (line for line in lines if line.words[0] == "blacklist" and len(line.words) > 1)
    return next((line for line in found if canonical(line.words[1]) == name), None)


def _only_listed(told: str, listed: Line | None) -> bool:
    return told == str(listed) or told.startswith("modprobe.blacklist=")


def _command(name: str, lines: Sequence[Line]) -> Line | None:
    """The `install` line of a module, whose name is a shell pattern."""
    found = (line for line in lines if line.words[0] == "install" and len(line.words) > 2)  # noqa: PLR2004  # install NAME COMMAND
    return next((line for line in found if fnmatchcase(name, canonical(line.words[1]))), None)


def _by_install(name: str, lines: Sequence[Line]) -> str | None:
    line = _command(name, lines)
    if line is None or _OF_A_SHELL.search(line.text):
        return None
    return str(line) if posixpath.basename(line.words[2]) in _DOES_NOTHING else None


def _by_alias(name: str, lines: Sequence[Line]) -> str | None:
    """Aliases of the configuration that lead the kernel's request elsewhere."""
    asked = _MODALIAS.get(name)
    found = [line for line in lines if line.words[0] == "alias" and len(line.words) > 2]  # noqa: PLR2004  # alias PATTERN NAME
    leading = [line for line in found if asked and fnmatchcase(asked, line.words[1])]
    if not leading or any(canonical(line.words[2]) == name for line in leading):
        return None
    return str(leading[0])


def _pulled(name: str, lines: Sequence[Line]) -> Line | None:
    """`softdep OTHER pre: NAME`: a blacklist does not hold back what another module asks for."""
    found = (line for line in lines if line.words[0] == "softdep" and name in map(canonical, line.words[2:]))
    return next((line for line in found if canonical(line.words[1]) != name), None)
