"""Users and groups as the machine's name service knows them: /etc files, LDAP and the like."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cxlstate.core.read import Answers, Command, Read, failure

_NOT_ALL_FOUND = 2  # getent(1): one or more keys could not be found; those that were are shown


@dataclass(frozen=True, slots=True)
class UserLive:
    """The groups of those asked for that it is in, its primary one included, and those that are not there."""

    groups: frozenset[str]
    missing: tuple[str, ...]


def reads(name: str, groups: Sequence[str]) -> tuple[Read, ...]:
    """Of groups, only those that matter: a machine of a directory service may have thousands."""
    return (_passwd(name), *([_group(groups)] if groups else []))


def parse(name: str, groups: Sequence[str], answers: Answers) -> UserLive | None:
    """None where there is no such user. Raises ReadFailed."""
    users = {fields[0]: fields for fields in _records(_passwd(name), answers)}
    if name not in users:
        return None
    if not groups:
        return UserLive(frozenset(), ())
    primary = users[name][3]
    found = {fields[0]: fields for fields in _records(_group(groups), answers)}
    return UserLive(
        groups=frozenset(
            group
            for group in groups
            if group in found and (found[group][2] == primary or name in found[group][3].split(","))
        ),
        missing=tuple(group for group in groups if group not in found),
    )


def _passwd(name: str) -> Command:
    return Command(("getent", "passwd"), (name,))


def _group(groups: Sequence[str]) -> Command:
    return Command(("getent", "group"), tuple(groups))


def _records(read: Command, answers: Answers) -> Iterator[list[str]]:
    """`name:x:uid:gid:…` (passwd(5)), `name:x:gid:member,member` (group(5))."""
    answer = answers.raw(read)
    if answer.status not in (0, _NOT_ALL_FOUND):
        raise failure(read, answer)
    for line in answer.text.splitlines():
        fields = line.split(":")
        if len(fields) > 3:  # noqa: PLR2004  # both records have four fields at least
            yield fields
