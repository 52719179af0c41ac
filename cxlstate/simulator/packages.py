"""dpkg's database and apt's archive: dpkg-query(1), apt-cache(8), apt-get(8), apt-mark(8), dpkg(1).

Texts and statuses as of apt 3.0 and dpkg 1.22, those of Debian 13.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from cxlstate.simulator.accounts import Accounts
from cxlstate.simulator.ended import Ended, unknown
from cxlstate.simulator.files import Files
from cxlstate.simulator.resolve import Wish, resolve
from cxlstate.simulator.units import Units
from cxlstate.simulator.versions import version_key
from cxlstate.simulator.world import Installed, Package, World

FAILED = 100
_READING = "Reading package lists...\nBuilding dependency tree...\nReading state information...\n"
_OPTION_WITH_VALUE = ("-o", "-t", "-c")
_OPTIONS = frozenset(
    [
        *("-y", "--yes", "--assume-yes", "-q", "-qq", "--quiet", "-f", "--fix-broken"),
        *("--no-install-recommends", "--no-remove", "--allow-downgrades"),
        "--allow-change-held-packages",
    ]
)
_INTERRUPTED = (
    "E: dpkg was interrupted, you must manually run 'dpkg --configure -a' to correct the problem. \n"
)
_ABBREVIATED = {
    "unknown": "u",
    "install": "i",
    "deinstall": "r",
    "purge": "p",
    "hold": "h",
    "not-installed": "n",
    "config-files": "c",
    "half-installed": "H",
    "unpacked": "U",
    "half-configured": "F",
    "installed": "i",
}

_UPDATES = "/var/lib/dpkg/updates"  # dpkg's journal: apt does nothing while a file is in it
_LISTS = "/var/lib/apt/lists/archive_debian_dists_trixie_InRelease"

Checkpoint = Callable[[str], None]
"""Told of every step that a power cut can fall behind, once the world is in that state."""


class Packages:
    """The packages of one machine. `checkpoint` is called between the steps of an installation."""

    def __init__(
        self, world: World, files: Files, accounts: Accounts, units: Units, checkpoint: Checkpoint
    ) -> None:
        self._world = world
        self._files = files
        self._accounts = accounts
        self._units = units
        self._checkpoint = checkpoint

    def query(self, words: Sequence[str]) -> Ended:
        """`dpkg-query --show [--showformat=FORMAT] [NAME…]`."""
        if words[:1] not in (["--show"], ["-W"]):
            return unknown(("dpkg-query", *words))
        template = "${binary:Package}\\t${Version}\\n"
        names: list[str] = []
        for word in words[1:]:
            if word.startswith("--showformat="):
                template = word.partition("=")[2]
            elif word.startswith("-"):
                return unknown(("dpkg-query", *words))
            else:
                names.append(word)
        found = {name: self._record(name) for name in names or sorted(self._world.installed)}
        shown = "".join(_show(template, record) for _, record in sorted(found.items()) if record)
        missing = [f"dpkg-query: no packages found matching {name}\n" for name in found if not found[name]]
        return Ended(1 if missing else 0, shown, "".join(missing))

    def cache(self, words: Sequence[str]) -> Ended:
        """`apt-cache --no-generate pkgnames PREFIX`: what is installed, and what the lists have."""
        match list(words):
            case ["--no-generate", "pkgnames", prefix]:
                known = set(self._world.installed)
                if self._files.exists(_LISTS):
                    known |= {one.name for one in self._world.archive.packages}
                return Ended(stdout="".join(f"{one}\n" for one in sorted(known) if one.startswith(prefix)))
        return unknown(("apt-cache", *words))

    def mark(self, words: Sequence[str]) -> Ended:
        """`apt-mark showhold|hold|unhold [NAME…]`."""
        match list(words):
            case ["showhold", *names]:
                held = sorted(name for name, one in self._world.installed.items() if _held(one))
                return Ended(stdout="".join(f"{name}\n" for name in held if not names or name in names))
            case [("hold" | "unhold") as verb, *names] if names:
                return self._hold(verb, names)
        return unknown(("apt-mark", *words))

    def _configure_all(self) -> Ended:
        """`dpkg --configure -a`: what was unpacked or had failed is configured."""
        self._journal(kept=False)
        return self._configure([name for name, one in self._world.installed.items() if _half(one)])

    def apt_get(self, words: Sequence[str]) -> Ended:
        """`apt-get update|install|remove|purge [OPTION…] [NAME[=VERSION]…]`."""
        options, rest = _split(words)
        wrong = sorted(one for one in options if one not in _OPTIONS and not one.startswith("--option="))
        if wrong:
            why = "is not understood in combination with the other options"
            return Ended(FAILED, stderr=f"E: Command line option {wrong[0]} {why}\n")
        match rest:
            case ["update"]:
                return self._update(options)
            case ["install", *names]:
                return self._install(names, options)
            case [("remove" | "purge") as verb, *names]:
                return self._remove(names, purge=verb == "purge")
        return unknown(("apt-get", *words))

    def dpkg(self, words: Sequence[str]) -> Ended:
        """`dpkg --configure -a` and `dpkg --remove NAME…`; `--force-…` changes nothing here."""
        match [word for word in words if not word.startswith("--force-")]:
            case ["--configure", "-a" | "--pending"]:
                return self._configure_all()
            case ["--remove" | "-r", *names] if names:
                return self._dpkg_remove(names)
        return unknown(("dpkg", *words))

    def _update(self, options: frozenset[str]) -> Ended:
        stdout = "Reading package lists...\n"
        if self._world.archive.online:
            self._files.write(_LISTS, b"")
            return Ended(stdout=stdout)
        failed = "Some index files failed to download. They have been ignored, or old ones used instead.\n"
        if "--option=APT::Update::Error-Mode=any" in options:
            return Ended(FAILED, stdout, f"E: {failed}")
        return Ended(stdout=stdout, stderr=f"W: {failed}")

    def _dpkg_remove(self, names: Sequence[str]) -> Ended:
        stdout, stderr, failed = "", "", []
        for name in names:
            one = self._world.installed.get(name)
            if one is None or not _there(one):
                stderr += f"dpkg: warning: ignoring request to remove {name} which isn't installed\n"
                continue
            needed = "".join(f" {other} depends on {name}.\n" for other in self._needed_by(name, names))
            if needed:
                failed.append(name)
                stderr += f"dpkg: dependency problems prevent removal of {name}:\n{needed}\n"
                stderr += f"dpkg: error processing package {name} (--remove):\n"
                stderr += " dependency problems - not removing\n"
                continue
            stdout += f"Removing {name} ({one.version}) ...\n"
            self._take_away(name, purge=False)
        if failed:
            listed = "".join(f" {name}\n" for name in failed)
            stderr += f"Errors were encountered while processing:\n{listed}"
        return Ended(1 if failed else 0, stdout, stderr)

    def _needed_by(self, name: str, going: Sequence[str]) -> list[str]:
        return [
            package.name
            for package in self._installed_packages()
            if name in package.depends and package.name not in going
        ]

    def _install(self, names: Sequence[str], options: frozenset[str]) -> Ended:
        if self._interrupted():
            return Ended(FAILED, stderr=_INTERRUPTED)
        if not self._files.exists(_LISTS):  # without lists, apt knows only what is installed
            return self._install_unlisted(names)
        plan = resolve(self._world, [Wish.parse(name) for name in names])
        if plan.problem:
            return Ended(FAILED, _READING + plan.said, plan.problem)
        refused = self._refused(plan.install, plan.remove, options)
        if refused:
            return Ended(FAILED, _READING, f"E: {refused}\n")
        for package in plan.remove:
            self._take_away(package, purge=False)
        for one in plan.install:
            self._unpack(one)
        waiting = [name for name, one in self._world.installed.items() if _half(one)]
        ended = self._configure(waiting)
        stderr = ended.stderr
        if ended.status:
            stderr += "E: Sub-process /usr/bin/dpkg returned an error code (1)\n"
        return Ended(FAILED if ended.status else 0, _READING + plan.said + ended.stdout, stderr)

    def _install_unlisted(self, names: Sequence[str]) -> Ended:
        for name in names:
            if not self._is_there(name):
                return Ended(FAILED, _READING, f"E: Unable to locate package {name}\n")
        waiting = [name for name, one in self._world.installed.items() if _half(one)]
        return self._configure(waiting)

    def _is_there(self, name: str) -> bool:
        return name in self._world.installed and _there(self._world.installed[name])

    def _refused(
        self, install: Sequence[Package], remove: Sequence[str], options: frozenset[str]
    ) -> str | None:
        """Why apt would not go on by itself."""
        installed = self._world.installed
        if remove and "--no-remove" in options:
            return "Packages need to be removed but remove is disabled."
        former = [(one, installed[one.name]) for one in install if one.name in installed]
        held = any(_held(before) for _, before in former) or any(_held(installed[name]) for name in remove)
        if held and "--allow-change-held-packages" not in options:
            return "Held packages were changed and -y was used without --allow-change-held-packages."
        if "--allow-downgrades" not in options and any(
            version_key(one.version) < version_key(before.version) for one, before in former if _there(before)
        ):
            return "Packages were downgraded and -y was used without --allow-downgrades."
        if install and not self._world.archive.online:
            return "Unable to fetch some archives, maybe run apt-get update or try with --fix-missing?"
        return None

    def _unpack(self, package: Package) -> None:
        before = self._world.installed.get(package.name)
        want = "hold" if before and _held(before) else "install"
        status = f"{want} ok unpacked"
        self._world.installed[package.name] = Installed(package.version, status, package.architecture)
        self._journal(kept=True)
        self._checkpoint(f"{package.name} is unpacked")
        self._journal(kept=False)

    def _configure(self, names: Sequence[str]) -> Ended:
        stdout, failed = "", []
        for name in names:
            one = self._world.installed[name]
            package = self._in_archive(name, one.version)
            want = one.status.split()[0]
            stdout += f"Setting up {name} ({one.version}) ...\n"
            one.status = f"{want} ok half-configured"
            self._journal(kept=True)
            self._checkpoint(f"{name} is half configured")
            self._journal(kept=False)
            if package is not None and package.broken:
                failed.append(name)
                continue
            if package is not None:
                self._bring(package)
            one.status = f"{want} ok installed"
            self._checkpoint(f"{name} is installed")
        return Ended(1 if failed else 0, stdout, _errors(failed))

    def _bring(self, package: Package) -> None:
        for group in package.brings.groups:
            self._accounts.add_group(group)
        for name, unit in package.brings.units.items():
            if name not in self._world.units or self._world.units[name].masked:
                self._units.add(name, unit)
        for path, text in package.brings.files.items():
            if not self._files.exists(path):
                self._files.write(path, text.encode(), mode=0o600)

    def _remove(self, names: Sequence[str], *, purge: bool) -> Ended:
        if self._interrupted():
            return Ended(FAILED, stderr=_INTERRUPTED)
        for name in names:
            if not self._record(name) and not self._archived(name):
                return Ended(FAILED, _READING, f"E: Unable to locate package {name}\n")
        stdout = _READING
        for name in names:
            one = self._world.installed.get(name)
            if one is None or not (_there(one) or (purge and "config-files" in one.status)):
                stdout += f"Package '{name}' is not installed, so not removed\n"
                continue
            if _held(one):
                why = "Held packages were changed and -y was used without --allow-change-held-packages."
                return Ended(FAILED, stdout, f"E: {why}\n")
            stdout += f"Removing {name} ({one.version}) ...\n"
            self._take_away(name, purge=purge)
        return Ended(stdout=stdout)

    def _take_away(self, name: str, *, purge: bool) -> None:
        one = self._world.installed[name]
        package = self._in_archive(name, one.version)
        if package is not None:
            for unit in package.brings.units:
                self._units.drop(unit)
        if package is not None and package.configuration and not purge:
            one.status = "deinstall ok config-files"
        else:
            del self._world.installed[name]
        self._checkpoint(f"{name} is removed")

    def _hold(self, verb: str, names: Sequence[str]) -> Ended:
        stdout = ""
        for name in names:
            one = self._world.installed.get(name)
            if one is None:
                return Ended(FAILED, stderr=f"E: Unable to locate package {name}\n")
            one.status = " ".join(["hold" if verb == "hold" else "install", *one.status.split()[1:]])
            stdout += f"{name} set on hold.\n" if verb == "hold" else f"Canceled hold on {name}.\n"
        return Ended(stdout=stdout)

    def _record(self, name: str) -> dict[str, str] | None:
        """The fields of a package; one that others only speak of is known and not installed."""
        one = self._world.installed.get(name)
        if one is not None:
            package = self._in_archive(name, one.version)
            provides = ", ".join(package.provides) if package else ""
            return _fields(name, one, provides)
        others = self._installed_packages()
        if any(name in (*one.provides, *one.depends, *one.conflicts) for one in others):
            return _fields(name, Installed("", "unknown ok not-installed", ""), "")
        return None

    def _installed_packages(self) -> list[Package]:
        """Of what is installed, that which the archive has."""
        there = [(name, one.version) for name, one in self._world.installed.items() if _there(one)]
        return [one for one in self._world.archive.packages if (one.name, one.version) in there]

    def _interrupted(self) -> list[str]:
        return self._files.glob(f"{_UPDATES}/[0-9]*")

    def _journal(self, *, kept: bool) -> None:
        if kept:
            self._files.write(f"{_UPDATES}/0000", b"")
            return
        for path in self._interrupted():
            self._files.remove(path)

    def _archived(self, name: str) -> bool:
        return any(one.name == name for one in self._world.archive.packages)

    def _in_archive(self, name: str, version: str) -> Package | None:
        found = (one for one in self._world.archive.packages if (one.name, one.version) == (name, version))
        return next(found, None)


def _split(words: Sequence[str]) -> tuple[frozenset[str], list[str]]:
    """Options and the other words; `-o Name=Value` counts as neither."""
    options, rest, skip = set(), [], False
    for word in words:
        if skip:
            skip = False
        elif word in _OPTION_WITH_VALUE:
            skip = True
        elif word == "--":
            continue
        elif word.startswith("-"):
            options.add(word)
        else:
            rest.append(word)
    return frozenset(options), rest


def _fields(name: str, one: Installed, provides: str) -> dict[str, str]:
    want, flag, state = one.status.split()
    abbreviated = _ABBREVIATED[want] + _ABBREVIATED[state] + (" " if flag == "ok" else "R")
    return {
        "Package": name,
        "binary:Package": name,
        "Architecture": one.architecture,
        "Version": one.version,
        "Provides": provides,
        "Status": one.status,
        "db:Status-Want": want,
        "db:Status-Eflag": flag,
        "db:Status-Status": state,
        "db:Status-Abbrev": abbreviated,
    }


def _show(template: str, fields: dict[str, str]) -> str:
    text = re.sub(r"\$\{([^};]+)(?:;-?\d+)?\}", lambda found: fields.get(found[1], ""), template)
    return text.replace("\\n", "\n").replace("\\t", "\t")


def _errors(failed: Sequence[str]) -> str:
    if not failed:
        return ""
    each = "".join(
        f"dpkg: error processing package {name} (--configure):\n"
        f" installed {name} package post-installation script subprocess returned error exit status 1\n"
        for name in failed
    )
    return each + "Errors were encountered while processing:\n" + "".join(f" {name}\n" for name in failed)


def _held(one: Installed) -> bool:
    return one.status.startswith("hold ")


def _half(one: Installed) -> bool:
    return one.status.split()[2] in ("unpacked", "half-configured")


def _there(one: Installed) -> bool:
    return one.status.split()[2] not in ("not-installed", "config-files")
