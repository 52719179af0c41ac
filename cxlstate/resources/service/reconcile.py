"""systemd units: enabled, running, masked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from cxlstate.core.action import Action, Risk, Run, undoing
from cxlstate.core.address import Address, AllOf
from cxlstate.core.answers import Answers
from cxlstate.core.assessment import Assessment, Later
from cxlstate.core.change import Change
from cxlstate.core.diagnostic import Diagnostic, Severity
from cxlstate.core.exports import Inputs
from cxlstate.core.observation import Absent, Observation, Present, Unknown
from cxlstate.core.read import Read
from cxlstate.core.reconciler import How, Need, Reconciler, Resource
from cxlstate.resources.service import ServiceKind, probe
from cxlstate.resources.service.probe import UnitLive
from cxlstate.resources.service.spec import Service, UnitName, unit_of

_ENABLED = ("enabled",)
_RUNNING = ("running",)
_MASKED = ("masked",)
_MASKS = "/etc/systemd/system/"

_SSH = frozenset({"ssh.service", "sshd.service", "ssh.socket", "sshd.socket"})

# What a stop interrupts beyond the service itself. libvirt-guests shuts the VMs down when it stops
# (libvirt-guests(8)); libvirtd does not.
_STOP_RISKS = {
    **dict.fromkeys(
        ("NetworkManager.service", "systemd-networkd.service", "networking.service", *_SSH), Risk.NETWORK_BLIP
    ),
    **dict.fromkeys(("libvirt-guests.service", "machine.slice", "machines.target"), Risk.POWER_OFF_VM),
}

# systemctl(1), is-enabled: states that `enable` and `disable` cannot change, and why.
_FIXED = {
    "static": "it has no [Install] section: other units pull it in",
    "indirect": "its [Install] section only names other units (Also=)",
    "alias": "it is another name of a unit",
    "generated": "a generator makes it at every boot",
    "transient": "it was made at run time",
    "bad": "its unit file is invalid",
    "": "it has no unit file",
}
_MAY_START_AT_BOOT = ("generated", "transient", "bad", "")


class ServiceReconciler(ServiceKind, Reconciler[Service, UnitLive]):
    """A unit; only of what is written."""

    model = Service
    key = UnitName

    def needs(self, me: Resource[Service]) -> Sequence[Need]:
        """Packages bring units; what they start may want its modules, and reads its files."""
        return tuple(Need(AllOf(kind), How.AFTER) for kind in ("package", "module", "file"))

    def reads(self, me: Resource[Service]) -> Sequence[Read]:
        """`systemctl show`, one call for all."""
        return (probe.show(unit_of(me.name)),)

    def observe(self, me: Resource[Service], answers: Answers) -> Observation[UnitLive]:
        """A unit that does not exist is as it should be where nothing was to be started."""
        unit = unit_of(me.name)
        live = probe.parse(unit, answers)
        if live is not None:
            return Present(live)
        if not (me.spec.enabled or me.spec.running):
            return Absent(f"no such unit: {unit}")
        return Unknown(
            f"no such unit: {unit}",
            cured_by=(AllOf("package"),),
            hint="declare the package that provides it in `packages`, or fix the name",
        )

    def assess(self, resource: Resource[Service], seen: Observation[UnitLive], inputs: Inputs) -> Assessment:
        """Only of what is written; a mask in the way of it counts as written."""
        spec, unit = resource.spec, unit_of(resource.name)
        if isinstance(seen, Unknown):
            waits = Later(f"which units {unit} conflicts with", seen.cured_by)
            return Assessment(later=(waits,) if spec.running else ())
        if isinstance(seen, Absent):
            facts = (("unit", "there is none"),)
            if spec.masked:
                change = Change(_MASKED, old=False, new=True)
                return Assessment((), (), (change,), (_systemctl("mask", unit, undo="unmask"),), facts)
            changes = _diff(spec, _to_come(unit))
            return Assessment((), (), changes, _actions(_to_come(unit), changes), facts)
        live = seen.live
        changes = _diff(spec, live)
        return Assessment(
            (),
            _problems(spec, live),
            changes,
            _actions(live, changes),
            _facts(live),
            shared=live if spec.running else None,
        )

    def together(self, assessed: Mapping[Address, Assessment], *, whole: bool = True) -> Sequence[Diagnostic]:
        """Units that are both to run, where to start one stops the other (Conflicts=, systemd.unit(5))."""
        wanted = {
            address: found.shared for address, found in assessed.items() if isinstance(found.shared, UnitLive)
        }
        of_unit = {name: address for address, live in wanted.items() for name in (live.id, *live.names)}
        pairs = {
            frozenset((address, of_unit[other])): (address, of_unit[other])
            for address, live in wanted.items()
            for other in live.conflicts & of_unit.keys()
        }
        return [one for pair in sorted(pairs.values()) for one in _conflict(*pair, wanted)]


reconciler = ServiceReconciler()


def _facts(live: UnitLive) -> tuple[tuple[str, str], ...]:
    """Both states in systemd's words, and the socket it waits behind."""
    waits = f", {live.socket} listens" if live.socket else ""
    return (("state", f"{live.state}{waits}"), ("at boot", live.file or "no unit file"))


