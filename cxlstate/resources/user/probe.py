"""Users and groups as the machine's name service knows them: /etc files, LDAP and the like."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from stat import S_IRGRP, S_IROTH, S_IWGRP, S_IWOTH

from cxlstate.core.answers import Answers, ReadFailed, failure
from cxlstate.core.read import AuthorizedKeys, Command, Read, SshLogin
from cxlstate.core.secret import Secret
from cxlstate.formats.inode import Inode, inode_of, records, stat
from cxlstate.resources.user.spec import User

_NOT_ALL_FOUND = 2  # getent(1): one or more keys could not be found; those that were are shown
_NO_LOGIN = ("nologin", "false")
_KEYS = ".ssh/authorized_keys"


@dataclass(frozen=True, slots=True)
class KeysLive:
    """The file of keys below `home`, and what is in its place or on the way if that is no regular file.

    `loose` is the first on the way that sshd does not trust.
    """

    path: str
    content: bytes | None = None
    obstacle: tuple[str, Inode] | None = None
    loose: tuple[str, Inode] | None = None


@dataclass(frozen=True, slots=True)
class UserLive:
    """What of it was asked for. `missing` are groups or the shell that are not there, as `group kvm`.

    `number` is None where there is no such user; `same_group` is whether a group has its name. One that is
    not `local` is from a directory service; so are `far_groups`.
    """

    number: int | None
    groups: frozenset[str] = frozenset()
    missing: tuple[str, ...] = ()
    shell: str = ""
    home: str = ""
    same_group: bool = False
    hash: Secret | None = field(default=None, repr=False)
    keys: KeysLive | None = None
    is_us: bool = False
    local: bool = True
    far_groups: frozenset[str] = frozenset()


def reads(name: str, spec: User) -> tuple[Read, ...]:
    """Of groups, only those that matter: a machine of a directory service may have thousands."""
    asked: list[Read] = [_passwd(name)]
    if groups := _groups(name, spec):
        asked += (_group(groups), _initgroups(name))
    if spec.groups:
        asked.append(_local_group(spec.groups))
    if spec.shell or spec.password_hash or spec.state == "absent":
        asked.append(_local(name))
    if spec.shell:
        asked.append(stat(spec.shell))
    if spec.password_hash:
        asked.append(_shadow(name))
    if spec.authorized_keys:
        asked.append(AuthorizedKeys(name))
    return (*asked, SshLogin()) if _may_lock_out(spec) else tuple(asked)


def parse(name: str, spec: User, answers: Answers) -> UserLive:
    """Raises ReadFailed."""
    users = {fields[0]: fields for fields in _records(_passwd(name), answers)}
    groups = _groups(name, spec)
    found = {fields[0]: fields for fields in _records(_group(groups), answers)} if groups else {}
    missing = [f"group {group}" for group in dict.fromkeys(spec.groups) if group not in found]
    if spec.shell and not _runs(inode_of(spec.shell, answers)):
        missing.append(f"shell {spec.shell}")
    far = frozenset(found) - _locals(spec, answers) if spec.groups else frozenset()
    if name not in users:
        return UserLive(None, missing=tuple(missing), same_group=name in found, far_groups=far)
    fields = users[name]
    ids = _ids(name, answers) if groups else frozenset()
    is_in = (group for group in spec.groups if group in found and _has(found[group], name, {fields[3], *ids}))
    return UserLive(
        number=int(fields[2]) if fields[2].isdecimal() else 0,
        groups=frozenset(is_in),
        missing=tuple(missing),
        far_groups=far,
        shell=fields[6] if len(fields) > 6 else "",  # noqa: PLR2004  # passwd(5)
        home=fields[5] if len(fields) > 5 else "",  # noqa: PLR2004  # passwd(5)
        same_group=name in found,
        hash=_hash(name, answers) if spec.password_hash else None,
        keys=_keys(name, answers) if spec.authorized_keys else None,
        local=_local(name) not in reads(name, spec) or _is_local(name, answers),
        is_us=_may_lock_out(spec) and f"login user {name}" in answers.raw(SshLogin()).text.splitlines(),
    )


def _is_local(name: str, answers: Answers) -> bool:
    """By its line, where the status is that of another user who is not there: all are asked for at once."""
    answer = answers.raw(_local(name))
    lines = answer.text.splitlines()
    return answer.status != _NOT_ALL_FOUND or any(line.startswith(f"{name}:") for line in lines)


def _locals(spec: User, answers: Answers) -> frozenset[str]:
    """Groups that are in /etc/group; all of them, where this getent(1) cannot be asked that."""
    answer = answers.raw(_local_group(spec.groups))
    lines = answer.text.splitlines()
    told = answer.status in (0, _NOT_ALL_FOUND)
    return frozenset(line.partition(":")[0] for line in lines) if told else frozenset(spec.groups)


def _runs(shell: Inode | None) -> bool:
    """Whether sshd would start it (`allowed_user` in auth.c); where a link leads is not asked."""
    return shell is not None and (shell.is_link or (shell.is_file and bool(shell.permissions & 0o111)))


def _may_lock_out(spec: User) -> bool:
    return spec.state == "absent" or (spec.shell or "").endswith(_NO_LOGIN)


def _groups(name: str, spec: User) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*spec.groups, *([name] if spec.may_be_made else []))))


def _has(group: Sequence[str], name: str, ids: Collection[str]) -> bool:
    return group[2] in ids or name in group[3].split(",")


def _ids(name: str, answers: Answers) -> frozenset[str]:
    """Of all its groups: a directory service may list no members (`ignore_group_members` of sssd-ldap(5))."""
    lines = [line.split() for line in answers.raw(_initgroups(name)).text.splitlines()]
    return frozenset(number for words in lines if words[:1] == [name] for number in words[1:])


def _hash(name: str, answers: Answers) -> Secret:
    """Root alone gets an answer; to others getent(1) says that there is no such entry."""
    for fields in _records(_shadow(name), answers):
        if fields[0] == name:
            return Secret(fields[1].encode())
    raise ReadFailed(_shadow(name), f"the hash of the password of {name} cannot be read: only root may")


def _keys(name: str, answers: Answers) -> KeysLive:
    text = answers.text(AuthorizedKeys(name))
    head, _, _ = text.partition("\ncontent\n")
    first, _, listed = head.partition("\n")
    home = first.removeprefix("home ")
    content = answers.raw(AuthorizedKeys(name)).stdout.partition(b"\ncontent\n")[2]
    inodes = records(listed)
    path = f"{home}/{_KEYS}"
    way = [(one, inodes[one]) for one in (home, f"{home}/.ssh", path) if one in inodes]
    loose = next(((one, inode) for one, inode in way if not _is_trusted(inode, name)), None)
    for folder in (home, f"{home}/.ssh"):
        if folder in inodes and not inodes[folder].is_folder:
            return KeysLive(path, obstacle=(folder, inodes[folder]))
    if path not in inodes:
        return KeysLive(path, loose=loose)
    if not inodes[path].is_file:
        return KeysLive(path, obstacle=(path, inodes[path]))
    if len(content) != inodes[path].size:
        raise ReadFailed(AuthorizedKeys(name), f"{path} is too large, or was changed meanwhile")
    return KeysLive(path, content, loose=loose)


def _is_trusted(inode: Inode, user: str) -> bool:
    """As StrictModes has it (`auth_secure_path` in misc.c); Debian's lets a group of the user's own write.

    The file itself is read as the user.
    """
    writes = inode.permissions & S_IWOTH or (inode.permissions & S_IWGRP and inode.group != user)
    hidden = inode.is_file and inode.owner != user and not inode.permissions & (S_IRGRP | S_IROTH)
    return inode.owner in (user, "root") and not writes and not hidden


def _passwd(name: str) -> Command:
    return Command(("getent", "passwd"), (name,))


def _local(name: str) -> Command:
    return Command(("getent", "--service=files", "passwd"), (name,))


def _local_group(groups: Sequence[str]) -> Command:
    return Command(("getent", "--service=files", "group"), tuple(dict.fromkeys(groups)))


def _initgroups(name: str) -> Command:
    return Command(("getent", "initgroups"), (name,))


def _shadow(name: str) -> Command:
    return Command(("getent", "shadow"), (name,))


def _group(groups: Sequence[str]) -> Command:
    return Command(("getent", "group"), tuple(groups))


def _records(read: Command, answers: Answers) -> Iterator[list[str]]:
    """`name:x:uid:gid:…` (passwd(5)), `name:x:gid:member,member` (group(5)), `name:hash:…` (shadow(5))."""
    answer = answers.raw(read)
    if answer.status not in (0, _NOT_ALL_FOUND):
        raise failure(read, answer)
    for line in answer.text.splitlines():
        fields = line.split(":")
        if len(fields) > 3:  # noqa: PLR2004  # all of them have four fields at least
            yield fields
