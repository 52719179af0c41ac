"""A host with dax devices, registers and VMs, as far as order matters: for the tests of suspension.

It refuses what a kernel or libvirt would refuse, and keeps a list of what must not happen at all.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from types import SimpleNamespace

from cxlstate.core.action import Action, Risk, Span, Step, undoing
from cxlstate.core.address import Address, AllOf
from cxlstate.core.change import Change
from cxlstate.core.consent import Consents, parse_consents
from cxlstate.core.diagnostic import Diagnostic
from cxlstate.core.exports import DaxDevice, RestoreStep
from cxlstate.core.observation import Absent, Present
from cxlstate.core.read import Answer, Answers, Exists, File, conditions
from cxlstate.core.reconciler import How, Leftover, Need, Reconciler, Resource
from cxlstate.engine.apply import Converger
from cxlstate.engine.observe import observe
from cxlstate.engine.planner import make_plan
from cxlstate.machine.outcome import Outcome, Result
from tests.fragments import NONE

STATE = File("/state")
MAPPED = File("/mapped")
TABLE = Exists("/table")


class Killed(Exception):
    """The tool is gone; the host is as it is."""


@dataclass
class Host:
    """`dax` → bound or not; `vms` → running or not; `holds` → what a VM holds while it runs."""

    dax: dict[str, bool] = field(default_factory=lambda: {"cxl0": True})
    types: dict[str, str] = field(default_factory=lambda: {"cxl0": "write-back"})
    vms: dict[str, bool] = field(default_factory=dict)
    holds: dict[str, list[str]] = field(default_factory=dict)
    processes: dict[str, str] = field(default_factory=dict)
    registers: list[str] = field(default_factory=list)
    table: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)


@dataclass
class Machine:
    """Reader and writer of a host. `fails` at these words; `killed_after` so many effects."""

    host: Host
    fails: tuple[str, ...] = ()
    killed_after: int | None = None
    log: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    asked: set = field(default_factory=set)
    survives_reboot = False

    def lacks(self, effect):
        return None

    def read(self, reads):
        self.asked = set(conditions(reads))
        said = json.dumps(asdict(self.host)).encode()
        there = Answer(0, b"yes" if self.host.table else b"")
        known = {STATE: Answer(0, said), MAPPED: Answer(0, b"mapped and read"), TABLE: there}
        return Answers({read: known.get(read, Answer(1, stderr="cannot be read")) for read in self.asked})

    def perform(self, effect, entry):
        if self.killed_after is not None and len(self.log) >= self.killed_after:
            raise Killed
        words = " ".join(effect.words)
        self.log.append(words)
        if words in self.fails or not self._do(*effect.words):
            return Outcome(Result.FAILED, 1, "it did not work")
        return Outcome(Result.DONE)

    def record(self, records):
        pass

    def _do(self, verb, *names):
        return getattr(self, "_" + verb.replace("-", "_"))(*names)

    def _vm_stop(self, name):
        self.host.vms[name] = False
        return True

    def _vm_start(self, name):
        ready = all(self.host.dax[device] for device in self.host.holds[name])
        self.host.vms[name] = self.host.vms[name] or ready
        return ready

    def _dax_unbind(self, name):
        if name in self.host.processes or any(name in self.host.holds[vm] for vm in running(self.host)):
            return False
        self.host.dax[name] = False
        return True

    def _dax_bind(self, name):
        self.host.dax[name] = True
        self.host.types[name] = "uncached-minus" if self.host.registers else "write-back"
        return True

    def _mtrr_add(self, register):
        return self._register(self.host.registers.append, register)

    def _mtrr_remove(self, register):
        return self._register(self.host.registers.remove, register)

    def _register(self, change, register):
        if any(self.host.dax.values()):
            self.wrong.append(f"{register} was changed under a device that is in use")
        change(register)
        return True

    def _write_table(self, *names):
        self.host.table = list(names)
        return True


def running(host):
    return [vm for vm, on in host.vms.items() if on]


def step(does, *words, risk=Risk.LIVE, undo=(), suspends=(), why=""):
    return Action(
        does,
        Step(NONE, words, does),
        risk,
        why,
        undoing(*(Step(NONE, u, " ".join(u)) for u in undo)),
        suspends=suspends,
    )


def stop(vm):
    return step(f"stop {vm}", "vm-stop", vm, risk=Risk.RESTART_VM, undo=[("vm-start", vm)])


def start(vm):
    return step(f"start {vm}", "vm-start", vm, undo=[("vm-stop", vm)])


def bind(name):
    return step(f"bind {name}", "dax-bind", name, undo=[("dax-unbind", name)])


def unbind(name):
    return step(f"unbind {name}", "dax-unbind", name, undo=[("dax-bind", name)])


class OfHost(Reconciler):
    place = None
    model = None

    def reads(self, me):
        return (STATE,)

    def observe(self, me, answers):
        host = Host(**json.loads(answers.text(STATE)))
        if str(me.address) in host.unreadable:
            answers.text(File("/not/asked/for"))
        return Present(host)


class Dax(OfHost):
    """`spec` is where it is, or None: known once it is there."""

    kind = "dax"

    def needs(self, me):
        return (Need(AllOf("mtrr"), How.AWAITS),)

    def inspections(self, me):
        return (MAPPED,)

    def observe(self, me, answers):
        seen = super().observe(me, answers)
        return seen if me.name in seen.live.dax else Absent()

    def exports(self, me, live, given):
        place = me.spec or (None, None)
        ranges = () if None in place else (Span(*place),)
        return (DaxDevice(f"/dev/cxlstate/{me.name}", ranges), RestoreStep(NONE, ("dax", me.name)))

    def diff(self, me, live, given):
        if live is None or not live.dax[me.name]:
            return (Change(("driver",), "none", "device_dax"),)
        wrong = live.registers and live.types[me.name] == "write-back"
        return (Change(("memory type",), "write-back", "uncached-minus"),) if wrong else ()

    def actions(self, me, live, changes, given):
        if live is None:
            return ()
        if not live.dax[me.name]:
            return (bind(me.name),)
        return (*self.suspend(me, live, given), *self.resume(me, live, given))

    def suspend(self, me, live, given):
        if live is None or not live.dax[me.name]:
            return ()
        if me.name in live.processes:
            held = f"{me.name} is held by {live.processes[me.name]}"
            return Diagnostic("CXX306", held, path=("range",))
        return (*map(stop, self._users(me, live)), unbind(me.name))

    def resume(self, me, live, given):
        assert live.dax[me.name], "asked for though there was nothing to suspend"
        return (bind(me.name), *map(start, self._users(me, live)))

    @staticmethod
    def _users(me, live):
        return [vm for vm in running(live) if me.name in live.holds[vm]]


class Mtrr(OfHost):
    """`spec` is (registers, span)."""

    kind = "mtrr"

    def needs(self, me):
        return (Need(AllOf("dax"), How.KNOWS),)

    def exports(self, me, live, given):
        return (RestoreStep(NONE, ("mtrr", me.name)),)

    def diff(self, me, live, given):
        registers, _ = me.spec
        return tuple(Change((one,), None, "uncachable") for one in registers if one not in live.registers)

    def actions(self, me, live, changes, given):
        _, span = me.spec
        return tuple(_register("add", "remove", str(change.path[0]), span) for change in changes)

    def leftover_reads(self):
        return (STATE,)

    def leftovers(self, answers, declared):
        host = Host(**json.loads(answers.text(STATE)))
        if "leftovers" in host.unreadable:
            answers.text(File("/not/asked/for"))
        listed = [name for kind, name in map(str.split, host.table) if kind == "mtrr"]
        return [self._leftover(name, host) for name in listed if name not in declared]

    @staticmethod
    def _leftover(name, host):
        """Its register has its name; where that is gone already, only the table has to forget it."""
        there = name in host.registers
        actions = (_register("remove", "add", name, Span(0, 100)),) if there else ()
        return Leftover(name, (Change((name,), "listed", None),), actions)


def _register(verb, back, register, span):
    return step(
        f"{verb} {register}",
        f"mtrr-{verb}",
        register,
        undo=[(f"mtrr-{back}", register)],
        suspends=(span,),
    )


class Boot(OfHost):
    kind = "boot"

    def implied(self):
        return "all"

    def traces(self):
        return TABLE

    def needs(self, me):
        return tuple(Need(AllOf(kind), how) for kind in ("dax", "mtrr") for how in (How.KNOWS, How.AFTER))

    def diff(self, me, live, given):
        wanted = self._wanted(given)
        return () if live.table == wanted else (Change(("table",), str(live.table), str(wanted)),)

    def actions(self, me, live, changes, given):
        return (step("write the table", "write-table", *self._wanted(given)),)

    @staticmethod
    def _wanted(given):
        return [" ".join(one.words) for _, one in given.all(RestoreStep)]


class Bench:
    """A spec and a host: plan and apply."""

    def __init__(self, wishes, host=None, **machine):
        resources = tuple(Resource(Address.parse(name), wish) for name, wish in wishes.items())
        self.spec = SimpleNamespace(
            name="m", file="m.yaml", resources=resources, locate=lambda path: None, connect=None
        )
        self.kinds = {kind.kind: kind for kind in (Dax(), Mtrr(), Boot())}
        self.host = host or Host()
        self.machine = Machine(self.host, **machine)

    def plan(self, only=None, **asking):
        return make_plan(self.spec, observe(self.machine, self.spec, self.kinds, **asking), self.kinds, only)

    def at(self, address):
        return self.plan().at(Address.parse(address))

    def runs(self, address):
        return [" ".join(action.effect.words) for action in self.at(address).actions]

    def apply(self, *allowed):
        consents = parse_consents(allowed) if allowed else Consents()
        converger = Converger(
            self.spec, self.machine, self.kinds, consents.with_live(), "run", "1", Quiet(),
            sleep=lambda _: None,
        )  # fmt: skip
        return converger.converge(converger.plan())


class Quiet:
    def __getattr__(self, name):
        return lambda *_: None
