"""Whether sshd lets in a user that comes with a key, by what `sshd -T -C user=…` prints for that user.

The rules are those of `allowed_user` in OpenSSH's auth.c and `match_user` in its match.c, in their order:
DenyUsers, AllowUsers, DenyGroups, AllowGroups. A pattern of a host name is not judged: whether the client has
that name is known to sshd alone.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase

_KEYWORDS = (
    *("DenyUsers", "AllowUsers", "DenyGroups", "AllowGroups"),
    *("AuthenticationMethods", "AuthorizedKeysFile", "AuthorizedKeysCommand", "TrustedUserCAKeys"),
    *("ListenAddress", "ForceCommand", "MaxSessions"),
)


@dataclass(frozen=True, slots=True)
class Comer:
    """Who comes in: groups are None where they are not known.

    `server` is where to, as `ADDRESS PORT`; empty: not known. `keys` is `none` where no file of keys exists.
    """

    user: str
    groups: frozenset[str] | None
    address: str
    server: str = ""
    keys: str | None = None


def closing(text: str, comer: Comer) -> Iterator[tuple[str, str]]:
    """Keyword and value of each setting in `text` that keeps a user with a key from logging in."""
    said = {keyword: list(_values(text, keyword)) for keyword in _KEYWORDS}
    users = {word: [_is_user(one, comer) for one in said[word]] for word in ("DenyUsers", "AllowUsers")}
    if True in users["DenyUsers"]:
        yield "DenyUsers", " ".join(said["DenyUsers"])
    if said["AllowUsers"] and not any(one is not False for one in users["AllowUsers"]):
        yield "AllowUsers", " ".join(said["AllowUsers"])
    if comer.groups is not None:
        if any(_is_in(one, comer.groups) for one in said["DenyGroups"]):
            yield "DenyGroups", " ".join(said["DenyGroups"])
        if said["AllowGroups"] and not any(_is_in(one, comer.groups) for one in said["AllowGroups"]):
            yield "AllowGroups", " ".join(said["AllowGroups"])
    yield from _by_means(said, comer)


def _by_means(said: dict[str, list[str]], comer: Comer) -> Iterator[tuple[str, str]]:
    """Whoever it is: by which keys, where to, and for what."""
    others = {*said["AuthorizedKeysCommand"], *said["TrustedUserCAKeys"]} - {"none"}
    no_file = said["AuthorizedKeysFile"] == ["none"] or comer.keys == "none"
    closes = {
        "AuthenticationMethods": not any(map(_takes_keys, said["AuthenticationMethods"])),
        "AuthorizedKeysFile": no_file and not others,
        "ListenAddress": bool(comer.server)
        and not any(_listens(one, comer) for one in said["ListenAddress"]),
        "ForceCommand": said["ForceCommand"][:1] == ["internal-sftp"],
        "MaxSessions": said["MaxSessions"] == ["0"],
    }
    yield from ((word, " ".join(said[word])) for word, is_so in closes.items() if said[word] and is_so)


def _values(text: str, keyword: str) -> Iterator[str]:
    """All of them: some keywords have a line for each, others one line."""
    for line in text.splitlines():
        name, *values = line.split()
        if name == keyword.lower():
            yield from values


def _listens(written: str, comer: Comer) -> bool:
    """Whether the daemon would still be where we came to: `0.0.0.0:22`, `[::]:22`."""
    host, _, port = written.rpartition(":")
    address, _, to = comer.server.partition(" ")
    with suppress(ValueError):
        ours, its = ipaddress.ip_address(address), ipaddress.ip_address(host.strip("[]"))
        same = ours == its or (its.is_unspecified and its.version == ours.version)
        return same and port == to
    return port == to


def _is_user(pattern: str, comer: Comer) -> bool | None:
    """`USER` or `USER@HOST`. None: that depends on the client's name."""
    user, at, host = pattern.rpartition("@")
    if not at:
        return _matches(comer.user, pattern)
    return _matches(comer.user, user) and _is_host(host, comer.address)


def _is_host(patterns: str, address: str) -> bool | None:
    """A list of addresses, networks and patterns, of which one with `!` excludes."""
    found: bool | None = False
    for pattern in patterns.split(","):
        is_it = _is_address(pattern.removeprefix("!"), address)
        if is_it and pattern.startswith("!"):
            return False
        if is_it or is_it is None:
            found = found or is_it
    return found


def _is_address(pattern: str, address: str) -> bool | None:
    with suppress(ValueError):
        return ipaddress.ip_address(address) in ipaddress.ip_network(pattern, strict=False)
    if _matches(address, pattern):
        return True
    return False if not set(pattern) - set("0123456789.:*?") and pattern.strip("*?") else None


def _is_in(pattern: str, groups: frozenset[str]) -> bool:
    return any(_matches(group, pattern) for group in groups)


def _matches(text: str, pattern: str) -> bool:
    """`*` and `?`, and nothing else that fnmatch knows."""
    return fnmatchcase(text, pattern.replace("[", "[[]"))


def _takes_keys(methods: str) -> bool:
    """A list of which all have to succeed, one after the other; `any` is each by itself."""
    return methods == "any" or set(methods.split(",")) <= {"publickey"}
