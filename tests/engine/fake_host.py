"""A host with dax devices, registers and VMs, as far as order matters: for the tests of suspension.

It refuses what a kernel or libvirt would refuse, and keeps a list of what must not happen at all.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace

from cxlstate.core.action import Action, Risk, Span, Step, undoing
from cxlstate.core.address import Address, AllOf
from cxlstate.core.answers import Answer, Answers
from cxlstate.core.assessment import Assessment, Hold
from cxlstate.core.change import Change
from cxlstate.core.consent import Consents, parse_consents
from cxlstate.core.diagnostic import Diagnostic
from cxlstate.core.exports import DaxDevice, RestoreStep
from cxlstate.core.observation import Absent, Present, Unknown
from cxlstate.core.read import Exists, File, conditions
from cxlstate.core.reconciler import How, Leftover, Need, Reconciler, Resource
from cxlstate.engine.apply import Converger
from cxlstate.engine.assess import assess_tree
from cxlstate.engine.reading import Readers, TreeReader
from cxlstate.engine.writing import Writers
from cxlstate.machine.outcome import Outcome, Result
from tests.engine.fakes import tree_of
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
    stops = step(f"stop {vm}", "vm-stop", vm, risk=Risk.RESTART_VM, undo=[("vm-start", vm)])
    return replace(stops, interrupts=Address("vm", vm))


def start(vm):
    starts = step(f"start {vm}", "vm-start", vm, undo=[("vm-stop", vm)])
    return replace(starts, interrupts=Address("vm", vm))


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
    informs = True
    holds = True

    def needs(self, me):
        return (Need(AllOf("mtrr"), How.AWAITS),)

    def inspections(self, me):
        return (MAPPED,)

    def observe(self, me, answers):
        seen = super().observe(me, answers)
        return seen if me.name in seen.live.dax else Absent()

    def assess(self, resource, seen, inputs):
        spans = (Span(*resource.spec),) if resource.spec else ()
        device = DaxDevice(f"/dev/cxlstate/{resource.name}", spans)
        exports = (device, RestoreStep(NONE, ("dax", resource.name)))
        if isinstance(seen, Unknown):
            return Assessment(exports, hold=Hold(spans, unknown=True))
        if isinstance(seen, Absent):
            return Assessment(exports, changes=(Change(("driver",), "none", "device_dax"),))
        name, live = resource.name, seen.live
        if not live.dax[name]:
            change = Change(("driver",), "none", "device_dax")
            hold = None if spans else Hold(unknown=True)
            return Assessment(exports, changes=(change,), actions=(bind(name),), hold=hold)
        hold = self._hold(name, spans, live)
        if not live.registers or live.types[name] != "write-back":
            return Assessment(exports, hold=hold)
        change = Change(("memory type",), "write-back", "uncached-minus")
        return Assessment(exports, changes=(change,), actions=(*hold.release, *hold.retake), hold=hold)

    @staticmethod
    def _hold(name, spans, live):
        if not spans:
            return Hold(unknown=True)
        if name in live.processes:
            held = f"{name} is held by {live.processes[name]}"
            return Hold(spans, stuck=Diagnostic("CXX306", held, path=("range",)))
        users = [vm for vm in running(live) if name in live.holds[vm]]
        return Hold(spans, (*map(stop, users), unbind(name)), (bind(name), *map(start, users)))


class Mtrr(OfHost):
    """`spec` is (registers, span)."""

    kind = "mtrr"
    informs = True
    traces = TABLE

    def needs(self, me):
        return (Need(AllOf("dax"), How.KNOWS),)

    def assess(self, resource, seen, inputs):
        exports = (RestoreStep(NONE, ("mtrr", resource.name)),)
        if isinstance(seen, Unknown):
            return Assessment(exports)
        registers, span = resource.spec
        lacking = [one for one in registers if one not in seen.live.registers]
        changes = tuple(Change((one,), None, "uncachable") for one in lacking)
        actions = tuple(_register("add", "remove", one, span) for one in lacking)
        return Assessment(exports, changes=changes, actions=actions)

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
    gathers = tuple(Need(AllOf(kind), how) for kind in ("dax", "mtrr") for how in (How.KNOWS, How.AFTER))
    traces = TABLE

    def implied(self):
        return "all"

    def assess(self, resource, seen, inputs):
        wanted = [" ".join(one.words) for _, one in inputs.all(RestoreStep)]
        if isinstance(seen, Unknown) or seen.live.table == wanted:
            return Assessment()
        change = Change(("table",), str(seen.live.table), str(wanted))
        return Assessment(changes=(change,), actions=(step("write the table", "write-table", *wanted),))


def everything(plan):
    """What is done for a resource: whom it needs away is stopped first, and started last."""
    ends = [one.end for one in plan.away if one.end]
    return [*(one.begin for one in plan.away), *plan.actions, *ends]


class Bench:
    """A spec and a host: plan and apply."""

    def __init__(self, wishes, host=None, **machine):
        resources = tuple(Resource(Address.parse(name), wish) for name, wish in wishes.items())
        self.tree = tree_of("m", resources)
        self.kinds = {kind.kind: kind for kind in (Dax(), Mtrr(), Boot())}
        self.host = host or Host()
        self.machine = Machine(self.host, **machine)

    def plan(self, only=None, **asking):
        reader = TreeReader(self.tree, self.kinds, Readers(lambda *_: self.machine), **asking)
        only = None if only is None else {"m": only}
        return assess_tree(self.tree, reader.read(), self.kinds, only)

    def at(self, address):
        return self.plan().at(Address.parse(address))

    def runs(self, address):
        return [" ".join(action.effect.words) for action in everything(self.at(address))]

    def apply(self, *allowed):
        consents = parse_consents(allowed) if allowed else Consents()
        converger = Converger(
            self.tree, Writers(lambda *_: self.machine), self.kinds, consents.with_live(),
            "run", "1", Quiet(),
            sleep=lambda _: None,
        )  # fmt: skip
        return converger.converge(converger.plan())


class Quiet:
    def __getattr__(self, name):
        return lambda *_, **__: None
