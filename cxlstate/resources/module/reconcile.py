"""Kernel modules: loaded now and at boot, or kept out of both."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

from cxlstate.core.action import Action, Reboot, RemoveFile, Risk, Run, WriteFile, undoing
from cxlstate.core.address import Address, AllOf
from cxlstate.core.answers import Answers
from cxlstate.core.assessment import Assessment
from cxlstate.core.change import Change
from cxlstate.core.diagnostic import Diagnostic, Severity
from cxlstate.core.exports import Export, Inputs, KernelArguments, ModuleKeptOut
from cxlstate.core.observation import Absent, Observation, Present
from cxlstate.core.path import Path
from cxlstate.core.read import Read
from cxlstate.core.reconciler import How, Leftover, Need, Reconciler, Resource
from cxlstate.formats import modprobe
from cxlstate.resources.module import ModuleKind, probe
from cxlstate.resources.module.probe import ModuleLive
from cxlstate.resources.module.spec import ModuleName, Wanted, canonical

_LOADED = ("loaded",)
_BOOT = ("boot",)
_FILE = ("file",)
_BLACKLISTED = Change(_BOOT, old="not blacklisted", new="blacklisted")


class ModuleReconciler(ModuleKind, Reconciler[str, ModuleLive]):
    """Modules by name, now and at boot.

    `present`: modprobe, and a file of our own in modules-load.d. `absent`: rmmod and, through `grub`,
    `modprobe.blacklist` on the kernel command line.
    """

    model = Wanted
    key = ModuleName

    def needs(self, me: Resource[str]) -> Sequence[Need]:
        """What is absent waits for a boot with the blacklist; what is present may be in a package."""
        if me.spec == "absent":
            return (Need(Address("grub"), How.AFTER),)
        return (Need(AllOf("package"), How.AFTER),)

    def reads(self, me: Resource[str]) -> Sequence[Read]:
        """Files of the kernel, and what is loaded at boot."""
        return (
            modprobe.LOADED,
            probe.RELEASE,
            probe.BUILT_IN,
            probe.AT_BOOT,
            *modprobe.CONFIGURATION,
            modprobe.info(me.name),
            probe.devices_of(me.name),
        )

    def observe(self, me: Resource[str], answers: Answers) -> Observation[ModuleLive]:
        """Always present: a module that is not loaded is a state like any other."""
        return Present(probe.parse(me.name, answers))

    def assess(self, resource: Resource[str], seen: Observation[ModuleLive], inputs: Inputs) -> Assessment:
        """What differs now, and what will differ at the next boot. What is built in cannot go."""
        live = seen.live if isinstance(seen, Present) else None
        exports = _exports(resource, live)
        if live is None:
            to_come = isinstance(seen, Absent)
            return Assessment(exports, changes=_to_come(resource.spec) if to_come else ())
        changes = _diff_present(live) if resource.spec == "present" else _diff_absent(live)
        paths = {change.path for change in changes}
        actions = _come if resource.spec == "present" else _go
        return Assessment(
            exports,
            _problems(resource, live),
            changes,
            actions(resource.name, live, paths),
            _facts(live),
            shared=live.pulled_by if resource.spec == "absent" else None,
        )

    def together(self, assessed: Mapping[Address, Assessment], *, whole: bool = True) -> Sequence[Diagnostic]:
        """Modules that others need, which are not to be absent themselves."""
        go = {address: found.shared for address, found in assessed.items() if isinstance(found.shared, tuple)}
        names = {canonical(address.name) for address in go}
        stay = {address: [one for one in users if one not in names] for address, users in go.items()}
        return [_pulled(address, users) for address, users in stay.items() if users and whole]

    def leftover_reads(self) -> Sequence[Read]:
        """Our files in modules-load.d."""
        return (probe.OURS,)

    def leftovers(self, answers: Answers, declared: frozenset[str]) -> Sequence[Leftover]:
        """Our files for modules of which the spec says nothing any more. They stay loaded until a reboot."""
        kept = {canonical(name) for name in declared}
        found = ((probe.module_of(path), text) for path, text in answers.files(probe.OURS).items())
        return tuple(
            Leftover(name, (Change(_BOOT, old=True, new=None),), (_forget(name, text),))
            for name, text in found
            if name and name not in kept
        )


reconciler = ModuleReconciler()


def _exports(resource: Resource[str], live: ModuleLive | None) -> tuple[Export, ...]:
    """The argument that keeps it out, unless the machine does. With `_`: libkmod takes a `-` as it is."""
    if resource.spec == "present":
        return ()
    name = canonical(resource.name)
    if live and live.kept_out_by and not live.listed:
        return (ModuleKeptOut(name),)
    return (KernelArguments((f"modprobe.blacklist={name}",)),)


def _facts(live: ModuleLive) -> tuple[tuple[str, str], ...]:
    """Loaded or not and by whom it is used, and what a boot does."""
    if live.built_in:
        return (("now", "built in"),)
    now = f"loaded, {live.use}" if str(live.use) else "loaded"
    boot = "loaded on demand"
    if by := live.kept_out_by:
        boot = by if by == modprobe.NO_SUCH else f"kept out by {by}"
    boot = "loaded" if live.at_boot and not live.kept_out_by else boot
    return (("now", now if live.loaded else "not loaded"), ("at boot", boot))


def _problems(resource: Resource[str], live: ModuleLive) -> tuple[Diagnostic, ...]:
    """What is built in cannot go; what is blacklisted does not come."""
    by = live.kept_out_by
    if resource.spec == "absent" and live.built_in and not by:
        return (_built_in(resource.name),)
    if resource.spec == "absent" or not by:
        return ()
    return (_no_such(resource.name) if by == modprobe.NO_SUCH else _kept_out(resource.name, by),)


def _come(name: str, live: ModuleLive, paths: AbstractSet[Path]) -> tuple[Action, ...]:
    at_boot = [_at_boot(name, live)] if _BOOT in paths else []
    return (*at_boot, *([_load(name)] if _LOADED in paths else []))


def _go(name: str, live: ModuleLive, paths: AbstractSet[Path]) -> tuple[Action, ...]:
    """None for the missing blacklist: `grub` writes it."""
    actions = [_forget(name, live.own)] if _FILE in paths and live.own is not None else []
    if _LOADED in paths and live.kept_out_by:
        actions.append(_reboot(name, live) if str(live.use) else _unload(name, live))
    return tuple(actions)


def _to_come(spec: str) -> tuple[Change, ...]:
    """On a machine of which nothing is known yet."""
    if spec == "absent":
        return (_BLACKLISTED,)
    return (Change(_LOADED, old=False, new=True), Change(_BOOT, old=False, new=True))


def _diff_present(live: ModuleLive) -> tuple[Change, ...]:
    if live.built_in:
        return ()
    loaded = [] if live.loaded else [Change(_LOADED, old=False, new=True)]
    at_boot = [] if live.at_boot else [Change(_BOOT, old=False, new=True)]
    return (*loaded, *at_boot)


def _diff_absent(live: ModuleLive) -> tuple[Change, ...]:
    """Until something keeps it out, a boot is to come that also unloads it: it waits for `grub`."""
    changes = []
    if live.loaded:
        pending = live.kept_out_by is not None and bool(str(live.use))
        changes.append(Change(_LOADED, old=str(live.use) or True, new=False, pending=pending))
    if live.kept_out_by is None:
        changes.append(_BLACKLISTED)
    if live.own is not None:
        changes.append(Change(_FILE, old="our file has it loaded at boot", new=None))
    return tuple(changes)


def _load(name: str) -> Action:
    return Action(
        f"load the module {name}",
        Run(("modprobe", name)),
        undo=undoing(Run(("rmmod", canonical(name)))),
    )


def _at_boot(name: str, live: ModuleLive) -> Action:
    content = f"# Written by cxlstate for module.{name}\n{name}\n".encode()
    path = probe.own_file(name)
    undo = () if live.own is not None else undoing(RemoveFile(path, _digest(content)))
    expected = None if live.own is None else _digest(_bytes(live.own))
    return Action(f"load {name} at every boot", WriteFile(path, content, expected), undo=undo)


def _forget(name: str, text: str) -> Action:
    content, path = _bytes(text), probe.own_file(name)
    return Action(
        f"stop loading {name} at boot",
        RemoveFile(path, _digest(content)),
        undo=undoing(WriteFile(path, content)),
    )


def _unload(name: str, live: ModuleLive) -> Action:
    """With rmmod: `modprobe -r` would also take modules out that this one needs, and that nobody named."""
    return Action(
        f"unload the module {name}",
        Run(("rmmod", canonical(name))),
        why=f"nothing uses it, and {live.kept_out_by} keeps it from being loaded again",
        undo=undoing(Run(("modprobe", name))),
    )


def _reboot(name: str, live: ModuleLive) -> Action:
    return Action(
        f"reboot, so that {name} is not loaded",
        Reboot(),
        Risk.REBOOT_HOST,
        why=f"{name} is {live.use}; {live.kept_out_by} keeps it out at the next boot",
        activation=True,
    )


def _built_in(name: str) -> Diagnostic:
    """Of kmem, memory that stays offline is what its absence is wanted for."""
    instead = "take it out of `modules`"
    if canonical(name) == modprobe.KMEM:
        instead += ", and add to grub.args: memhp_default_state=offline"
    return Diagnostic(
        "CXO201",
        f"{name} is built into the running kernel",
        found="built in",
        expected="a loadable module",
        hint=instead,
    )


def _no_such(name: str) -> Diagnostic:
    """A package of the spec may bring it."""
    return Diagnostic(
        "CXO302",
        f"the running kernel has no module {name}",
        Severity.WARNING,
        found=modprobe.NO_SUCH,
        expected=f"{name}.ko in /lib/modules, or a package in `packages` that brings it",
        hint=f"find its package: apt-file search /{name}.ko; of Ubuntu, maybe linux-modules-extra-{{kernel}}",
    )


def _pulled(address: Address, users: Sequence[str]) -> Diagnostic:
    """Neither now nor at the next boot: a blacklist would be asked for, and a reboot, again and again."""
    return Diagnostic(
        "CXO303",
        f"{', '.join(users)} would load {address.name} at the next boot, too",
        address=address,
        found=f"used by {', '.join(users)}",
        expected="no module that needs it: a blacklist does not keep out what another module loads along",
        hint=f"add to modules: {', '.join(f'{one}: absent' for one in users)}",
    )


def _kept_out(name: str, by: str) -> Diagnostic:
    argument = by.partition("=")[0] if "=" in by and "`" not in by else None
    return Diagnostic(
        "CXO301",
        f"{by} keeps {name} from being loaded",
        Severity.WARNING,
        found=by,
        expected=f"nothing that keeps {name} out",
        hint=f"add to grub.absent: {by}" if argument else f"remove {by}",
    )


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