def _conflict(one: Address, other: Address, wanted: Mapping[Address, UnitLive]) -> Iterator[Diagnostic]:
    """Of each of the two. Those that both run, behind their sockets, do no harm to each other."""
    if wanted[one].running and wanted[other].running:
        return
    for address in (one, other):
        yield Diagnostic(
            "CXV330",
            f"{one.name} and {other.name} cannot both run",
            path=_RUNNING,
            address=address,
            found=f"running: true for both, and {wanted[one].id} has Conflicts={wanted[other].id}",
            expected="at most one of them running",
            hint=f"write `{address.name}: {{running: false}}`",
        )


def _problems(spec: Service, live: UnitLive) -> tuple[Diagnostic, ...]:
    """What systemd could not do, and what may surprise."""
    found = (
        _not_loaded(spec, live),
        _cannot_be_masked(spec, live),
        _enabled_is_fixed(spec, live),
        _runs_once(spec, live),
        _locks_out(spec, live),
        _starts_again(spec, live),
    )
    return tuple(diagnostic for diagnostic in found if diagnostic)


def _diff(spec: Service, live: UnitLive) -> tuple[Change, ...]:
    return (*_diff_masked(spec, live), *_diff_enabled(spec, live), *_diff_running(spec, live))


def _actions(live: UnitLive, changes: Sequence[Change]) -> tuple[Action, ...]:
    """Unmask, enable, start; or stop, disable, mask."""
    wanted = {change.path: change.new for change in changes}
    unit = live.id  # not the name that was written: `enable` refuses an alias
    actions = []
    if wanted.get(_MASKED) is False:
        runtime = ("--runtime",) if live.file == "masked-runtime" else ()
        actions.append(
            _systemctl("unmask", unit, *runtime, undo="mask", why="nothing starts it while masked")
        )
    if _ENABLED in wanted:
        actions.append(_enable(unit, live) if wanted[_ENABLED] else _disable(unit, live))
    if _RUNNING in wanted:
        actions += _start(unit, live) if wanted[_RUNNING] else [_stop(unit, live)]
    if wanted.get(_MASKED) is True:
        actions.append(_systemctl("mask", unit, undo="unmask"))
    return tuple(actions)


def _to_come(unit: str) -> UnitLive:
    """What is planned for a unit that a package has yet to bring: as if it came switched off."""
    return UnitLive(
        id=unit,
        names=frozenset(),
        load="loaded",
        active="inactive",
        sub="dead",
        file="disabled",
        result="success",
        needs_reload=False,
        runs_once=False,
        socket=None,
    )


def _diff_masked(spec: Service, live: UnitLive) -> tuple[Change, ...]:
    """A mask below /run is gone at the next boot: it is in the way, and is none that was asked for."""
    wanted = False if spec.enabled or spec.running else spec.masked
    if wanted is None or (live.masked_for_good if wanted else not live.masked):
        return ()
    old = "masked-runtime" if wanted and live.masked else live.masked
    return (Change(_MASKED, old=old, new=wanted),)


def _diff_enabled(spec: Service, live: UnitLive) -> tuple[Change, ...]:
    if spec.enabled is None:
        return ()
    as_wanted = live.enabled if spec.enabled else live.file not in ("enabled", "enabled-runtime")
    old = {"enabled": True, "disabled": False}.get(live.file, live.file)
    return () if as_wanted else (Change(_ENABLED, old=old, new=spec.enabled),)


def _diff_running(spec: Service, live: UnitLive) -> tuple[Change, ...]:
    if spec.running is None:
        return ()
    as_wanted = live.running if spec.running else live.active in ("inactive", "failed")
    old = {"active": True, "inactive": False}.get(live.active, live.state)
    return () if as_wanted else (Change(_RUNNING, old=old, new=spec.running),)


def _enable(unit: str, live: UnitLive) -> Action:
    return _systemctl("enable", unit, undo="disable" if live.file == "disabled" else None)


