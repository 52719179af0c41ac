"""What the OpenSSH client is told about machines: blocks of its configuration, lines of known_hosts. Pure.

Sources: ssh_config(5), PATTERNS and TOKENS; sshd(8), SSH_KNOWN_HOSTS FILE FORMAT; OpenSSH 9.2 readconf.c,
`argv_split` of misc.c for quotes.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from cxlstate.core.machine import MachineId, host_of

if TYPE_CHECKING:
    from cxlstate.core.guest import HostKey  # slow to load, and of no use to the process that connects

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_PLAIN: Final = re.compile(r"[A-Za-z0-9_@%+=:,./~-]+")
_HOST: Final = re.compile(r"^Host (\S+)$", re.MULTILINE)
_BLOCK: Final = re.compile(r"^(?=Host )", re.MULTILINE)
_ALIAS: Final = re.compile(r"^    HostKeyAlias (\S+)$", re.MULTILINE)
_SECTION: Final = re.compile(r"^# cxlstate host (\S+)$", re.MULTILINE)

Words = tuple[tuple[str, str], ...]
"""Keywords of a block with their arguments, as they are written."""


def is_name(text: str) -> bool:
    """Whether ssh takes it for one name of a host: as an argument, a pattern, an alias of a key.

    So it is no option (`-x`), has no user (`a@b`), port or token (`%`), and nothing makes a pattern of it.
    """
    return _NAME.fullmatch(text) is not None


def quoted(value: str) -> str:
    """One argument of a keyword that takes tokens and variables, so that it means itself.

    Raises ValueError for what cannot be written: there is no escape for `${`, and a line is one line.
    """
    if "${" in value or not value.isprintable():
        raise ValueError(value)
    text = value.replace("%", "%%")
    if _PLAIN.fullmatch(text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@dataclass(frozen=True, slots=True)
class SshHost:
    """How a client comes to a machine. What is empty is left to the rest of its configuration.

    `keys` are the host keys that are trusted, and no others; None: those that the user knows. `jump` is the
    name of the host on the way. `more` is what the user's configuration says, where this says nothing.
    """

    machine: MachineId
    name: str
    address: str = ""
    user: str | None = None
    port: int | None = None
    jump: str = ""
    keys: tuple[HostKey, ...] | None = None
    more: Words = ()

    @property
    def host(self) -> str:
        """The host that it is, or runs on."""
        return host_of(self.machine)

    @property
    def known(self) -> tuple[str, ...]:
        """Its lines of known_hosts, by the id of the machine: addresses are given to others."""
        return tuple(f"{self.machine} {key.kind} {key.key}" for key in self.keys or ())

    def words(self, known_hosts: str | None) -> Words:
        """Its block. Keys are in the file `known_hosts`; without one, the block itself brings them."""
        own = (*self._way(), *self._trust(known_hosts))
        said = {keyword for keyword, _ in own}
        return (*own, *(one for one in self.more if one[0] not in said))

    def _way(self) -> Iterator[tuple[str, str]]:
        if self.address:
            yield "HostName", quoted(self.address)
        if self.user:
            yield "User", self.user
        if self.port:
            yield "Port", str(self.port)
        if self.jump:
            yield "ProxyJump", self.jump

    def _trust(self, known_hosts: str | None) -> Iterator[tuple[str, str]]:
        if self.keys is None:
            return
        yield "HostKeyAlias", self.machine
        yield "UserKnownHostsFile", quoted(known_hosts or "/dev/null")
        yield "GlobalKnownHostsFile", "/dev/null"
        if self.keys and not known_hosts:
            lines = "".join(f"{line}\\n" for line in self.known)
            yield "KnownHostsCommand", f'/usr/bin/printf "{lines}"'
            signatures = (kind for key in self.keys for kind in key.signatures)
            yield "HostKeyAlgorithms", ",".join(dict.fromkeys(signatures))  # else ssh asks for its favourite
        yield "StrictHostKeyChecking", "yes"

    def text(self, known_hosts: str | None) -> str:
        """Its block as a text."""
        lines = (f"    {key} {value}\n" for key, value in self.words(known_hosts))
        return f"Host {self.name}\n{''.join(lines)}"


def distinct(hosts: Iterable[SshHost], taken: Collection[str]) -> list[SshHost]:
    """With names that are nobody else's: of two guests that are called alike, the second is `VM.HOST`.

    Hosts keep theirs, since guests are reached through them.
    """
    several = list(hosts)
    used = {*taken, *(one.machine for one in several)}
    found = []
    for one in several:
        its = one
        if one.name != one.machine and one.name in used:
            its = replace(one, name=f"{one.name}.{one.host}")
        used.add(its.name)
        found.append(its)
    return found


# A file of which every host has a section. ------------------------------------------------------------


def section(host: str, parts: Iterable[str]) -> str:
    """What stands in a file for one host and its guests."""
    return "\n".join([f"# cxlstate host {host}", *parts])


def names_in(text: str, but: Collection[str] = ()) -> set[str]:
    """The names of the blocks in a text; in a file, `but` those in the sections of these hosts."""
    others = (one for host, one in _sections(text).items() if host not in but) if but else (text,)
    return {name for one in others for name in _HOST.findall(one)}


def blocks_of(text: str, machines: Collection[MachineId]) -> list[str]:
    """The blocks of these guests in a file, as they stand there."""
    blocks = (block for one in _sections(text).values() for block in _BLOCK.split(one))
    return [f"{one.rstrip()}\n" for one in blocks if (its := _ALIAS.search(one)) and its[1] in machines]


def keys_of(text: str, machines: Collection[MachineId]) -> list[str]:
    """The lines of known_hosts for these guests."""
    return [line for line in text.splitlines() if line.partition(" ")[0] in machines]


def merged(text: str, sections: Mapping[str, str], about: str) -> str:
    """A file with these sections in place of those that were there; others stay. `about` is its head."""
    parts = _sections(text) | {host: f"{one.rstrip()}\n" for host, one in sections.items()}
    head = "".join(f"# {line}\n" for line in about.splitlines())
    return "\n".join([head, *(f"{one.rstrip()}\n" for _, one in sorted(parts.items()))])


def _sections(text: str) -> dict[str, str]:
    _head, *rest = _SECTION.split(text)
    return {
        host: section(host, [one.removeprefix("\n")]) for host, one in zip(rest[::2], rest[1::2], strict=True)
    }
