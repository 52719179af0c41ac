"""Users: made, changed in what is written, or removed with their home."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256

from cxlstate.core.action import Action, Risk, Run, undoing
from cxlstate.core.address import AllOf
from cxlstate.core.answers import Answers
from cxlstate.core.assessment import Assessment
from cxlstate.core.change import Change
from cxlstate.core.exports import Inputs
from cxlstate.core.file import PutFile, SetPassword
from cxlstate.core.observation import Absent, Observation, Present, Unknown
from cxlstate.core.read import Read
from cxlstate.core.reconciler import How, Need, Reconciler, Resource
from cxlstate.formats import authorized_keys
from cxlstate.resources.user import UserKind, check, probe
from cxlstate.resources.user.probe import KeysLive, UserLive
from cxlstate.resources.user.spec import User, UserName

_NOBODY = UserLive(None)


class UserReconciler(UserKind, Reconciler[User, UserLive]):
    """A user as far as it is written. No group and no key is taken away."""

    model = User
    key = UserName

    def needs(self, me: Resource[User]) -> Sequence[Need]:
        """Packages bring groups and shells: `libvirt` comes with libvirt-daemon-system."""
        return (Need(AllOf("package"), How.AFTER),)

    def reads(self, me: Resource[User]) -> Sequence[Read]:
        """By name, and no more than what is written needs."""
        return probe.reads(me.name, me.spec)

    def observe(self, me: Resource[User], answers: Answers) -> Observation[UserLive]:
        """A group that is not there yet keeps it from being told what is to be done."""
        live = probe.parse(me.name, me.spec, answers)
        if live.number is None and not me.spec.may_be_made:
            return Absent(f"no such user: {me.name}")
        if live.missing:
            return Unknown(
                f"no such {_listed(live.missing)}",
                cured_by=(AllOf("package"),),
                hint="declare the package that creates it in `packages`, or fix the name",
            )
        return Present(live)

    def assess(self, resource: Resource[User], seen: Observation[UserLive], inputs: Inputs) -> Assessment:
        """What differs, in the order in which it is done; gpasswd also takes users of a directory service."""
        if isinstance(seen, Unknown):
            return Assessment()
        name, spec, live = resource.name, resource.spec, seen.live if isinstance(seen, Present) else _NOBODY
        problems = tuple(check.problems(name, spec, live))
        if spec.state == "absent":
            goes, removal = _removal(name, live)
            return Assessment(problems=problems, changes=goes, actions=removal, facts=_facts(spec, live))
        changes = (
            *_account(name, spec, live),
            *_groups(spec, live),
            *_password(spec, live),
            *_keys(spec, live),
        )
        return Assessment(
            problems=problems,
            changes=changes,
            actions=tuple(_actions(name, spec, live, {change.path[0] for change in changes if change.path})),
            facts=_facts(spec, live),
        )


reconciler = UserReconciler()


def _listed(missing: Sequence[str]) -> str:
    """`group: kvm, libvirt`; `shell: /bin/zsh`."""
    kinds = dict.fromkeys(one.partition(" ")[0] for one in missing)
    words = [one.partition(" ") for one in missing]
    named = (f"{kind}: {', '.join(name for of, _, name in words if of == kind)}" for kind in kinds)
    return "; no such ".join(named)


def _removal(name: str, live: UserLive) -> tuple[tuple[Change, ...], tuple[Action, ...]]:
    if live.number is None:
        return (), ()
    remove = Action(
        f"remove {name} with {live.home}",
        Run(("userdel", "--remove", name)),
        Risk.DESTROY_DATA,
        why=f"what is in {live.home} is lost",
    )
    return (Change((), f"uid {live.number}, {live.home}", None),), (remove,)


def _account(name: str, spec: User, live: UserLive) -> Iterator[Change]:
    if live.number is None and spec.may_be_made:
        yield Change(("home",), None, _home(name, spec))
    if spec.shell and spec.shell != live.shell:
        yield Change(("shell",), live.shell or None, spec.shell)


def _groups(spec: User, live: UserLive) -> Iterator[Change]:
    for group in dict.fromkeys(spec.groups):
        if group not in live.groups:
            yield Change(("groups", spec.groups.index(group)), None, group)


def _password(spec: User, live: UserLive) -> Iterator[Change]:
    wanted = spec.hash
    if wanted is not None and wanted != live.hash:
        yield Change(("password_hash",), live.hash, wanted)


def _keys(spec: User, live: UserLive) -> Iterator[Change]:
    for index, other, key in authorized_keys.missing(_text(live.keys), spec.keys):
        yield Change(("authorized_keys", index), str(other) if other else None, str(key))


def _actions(name: str, spec: User, live: UserLive, differs: set[object]) -> Iterator[Action]:
    if live.number is None and spec.may_be_made:
        yield _make(name, spec, live)
    elif "shell" in differs:
        back = undoing(Run(("usermod", "--shell", live.shell, name))) if live.shell else ()
        yield Action(
            f"set the shell of {name}", Run(("usermod", "--shell", str(spec.shell), name)), undo=back
        )
    for group in dict.fromkeys(spec.groups):
        if group not in live.groups:
            yield _add(name, group)
    wanted = spec.hash
    if "password_hash" in differs and wanted is not None:
        undo = () if live.hash is None else undoing(SetPassword(name, live.hash))
        yield Action(f"set the password of {name}", SetPassword(name, wanted), undo=undo)
    if "authorized_keys" in differs:
        yield _write_keys(name, spec, live)


def _make(name: str, spec: User, live: UserLive) -> Action:
    """A home that is there already is kept, so its undo leaves it, too."""
    shell = ("--shell", spec.shell) if spec.shell else ()
    group = ("--gid", name) if live.same_group else ("--user-group",)
    argv = ("useradd", "--create-home", "--home-dir", _home(name, spec), *shell, *group, name)
    return Action(f"make the user {name}", Run(argv), undo=undoing(Run(("userdel", name))))


def _add(user: str, group: str) -> Action:
    return Action(
        f"add {user} to the group {group}",
        Run(("gpasswd", "--add", user, group)),
        why=f"takes effect when {user} logs in again",
        undo=undoing(Run(("gpasswd", "--delete", user, group))),
    )


def _write_keys(name: str, spec: User, live: UserLive) -> Action:
    """Folders that the user may write to are entered without following a link."""
    keys = live.keys or KeysLive(f"{_home(name, spec)}/.ssh/authorized_keys")
    content = authorized_keys.with_keys(_text(keys), spec.keys).encode("utf-8", "surrogateescape")
    expected = None if keys.content is None else sha256(keys.content).hexdigest()
    new = keys.content is None
    effect = PutFile(
        keys.path, content, expected, name if new else "", "", 0o600 if new else None, private=True
    )
    return Action(f"write {keys.path}", effect)


def _home(name: str, spec: User) -> str:
    return spec.home or f"/home/{name}"


def _text(keys: KeysLive | None) -> str:
    return (keys.content or b"").decode("utf-8", "surrogateescape") if keys else ""


def _facts(spec: User, live: UserLive) -> tuple[tuple[str, str], ...]:
    if live.number is None:
        return (("user", "there is none"),)
    groups = (("groups", ", ".join(sorted(live.groups)) or "none of those"),)
    shell = (("shell", live.shell),) if spec.shell else ()
    there = authorized_keys.missing(_text(live.keys), spec.keys)
    keys = (("keys", f"{len(spec.keys) - len(there)} of {len(spec.keys)}"),) if spec.authorized_keys else ()
    return (*groups, *shell, *keys)