def _disable(unit: str, live: UnitLive) -> Action:
    runtime = ("--runtime",) if live.file == "enabled-runtime" else ()
    return _systemctl("disable", unit, *runtime, undo="enable")


def _start(unit: str, live: UnitLive) -> list[Action]:
    """One that failed too often is not started again before its failure is forgotten."""
    actions = []
    if live.needs_reload:
        why = f"the file of {unit} was changed after systemd had read it"
        actions.append(
            Action("reload the unit files of systemd", Run(("systemctl", "daemon-reload")), why=why)
        )
    if live.active == "failed":
        actions.append(_systemctl("reset-failed", unit, why=f"it is {live.state}"))
    return [*actions, _systemctl("start", unit, undo="stop" if live.active == "inactive" else None)]


def _stop(unit: str, live: UnitLive) -> Action:
    risk = next((_STOP_RISKS[name] for name in (live.id, *live.names) if name in _STOP_RISKS), Risk.LIVE)
    return _systemctl("stop", unit, undo="start", risk=risk)


def _systemctl(
    verb: str, unit: str, *options: str, undo: str | None = None, risk: Risk = Risk.LIVE, why: str = ""
) -> Action:
    does = "forget the failure of" if verb == "reset-failed" else verb
    backward = undoing(Run(("systemctl", undo, *options), (unit,))) if undo else ()
    return Action(f"{does} {unit}", Run(("systemctl", verb, *options), (unit,)), risk, why, backward)


def _not_loaded(spec: Service, live: UnitLive) -> Diagnostic | None:
    if live.load not in ("error", "bad-setting", "not-found") or not (spec.running or spec.enabled):
        return None
    return Diagnostic(
        "CXV201",
        f"systemd cannot load {live.id}",
        found=live.load,
        expected="loaded",
        hint=f"run `systemd-analyze verify {live.id}` on the machine",
    )


def _cannot_be_masked(spec: Service, live: UnitLive) -> Diagnostic | None:
    """A mask is a link where the file is (`unit_file_mask` in systemd `src/shared/install.c`)."""
    if not spec.masked or live.masked or not live.path.startswith(_MASKS):
        return None
    return Diagnostic(
        "CXV204",
        f"{live.id} cannot be masked: its unit file is in {_MASKS.rstrip('/')}",
        path=_MASKED,
        found=live.path,
        expected="a unit file of a package, in /usr/lib/systemd/system",
        hint="write `enabled: false` and `running: false`, or move the unit file away",
    )


def _enabled_is_fixed(spec: Service, live: UnitLive) -> Diagnostic | None:
    fixed = live.file in (_FIXED if spec.enabled else _MAY_START_AT_BOOT)
    if spec.enabled is None or not fixed or live.load != "loaded":
        return None
    return Diagnostic(
        "CXV202",
        f"{live.id} cannot be {'enabled' if spec.enabled else 'disabled'}: {_FIXED[live.file]}",
        path=_ENABLED,
        found=live.file or "no unit file",
        expected="enabled or disabled",
        hint="remove `enabled`, or name the unit that starts it"
        if spec.enabled
        else "leave `enabled` out; `masked: true` keeps it from starting",
    )


def _runs_once(spec: Service, live: UnitLive) -> Diagnostic | None:
    if not spec.running or not live.runs_once:
        return None
    return Diagnostic(
        "CXV203",
        f"{live.id} exits after its work and cannot be kept running",
        path=_RUNNING,
        found="Type=oneshot, RemainAfterExit=no",
        hint="remove `running`; `enabled: true` runs it at every boot",
    )


def _locks_out(spec: Service, live: UnitLive) -> Diagnostic | None:
    """Said as long as it is still to come."""
    stops = spec.running is False and live.active not in ("inactive", "failed")
    goes = (spec.enabled is False and live.enabled) or (spec.masked is True and not live.masked_for_good)
    if not (stops or goes) or not _SSH & {live.id, *live.names}:
        return None
    return Diagnostic(
        "CXV301",
        f"stopping {live.id} may cut off SSH access to this machine",
        Severity.WARNING,
        found="running" if stops else "started at boot",
        hint="have a console at hand before you apply it",
    )


def _starts_again(spec: Service, live: UnitLive) -> Diagnostic | None:
    if spec.running is not False or live.socket is None:
        return None
    return Diagnostic(
        "CXV302",
        f"{live.socket} starts {live.id} again at the next connection",
        Severity.WARNING,
        path=_RUNNING,
        found=f"{live.socket} is active",
        hint=f"add {live.socket}: {{running: false}}",
    )
