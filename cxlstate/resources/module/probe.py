"""Whether a module is loaded, by whom it is used, and what becomes of it at the next boot."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from cxlstate.core.answers import Answers
from cxlstate.core.read import Attributes, File, Glob
from cxlstate.formats import modprobe
from cxlstate.resources.module import OWN
from cxlstate.resources.module.spec import canonical

RELEASE = File("/proc/sys/kernel/osrelease")
BUILT_IN = Glob("/lib/modules/*/modules.builtin")

# modules-load.d(5). Only what an administrator can see in /etc counts: a file in /usr/lib goes with
# its package, and may be masked by a link that a read of its content does not show.
AT_BOOT = Glob("/etc/modules-load.d/*.conf")
OURS = Glob(f"{OWN}*.conf")


def devices_of(name: str) -> Attributes:
    """The devices that a loaded module drives: each has a modalias below the module's drivers."""
    return Attributes(f"/sys/module/{canonical(name)}/drivers/*/*/modalias")


def own_file(name: str) -> str:
    """Our file that has a module loaded at boot."""
    return f"{OWN}{canonical(name)}.conf"


def module_of(path: str) -> str | None:
    """The module of one of our files; None for somebody else's."""
    return path.removeprefix(OWN).removesuffix(".conf") if path.startswith(OWN) else None


@dataclass(frozen=True, slots=True)
class Use:
    """What keeps a loaded module from being unloaded."""

    modules: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    references: int = 0
    permanent: bool = False

    def __str__(self) -> str:
        if self.permanent:
            return "permanent (cannot be unloaded)"
        if self.devices:
            return f"bound to {', '.join(self.devices)}"
        if self.modules:
            return f"used by {', '.join(self.modules)}"
        return f"in use ({self.references} references)" if self.references else ""


@dataclass(frozen=True, slots=True)
class ModuleLive:
    """`own` is the content of our file in modules-load.d, where it is there.

    `fate` is what becomes of it at boot by all evidence. `listed` is the argument of the running kernel that
    is to keep it out, as ours is. `pulled_by` are modules that use it, and that nothing keeps out: a
    blacklist does not hold back what they need.
    """

    loaded: bool
    use: Use
    built_in: bool
    at_boot: bool
    own: str | None
    fate: modprobe.Fate
    listed: str | None
    pulled_by: tuple[str, ...] = ()

    @property
    def kept_out_by(self) -> str | None:
        """The evidence, or what was asked for: something else may still load it."""
        return self.fate.kept_out_by or self.listed


def parse(name: str, answers: Answers) -> ModuleLive:
    """The live state of a module. Raises ReadFailed."""
    wanted = canonical(name)
    line = _modules(answers.text_or_none(modprobe.LOADED) or "").get(wanted)  # a kernel may have none
    lists = answers.files(AT_BOOT)
    builtin = f"/lib/modules/{answers.text(RELEASE).strip()}/modules.builtin"
    said, command_line = answers.raw(modprobe.info(name)), answers.text(modprobe.COMMAND_LINE)
    built_in = wanted in _built_in(answers.files(BUILT_IN).get(builtin, ""))
    built_in = built_in or modprobe.is_built_in(name, said)
    missing = line is None and not built_in and modprobe.is_missing(name, said)
    lines = modprobe.configuration(answers)
    use = _use(line, tuple(_devices(answers.files(devices_of(name))))) if line else Use()
    fate = modprobe.fate(name, command_line, lines, built_in=built_in, missing=missing)
    users = (one for one in use.modules if not modprobe.fate(one, command_line, lines).kept_out_by)
    return ModuleLive(
        loaded=line is not None,
        use=use,
        built_in=built_in,
        at_boot=any(wanted in _listed(text) for text in lists.values()),
        own=lists.get(own_file(name)),
        fate=fate,
        listed=None if built_in else modprobe.by_command_line(wanted, command_line),
        pulled_by=() if fate.holds_for_all else tuple(users),
    )


@lru_cache(maxsize=4)
def _modules(text: str) -> Mapping[str, tuple[str, ...]]:
    lines = (tuple(line.split()) for line in text.splitlines())
    return {fields[0]: fields for fields in lines if fields}


@lru_cache(maxsize=4)
def _built_in(text: str) -> frozenset[str]:
    """`kernel/drivers/dax/device_dax.ko` a line (Documentation/kbuild/kbuild.rst)."""
    return frozenset(canonical(posixpath.basename(line).removesuffix(".ko")) for line in text.splitlines())


def _use(line: tuple[str, ...], devices: tuple[str, ...]) -> Use:
    """`references` and users are `-` in a kernel that cannot unload modules."""
    references, users = (*line, "-", "-", "-", "-")[2:4]
    names = [user for user in users.split(",") if user not in ("", "-")]
    return Use(
        modules=tuple(user for user in names if user != "[permanent]"),
        devices=devices,
        references=int(references) if references.isdigit() else 0,
        permanent="[permanent]" in names or references == "-",
    )


def _devices(files: Mapping[str, str]) -> Iterator[str]:
    for path in files:
        yield posixpath.basename(posixpath.dirname(path))


def _listed(text: str) -> set[str]:
    """A name a line; `#` and `;` begin a comment (modules-load.d(5)).

    All of a line is looked up as a name (`apply_file` in systemd's src/modules-load/modules-load.c): options
    behind one, as the `modules` of before systemd had them, and it is not found.
    """
    lines = (line.strip() for line in text.splitlines())
    return {canonical(line) for line in lines if line and line[0] not in "#;"}
