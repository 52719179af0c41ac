"""One `apply` as a person sees it: shows, asks, reports, and listens for Ctrl-C."""

from __future__ import annotations

import secrets
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import FrameType
from typing import Any

import click

from cxlstate import __version__
from cxlstate.adapters.open_writer import open_writer
from cxlstate.cli.common import at_terminal, say_json, say_problems
from cxlstate.cli.ended import problems_of
from cxlstate.core.address import Address
from cxlstate.core.consent import Consents
from cxlstate.core.diagnostic import CxlstateError, Diagnostic, fail
from cxlstate.engine.apply import Applied, Converger
from cxlstate.engine.plan import Exit, MachinePlan, ResourcePlan, Status, worst
from cxlstate.engine.promise import Promise
from cxlstate.engine.survey import look, narrowed
from cxlstate.render import document
from cxlstate.render.applied import applied_text
from cxlstate.render.moved import moved, without_places
from cxlstate.render.output import Unwritable, say
from cxlstate.render.progress import Progress
from cxlstate.render.terminal import plan_text
from cxlstate.resources import kinds
from cxlstate.spec.load import Loaded, MachineSpec
from cxlstate.spec.names import Only


@dataclass
class Session:
    """One `apply` over all machines of the given specs, one after the other."""

    consents: Consents
    yes: bool
    as_json: bool
    only: Only | None
    kept: dict[str, dict[str, Any]]
    _stop: bool = False
    _told: set[Diagnostic] = field(default_factory=set)

    def apply(self, loaded: Loaded) -> int:
        """Apply to every machine; a machine that fails does not keep the others from it."""
        exits, plans, found = [], [], list(loaded.diagnostics)
        self._tell(loaded.diagnostics)
        with self._listening():
            for spec in narrowed(loaded.specs, self.only):
                exit_, plan, diagnostics = self._guarded(spec)
                exits.append(exit_)
                plans.append(plan)
                found += diagnostics
                if self._stop:
                    break
        if self.as_json:
            say_json(plans, found)
        return worst(exits)

    def _guarded(self, spec: MachineSpec) -> tuple[Exit, MachinePlan, list[Diagnostic]]:
        """As `_machine`; what ends the work on one machine is told, and the others have their turn."""
        try:
            return self._machine(spec)
        except (Unwritable, click.ClickException, click.Abort):
            raise
        except Exception as error:  # noqa: BLE001  # a defect that one machine shows
            diagnostics = tuple(one.on(spec.name) for one in problems_of(error))
            self._tell(diagnostics)
            return Exit.ERROR, MachinePlan(spec, diagnostics=diagnostics), []

    def _machine(self, spec: MachineSpec) -> tuple[Exit, MachinePlan, list[Diagnostic]]:
        """Exit status, last plan, and the problems that are not in that plan."""
        shown: MachinePlan | None = None
        if not self.yes:
            shown = look(spec, kinds(), self._only(spec))
            self._show(shown)
            if not _has_work(shown):
                return shown.exit, shown, []
            if not at_terminal() or self.as_json:
                say(
                    "nothing was done: no terminal to ask at; --yes applies what interrupts nothing",
                    err=True,
                )
                return worst([Exit.REFUSED, shown.exit]), shown, []
            if not click.confirm(f"Do this on {spec.name}?", default=False):
                say("nothing was done", err=True)
                return worst([Exit.REFUSED, shown.exit]), shown, []
        applied = self._converge(spec, shown)
        return applied.exit, applied.plan, applied.diagnostics

    def _converge(self, spec: MachineSpec, shown: MachinePlan | None) -> Applied:
        progress = Progress(quiet=self.as_json)
        run = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
        writer = open_writer(spec.connect, spec.name, progress=progress.waits)
        try:
            converger = Converger(
                spec, writer, kinds(), self.consents.with_live(), run, __version__, progress,
                only=self._only(spec), stop=lambda: self._stop, sleep=time.sleep,
            )  # fmt: skip
            plan = converger.plan()
            self._refuse_stale(spec, plan, shown)
            converger.promise = Promise(plan) if self.kept else None
            if self.yes:
                self._show(plan)
            applied = converger.converge(plan)
        finally:
            progress.end()
            writer.close()
        if not self.as_json:
            say(applied_text(applied))
            self._tell([*applied.diagnostics, *applied.plan.all_diagnostics])
        return applied

    def _only(self, spec: MachineSpec) -> frozenset[Address] | None:
        return self.only[spec.name] if self.only else None

    def _refuse_stale(self, spec: MachineSpec, plan: MachinePlan, shown: MachinePlan | None) -> None:
        """What is done is what was shown, or nothing."""
        before = document.machine(shown) if shown else None
        if self.kept:
            before = self.kept.get(spec.name, {})  # of a machine that was not in the plan nothing was shown
        if before is None:
            return
        before, now = without_places(before), without_places(document.machine(plan))
        if before != now:
            if defects := tuple(one for one in plan.all_diagnostics if one.code == "CXE900"):
                raise CxlstateError(defects)  # nothing moved: only a writer knows what nobody performs
            raise fail(
                "CXE205",
                "plan is stale: the machine or its spec changed since",
                machine=spec.name,
                found=moved(before, now) if "name" in before else "a machine that is not in the plan",
                hint="nothing was done; run `cxlstate plan` again and review it",
            )

    def _show(self, plan: MachinePlan) -> None:
        if not self.as_json and (plan.exit or plan.all_diagnostics):
            say(plan_text(plan) + "\n")
            self._tell(plan.all_diagnostics)

    def _tell(self, diagnostics: Sequence[Diagnostic]) -> None:
        """Print problems, each once in a run: many hold before the work as after it."""
        if not self.as_json:
            say_problems([one for one in diagnostics if one not in self._told])
            self._told.update(diagnostics)

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """First Ctrl-C: end after the action that runs. Second: leave it to itself."""

        def heard(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001  # the signal module's signature
            if self._stop:
                raise KeyboardInterrupt
            self._stop = True
            say("\nstopping after the running action; Ctrl-C again stops waiting for it", err=True)

        before = signal.signal(signal.SIGINT, heard)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


def _has_work(plan: MachinePlan) -> bool:
    return any(_is_work(resource) for resource in plan.resources)


def _is_work(resource: ResourcePlan) -> bool:
    return resource.status in (Status.CHANGE, Status.PENDING_REBOOT, Status.PENDING_RESTART)
