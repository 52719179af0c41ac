"""A host with VMs and guests in them, as far as turns and interruptions matter.

Everything is a `thing` that has a value, on the host as in a guest; a VM runs by the definition with which it
was started. What is done is kept in one log: `g1: set thing.a on`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any

from cxlstate.core.action import Action, Reboot, Risk, Run, Span, Step, WriteFile, undoing
from cxlstate.core.address import Address, AllOf, ScopedAddress
from cxlstate.core.answers import Answer, Answers
from cxlstate.core.assessment import Assessment, Derived, Hold, Later
from cxlstate.core.change import Change
from cxlstate.core.connect import Local, Through
from cxlstate.core.consent import parse_consents
from cxlstate.core.diagnostic import CxlstateError, Diagnostic
from cxlstate.core.exports import DaxDevice
from cxlstate.core.guest import Accepted, GuestAccess, HostKey, Source
from cxlstate.core.libvirt import RestoreDomain, StartDomain, StopDomain
from cxlstate.core.machine import HOST_AND_GUEST, ROOT_ONLY, Scope, guest_id
from cxlstate.core.observation import Absent, Present
from cxlstate.core.read import File, Links, Names
from cxlstate.core.reconciler import How, Need, Place, Reconciler, Resource, Shape
from cxlstate.engine.apply import Converger
from cxlstate.engine.assess import assess_tree
from cxlstate.engine.reading import Readers, TreeReader
from cxlstate.engine.writing import Writers
from cxlstate.formats import host_keys
from cxlstate.machine.outcome import Outcome, Result
from cxlstate.spec.names import Names as SpecNames
from cxlstate.spec.tree import Machine
from tests.engine.fakes import tree_of
from tests.fragments import NONE

STATE = File("/state")
HOST = "h"


@dataclass(frozen=True)
class Wish:
    """What a thing should be, and what it takes. `away`: memory that a VM holds; `undoes`: another thing."""

    value: str = "on"
    needs: tuple[Need, ...] = ()
    risk: Risk = Risk.LIVE
    reboots: bool = False
    holds: str = ""
    error: str = ""
    later: tuple[Later, ...] = ()
    derived: tuple[Derived, ...] = ()


@dataclass(frozen=True)
class VmWish:
    """`runs` of None: as it is. `definition` is in force after a start."""

    runs: bool | None = True
    definition: str = "1"
    needs: tuple[Need, ...] = ()
    error: str = ""


@dataclass
class Vm:
    """A VM of the world. `active`: the definition with which it runs; None while it is off."""

    definition: str = "1"
    active: str | None = "1"
    autostart: bool = False
    deaf: bool = False
    starts: bool = True
    holds: tuple[str, ...] = ()
    kept: str = ""


@dataclass
class World:
    """`things` by machine and address; `silent`, `refused`, `rootless`: guests.

    `undoes`: setting one resets another.

    `keys` are host keys of guests, by name; `kept` are those that the host keeps.
    """

    things: dict[str, dict[str, str]] = field(default_factory=dict)
    pending: dict[str, dict[str, str]] = field(default_factory=dict)
    vms: dict[str, Vm] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    rootless: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    undoes: dict[str, str] = field(default_factory=dict)
    keys: dict[str, HostKey] = field(default_factory=dict)
    kept: dict[str, bytes] = field(default_factory=dict)
    fails: set[str] = field(default_factory=set)
    log: list[str] = field(default_factory=list)
    journal: list[tuple[tuple[str, ...], str]] = field(default_factory=list)
    before: dict[str, Any] = field(default_factory=dict)


class FakeMachine:
    """Reader and writer of a machine of the world."""

    survives_reboot = True
    accepted = None

    def __init__(self, world, machine, *, writes=False):
        self.world, self.machine, self.writes = world, machine, writes
        if writes:
            world.log.append(f"{machine}: lock")

    def lacks(self, _effect):
        return None

    def guest(self, route):
        return self._guest(route, writes=False)

    def guest_writer(self, route):
        return self._guest(route, writes=True)

    def _guest(self, route, *, writes):
        name = route.machine.partition("/")[2]
        assert self.world.vms[name].active, f"{name} is off"
        if writes and name in self.world.rootless:
            raise CxlstateError((Diagnostic("CXC301", "root is required"),))
        if name in self.world.silent:
            raise CxlstateError((Diagnostic("CXC121", "192.0.2.2:22 does not answer within 10 s"),))
        if name in self.world.refused:
            raise CxlstateError((Diagnostic("CXC120", f"host key of {route.machine} changed"),))
        guest = FakeMachine(self.world, route.machine, writes=writes)
        if key := self.world.keys.get(name):
            kept = self.world.kept.get(host_keys.path(name)) == host_keys.dump([key]).encode()
            guest.accepted = Accepted(key, Source.KEPT if kept else Source.AGENT)
        return guest

    def read(self, reads):
        self.world.log.append(f"{self.machine}: read")
        vms = {
            name: vars(vm) | {"kept": self.world.kept.get(host_keys.path(name), b"").decode()}
            for name, vm in self.world.vms.items()
            if self.machine == HOST
        }
        state = {
            "things": self.world.things.get(self.machine, {}),
            "pending": self.world.pending.get(self.machine, {}),
            "vms": {name: {k: v for k, v in vm.items() if k != "holds"} for name, vm in vms.items()},
        }
        return Answers({read: self._answer(read, state) for read in reads})

    def _answer(self, read, state):
        match read:
            case File(path="/state"):
                return Answer(0, json.dumps(state).encode())
            case Names(pattern=pattern) if pattern.startswith("/run/libvirt"):
                running = [name for name, vm in self.world.vms.items() if vm.active]
                return Answer(0, files={f"/run/libvirt/qemu/{name}.xml": Answer(0) for name in running})
            case Links(pattern=pattern) if "autostart" in pattern:
                path = "/etc/libvirt/qemu"
                names = [name for name, vm in self.world.vms.items() if vm.autostart]
                links = {f"{path}/autostart/{n}.xml": Answer(0, f"{path}/{n}.xml".encode()) for n in names}
                return Answer(0, files=links)
        return Answer(0, files={})

    def perform(self, effect, entry):  # noqa: C901  # a case an effect
        said = effect.shown()
        self.world.log.append(f"{self.machine}: {said}")
        if effect_hook := self.world.before.pop(said, None):
            effect_hook()
        if said in self.world.fails:
            return Outcome(Result.FAILED, 1, "it did not work")
        match effect:
            case StopDomain(name=name, power_off=power_off):
                vm = self.world.vms[name]
                if vm.deaf and not power_off:
                    return Outcome(Result.REFUSED)
                vm.active = None
            case StartDomain(name=name) | RestoreDomain(name=name):
                vm = self.world.vms[name]
                if not vm.starts and isinstance(effect, StartDomain):
                    return Outcome(Result.FAILED, 1, "it does not start")
                vm.active = vm.active or vm.definition
            case WriteFile(path=path, content=content):
                self.world.kept[path] = content
                self.world.journal.append((entry.addresses, entry.does))
            case Step(words=("define", name, definition)):
                self.world.vms.setdefault(name, Vm(active=None)).definition = definition
            case Step(words=(verb, address, value)):
                where = self.world.pending if verb == "write" else self.world.things
                where.setdefault(self.machine, {})[address] = value
                self._undo(address)
            case Run(argv=(_, value), operands=operands):
                for address in operands:
                    self.world.things.setdefault(self.machine, {})[address] = value
                    self._undo(address)
        return Outcome(Result.DONE)

    def _undo(self, address):
        other = self.world.undoes.get(address)
        if other:
            self.world.things.setdefault(self.machine, {}).pop(other, None)

    def reboot(self, entry, progress):
        self.world.log.append(f"{self.machine}: reboot")
        for vm in self.world.vms.values() if self.machine == HOST else ():
            assert vm.active is None, "a VM ran into the reboot"
            vm.active = vm.definition if vm.autostart else None
        self.world.things.setdefault(self.machine, {}).update(self.world.pending.pop(self.machine, {}))

    def record(self, records):
        pass

    def close(self):
        if self.writes:
            self.world.log.append(f"{self.machine}: unlock")


class Thing(Reconciler):
    kind, place, model = "thing", Place("things", Shape.MAP, HOST_AND_GUEST), None
    reboots = True

    def needs(self, me):
        return me.spec.needs

    def reads(self, me):
        return (STATE,)

    def observe(self, me, answers):
        state = json.loads(answers.text(STATE))
        value = state["things"].get(str(me.address))
        if value is None and str(me.address) in state["pending"]:
            value = "pending"
        return Absent() if value is None else Present(value)

    def assess(self, me, seen, inputs):
        wish, live = me.spec, seen.live if isinstance(seen, Present) else None
        problems = (Diagnostic("CXX001", wish.error),) if wish.error else ()
        exports = (DaxDevice("/dev/x", (Span(0, 100),)),) if wish.holds else ()
        hold = self._hold(wish, live)
        if live == wish.value:
            return Assessment(exports, problems, hold=hold)
        change = Change(("value",), None if live == "pending" else live, wish.value, live == "pending")
        actions = tuple(self._actions(me, live))
        told = {"later": wish.later, "derived": wish.derived, "hold": hold}
        return Assessment(exports, problems, (change,), actions, **told)

    def _actions(self, me, live):
        wish, name = me.spec, str(me.address)
        if wish.reboots:
            if live != "pending":
                yield Action(f"write {name}", Step(NONE, ("write", name, wish.value), f"write {name}"))
            yield Action("reboot", Reboot(), Risk.REBOOT_HOST, f"{name} is not in force", activation=True)
        elif wish.holds:
            yield from (_stop(wish.holds), _set(me), _start(wish.holds))
        elif wish.needs or wish.risk is not Risk.LIVE:
            yield replace(_set(me), risk=wish.risk)
        else:
            yield Action(f"set {name}", Run(("set", wish.value), (name,)))

    @staticmethod
    def _hold(wish, live):
        return (
            Hold((Span(0, 100),), (_stop(wish.holds),), (_start(wish.holds),))
            if wish.holds and live
            else None
        )


class VmKind(Reconciler):
    kind, place, model = "vm", Place("vms", Shape.MAP, ROOT_ONLY), None

    def needs(self, me):
        return me.spec.needs

    def reads(self, me):
        return (STATE,)

    def observe(self, me, answers):
        vm = json.loads(answers.text(STATE))["vms"].get(me.name)
        return Present(Vm(**vm) if vm else None)

    def assess(self, me, seen, inputs):
        wish, live = me.spec, seen.live if isinstance(seen, Present) else None
        problems = (Diagnostic("CXX002", wish.error),) if wish.error else ()
        keys = host_keys.parse(live.kept) if live else ()
        exports = (GuestAccess(bool(live and live.active), keys=keys, defined=live is not None),)
        changes, actions = [], []
        runs = bool(live and live.active)
        if live is None or live.definition != wish.definition:
            changes.append(Change(("definition",), live and live.definition, wish.definition))
            define = Step(NONE, ("define", me.name, wish.definition), f"define {me.name} {wish.definition}")
            actions.append(Action(f"define {me.name}", define))
        if wish.runs is not None and wish.runs != runs:
            changes.append(Change(("state",), *("running", "shut-off")[:: 1 if runs else -1]))
            actions.append(_start(me.name) if wish.runs else replace(_stop(me.name), risk=Risk.POWER_OFF_VM))
        elif runs and live.active != wish.definition:
            changes.append(Change(("active",), live.active, wish.definition, pending=True))
            actions += [replace(one, activation=True) for one in (_stop(me.name), _start(me.name))]
        return Assessment(exports, problems, tuple(changes), tuple(actions))


def _set(me):
    name = str(me.address)
    return Action(f"set {name}", Step(NONE, ("set", name, me.spec.value), f"set {name} {me.spec.value}"))


def _stop(vm):
    effect = StopDomain(vm)
    return Action(
        f"stop {vm}", effect, Risk.RESTART_VM, undo=undoing(RestoreDomain(vm)), interrupts=Address("vm", vm)
    )


def _start(vm):
    return Action(f"start {vm}", StartDomain(vm), interrupts=Address("vm", vm))


class Quiet:
    def __getattr__(self, name):
        return lambda *_, **__: None


KINDS = {kind.kind: kind for kind in (Thing(), VmKind())}


class Bench:
    """A tree and a world: `host` and each of `guests` is a mapping of address to wish."""

    def __init__(self, world, host, **guests):
        self.world = world
        self.stops = lambda: False
        self.sleeps = lambda seconds: None
        machines = [
            Machine(
                guest_id(HOST, name), HOST, Scope.GUEST, Through(Address("vm", name)), tuple(_resources(its))
            )
            for name, its in guests.items()
        ]
        self.tree = tree_of(HOST, _resources(host), Local(), *machines)

    def plan(self, *targets):
        only = SpecNames([self.tree], KINDS).only(targets) if targets else None
        reader = TreeReader(self.tree, KINDS, Readers(lambda _, name: FakeMachine(self.world, name)))
        return assess_tree(self.tree, reader.read(), KINDS, only)

    def apply(self, *allowed, before=lambda: None, promise=None):
        writers = Writers(lambda _, name: FakeMachine(self.world, name, writes=True))
        names = SpecNames([self.tree], KINDS).whole

        def meaning(name):
            return (names[name][0].machine, names[name][0].address)

        consents = parse_consents(allowed, meaning).with_live()
        converger = Converger(
            self.tree, writers, KINDS, consents, "run", "1", Quiet(), stop=self.stops, sleep=self.sleeps
        )
        plan = converger.plan()
        converger.promise = promise
        before()
        try:
            return converger.converge(plan)
        finally:
            writers.close()

    def did(self):
        """What was done since the last time, without reading."""
        log, self.world.log = self.world.log, []
        return [line for line in log if not line.endswith(": read")]


def _resources(wishes):
    return [Resource(Address.parse(name), wish, (name,)) for name, wish in wishes.items()]


def at(name, machine=HOST):
    return ScopedAddress(machine, Address.parse(name))


def of_vm(name, how=How.REQUIRES):
    return Need(Address("vm", name), how, on_parent=True)


def requires(name):
    return Need(AllOf(name[:-2]) if name.endswith(".*") else Address.parse(name), How.REQUIRES)
