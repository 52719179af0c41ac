"""Membership in groups, of users that exist."""

from __future__ import annotations

from collections.abc import Sequence

from cxlstate.core.action import Action, Run
from cxlstate.core.address import AllOf
from cxlstate.core.change import Change
from cxlstate.core.diagnostic import Diagnostic
from cxlstate.core.exports import Given
from cxlstate.core.machine import HOST_AND_GUEST
from cxlstate.core.observation import Absent, Observation, Present, Unknown
from cxlstate.core.read import Answers, Read
from cxlstate.core.reconciler import How, Need, Place, Reconciler, Resource, Shape
from cxlstate.resources.user import probe
from cxlstate.resources.user.probe import UserLive
from cxlstate.resources.user.spec import User, UserName


class UserReconciler(Reconciler[User, UserLive]):
    """The groups a user must be in. Users are not made here, and no group is taken away."""

    kind = "user"
    place = Place("users", Shape.MAP, HOST_AND_GUEST)
    model = User
    key = UserName

    def needs(self, me: Resource[User]) -> Sequence[Need]:
        """Packages bring groups: `libvirt` comes with libvirt-daemon-system."""
        return (Need(AllOf("package"), How.AFTER),)

    def reads(self, me: Resource[User]) -> Sequence[Read]:
        """The user and the groups, by name."""
        return probe.reads(me.name, _groups(me))

    def observe(self, me: Resource[User], answers: Answers) -> Observation[UserLive]:
        """A group that is not there yet keeps it from being told what is to be done."""
        live = probe.parse(me.name, _groups(me), answers)
        if live is None:
            return Absent(f"no such user: {me.name}")
        if live.missing:
            return Unknown(
                f"no such group: {', '.join(live.missing)}",
                cured_by=(AllOf("package"),),
                hint="declare the package that creates it in host.packages, or fix the name",
            )
        return Present(live)

    def describe(self, me: Resource[User], live: UserLive | None) -> Sequence[tuple[str, str]]:
        """Which of the groups that are written it is in."""
        if live is None:
            return (("user", "there is none"),)
        return (("groups", ", ".join(sorted(live.groups)) or "none of those"),)

    def check(self, me: Resource[User], live: UserLive | None, given: Given) -> Sequence[Diagnostic]:
        """The user has to exist."""
        return () if live else (_no_user(me.name),)

    def diff(self, me: Resource[User], live: UserLive | None, given: Given) -> Sequence[Change]:
        """The groups it is not in."""
        has = live.groups if live else frozenset()
        return tuple(
            Change(("groups", me.spec.groups.index(group)), None, group)
            for group in _groups(me)
            if group not in has
        )

    def actions(
        self, me: Resource[User], live: UserLive | None, changes: Sequence[Change], given: Given
    ) -> Sequence[Action]:
        """One a group, with gpasswd: it also takes users of a directory service."""
        return tuple(_add(me.name, str(change.new)) for change in changes)


def _groups(me: Resource[User]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(me.spec.groups))


def _add(user: str, group: str) -> Action:
    return Action(
        f"add {user} to the group {group}",
        Run(("gpasswd", "--add", user, group)),
        why=f"takes effect when {user} logs in again",
        undo=(Run(("gpasswd", "--delete", user, group)),),
    )


def _no_user(name: str) -> Diagnostic:
    return Diagnostic(
        "CXU201",
        f"user {name} does not exist",
        found="no such user",
        expected="a user that exists",
        hint=f"create the user on the machine: adduser {name}",
    )
