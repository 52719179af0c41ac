"""What is at a path: the inode itself, what is in the way, and the content where that matters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from cxlstate.core.answers import Answers
from cxlstate.core.read import Command, File, Read
from cxlstate.core.secret import Secret
from cxlstate.formats.inode import Inode, inode_of, obstacle, way_reads
from cxlstate.resources.file.spec import FileSpec

_NOT_ALL_FOUND = 2  # getent(1)


@dataclass(frozen=True, slots=True)
class FileLive:
    """`inode` is None where there is nothing; `content` where nobody has to know it.

    What only its owner may read counts as secret: an earlier spec may have put one there.

    `barrier` is the first thing on the way that is no folder. `missing` are names of the spec that are no
    account, as `user bob`.
    """

    inode: Inode | None
    content: bytes | Secret | None = field(default=None, repr=False)
    barrier: tuple[str, Inode] | None = None
    missing: tuple[str, ...] = ()


def reads(path: str, spec: FileSpec) -> tuple[Read, ...]:
    """The content is left where it is if only its owner or mode matters."""
    asked: list[Read] = [*way_reads(path), *(read for read, _ in _accounts(spec))]
    return (*asked, File(path)) if _content_matters(spec) else tuple(asked)


def parse(path: str, spec: FileSpec, answers: Answers) -> FileLive:
    """Raises ReadFailed."""
    missing = tuple(name for read, name in _accounts(spec) if not _is_known(read, answers))
    if barrier := obstacle(path, answers):
        return FileLive(None, barrier=barrier, missing=missing)
    inode = inode_of(path, answers)
    if inode is None or not inode.is_file or not _content_matters(spec):
        return FileLive(inode, missing=missing)
    answers.text(File(path))  # it failed: ReadFailed
    content = answers.raw(File(path)).stdout
    is_secret = spec.secret or inode.is_private
    return FileLive(inode, Secret(content) if is_secret else content, missing=missing)


def _content_matters(spec: FileSpec) -> bool:
    return spec.state == "absent" or spec.content is not None or spec.source is not None


def _accounts(spec: FileSpec) -> Iterator[tuple[Command, str]]:
    if spec.owner:
        yield Command(("getent", "passwd"), (spec.owner,)), f"user {spec.owner}"
    if spec.group:
        yield Command(("getent", "group"), (spec.group,)), f"group {spec.group}"


def _is_known(read: Command, answers: Answers) -> bool:
    if answers.raw(read).status != _NOT_ALL_FOUND:
        answers.text(read)  # it failed: ReadFailed
    return any(line.startswith(f"{read.operands[0]}:") for line in answers.raw(read).text.splitlines())
