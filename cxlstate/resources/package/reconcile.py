"""Debian packages, with apt and dpkg."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from cxlstate.core.action import Action, Run, undoing
from cxlstate.core.answers import Answers
from cxlstate.core.assessment import Assessment, Later
from cxlstate.core.change import Change
from cxlstate.core.diagnostic import Diagnostic
from cxlstate.core.exports import Inputs
from cxlstate.core.observation import Absent, Observation, Present, Unknown
from cxlstate.core.read import Read
from cxlstate.core.reconciler import Reconciler, Resource
from cxlstate.resources.package import PackageKind, probe
from cxlstate.resources.package.probe import PackageLive, Record
from cxlstate.resources.package.spec import KERNEL, Entry, Package, is_name

_STATE = ("state",)
_VERSION = ("version",)

# Nobody is there to answer: debconf takes its defaults, edited configuration files are kept, and
# needrestart leaves the services (and so the VMs) alone.
_QUIET = (
    ("DEBIAN_FRONTEND", "noninteractive"),
    ("APT_LISTCHANGES_FRONTEND", "none"),
    ("NEEDRESTART_SUSPEND", "1"),
)

# Pattern-Only: without it apt-get takes an unknown name with a dot in it as a regular expression,
# and installs whatever matches. Recommended packages come along as the machine's own apt.conf says.
_APT = (
    "apt-get",
    "--yes",
    "--option=DPkg::Lock::Timeout=120",
    "--option=APT::Cmd::Pattern-Only=true",
    "--option=Dpkg::Options::=--force-confdef",
    "--option=Dpkg::Options::=--force-confold",
    "--option=Dpkg::Use-Pty=0",  # or dpkg draws its progress into the journal
)

# What would have to go for it is for the spec to say: apt-get stops instead.
_INSTALL = (*_APT, "--no-remove", "install")
_INSTALL_VERSION = (*_APT, "--no-remove", "--allow-downgrades", "install")
_UPDATE = (*_APT, "--option=APT::Update::Error-Mode=any", "update")
_REMOVE = ("dpkg", "--remove")
_PLAIN = "apt-get install"

# dpkg fails on what was unpacked before its dependencies were; it has taken in its journal all the
# same, and that is what apt needs to go on and bring the rest. The text holds no value.
_FINISH = (
    "sh",
    "-c",
    "dpkg --force-confdef --force-confold --configure -a; exec "
    + " ".join((*_APT, "--no-remove", "--fix-broken", "install")),
)


class PackageReconciler(PackageKind, Reconciler[Package, PackageLive]):
    """A package: installed in any version or in one, or not installed."""

    model = Entry

    def name(self, spec: Package) -> str:
        """The package, or the first of the alternatives."""
        return spec.name

    def reads(self, me: Resource[Package]) -> Sequence[Read]:
        """Nearly the same for every package, so that the engine asks once."""
        return probe.reads(me.spec)

    def observe(self, me: Resource[Package], answers: Answers) -> Observation[PackageLive]:
        """Always present: that a package is not installed is in the live state."""
        return Present(probe.parse(me.spec, answers))

    def assess(
        self, resource: Resource[Package], seen: Observation[PackageLive], inputs: Inputs
    ) -> Assessment:
        """Installed or not, finished or not, and the version if one was written."""
        if isinstance(seen, Unknown):
            return Assessment(later=tuple(_later(resource.spec)))
        if isinstance(seen, Absent):
            placeholder = _known_later(seen) if resource.spec.follows_kernel else ()
            return Assessment(changes=(*_diff(resource.spec, None), *placeholder))
        live = seen.live
        spec = live.package
        changes = _diff(spec, live.found)
        problems = tuple(_problems(live, changes))
        actions = _actions(spec, live, changes) if changes else ()
        return Assessment((), problems, changes, actions, _facts(resource.name, live))


reconciler = PackageReconciler()


def _later(spec: Package) -> Iterator[Later]:
    if spec.follows_kernel:
        yield Later(f"whether there is a package {spec.name} for the kernel that runs then")


def _known_later(seen: Absent) -> tuple[Change, ...]:
    after = ", ".join(map(str, seen.until)) or "the machine runs"
    return (Change((KERNEL,), None, f"known after {after}"),)


def _facts(name: str, live: PackageLive) -> tuple[tuple[str, str], ...]:
    """The state in dpkg's words, the version, and which package it is."""
    found = live.found
    package = found.name if found else live.package.name
    other = [] if package.partition(":")[0] == name.partition(":")[0] else [("package", package)]
    if found is None:
        return (*other, ("state", "not installed"))
    version = [] if found.code in probe.NOT_INSTALLED else [("version", found.version)]
    return (*other, ("state", f"{found.state}, held" if found.held else found.state), *version)


