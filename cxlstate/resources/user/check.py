"""What cannot be done to a user, or must not be."""

from __future__ import annotations

import re
from collections.abc import Iterator

from cxlstate.core.diagnostic import Diagnostic, Severity
from cxlstate.formats.inode import Inode
from cxlstate.resources.user.probe import UserLive
from cxlstate.resources.user.spec import User

_HASH = re.compile(rb"[!*]|!?\$[0-9a-z]{1,4}\$[\x21-\x39\x3b-\x7e]{8,}")  # crypt(5): no blank, no colon
_NOWHERE = ("", "/", "/nonexistent", "/dev/null", "/proc")  # of users of the system
_FIRST_PERSON = 1000  # UID_MIN in login.defs(5)
_LAST_PERSON = 60000  # UID_MAX


def problems(name: str, spec: User, live: UserLive) -> Iterator[Diagnostic]:
    """All of them."""
    if spec.hash is not None and not _HASH.fullmatch(spec.hash.reveal()):
        yield _not_hashed(spec)
    if live.number is None and spec.state == "present" and not spec.may_be_made:
        yield _no_user(name)
        return
    yield from (_far(name, index, group) for index, group in _far_groups(spec, live))
    if live.number is None:
        return
    if live.is_us:
        yield _locks_out(name, spec)
    elif not live.local and (word := _changed(spec, live)):
        yield _of_a_directory(name, word)
    elif spec.state == "absent" and not _FIRST_PERSON <= live.number <= _LAST_PERSON:
        yield _of_the_system(name, live.number)
    if spec.home and spec.home != live.home:
        yield _elsewhere(name, spec.home, live.home)
    yield from _of_keys(name, spec, live)


def _far_groups(spec: User, live: UserLive) -> Iterator[tuple[int, str]]:
    """Groups that it is to be put in, and that gpasswd(1) does not have: it changes /etc/group alone."""
    for group in dict.fromkeys(spec.groups):
        if group in live.far_groups and group not in live.groups:
            yield spec.groups.index(group), group


def _of_keys(name: str, spec: User, live: UserLive) -> Iterator[Diagnostic]:
    """Whether sshd would find them and take them."""
    if spec.authorized_keys and live.home in _NOWHERE:
        yield _homeless(name, live.home)
    elif live.keys and live.keys.obstacle:
        yield _in_the_way(*live.keys.obstacle)
    elif live.keys and live.keys.loose:
        yield _ignored(name, *live.keys.loose)


def _not_hashed(spec: User) -> Diagnostic:
    """It is not shown: it may be the password."""
    return Diagnostic(
        "CXU105",
        "not the hash of a password",
        path=("password_hash",),
        found=f"what {spec.password_hash} gives",
        expected="$y$… or $6$…, as `mkpasswd` prints it, or ! for no password",
        hint="run `mkpasswd` or `openssl passwd -6`, and keep what it prints",
    )


def _no_user(name: str) -> Diagnostic:
    return Diagnostic(
        "CXU201",
        f"user {name} does not exist",
        found="no such user",
        expected="a user that exists",
        hint=f"fix the name, or write `{name}: {{state: present}}` to have the user made",
    )


def _locks_out(name: str, spec: User) -> Diagnostic:
    return Diagnostic(
        "CXU202",
        f"we are logged in as {name}",
        path=("state",) if spec.state == "absent" else ("shell",),
        found="state: absent" if spec.state == "absent" else f"shell: {spec.shell}",
        expected="a user other than the one that cxlstate connects as",
        hint="connect as another user who may use sudo",
    )


def _of_the_system(name: str, number: int) -> Diagnostic:
    return Diagnostic(
        "CXU203",
        f"{name} is a user of the system",
        path=("state",),
        found=f"uid {number}",
        expected=f"{_FIRST_PERSON} to {_LAST_PERSON}",
        hint="remove the package that made it",
    )


def _changed(spec: User, live: UserLive) -> str | None:
    """The first word that would change the entry of an account."""
    differs = {
        "state": spec.state == "absent",
        "shell": spec.shell and spec.shell != live.shell,
        "password_hash": spec.hash is not None and spec.hash != live.hash,
    }
    return next((word for word, is_so in differs.items() if is_so), None)


def _of_a_directory(name: str, word: str) -> Diagnostic:
    return Diagnostic(
        "CXU206",
        f"user {name} is not in /etc/passwd",
        path=(word,),
        found="a user of a directory service, such as LDAP",
        expected="an account of this machine",
        hint=f"change it in the directory, and remove `{word}`; groups and keys can be set here",
    )


def _far(name: str, index: int, group: str) -> Diagnostic:
    return Diagnostic(
        "CXU209",
        f"group {group} is not in /etc/group",
        path=("groups", index),
        found="a group of a directory service, such as LDAP",
        expected="a group of this machine",
        hint=f"add {name} to it in the directory, or remove `{group}` here",
    )


def _ignored(name: str, path: str, inode: Inode) -> Diagnostic:
    return Diagnostic(
        "CXU207",
        f"sshd does not trust the authorized keys of {name}",
        Severity.WARNING,
        path=("authorized_keys",),
        found=f"{path}: {inode.owner}:{inode.group} {inode.permissions:04o}",
        expected=f"owner {name} or root, nobody else may write, and {name} may read (StrictModes)",
        hint=f"on the machine: chown {name} {path}; chmod u+r,go-w {path}",
    )


def _homeless(name: str, home: str) -> Diagnostic:
    return Diagnostic(
        "CXU208",
        f"{name} has no home for keys",
        path=("authorized_keys",),
        found=f"home {home}" if home else "no home",
        expected="a directory of the user's own",
        hint=f"give it one: usermod --home /home/{name} {name}",
    )


def _elsewhere(name: str, wanted: str, home: str) -> Diagnostic:
    return Diagnostic(
        "CXU204",
        f"the home of {name} is elsewhere",
        path=("home",),
        found=home,
        expected=wanted,
        hint=f"write `home: {home}`, or move it: usermod --move-home --home {wanted} {name}",
    )


def _in_the_way(path: str, inode: Inode) -> Diagnostic:
    what = inode.what
    return Diagnostic(
        "CXU205",
        f"{path} is {what}",
        path=("authorized_keys",),
        found=what,
        expected="directories, and a regular file at the end",
        hint=f"look at it on the machine: ls -ld {path}",
    )
