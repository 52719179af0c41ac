"""Membership in groups, of users that exist."""

from __future__ import annotations

from collections.abc import Sequence

from cxlstate.core.action import Action, Run, undoing
from cxlstate.core.address import AllOf
from cxlstate.core.assessment import Assessment
from cxlstate.core.change import Change
from cxlstate.core.diagnostic import Diagnostic
from cxlstate.core.exports import Inputs
from cxlstate.core.machine import HOST_AND_GUEST
from cxlstate.core.observation import Absent, Observation, Present, Unknown
from cxlstate.core.read import Answers, Read
from cxlstate.core.reconciler import How, Need, Place, Reconciler, Resource, Shape
from cxlstate.resources.user import probe
from cxlstate.resources.user.probe import UserLive
from cxlstate.resources.user.spec import User, UserName

_THERE_IS_NONE = (("user", "there is none"),)


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
                hint="declare the package that creates it in `packages`, or fix the name",
            )
        return Present(live)

    def assess(self, resource: Resource[User], seen: Observation[UserLive], inputs: Inputs) -> Assessment:
        """The groups it is not in; the user has to exist. gpasswd also takes users of a directory service."""
        if isinstance(seen, Unknown):
            return Assessment()
        has = seen.live.groups if isinstance(seen, Present) else frozenset()
        missing = [group for group in _groups(resource) if group not in has]
        there = isinstance(seen, Present)
        return Assessment(
            problems=() if there else (_no_user(resource.name),),
            changes=tuple(
                Change(("groups", resource.spec.groups.index(group)), None, group) for group in missing
            ),
            actions=tuple(_add(resource.name, group) for group in missing),
            facts=(("groups", ", ".join(sorted(has)) or "none of those"),) if there else _THERE_IS_NONE,
        )


def _groups(me: Resource[User]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(me.spec.groups))


def _add(user: str, group: str) -> Action:
    return Action(
        f"add {user} to the group {group}",
        Run(("gpasswd", "--add", user, group)),
        why=f"takes effect when {user} logs in again",
        undo=undoing(Run(("gpasswd", "--delete", user, group))),
    )


def _no_user(name: str) -> Diagnostic:
    return Diagnostic(
        "CXU201",
        f"user {name} does not exist",
        found="no such user",
        expected="a user that exists",
        hint=f"create the user on the machine: adduser {name}",
    )