def _problems(live: PackageLive, changes: Sequence[Change]) -> Iterator[Diagnostic]:
    spec, found = live.package, live.found
    if found and _is_held(spec, found, changes):
        yield _held(spec, found)
    if spec.state == "present" and any(change.path == _STATE for change in changes):
        known = live.series is None or spec.name.partition(":")[0] in live.series
        if not (known and is_name(spec.name)):
            yield _none_for_this_kernel(spec.name, live.series)


def _is_held(spec: Package, found: Record, changes: Sequence[Change]) -> bool:
    """Whether it is to change and is held: a held package stays as it is."""
    touched = {change.path for change in changes}
    return found.held and (_VERSION in touched or (_STATE in touched and spec.state == "absent"))


def _actions(spec: Package, live: PackageLive, changes: Sequence[Change]) -> tuple[Action, ...]:
    """Fetch the lists if there are none, finish what was begun (which may need them), install."""
    if spec.state == "absent":
        return (_remove(spec.name, live.found),)
    lists = [] if live.has_lists else [_update()]
    finish = [_finish(live.found)] if live.unfinished else []
    install = [_install(spec, live.found)] if _needs_install(live.found, changes) else []
    return (*lists, *finish, *install)


def _diff(spec: Package, found: Record | None) -> tuple[Change, ...]:
    state = found.state if found else "not installed"
    gone = found is None or found.code in probe.NOT_INSTALLED
    if spec.state == "absent":
        return () if gone else (Change(_STATE, state, "absent"),)
    there = None if found is None or gone else found.version
    version = (Change(_VERSION, there, spec.version),) if spec.version and there != spec.version else ()
    if found is None or found.code != "i":
        return (Change(_STATE, state, "installed"), *version)
    return version


def _needs_install(found: Record | None, changes: Sequence[Change]) -> bool:
    """What is merely not configured is done with once it is; what it then lacks shows in the next plan."""
    finished_later = found is not None and found.code in probe.UNFINISHED and found.code != "H"
    return not finished_later or any(change.path == _VERSION for change in changes)


def _finish(found: Record | None) -> Action:
    mine = found is not None and found.code in probe.UNFINISHED
    return Action(
        "finish the package work that was interrupted",
        Run(_FINISH, environment=_QUIET, typed="dpkg --configure -a"),
        why=f"{found.name} is {found.state}" if found and mine else "apt installs nothing before",
    )


def _update() -> Action:
    return Action(
        "update the package index",
        Run(_UPDATE, environment=_QUIET, timeout=600, typed="apt-get update"),
        why="the package index is empty",
    )


def _install(spec: Package, found: Record | None) -> Action:
    new = found is None or found.code in probe.NOT_INSTALLED
    undo = undoing(Run(_REMOVE, (spec.name,), _QUIET)) if new else ()
    if spec.version is None:
        return Action(f"install {spec.name}", Run(_INSTALL, (spec.name,), _QUIET, typed=_PLAIN), undo=undo)
    operand = f"{spec.name}={spec.version}"
    if found and not new:
        undo = undoing(Run(_INSTALL_VERSION, (f"{spec.name}={found.version}",), _QUIET))
    return Action(f"install {operand}", Run(_INSTALL_VERSION, (operand,), _QUIET, typed=_PLAIN), undo=undo)


def _remove(name: str, found: Record | None) -> Action:
    """With dpkg, which takes nothing else along: it refuses what another package depends on."""
    undo = undoing(Run(_INSTALL_VERSION, (f"{name}={found.version}",), _QUIET)) if found else ()
    return Action(
        f"remove {name}",
        Run(_REMOVE, (name,), _QUIET),
        why="its configuration files are left; dpkg refuses if an installed package needs it",
        undo=undo,
    )


def _none_for_this_kernel(name: str, series: Collection[str] | None) -> Diagnostic:
    """Debian has all modules in linux-image; Ubuntu keeps packages of the newest kernels only."""
    if series:
        cure = "run `apt-get update`; if there is none then, boot a kernel for which the archive has it"
    elif name.startswith("linux-modules-"):
        cure = "remove this entry: on Debian the modules are in linux-image itself"
    else:
        cure = "remove this entry, or write the name by which this archive has it"
    return Diagnostic(
        "CXP331",
        "no such package for the running kernel",
        found=f"no {name} in apt's index" if is_name(name) else f"{name} is no package name",
        expected=f"one of {_few(sorted(series))}" if series else "a package that the archive has",
        hint=cure,
    )


def _few(names: Sequence[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[-most:]) + more


def _held(spec: Package, found: Record) -> Diagnostic:
    return Diagnostic(
        "CXP201",
        f"{found.name} is held at {found.version}",
        found=f"{found.version}, held",
        expected="absent" if spec.state == "absent" else f"version {spec.version}",
        hint=f"`apt-mark unhold {found.name}` once whoever holds it agrees; or declare the held version",
    )
