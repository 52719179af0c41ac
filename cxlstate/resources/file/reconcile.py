"""Files as they are written in a spec."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256

from cxlstate.core.action import Action, RemoveFile
from cxlstate.core.address import AllOf
from cxlstate.core.answers import Answers
from cxlstate.core.assessment import Assessment
from cxlstate.core.change import Change, Leaf
from cxlstate.core.diagnostic import Diagnostic
from cxlstate.core.exports import Inputs
from cxlstate.core.file import PermitFile, PutFile
from cxlstate.core.observation import Absent, Observation, Present, Unknown
from cxlstate.core.read import Read
from cxlstate.core.reconciler import How, Need, Reconciler, Resource
from cxlstate.core.secret import Secret
from cxlstate.formats.inode import Inode
from cxlstate.resources.file import FileKind, probe
from cxlstate.resources.file.probe import FileLive
from cxlstate.resources.file.spec import FilePath, FileSpec

_NEW = 0o644


class FileReconciler(FileKind, Reconciler[FileSpec, FileLive]):
    """A regular file: its content, owner, group and mode, as far as they are written."""

    model = FileSpec
    key = FilePath

    def needs(self, me: Resource[FileSpec]) -> Sequence[Need]:
        """Packages bring users and folders; users own files."""
        return (Need(AllOf("package"), How.AFTER), Need(AllOf("user"), How.AFTER))

    def reads(self, me: Resource[FileSpec]) -> Sequence[Read]:
        """The file itself, and what leads to it."""
        return probe.reads(me.name, me.spec)

    def observe(self, me: Resource[FileSpec], answers: Answers) -> Observation[FileLive]:
        """An owner that is not there yet keeps it from being told what is to be done."""
        live = probe.parse(me.name, me.spec, answers)
        if live.missing:
            return Unknown(
                f"no such {' and no such '.join(live.missing)}",
                cured_by=(AllOf("package"), AllOf("user")),
                hint="declare it in `users`, or the package that creates it, or fix the name",
            )
        return Absent() if live.inode is None and live.barrier is None else Present(live)

    def assess(self, resource: Resource[FileSpec], seen: Observation[FileLive], inputs: Inputs) -> Assessment:
        """What differs; a link in the way is an error."""
        if isinstance(seen, Unknown):
            return Assessment()
        live = seen.live if isinstance(seen, Present) else FileLive(None)
        if problem := _problem(resource, live):
            return Assessment(problems=(problem,), facts=_facts(live, resource.spec))
        changes = tuple(_changes(resource.spec, live))
        return Assessment(
            changes=changes,
            actions=tuple(_actions(resource, live, changes)),
            facts=_facts(live, resource.spec),
        )


reconciler = FileReconciler()


def _problem(resource: Resource[FileSpec], live: FileLive) -> Diagnostic | None:
    at, found = live.barrier or (resource.name, live.inode)
    if found is None:
        return _nothing_to_write(resource.spec)
    if live.barrier is None and found.is_file:
        return None
    return Diagnostic(
        "CXW201",
        f"{at} is {found.what}, not a {'directory' if live.barrier else 'regular file'}",
        found=found.what,
        expected="directories on the way, and a regular file or nothing at the end",
        hint=f"write the path that `readlink -f {resource.name}` shows"
        if found.is_link
        else f"look at it on the machine: ls -ld {at}",
    )


def _nothing_to_write(spec: FileSpec) -> Diagnostic | None:
    if spec.state == "absent" or spec.wanted is not None:
        return None
    return Diagnostic(
        "CXW202",
        "file does not exist, and the spec has no content for it",
        found="no such file",
        expected="`content` or `source`",
        hint="write `content: ''` for an empty file",
    )


def _changes(spec: FileSpec, live: FileLive) -> Iterator[Change]:
    """One for all of a file that comes or goes."""
    inode = live.inode
    if spec.state == "absent":
        if inode is not None:
            yield Change((), _described(live, spec), None)
        return
    wanted = spec.wanted
    if wanted is not None and (inode is None or _data(wanted) != _data(live.content)):
        yield Change(("content",), _shown(live.content), _shown(wanted))
    for word, now, goal in _permissions(spec, inode):
        if goal is not None and now != goal:
            yield Change((word,), now, goal)


def _permissions(spec: FileSpec, inode: Inode | None) -> Iterator[tuple[str, str | None, str | None]]:
    mode = None if spec.mode is None else f"{spec.mode:04o}"
    yield "owner", inode.owner if inode else None, spec.owner
    yield "group", inode.group if inode else None, spec.group
    yield "mode", f"{inode.permissions:04o}" if inode else None, mode


def _actions(resource: Resource[FileSpec], live: FileLive, changes: Sequence[Change]) -> Iterator[Action]:
    spec, path, wanted = resource.spec, resource.name, resource.spec.wanted
    if not changes:
        return
    if spec.state == "absent":
        yield Action(f"remove {path}", RemoveFile(path, _expected(live.content) or ""))
    elif wanted is not None and changes[0].path == ("content",):
        effect = PutFile(
            path, wanted, _expected(live.content), spec.owner or "", spec.group or "", _mode(spec, live)
        )
        yield Action(f"write {path}", effect)
    else:
        differs = {change.path[0] for change in changes}
        owner, group = (spec.owner if "owner" in differs else ""), (spec.group if "group" in differs else "")
        mode = spec.mode if spec.mode is not None else live.inode.permissions if live.inode else None
        yield Action(f"set owner and mode of {path}", PermitFile(path, owner or "", group or "", mode))


def _mode(spec: FileSpec, live: FileLive) -> int | None:
    return _NEW if spec.mode is None and live.inode is None else spec.mode


def _expected(content: bytes | Secret | None) -> str | Secret | None:
    """A hash of a secret tells too much of a short one."""
    if content is None:
        return None
    return Secret(_sha256(content).encode()) if isinstance(content, Secret) else _sha256(content)


def _sha256(content: bytes | Secret | None) -> str:
    data = _data(content)
    return "" if data is None else sha256(data).hexdigest()


def _data(content: bytes | Secret | None) -> bytes | None:
    return content.reveal() if isinstance(content, Secret) else content


def _shown(content: bytes | Secret | None) -> Leaf:
    """Never the content itself: it may be long, or secret."""
    if content is None or isinstance(content, Secret):
        return content
    return f"{len(content)} bytes, SHA-256 {sha256(content).hexdigest()[:12]}"


def _described(live: FileLive, spec: FileSpec) -> str:
    """Of a secret not even its length."""
    inode = live.inode
    if inode is None:
        return "not there"
    size = "" if spec.secret or isinstance(live.content, Secret) else f"{inode.size} bytes, "
    return f"{size}{inode.owner}:{inode.group} {inode.permissions:04o}"


def _facts(live: FileLive, spec: FileSpec) -> tuple[tuple[str, str], ...]:
    if live.barrier:
        return (("file", f"{live.barrier[0]} is {live.barrier[1].what}"),)
    is_other = live.inode is not None and not live.inode.is_file
    return (("file", live.inode.what if live.inode and is_other else _described(live, spec)),)
