"""What came back for reads, and what a failed one says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cxlstate.core.exit_status import NOT_FOUND, TIMED_OUT
from cxlstate.core.read import (
    Attributes,
    AuthorizedKeys,
    Command,
    DeviceRead,
    Exists,
    File,
    FileSystem,
    Glob,
    Holders,
    Included,
    LibvirtAddresses,
    LibvirtDomain,
    LibvirtNetwork,
    LibvirtRead,
    Links,
    LoginRead,
    MapAndRead,
    Names,
    Read,
    SshLogin,
    TimeLoads,
)


@dataclass(frozen=True, slots=True)
class NotAsked:
    """In place of an answer: the machine said that the condition does not hold, and nothing was read.

    Nothing is known of what was not read, and nothing failed: it is neither absent nor unknown.
    """

    only_if: Exists


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for a read: exit status, bytes, and what was said on standard error."""

    status: int
    stdout: bytes = b""
    stderr: str = ""
    files: Mapping[str, Answer] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """Standard output as text; bytes that are not UTF-8 survive as surrogates."""
        return self.stdout.decode("utf-8", "surrogateescape")


class ReadFailed(Exception):
    """A read that gave no answer. Raised inside `observe`, it makes the resource unknown."""

    def __init__(self, read: Read, reason: str, missing_tool: str | None = None) -> None:
        super().__init__(reason)
        self.read = read
        self.reason = reason
        self.missing_tool = missing_tool


Text = File | Command | DeviceRead | LoginRead | LibvirtAddresses
"""Reads whose answer is one text."""


class ConditionUnmet(ReadFailed):
    """The answer to a read that was not done. Who asked for it has not looked at its condition."""

    def __init__(self, read: Read, only_if: Exists) -> None:
        super().__init__(read, f"{describe(read)} was asked for only where there is {describe(only_if)}")


class Answers:
    """The answers to all reads of one exchange. Every accessor raises `ReadFailed` on a failure.

    Of a read that was not done, since its condition does not hold, each raises `ConditionUnmet`.
    """

    def __init__(self, answers: Mapping[Read, Answer | NotAsked]) -> None:
        self._answers = answers

    def __or__(self, later: Answers) -> Answers:
        """With those of a later exchange, which count where both have one."""
        return Answers({**self._answers, **later._answers})

    def raw(self, read: Read) -> Answer:
        """The answer as it came, whatever its status."""
        match self._answers.get(read):
            case None:
                raise ReadFailed(read, f"{describe(read)} was not asked for")
            case NotAsked(only_if=only_if):
                raise ConditionUnmet(read, only_if)
            case Answer() as answer:
                return answer

    def exists(self, read: Exists) -> bool:
        """Whether anything is there; a folder that cannot be looked into is a failure."""
        answer = self.raw(read)
        if answer.status != 0:
            raise failure(read, answer)
        return bool(answer.stdout)

    def text(self, read: Text) -> str:
        """The file's content or the command's output; anything but success is a failure."""
        answer = self.raw(read)
        if answer.status != 0:
            raise failure(read, answer)
        return answer.text

    def text_or_none(self, read: File) -> str | None:
        """The file's content, or None where the kernel said that it does not exist."""
        answer = self.raw(read)
        return None if _does_not_exist(answer) else self.text(read)

    def files(
        self, read: Glob | Included | Attributes | Links | Names | LibvirtDomain | LibvirtNetwork
    ) -> dict[str, str]:
        """Path → content (of a link, its target; of a name, nothing) of what matched, in order of path.

        No match is an empty dict. Of libvirt, the parts of the answer by name.
        """
        answer = self.raw(read)
        if answer.status != 0:
            raise failure(read, answer)
        for path, one in answer.files.items():
            if one.status != 0:
                raise failure(File(path), one)
        return {path: one.text for path, one in sorted(answer.files.items())}


def failure(read: Read, answer: Answer) -> ReadFailed:
    """A failed answer in words that say what was tried and what the machine said."""
    said = answer.stderr.strip().splitlines()
    if isinstance(read, Command) and answer.status == NOT_FOUND:
        return ReadFailed(read, f"{read.argv[0]} is not installed", missing_tool=read.argv[0])
    if isinstance(read, FileSystem) and answer.status == NOT_FOUND:
        tool = said[-1] if said else "its tool"
        return ReadFailed(read, f"{tool} is not installed", missing_tool=tool)
    if isinstance(read, LibvirtRead) and answer.status == NOT_FOUND:
        return ReadFailed(read, said[-1] if said else "libvirt is not installed", missing_tool="libvirt")
    if isinstance(read, Command) and answer.status == TIMED_OUT:
        return ReadFailed(read, f"{describe(read)} did not end within {read.timeout} s")
    reason = said[-1] if said else f"exit status {answer.status}"
    return ReadFailed(read, f"{describe(read)}: {reason}")


def describe(read: Read) -> str:
    """A read as a person would write it."""
    match read:
        case File(path=path):
            return path
        case Included(path=path):
            return f"{path} with all that it includes"
        case Glob() | Attributes() | Links() | Names():
            return read.pattern
        case Exists(patterns=patterns):
            return " or ".join(patterns)
        case Holders() | MapAndRead() | FileSystem() | TimeLoads():
            return _device_read(read)
        case SshLogin() | AuthorizedKeys():
            return f"authorized keys of {read.user}" if isinstance(read, AuthorizedKeys) else "the SSH login"
        case Command(argv=argv, operands=operands):
            return " ".join((*argv, *operands))
        case LibvirtDomain(name=name) | LibvirtAddresses(name=name) | LibvirtNetwork(name=name):
            return f"libvirt's {'network' if isinstance(read, LibvirtNetwork) else 'domain'} {name}"


def _device_read(read: DeviceRead) -> str:
    match read:
        case Holders(name=name):
            return f"processes that hold {name}"
        case MapAndRead(start=start):
            return f"a mapping of the dax device at {start:#x}"
        case FileSystem(point=point):
            return f"file system on {point}"
        case TimeLoads(memory=memory):
            return f"loads from {memory}"


def _does_not_exist(answer: Answer) -> bool:
    return answer.status != 0 and "No such file or directory" in answer.stderr
