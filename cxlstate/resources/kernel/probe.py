"""What is read of a source tree: the files that its patches name, our own notes in it, and no more."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from cxlstate.core.answers import Answers
from cxlstate.core.read import Asked, Exists, File, Glob, PosixRead, Question
from cxlstate.formats import dax
from cxlstate.formats.dax import Device
from cxlstate.formats.inode import Inode, inode_of, obstacle, stat, ways
from cxlstate.formats.kernel_patches import shipped
from cxlstate.formats.unified_diff import DiffError, Patch, parse
from cxlstate.resources.kernel.spec import KernelSpec

BOOT_ID: Final = File("/proc/sys/kernel/random/boot_id")
RELEASE: Final = File("/proc/sys/kernel/osrelease")
_BOOT: Final = re.compile(r"^(?:Applied|Installed) by cxlstate in boot ([0-9a-f-]{36})$", re.MULTILINE)
_PACKAGED: Final = re.compile(r"/usr/src/(linux-source-[0-9]+(?:\.[0-9]+)+)(?P<inner>/\1)?")
_DIGEST: Final = re.compile(r"^Of ([0-9a-f]{64})$", re.MULTILINE)


def note(source: str, name: str) -> str:
    """Where we keep what we put into the files of a tree: a diff beside them, which goes with the tree.

    The kernel's own .gitignore and `make distclean` pass over it.
    """
    return f"{source}/.cxlstate-{name.removesuffix('.patch')}.patch"


def tarballs(source: str) -> tuple[str, str]:
    """Beside the folder that they unpack to: what Debian's and Ubuntu's `linux-source` packages bring."""
    return f"{source}.tar.xz", f"{source}.tar.bz2"


def tarball(source: str) -> str:
    """Which of them to expect. Ubuntu's stands in a folder of its own, and so does what it unpacks to.

    Source: `install-source` in debian/rules.d/3-binary-indep.mk of Ubuntu's kernels.
    """
    named = _PACKAGED.fullmatch(source)
    return tarballs(source)[bool(named and named["inner"])]


def inner(source: str) -> str:
    """Where the tree of Ubuntu's package unpacks to, if `source` is the folder that the package brings."""
    return f"{source}/{posixpath.basename(source)}"


def package(source: str) -> str | None:
    """The package that brings such a tarball."""
    named = _PACKAGED.fullmatch(source)
    return named[1] if named else None


def stamp(source: str) -> str:
    """Where we keep of what, and in which boot, a kernel was last installed."""
    return f"{source}/.cxlstate-installed"


@dataclass(frozen=True, slots=True)
class Note:
    """A diff that was applied (empty: not readable), the boot in which it was, and the text that says so."""

    patch: Patch
    boot: str
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Live:
    """A tree as it is. `barrier` is the first thing on the way to a file that should not be there.

    `files` has those of every patch of the spec, and of the shipped ones where a note is there.
    """

    folder: Inode | None
    barrier: tuple[str, Inode] | None = None
    files: Mapping[str, str | None] = field(default_factory=dict, repr=False)
    notes: Mapping[str, Note] = field(default_factory=dict)
    stamp: str = ""
    boot: str = ""
    release: str = ""
    has_makefile: bool = True
    tarball: str = ""
    has_inner: bool = False
    devices: tuple[Device, ...] = ()

    @property
    def to_unpack(self) -> bool:
        """Whether there is nothing but the tarball."""
        return self.folder is None and self.barrier is None and bool(self.tarball)

    @property
    def to_come(self) -> bool:
        """Whether there is nothing at all."""
        return self.folder is None and self.barrier is None and not self.tarball

    @property
    def installed(self) -> str:
        """Digest of what was last installed."""
        found = _DIGEST.search(self.stamp)
        return found[1] if found else ""

    @property
    def running_since(self) -> str:
        """The boot in which it was installed."""
        found = _BOOT.search(self.stamp)
        return found[1] if found else ""


def reads(spec: KernelSpec) -> Iterator[Question]:
    """Of each file also what leads to it: a link would lead out of the tree."""
    notes = note(spec.source, "*")
    archives = (*tarballs(spec.source), *tarballs(inner(spec.source)))
    yield from map(stat, (*ways(spec.source), f"{spec.source}/Makefile", *archives))
    yield from (BOOT_ID, RELEASE, Glob(notes), File(stamp(spec.source)))
    own = _paths(spec)
    for path in own:
        yield from _of(spec.source, path)
    for path in _shipped_paths():
        if path not in own:
            yield from (Asked(read, only_if=Exists(notes)) for read in _of(spec.source, path))
    if spec.proof:
        yield from dax.READS


def observe(spec: KernelSpec, answers: Answers) -> Live:
    """Raises ReadFailed, and ValueError for what sysfs should not say."""
    source = spec.source
    folder = inode_of(source, answers)
    barrier = obstacle(f"{source}/Makefile", answers)
    makefile = None if barrier else inode_of(f"{source}/Makefile", answers)
    if makefile is None:
        archive = _archive(tarballs(source), answers)
        has_inner = bool(_archive(tarballs(inner(source)), answers))
        return Live(folder, barrier, has_makefile=False, tarball=archive, has_inner=has_inner)
    notes = dict(_notes(source, answers.files(Glob(note(source, "*")))))
    paths = (*_paths(spec), *(_shipped_paths() if notes else ()))
    files: dict[str, str | None] = {}
    for path in paths:
        whole = f"{source}/{path}"
        there = None if obstacle(whole, answers) else inode_of(whole, answers)
        barrier = (
            barrier or obstacle(whole, answers) or ((whole, there) if there and not there.is_file else None)
        )
        files[path] = answers.text(File(whole)) if there and there.is_file else None
    return Live(
        folder,
        barrier,
        files,
        notes,
        answers.text_or_none(File(stamp(source))) or "",
        answers.text(BOOT_ID).strip(),
        answers.text(RELEASE).strip(),
        devices=_devices(answers) if spec.proof else (),
    )


def _archive(paths: Sequence[str], answers: Answers) -> str:
    """The first that is there. Ubuntu's package also has a link, which is none."""
    there = ((path, inode_of(path, answers)) for path in paths)
    return next((path for path, one in there if one and one.is_file), "")


def _devices(answers: Answers) -> tuple[Device, ...]:
    """Devices whose region could be read. An alignment that was not is no evidence, for or against."""
    found = dax.read_devices(answers)
    if hidden := next((one.name for one in found if one.region_align is None), None):
        raise ValueError(f"dax_region/align of {hidden} cannot be read: only root may")
    return found


def _paths(spec: KernelSpec) -> Sequence[str]:
    return tuple(dict.fromkeys(path for one in (*spec.patches, *spec.absent) for path in one.series.paths))


def _shipped_paths() -> Sequence[str]:
    return tuple(dict.fromkeys(path for series in shipped().values() for path in series.paths))


def _of(source: str, path: str) -> Iterator[PosixRead]:
    whole = f"{source}/{path}"
    yield from map(stat, ways(whole)[len(ways(source)) :])
    yield File(whole)


def _notes(source: str, files: Mapping[str, str]) -> Iterator[tuple[str, Note]]:
    """By the name of the patch, without `.patch`. One that somebody made unreadable has an empty diff."""
    start, end = note(source, "*").split("*")
    for path, text in files.items():
        boot = _BOOT.search(text)
        try:
            patch = parse(text)
        except DiffError:
            patch = Patch(())
        yield path.removeprefix(start).removesuffix(end), Note(patch, boot[1] if boot else "", text)
