"""What a simulated machine answers to a read."""

from __future__ import annotations

from fnmatch import fnmatchcase

from cxlstate.core.answers import Answer, NotAsked
from cxlstate.core.exit_status import NOT_FOUND
from cxlstate.core.read import (
    Asked,
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
    LibvirtRead,
    Links,
    MapAndRead,
    Names,
    PosixQuestion,
    PosixRead,
    Read,
    SshLogin,
    TimeLoads,
)
from cxlstate.formats.sshd_config import includes
from cxlstate.simulator.accounts import Accounts
from cxlstate.simulator.blocks import Blocks
from cxlstate.simulator.dax import DEVDAX, Bus, extents
from cxlstate.simulator.host import Host
from cxlstate.simulator.loads import timed
from cxlstate.simulator.sshd import Sshd

_ONLY_ROOT = Answer(1, b"", "Permission denied: only root can see it")


def asked(host: Host, question: PosixQuestion) -> Answer | NotAsked:
    """What it answers to a question that may have a condition."""
    if not isinstance(question, Asked):
        return answer(host, question)
    holds = _exists(host, question.only_if).stdout != b""
    return answer(host, question.read) if holds else NotAsked(question.only_if)


def answer(host: Host, read: Read) -> Answer:
    """What the machine answers to one read."""
    if isinstance(read, LibvirtRead):
        return host.libvirt.answer(read)
    return _of_the_kernel(host, read)


def _of_the_kernel(host: Host, read: PosixRead) -> Answer:
    """The same, of files, devices and commands."""
    match read:
        case File(path=path, limit=limit):
            return _file(host, path, limit)
        case Glob(pattern=pattern, limit=limit):
            return _files(host, pattern, limit, first_line=False)
        case Included(path=path, limit=limit):
            return _included(host, path, limit)
        case Attributes(pattern=pattern):
            return _files(host, pattern, 1 << 16, first_line=True)
        case Links(pattern=pattern) | Names(pattern=pattern):
            return _paths(host, pattern, of_links=isinstance(read, Links))
        case Exists():
            return _exists(host, read)
        case Holders() | MapAndRead() | FileSystem() | TimeLoads() | SshLogin() | AuthorizedKeys():
            return _of_processes(host, read)
        case Command(argv=argv, operands=operands):
            ended = host.run((*argv, *operands))
            stdout = ended.stdout.encode("utf-8", "surrogateescape")
            return Answer(ended.status, stdout, ended.stderr.rstrip("\n"))


def _of_processes(host: Host, read: DeviceRead | SshLogin | AuthorizedKeys) -> Answer:
    match read:
        case Holders(name=name):
            return _holders(host, name)
        case MapAndRead(start=start):
            return _mapped(host, start)
        case FileSystem(point=point):
            return Blocks(host.world).file_system(point)
        case TimeLoads(memory=memory):
            return timed(host.world, memory)
        case SshLogin():
            return Answer(0, Sshd(host.world, host.files).login().encode())
        case AuthorizedKeys(user=user):
            return _keys(host, user)


def _keys(host: Host, user: str) -> Answer:
    if not host.world.login.root:
        return _ONLY_ROOT

    def stat(path: str) -> str:
        return host.run(("stat", "--format=%f %s %Y %U:%G:%n", path)).stdout

    return Accounts(host.files, host.world.owners, stat).authorized_keys(user)


def _file(host: Host, path: str, limit: int) -> Answer:
    try:
        content = host.files.read(path)
    except OSError as error:
        return Answer(1, b"", str(error.strerror))
    if len(content) > limit:
        return Answer(1, b"", f"it is larger than {limit} bytes")
    return Answer(0, content)


def _files(host: Host, pattern: str, limit: int, *, first_line: bool) -> Answer:
    files = host.files
    try:
        paths = [path for path in files.glob(pattern) if files.is_file(path)]
    except OSError as error:
        return Answer(1, b"", f"{error.filename}: {error.strerror}")
    found = {path: _file(host, path, limit) for path in paths}
    if first_line:
        found = {
            path: Answer(one.status, one.stdout.split(b"\n")[0], one.stderr) for path, one in found.items()
        }
    return Answer(0, files=found)


def _included(host: Host, first: str, limit: int) -> Answer:
    """Each file once, however often it is named."""
    found: dict[str, Answer] = {}
    paths = [first]
    while paths:
        path = paths.pop(0)
        if path in found or not host.files.is_file(path):
            continue
        found[path] = _file(host, path, limit)
        for pattern in includes(found[path].text):
            paths += host.files.glob(pattern)
    return Answer(0, files=found)


def _paths(host: Host, pattern: str, *, of_links: bool) -> Answer:
    """What a pattern matches: names alone, or links with where they point to."""
    files = host.files
    try:
        found = {path: files.link(path) if of_links else "" for path in files.glob(pattern)}
    except OSError as error:
        return Answer(1, b"", f"{error.filename}: {error.strerror}")
    return Answer(0, files={path: Answer(0, to.encode()) for path, to in found.items() if to is not None})


def _exists(host: Host, read: Exists) -> Answer:
    """Found is found; that nothing is there is proven by folders that can be listed alone."""
    found = [_paths(host, pattern, of_links=False) for pattern in read.patterns]
    if any(one.files for one in found):
        return Answer(0, b"yes")
    return next((one for one in found if one.status != 0), Answer(0))


def _holders(host: Host, name: str) -> Answer:
    if not host.world.login.root:
        return _ONLY_ROOT
    lines = [
        f"{one.pid}\t{device}\t{one.command} \n"
        for one in host.world.running.processes
        for device in one.holds
        if fnmatchcase(device, name)
    ]
    return Answer(0, "".join(lines).encode())


def _mapped(host: Host, start: int) -> Answer:
    """First and last byte of the device, in the words of the program in `formats/restore.sh`."""
    if not host.world.login.root:
        return _ONLY_ROOT
    for name, one in host.world.running.dax.items():
        if start not in [low for low, _ in extents(one)]:
            continue
        if one.driver != DEVDAX:
            return Answer(1, b"", f"{name} is not bound to device_dax")
        if not host.world.python:
            return Answer(NOT_FOUND, b"", "python3 is not installed")
        return Answer(0, Bus(host.world).mapped(name).stdout.encode())
    return Answer(1, b"", "no dax device starts there")
