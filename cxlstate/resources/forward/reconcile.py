"""The kind `forward`: all forwards are one table, one rule in each filter of others, and what keeps these."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, Final

from cxlstate.core.address import Address, AllOf
from cxlstate.core.answers import Answers, ReadFailed
from cxlstate.core.assessment import Assessment
from cxlstate.core.change import Change
from cxlstate.core.exports import Inputs
from cxlstate.core.observation import Observation, Present, Unknown
from cxlstate.core.read import Asked, Question, Read
from cxlstate.core.reconciler import How, Leftover, Need, Reconciler, Resource
from cxlstate.formats.forward_table import Table, render
from cxlstate.resources.forward import ForwardKind, check, keepers, probe, steps
from cxlstate.resources.forward.goal import described, goal
from cxlstate.resources.forward.probe import Live
from cxlstate.resources.forward.spec import ForwardsSpec

_PACKAGES: Final = {
    "nft": "nftables",
    "iptables-nft-save": "iptables",
    "iptables-legacy-save": "iptables",
}
_EDITED: Final = "edited, or of another version"
_GENERATED: Final = "as generated"


class ForwardReconciler(ForwardKind, Reconciler[ForwardsSpec, Live]):
    """A table of our own is replaced as a whole; of others nothing is touched but for one rule of ours."""

    model: ClassVar[type[ForwardsSpec]] = ForwardsSpec

    def needs(self, me: Resource[ForwardsSpec]) -> Sequence[Need]:
        """Networks tell addresses, and their rules are made before ours; so are Docker's."""
        vms = dict.fromkeys(one.to.vm for one in me.spec.present.values() if one.to.vm)
        return (
            *(Need(AllOf(kind), How.AFTER) for kind in ("package", "service", "file")),
            Need(AllOf("network"), How.REQUIRES if me.spec.present else How.AFTER),
            *(Need(Address("vm", vm), How.KNOWS) for vm in vms),
        )

    def reads(self, me: Resource[ForwardsSpec]) -> Sequence[Read]:
        """The same for every spec."""
        return probe.READS

    def observe(self, me: Resource[ForwardsSpec], answers: Answers) -> Observation[Live]:
        """Always there, in some state, or unknown: no tool, no root."""
        try:
            return Present(probe.parse(answers))
        except ReadFailed as failed:
            package = _PACKAGES.get(failed.missing_tool or "")
            if package is None:
                raise
            hint = f"declare {package} in `packages`"
            return Unknown(failed.reason, (Address("package", package),), hint)

    def assess(self, resource: Resource[ForwardsSpec], seen: Observation[Live], inputs: Inputs) -> Assessment:
        """By the name of each forward; then what else would keep them from working, now or after a boot."""
        if isinstance(seen, Unknown):
            return Assessment()
        live = seen.live if isinstance(seen, Present) else Live()
        aim = goal(resource.spec, inputs)
        if not resource.spec.present:
            changes = tuple(_to_go(live))
            return Assessment((), (), changes, tuple(steps.remove(live)) if changes else (), _facts(live))
        changes = tuple(_to_come(aim, live))
        actions = tuple(steps.install(render(aim), aim, live)) if changes else ()
        return Assessment((), tuple(check.problems(aim, live)), changes, actions, _facts(live))

    def leftover_reads(self) -> Sequence[Question]:
        """Where there is any of our files, all."""
        return tuple(Asked(read, only_if=probe.TRACES) for read in probe.READS)

    def leftovers(self, answers: Answers, declared: frozenset[str]) -> Sequence[Leftover]:
        """All of it, if the spec has no word for forwards any more."""
        if declared or not answers.exists(probe.TRACES):
            return ()
        live = probe.parse(answers)
        return (Leftover("", tuple(_to_go(live)), tuple(steps.remove(live))),)


reconciler = ForwardReconciler()


def _to_come(aim: Table, live: Live) -> Iterator[Change]:
    table = live.table or Table()
    names = sorted({*aim.forwards, *table.forwards})
    differ = [name for name in names if aim.forwards.get(name) != table.forwards.get(name)]
    for name in differ:
        old, new = described(table.forwards.get(name)), described(aim.forwards.get(name))
        yield Change((name or "without a name",), f"{old}, edited" if old == new else old, new)
    if not differ and (table.strange or table.networks != aim.networks):
        yield Change(("table inet cxlstate",), ", ".join(table.strange) or "other networks", _GENERATED)
    for where, fault in live.gates.items():
        if fault is not None:
            yield Change(
                (f"gate in {where}",), None if fault == "missing" else fault, "ahead of what refuses"
            )
    if not live.forwarding:
        yield Change(("net.ipv4.ip_forward",), 0, 1)
    yield from _kept(render(aim), live, told=bool(differ))


def _kept(text: str, live: Live, *, told: bool) -> Iterator[Change]:
    """`told`: that the text of the table differs goes without saying."""
    for path in keepers.FILES:
        wanted = text if path == keepers.TABLE else keepers.content(path)
        now = live.files.get(path)
        if now != wanted and not (told and path == keepers.TABLE):
            yield Change((path,), None if now is None else _EDITED, _GENERATED)
        elif path in keepers.MODES and now is not None and not live.executable:
            yield Change((path,), "not executable", "executable")
    if live.unit.needs_reload and live.files.get(keepers.UNIT_FILE) == keepers.content(keepers.UNIT_FILE):
        yield Change(("systemd",), "has read another unit file", "has read this one")
    if live.unit.enabled != "enabled":
        yield Change((keepers.UNIT,), live.unit.enabled or None, "enabled")
    for daemon in live.deaf:
        yield Change((daemon,), "has not looked for the hook", "reloaded")


def _to_go(live: Live) -> Iterator[Change]:
    for name, elements in sorted((live.table or Table()).forwards.items()):
        yield Change((name or "without a name",), described(elements), None)
    if live.table is not None and not live.table.forwards:
        yield Change(("table inet cxlstate",), "there", None)
    for where, fault in live.gates.items():
        if fault != "missing":
            yield Change((f"gate in {where}",), fault or "ahead of what refuses", None)
    if live.unit.enabled in ("enabled", "enabled-runtime"):
        yield Change((keepers.UNIT,), "enabled", None)
    for path in keepers.FILES:
        if live.files.get(path) is not None:
            yield Change((path,), "there", None)


def _facts(live: Live) -> tuple[tuple[str, str], ...]:
    table = live.table or Table()
    forwards = [f"{name}: {described(one)}" for name, one in sorted(table.forwards.items())]
    gates = [f"{where}{f' ({fault})' if fault else ''}" for where, fault in live.gates.items()]
    return (
        ("forwards", "; ".join(forwards) or "none"),
        ("gates", ", ".join(gates) or "no filter in use"),
        *((("firewalls", ", ".join(live.managers)),) if live.managers else ()),
    )
