"""One `apply` as a person sees it: shows, asks, reports, and listens for Ctrl-C."""

from __future__ import annotations

import secrets
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from types import FrameType

import click

from cxlstate import __version__
from cxlstate.adapters.open_writer import open_writer
from cxlstate.cli.common import at_terminal, say_json, say_plan, say_problems, trees
from cxlstate.cli.ended import problems_of
from cxlstate.cli.plan_file import PlanFile
from cxlstate.core.consent import Consents
from cxlstate.core.diagnostic import CxlstateError, Diagnostic, fail
from cxlstate.engine.apply import Applied, Converger
from cxlstate.engine.plan import Exit, Plan, ResourcePlan, Status, worst
from cxlstate.engine.promise import Promise
from cxlstate.engine.survey import look, narrowed, without_plan
from cxlstate.engine.writing import Writers
from cxlstate.render.applied import applied_text, promise_text
from cxlstate.render.output import Unwritable, say
from cxlstate.render.progress import Progress
from cxlstate.resources import kinds
from cxlstate.spec.load import Loaded
from cxlstate.spec.names import Only
from cxlstate.spec.tree import Tree


@dataclass
class Session:
    """One `apply` over all trees of the given specs, one after the other."""

    consents: Consents
    yes: bool
    as_json: bool
    targets: tuple[str, ...]
    only: Only | None
    kept: PlanFile | None = None
    _stop: bool = False
    _told: set[Diagnostic] = field(default_factory=set)

    def apply(self, loaded: Loaded) -> int:
        """Apply to every tree; one that fails does not keep the others from it."""
        exits, plans, found = [], [], list(loaded.diagnostics)
        self._tell(loaded.diagnostics)
        with self._listening():
            for tree in narrowed(trees(loaded), self.only):
                exit_, plan, diagnostics = self._guarded(tree)
                exits.append(exit_)
                plans.append(plan)
                found += diagnostics
                if self._stop:
                    break
        if self.as_json:
            say_json(plans, found, self.targets)
        return worst(exits)

    def _guarded(self, tree: Tree) -> tuple[Exit, Plan, Sequence[Diagnostic]]:
        """As `_tree`; what ends the work on one is told, and the others have their turn."""
        try:
            return self._tree(tree)
        except (Unwritable, click.ClickException, click.Abort):
            raise
        except Exception as error:  # noqa: BLE001  # a defect that one tree shows
            diagnostics = tuple(one if one.machine else one.on(tree.host.id) for one in problems_of(error))
            self._tell(diagnostics)
            return Exit.ERROR, without_plan(tree, diagnostics), []

    def _tree(self, tree: Tree) -> tuple[Exit, Plan, Sequence[Diagnostic]]:
        """Exit status, last plan, and the problems that are not in that plan."""
        promise: Promise | None = None
        if not self.yes:
            shown = look(tree, kinds(), self.only)
            self._show(shown)
            can_ask = at_terminal() and not self.as_json
            if not any(map(_is_work, shown.resources)) and not (can_ask and shown.has_new_keys):
                return shown.exit, shown, []
            if not can_ask:
                said = "nothing was done: no terminal to ask at; --yes applies what interrupts nothing"
                say(said, err=True)
                return worst([Exit.REFUSED, shown.exit]), shown, []
            if not click.confirm(f"Do this on {tree.host.id}?", default=False):
                say("nothing was done", err=True)
                return worst([Exit.REFUSED, shown.exit]), shown, []
            promise = Promise.of(shown)
        applied = self._converge(tree, promise)
        return applied.exit, applied.plan, applied.diagnostics

    def _converge(self, tree: Tree, shown: Promise | None) -> Applied:
        """`shown` is what a person has just agreed to; a plan file is what somebody has agreed to before."""
        progress = Progress(quiet=self.as_json)
        run = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
        writers = Writers(partial(open_writer, progress=progress.waits))
        try:
            converger = Converger(
                tree, writers, kinds(), self.consents.with_live(), run, __version__, progress,
                only=self.only, stop=lambda: self._stop, sleep=time.sleep,
            )  # fmt: skip
            plan = converger.plan()
            if self.kept:
                if tree.host.id not in self.kept.promises:
                    raise _of_another(self.kept, tree)
                converger.promise = self.kept.promises[tree.host.id]
                self._keep_to(converger.promise, plan)
            elif shown:
                _refuse(shown.differs(plan), plan)
            else:
                self._show(plan)
            applied = converger.converge(plan)
        finally:
            progress.end()
            writers.close()
        if not self.as_json:
            say(applied_text(applied))
            self._tell([*applied.diagnostics, *applied.plan.all_diagnostics])
        return applied

    def _keep_to(self, promise: Promise, plan: Plan) -> None:
        """What is done is what the file holds, or nothing."""
        _refuse(promise.stale(plan), plan)
        if not self.as_json and self.kept:
            its = [one.at for one in plan.resources if promise.holds(one)]
            say(promise_text(str(self.kept.path), its, plan.tree.host.id, self.kept.made) + "\n")
            self._tell(plan.all_diagnostics)

    def _show(self, plan: Plan) -> None:
        if not self.as_json and (plan.exit or plan.all_diagnostics or plan.has_new_keys):
            problems = [one for one in plan.all_diagnostics if one not in self._told]
            self._told.update(problems)
            say_plan(plan, problems)
            say("", blank=True)

    def _tell(self, diagnostics: Sequence[Diagnostic]) -> None:
        """Print problems, each once in a run: many hold before the work as after it."""
        if not self.as_json:
            say_problems([one for one in dict.fromkeys(diagnostics) if one not in self._told])
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


def _of_another(kept: PlanFile, tree: Tree) -> CxlstateError:
    """What was shown was shown of another host."""
    return fail(
        "CXE205",
        f"plan is stale: {kept.path} holds nothing of {tree.host.id}",
        machine=tree.host.id,
        found=", ".join(kept.promises),
        hint="nothing was done; run `cxlstate plan` again and review it",
    )


def _refuse(stale: Sequence[Diagnostic], plan: Plan) -> None:
    """Nothing is done of a plan that moved. A defect is told as such: a writer knows what nobody performs."""
    if stale:
        defects = tuple(one for one in plan.all_diagnostics if one.code == "CXE900")
        raise CxlstateError(defects or tuple(stale))


def _is_work(resource: ResourcePlan) -> bool:
    return resource.status in (Status.CHANGE, Status.PENDING_REBOOT, Status.PENDING_RESTART)
