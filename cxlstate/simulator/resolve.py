"""Which packages an installation takes along and which it pushes out: apt's resolver, in small."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from cxlstate.simulator.versions import version_key
from cxlstate.simulator.world import Package, World


@dataclass(frozen=True, slots=True)
class Wish:
    """`NAME` or `NAME=VERSION`."""

    name: str
    version: str | None = None

    @classmethod
    def parse(cls, word: str) -> Wish:
        """Read one word of the command line."""
        name, equals, version = word.partition("=")
        return cls(name, version if equals else None)


@dataclass
class Plan:
    """What is to happen; or the problem, in apt's words, and nothing happens."""

    install: list[Package] = field(default_factory=list)
    remove: list[str] = field(default_factory=list)
    said: str = ""
    problem: str = ""


def resolve(world: World, wishes: Sequence[Wish]) -> Plan:
    """The plan for all wishes together."""
    plan = Plan()
    for wish in wishes:
        _wish(world, wish, plan)
        if plan.problem:
            return plan
    for one in plan.install:  # grows while dependencies are found
        for need in one.depends:
            if not _satisfied(world, need, plan):
                provider = _best(world, need) or next(iter(_providers(world, need)), None)
                if provider is None:
                    _unmet(one, need, plan)
                    return plan
                plan.install.append(provider)
    plan.install.reverse()  # dependencies first
    names = {one.name for one in plan.install}
    clashing = {name for one in plan.install for name in _clashes(world, one)}
    plan.remove = sorted(clashing - names)
    if clashing & names:
        _unmet(plan.install[-1], min(clashing & names), plan)
    return plan


def _wish(world: World, wish: Wish, plan: Plan) -> None:
    chosen = _best(world, wish.name, wish.version)
    here = world.installed.get(wish.name)
    if chosen is None and _best(world, wish.name) is not None:
        plan.problem = f"E: Version '{wish.version}' for '{wish.name}' was not found\n"
        return
    if chosen is None and (here is None or wish.version):
        providers = _providers(world, wish.name)
        if len(providers) == 1 and wish.version is None:
            plan.said += f"Note, selecting '{providers[0].name}' instead of '{wish.name}'\n"
            _wish(world, Wish(providers[0].name), plan)
        elif providers:
            listed = "".join(f"  {one.name} {one.version}\n" for one in providers)
            plan.said += f"Package {wish.name} is a virtual package provided by:\n{listed}"
            plan.said += "\n"
            plan.problem = f"E: Package '{wish.name}' has no installation candidate\n"
        else:
            plan.problem = f"E: Unable to locate package {wish.name}\n"
        return
    installed = here is not None and here.status.split()[2] not in ("not-installed", "config-files")
    current = here.version if here is not None and installed else None
    if chosen is None or chosen.version == current or (wish.version is None and _newer(current, chosen)):
        plan.said += f"{wish.name} is already the newest version ({current}).\n"
    elif chosen not in plan.install:
        plan.install.append(chosen)


def _newer(current: str | None, than: Package) -> bool:
    return current is not None and version_key(current) > version_key(than.version)


def _best(world: World, name: str, version: str | None = None) -> Package | None:
    """The newest version, or the one that is asked for."""
    found = [one for one in world.archive.packages if one.name == name and version in (None, one.version)]
    return max(found, key=lambda one: version_key(one.version), default=None)


def _providers(world: World, name: str) -> list[Package]:
    newest = {one.name: _best(world, one.name) for one in world.archive.packages if name in one.provides}
    return [one for _, one in sorted(newest.items(), reverse=True) if one is not None]


def _satisfied(world: World, need: str, plan: Plan) -> bool:
    chosen = any(need == one.name or need in one.provides for one in plan.install)
    return chosen or any(need in names for names in _installed_names(world).values())


def _installed_names(world: World) -> dict[str, list[str]]:
    """Each installed package with the names that it goes by."""
    names: dict[str, list[str]] = {}
    for name, here in world.installed.items():
        if here.status.split()[2] in ("not-installed", "config-files"):
            continue
        provides = [
            provided
            for one in world.archive.packages
            if (one.name, one.version) == (name, here.version)
            for provided in one.provides
        ]
        names[name] = [name, *provides]
    return names


def _clashes(world: World, one: Package) -> list[str]:
    """Installed packages that a new one conflicts with."""
    return [
        name
        for name, names in _installed_names(world).items()
        if name != one.name and set(names) & set(one.conflicts)
    ]


def _unmet(one: Package, need: str, plan: Plan) -> None:
    plan.said += "The following packages have unmet dependencies:\n"
    plan.said += f" {one.name} : Depends: {need} but it is not installable\n"
    plan.problem = "E: Unable to correct problems, you have held broken packages.\n"
