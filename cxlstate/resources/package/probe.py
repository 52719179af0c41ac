"""dpkg's database, read whole: it costs the same as one package and shows who provides what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from cxlstate.core.answers import Answers, ReadFailed
from cxlstate.core.read import Command, Exists, File, Read
from cxlstate.resources.package.spec import KERNEL, Package

# dpkg-query(1). Without operands it shows all that is not purged, so that no name is a pattern
# and an unknown one is no failure. 700 packages: 10 ms, 32 kB.
DATABASE = Command(
    (
        "dpkg-query",
        "--show",
        r"--showformat=${db:Status-Abbrev}\t${Package}\t${Architecture}\t${Version}\t${Provides}\n",
    )
)

# dpkg's journal: apt refuses to work while it has entries (debSystem::CheckUpdates).
JOURNAL = Exists("/var/lib/dpkg/updates/[0-9]*")

# Lists of what can be installed. `Release` also matches `InRelease`; a repository without either
# has only `Packages`.
LISTS = Exists("/var/lib/apt/lists/*Release", "/var/lib/apt/lists/*_Packages")

RELEASE = File("/proc/sys/kernel/osrelease")

# The second letter of Status-Abbrev, in the words of dpkg-query(1).
_STATES = {
    "n": "not installed",
    "c": "removed, configuration left",
    "H": "half-installed",
    "U": "unpacked, not configured",
    "F": "half-configured",
    "W": "waiting for triggers",
    "t": "triggers pending",
    "i": "installed",
}
NOT_INSTALLED = ("n", "c")
UNFINISHED = ("H", "U", "F", "W", "t")


@dataclass(frozen=True, slots=True)
class Record:
    """One package in dpkg's database."""

    name: str
    architecture: str
    version: str
    code: str
    held: bool = False
    provides: tuple[str, ...] = ()

    @property
    def state(self) -> str:
        """The state in words."""
        return _STATES.get(self.code, self.code)


@dataclass(frozen=True, slots=True)
class PackageLive:
    """An entry as it stands.

    `package` is the entry under the running kernel. `found` is the record that stands for it.
    `unfinished`: some package is in between, or dpkg was interrupted. `has_lists`: `apt-get update` was run
    once. `series` are the packages in apt's index that are called like this one before `{kernel}`; None where
    there is no placeholder, or no index that could be read.
    """

    package: Package
    found: Record | None
    unfinished: bool
    has_lists: bool
    series: frozenset[str] | None = None


@dataclass(frozen=True)
class _Database:
    by_name: Mapping[str, tuple[Record, ...]]
    native: str | None
    unfinished: bool

    def named(self, name: str) -> Record | None:
        """The package itself. Without an architecture the machine's own is meant, as for apt."""
        name, _, architecture = name.partition(":")
        wanted = architecture or self.native
        for record in self.by_name.get(name, ()):
            if record.name == name and (wanted is None or record.architecture in (wanted, "all")):
                return record
        return None

    def provider(self, name: str) -> Record | None:
        """An installed package that provides a virtual one."""
        found = (r for r in self.by_name.get(name, ()) if name in r.provides and r.code == "i")
        return next(found, None)


def series(spec: Package) -> Command:
    """Names in apt's index that begin like this one, a line each (apt-cache(8)).

    The index is used as it is: without `--no-generate` root's apt-cache would write a new one.
    """
    return Command(("apt-cache", "--no-generate", "pkgnames", spec.name.partition(KERNEL)[0]))


def reads(spec: Package) -> tuple[Read, ...]:
    """Dpkg's database and journal, and whether apt has lists; for `{kernel}` what it stands for, too."""
    placeholder = (RELEASE, series(spec)) if spec.follows_kernel else ()
    return (DATABASE, JOURNAL, LISTS, *placeholder)


def parse(spec: Package, answers: Answers) -> PackageLive:
    """The live state of an entry. Raises ReadFailed."""
    database = _parse(answers.text(DATABASE))
    package = spec.under(answers.text(RELEASE).strip()) if spec.follows_kernel else spec
    has_lists = answers.exists(LISTS)
    return PackageLive(
        package=package,
        found=_found(package, database),
        unfinished=database.unfinished or answers.exists(JOURNAL),
        has_lists=has_lists,
        series=_series(spec, answers) if spec.follows_kernel and has_lists else None,
    )


def _series(spec: Package, answers: Answers) -> frozenset[str] | None:
    """Nothing is planned on it: without an index, apt-get itself says whether there is such a package."""
    try:
        return frozenset(answers.text(series(spec)).split())
    except ReadFailed:
        return None


def _found(spec: Package, database: _Database) -> Record | None:
    """The first that will do; if none does, the package that is to be installed."""
    records = [database.named(name) for name in (spec.name, *spec.alternatives)]
    if spec.state == "absent" or spec.version:
        return records[0]
    providers = [database.provider(name) for name in (spec.name, *spec.alternatives)]
    will_do = (record for record in (*records, *providers) if record and record.code == "i")
    return next(will_do, records[0])


@lru_cache(maxsize=4)
def _parse(text: str) -> _Database:
    by_name: dict[str, tuple[Record, ...]] = {}
    unfinished, native = False, None
    for record in _records(text):
        for name in {record.name, *record.provides}:
            by_name[name] = (*by_name.get(name, ()), record)
        unfinished |= record.code in UNFINISHED
        if record.name == "dpkg" and record.code == "i":
            native = record.architecture
    return _Database(by_name, native, unfinished)


def _records(text: str) -> Iterator[Record]:
    for line in text.splitlines():
        abbreviation, name, architecture, version, provides = (*line.split("\t"), "", "", "", "")[:5]
        if not name:
            continue
        yield Record(
            name,
            architecture,
            version,
            code=abbreviation[1:2],
            held=abbreviation[:1] == "h",
            provides=tuple(_provided(provides)),
        )


def _provided(text: str) -> Iterator[str]:
    """`a (= 1), b:any` → a, b (deb-control(5))."""
    for part in text.split(","):
        if words := part.split():
            yield words[0].partition(":")[0]
