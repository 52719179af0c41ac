"""What can be asked of a machine. A closed set: none of it can change anything.

Reads are values. The engine gathers those of all resources, drops duplicates, merges commands that
differ only in their operands, and asks once. A read may have a condition (`Asked`): the machine itself
looks at it, within the same exchange.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class File:
    """The content of one file, up to `limit` bytes (more is a failure, never a cut text)."""

    path: str
    limit: int = 4 * MEBIBYTE


@dataclass(frozen=True, slots=True)
class Glob:
    """Path and content of every regular file that a shell pattern matches."""

    pattern: str
    limit: int = MEBIBYTE


@dataclass(frozen=True, slots=True)
class Included:
    """A file, and every regular one that its lines `Include` name, in turn: path and content, as of a `Glob`.

    For files in the form of sshd_config(5): patterns that are not absolute begin in the folder of the first.
    """

    path: str
    limit: int = MEBIBYTE


@dataclass(frozen=True, slots=True)
class Attributes:
    """First line of every file that a shell pattern matches: sysfs attributes and small records.

    Cheaper than `Glob` by a process a file, since the far shell reads them itself.
    """

    pattern: str


@dataclass(frozen=True, slots=True)
class Links:
    """Where every symbolic link that a shell pattern matches points to, as it is written in the link."""

    pattern: str


@dataclass(frozen=True, slots=True)
class Names:
    """Only which paths a shell pattern matches; the files stay closed. For long lists."""

    pattern: str


@dataclass(frozen=True, slots=True, init=False)
class Exists:
    """Whether anything matches one of some shell patterns; a link that leads nowhere counts.

    A question without a process on the machine, and the condition of an `Asked`.
    """

    patterns: tuple[str, ...]

    def __init__(self, *patterns: str) -> None:
        object.__setattr__(self, "patterns", patterns)

    def __or__(self, other: Exists) -> Exists:
        """Whether anything matches either."""
        return Exists(*dict.fromkeys((*self.patterns, *other.patterns)))


@dataclass(frozen=True, slots=True)
class Holders:
    """Processes that have a device file open or mapped, whose file name matches a shell pattern.

    By file name alone: the path may be that of another mount namespace (libvirt gives each QEMU a
    /dev of its own). A line a process and device, parsed by `formats.dax`. Where the kernel counts no
    reference to any driver of the `bus` of these devices, nobody holds one, and no process is looked at.
    """

    name: str
    bus: str = ""


@dataclass(frozen=True, slots=True)
class MapAndRead:
    """Map the dax device that starts at a physical address, shared, and read its first and last byte.

    With python3, where the machine has it. Writes nothing. The answer is parsed by `formats.dax`.
    """

    start: int


@dataclass(frozen=True, slots=True)
class FileSystem:
    """What the superblock of a mounted ext4, XFS or Btrfs says, by its tool: dumpe2fs, xfs_info, btrfs.

    Nothing is written. The answer is parsed by `formats.filesystem`; of another type it is a failure.
    """

    point: str


@dataclass(frozen=True, slots=True)
class TimeLoads:
    """Time loads from memory of a dax device (`dax0.0`) or a NUMA node (`node2`), and from ordinary memory.

    By the kernel's name of now, with python3, for a few seconds at most. Maps for reading only, and writes
    nothing but pages of its own process. The answer is parsed by `formats.loads`.
    """

    memory: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"dax[0-9]{1,6}\.[0-9]{1,6}|node[0-9]{1,4}", self.memory, re.ASCII):
            raise ValueError(f"{self.memory} is neither a dax device nor a node")


@dataclass(frozen=True, slots=True)
class SshLogin:
    """Who we are logged in as, from where, and what sshd has in force for such a connection.

    Lines of `login user NAME` and, by SSH, `login client ADDRESS`, `login groups NAME…`,
    `login server ADDRESS PORT`, and `login keys none` where no file that sshd looks for our keys in exists;
    then those of `sshd -T -C` for that connection. The way in is that of the shell in which we run: it may be
    a person's, where we run locally.
    """


@dataclass(frozen=True, slots=True)
class AuthorizedKeys:
    """The file of a user's authorized keys, wherever the home is. Exit status 2: there is no such user.

    First `home PATH`, without links; then what stat(1) says of the home, of `.ssh` and of the file, as far as
    they are there, in the form of `formats.inode`; then the line `content`, and what a regular file holds.
    """

    user: str


@dataclass(frozen=True, slots=True)
class LibvirtDomain:
    """A libvirt domain by name, over a read-only connection; secrets are never asked for.

    The answer is files: `inactive.xml` (not of a transient one), `active.xml` (while it runs), `facts` and
    `affinity` (while it runs). None at all: libvirt said that there is no such domain. `facts` are lines of
    `key=value`: state (`running`, `paused`, `shut-off`, … as `virsh domstate` with hyphens), id, persistent,
    autostart, managed-save (`yes`, `no`), snapshots, checkpoints (numbers). `affinity` is a line a vCPU,
    `NUMBER CPUS`: what the kernel runs its thread on (virDomainGetVcpus), not what the XML says.
    """

    name: str


@dataclass(frozen=True, slots=True)
class LibvirtNetwork:
    """A libvirt network by name, over a read-only connection.

    The answer is files: `inactive.xml` (not of a transient one), `active.xml` (while it is active), `facts`
    and `ports`. None at all: there is no such network. `facts`: active, autostart, persistent (`yes`, `no`),
    bridge. `ports` is a line for each guest that is plugged into it: `MAC DOMAIN`.
    """

    name: str


@dataclass(frozen=True, slots=True)
class LibvirtAddresses:
    """The addresses that a running domain has leased from libvirt's networks.

    The answer is lines of `MAC ADDRESS/PREFIX`.
    """

    name: str


LibvirtRead = LibvirtDomain | LibvirtNetwork | LibvirtAddresses

# What may be run to read: the first words, and what each further word of `argv` must look like. Each was
# checked in its manual to change nothing, with every word that is let through here.
READ_ONLY: tuple[tuple[tuple[str, ...], str], ...] = (
    (("dpkg-query", "--show"), r"--showformat=.*"),
    (("apt-mark", "showhold"), r""),
    (("apt-cache", "--no-generate", "pkgnames"), r"[a-z0-9][a-z0-9+.-]*"),
    (("systemctl", "show"), r"--property=[A-Za-z,]+"),
    (("sshd", "-T"), r"-C|user=,host=,addr=[0-9.]+,laddr=[0-9.]+,lport=[0-9]+"),
    (("sshd", "-G"), r""),
    (("getent", "group"), r""),
    (("getent", "passwd"), r""),
    (("getent", "--service=files", "passwd"), r""),
    (("getent", "--service=files", "group"), r""),
    (("getent", "initgroups"), r""),
    (("getent", "shadow"), r""),
    (("loginctl", "list-sessions"), r"--no-legend|--no-pager"),
    (("daxctl", "list"), r"-[A-Za-z]+|--[a-z-]+"),
    (("ndctl", "list"), r"-[NRDi]+"),
    (("ndctl", "read-labels", "-j"), r""),
    (("lsblk", "--json"), r"--output=[A-Z,]+"),
    (("qemu-img", "info", "--output=json"), r"-U|/.*"),  # a path, and no `json:` or `nbd://`
    (("stat",), r"--dereference|--format=.*"),
    (("systemd-detect-virt", "--vm"), r""),
    (("uname",), r"-[a-z]+"),
    (("cloud-init", "status"), r"--format|json"),
    (("pgrep", "--list-full", "--full"), r"[^-].*"),
    (("modinfo",), r""),
    (("dmesg",), r"--follow"),
    (("grep", "-m1", "address sizes", "/proc/cpuinfo"), r""),  # a line a processor: hundreds of kB as a File
    (("nft", "-j", "list", "table"), r"inet|ip|cxlstate|libvirt_network"),
    (("nft", "-j", "list", "chains"), r""),
    (("iptables-nft-save",), r""),  # with -t, iptables-legacy would make a table that is not there
    (("iptables-legacy-save",), r""),
)


def _reads_only(argv: tuple[str, ...]) -> bool:
    for first, pattern in READ_ONLY:
        more = argv[len(first) :]
        if argv[: len(first)] == first and all(re.fullmatch(pattern, word, re.DOTALL) for word in more):
            return True
    return False


@dataclass(frozen=True, slots=True)
class Command:
    """A read-only command. Those with the same `argv` are run once, with all their operands.

    The parser of the answer must therefore look for its own record among others.
    """

    argv: tuple[str, ...]
    operands: tuple[str, ...] = ()
    timeout: int = 30

    def __post_init__(self) -> None:
        if not _reads_only(self.argv):
            raise ValueError(f"{' '.join(self.argv)} is not in the list of read-only commands")
        if any(operand.startswith("-") for operand in self.operands):
            raise ValueError(f"an operand of {self.argv[0]} would be taken as an option")


LoginRead = SshLogin | AuthorizedKeys

DeviceRead = Holders | MapAndRead | FileSystem | TimeLoads

PosixRead = File | Glob | Included | Attributes | Links | Names | Exists | DeviceRead | LoginRead | Command
"""What the machine itself is asked: all but libvirt."""

Read = PosixRead | LibvirtRead


@dataclass(frozen=True, slots=True)
class Asked:
    """A read that is done only where something exists. Whether it does is a question of its own.

    A kind that asks so looks at `Answers.exists` first: it alone knows what follows where nothing is there.
    """

    read: PosixRead
    only_if: Exists


PosixQuestion = PosixRead | Asked
Question = PosixQuestion | LibvirtRead


def conditions(questions: Collection[PosixQuestion]) -> dict[PosixRead, Exists | None]:
    """Each read once, and where it is to be done: None, always. Conditions are among the reads.

    What is asked for under several conditions is done under any of them.
    """
    found: dict[PosixRead, Exists | None] = {}
    for question in questions:
        if isinstance(question, Asked):
            found[question.only_if] = None
            before = found.get(question.read, question.only_if)
            found[question.read] = None if before is None else before | question.only_if
        else:
            found[question] = None
    return found
