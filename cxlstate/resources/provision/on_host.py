"""Before the first boot, on the host: the seed, made before the disks of its VM, and only for a new one."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import sha256

from cxlstate.core.action import Action, RemoveFile, Run, WriteFile
from cxlstate.core.address import Address, AllOf, NeedsOf
from cxlstate.core.answers import Answers, ReadFailed
from cxlstate.core.assessment import Assessment
from cxlstate.core.change import Change
from cxlstate.core.diagnostic import Diagnostic
from cxlstate.core.exports import GuestToBe, Inputs, Seed
from cxlstate.core.first_boot import WriteSeed
from cxlstate.core.libvirt import DetachDisk
from cxlstate.core.observation import Observation, Present, Unknown
from cxlstate.core.read import File, LibvirtDomain, Names, Read
from cxlstate.core.reconciler import How, Need, Resource
from cxlstate.formats import cloud_init, host_keys
from cxlstate.resources.provision import made, problems
from cxlstate.resources.provision.spec import Provision

Me = Resource[Provision]

_PROVIDERS = (Address("package", "libvirt-daemon-system"), Address("service", "libvirtd"), AllOf("package"))


@dataclass(frozen=True, slots=True)
class SeedLive:
    """Whether the seed is there, what it or an earlier one was made from, host keys of an earlier guest."""

    there: bool = False
    kept: str | None = None
    host_keys: str | None = None

    @property
    def made(self) -> bool:
        """Whether there has been a seed: the VM is defined after it is told what that was made from."""
        return self.kept not in (None, made.CLAIM)


def needs(me: Me) -> tuple[Need, ...]:
    """What the VM tells of itself; it awaits us.

    A seed stands before there is a disk that a guest may have used: what keeps it from being made keeps back
    the images of its VM, too, which would be taken for used ones after that.
    """
    vm = Address("vm", me.vm)
    after = [Need(AllOf(kind), How.AFTER) for kind in ("package", "service")]
    return (*after, Need(vm, How.KNOWS), Need(NeedsOf(vm, "image"), How.PRECEDES))


def reads(me: Me) -> tuple[Read, ...]:
    """The domain is asked for by the VM, too: once."""
    kept = (File(cloud_init.made_from(me.vm)), File(host_keys.path(me.vm)))
    return (Names(cloud_init.seed(me.vm)), *kept, LibvirtDomain(me.vm))


def observe(me: Me, answers: Answers) -> Observation[SeedLive]:
    """Whether there is such a domain, the VM tells; that it cannot be told is unknown here, too."""
    there = bool(answers.files(Names(cloud_init.seed(me.vm))))
    kept = answers.text_or_none(File(cloud_init.made_from(me.vm)))
    live = SeedLive(there, kept, answers.text_or_none(File(host_keys.path(me.vm))))
    try:
        answers.files(LibvirtDomain(me.vm))
    except ReadFailed as failed:
        return Unknown(failed.reason, _PROVIDERS, partly=live)
    return Present(live)


def assess(me: Me, seen: Observation[SeedLive], inputs: Inputs) -> Assessment:
    """The seed of a new guest; of one that has it, what takes it away; of any other, nothing."""
    vm = next((one for _, one in inputs.all(GuestToBe)), None)
    if vm is None:
        return Assessment()
    known = seen.live if isinstance(seen, Present) else seen.partly if isinstance(seen, Unknown) else None
    live = known if isinstance(known, SeedLive) else SeedLive()
    odd = isinstance(seen, Present) and vm.defined is None  # libvirt has answered, and is not understood
    given = (vm.new and not odd) or (vm.seeded and live.made)
    exports = (Seed(cloud_init.instance(me.vm), given, _finish(me) if given else ()),)
    if isinstance(seen, Unknown):
        return Assessment(exports, tuple(problems.impossible(me, vm)) if given else ())
    facts = (("seed", "there" if live.there else "none"),)
    told = tuple(_problems(me, vm, live))
    changes, actions = _steps(me, vm, live, given=given)
    return Assessment(exports, told, changes, actions, facts)


def _steps(
    me: Me, vm: GuestToBe, live: SeedLive, *, given: bool
) -> tuple[tuple[Change, ...], tuple[Action, ...]]:
    path, text = cloud_init.seed(me.vm), made.text(me.spec, vm.macs, vm.disks)
    if not given:  # it has done with it, and a run has ended before the seed was removed
        left = vm.defined and live.there and live.made
        return ((Change((), "a seed", None),), (remove(me.vm),)) if left else ((), ())
    same = live.kept == text
    if live.there and (same or vm.seeded):  # what a guest may have begun with is no longer made otherwise
        return (), ()
    old = "a seed made from another spec" if live.there else None
    seed = WriteSeed(path, made.boot(me.vm, me.spec, vm.macs), replaces=live.there)
    before = made.CLAIM if live.kept is None else live.kept
    actions = (
        *_forget_keys(me, vm, live),  # in this order: what is kept is of the seed that is there
        *((Action("keep that the seed is ours", _note(me.vm, before, None)),) if live.kept is None else ()),
        Action(f"write {path}", seed),
        *(() if same else (Action("keep what it is made from", _note(me.vm, text, before)),)),
    )
    return (Change((), old, f"a seed for the first boot: {made.said(me.spec)}"),), actions


def claimed(vm: str, kept: str) -> Action:
    """Of a seed that is given up: it stays ours until it is gone, and no guest was made by it."""
    return Action("keep that its first boot was given up", _note(vm, made.CLAIM, kept))


def _note(vm: str, text: str, before: str | None) -> WriteFile:
    return WriteFile(cloud_init.made_from(vm), text.encode(), _digest(before), mode=0o600)


def _forget_keys(me: Me, vm: GuestToBe, live: SeedLive) -> Iterator[Action]:
    """A new guest makes keys of its own, and is not to be refused for those of the one before it."""
    digest = _digest(live.host_keys)
    if vm.new and digest:
        path = host_keys.path(me.vm)
        yield Action("forget the host keys of the guest before it", RemoveFile(path, digest))


def _digest(text: str | None) -> str | None:
    return None if text is None else sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def remove(vm: str) -> Action:
    """Hashes of passwords are in it."""
    path = cloud_init.seed(vm)
    return Action(f"remove {path}", Run(("rm", "--force", path), typed=f"rm {shlex.quote(path)}"))


def taken_away(vm: str) -> tuple[Action, Action]:
    """Out of the VM first, which would not start without it."""
    return Action(f"take the seed out of {vm}", DetachDisk(vm, cloud_init.seed(vm))), remove(vm)


def _finish(me: Me) -> tuple[Action, ...]:
    """On the host, for the guest that has done with it."""
    return tuple(replace(one, why="on the host", on_parent=True) for one in taken_away(me.vm))


# Problems --------------------------------------------------------------------------------------------


def _problems(me: Me, vm: GuestToBe, live: SeedLive) -> Iterator[Diagnostic]:
    old = sorted({*vm.used} - (made.disks(live.kept) if vm.new else set()))
    if vm.new:
        yield from problems.impossible(me, vm)
    if vm.new and live.there and live.kept is None:
        yield _of_another(me)
    elif vm.defined and not live.made:
        yield problems.was_there(me.vm)
    elif not vm.defined and old and (vm.new or not live.made):
        yield Diagnostic(
            "CXP401",
            f"a guest may have used the disk of {me.vm} already",
            found=", ".join(old),
            expected="a disk that this spec makes",
            hint="let an entry of `images` make it, and write image: image.NAME; or remove `provision`",
        )
    if live.kept and live.made and not vm.new:
        yield from problems.otherwise(me, vm, live.kept)


def _of_another(me: Me) -> Diagnostic:
    path = cloud_init.seed(me.vm)
    return Diagnostic(
        "CXP412",
        f"{path} was not written by cxlstate",
        found=f"{path}, and no {cloud_init.made_from(me.vm)}",
        expected="no file there before the first boot is prepared",
        hint=f"see what it is, and move it away: mv {shlex.quote(path)} {shlex.quote(path)}.old",
    )
