"""What differs at each of the three stages: our drop-in, grub.cfg, the running kernel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from cxlstate.core.change import Change
from cxlstate.formats import kernel_cmdline
from cxlstate.formats.grub_drop_in import DropIn
from cxlstate.resources.grub.goal import Goal, arguments, own_running, surplus, surplus_running, visible
from cxlstate.resources.grub.probe import Live

DROP_IN: Final = "drop-in"
GRUB_CFG: Final = "grub.cfg"
RUNNING: Final = "running"


def stages(aim: Goal, live: Live) -> tuple[Change, ...]:
    """All that differs, stage by stage."""
    return (*_drop_in_changes(aim, live), *_grub_cfg_changes(aim), *_running_changes(aim, live))


def first_stages(changes: Sequence[Change]) -> Iterator[Change]:
    """What the drop-in lacks, grub.cfg and the running kernel lack because of it: not told again."""
    told: dict[str | int, set[str]] = {}
    for change in changes:
        stage, *subject = change.path
        words = set(str(subject[0] if subject else change.new or change.old).split())
        before = set().union(*(known for at, known in told.items() if at != stage))
        if not words <= before:
            told.setdefault(stage, set()).update(words)
            yield change


def _drop_in_changes(aim: Goal, live: Live) -> Iterator[Change]:
    now, then = live.drop_in, aim.drop_in
    if live.ours is not None and now is None:
        yield Change((DROP_IN,), "edited by hand", "as generated" if aim.text else None)
        return
    now = now or DropIn()
    yield from _list_changes(now.add, then.add, "")
    yield from _list_changes(now.drop, then.drop, "removal of ")
    if live.ours is not None and aim.text is None and (now.add, now.drop) == ((), ()):
        yield Change((DROP_IN,), "there, with nothing in it", None)


def _list_changes(now: tuple[str, ...], then: tuple[str, ...], word: str) -> Iterator[Change]:
    gone, come = Counter(now) - Counter(then), Counter(then) - Counter(now)
    for text in gone.elements():
        yield Change((DROP_IN,), word + text, None)
    for text in come.elements():
        yield Change((DROP_IN,), None, word + text)
    if now != then and not gone and not come:
        yield Change((DROP_IN,), word + " ".join(now), word + " ".join(then))


def _grub_cfg_changes(aim: Goal) -> Iterator[Change]:
    entries = [one.entry for one in aim.forecasts]
    total = len(entries)
    for unit in aim.wanted:
        have = sum(kernel_cmdline.holds(entry.arguments, unit.arguments) for entry in entries)
        if have < total:
            yield Change((GRUB_CFG, str(unit)), _of(have, total), _of(total, total))
    for pattern in aim.absent:
        have = sum(visible(pattern, one.entry.arguments, one.own) for one in aim.forecasts)
        allowed = sum(visible(pattern, arguments(one), one.own) for one in aim.forecasts)
        if have > allowed:
            yield Change((GRUB_CFG, str(pattern)), _of(have, total), _of(allowed, total))
    for text in aim.drop_in.retired:
        if left := sum(surplus(text, one) for one in aim.forecasts):
            yield Change((GRUB_CFG, text), f"left over {_of(left, total)}", None)
    for text in aim.drop_in.released:
        pattern = kernel_cmdline.read(text)
        have = sum(visible(pattern, entry.arguments) for entry in entries)
        back = sum(visible(pattern, arguments(one)) for one in aim.forecasts)
        yield Change((GRUB_CFG, text), _of(have, total), _of(back, total))


def _of(count: int, total: int) -> str:
    return f"in {count} of {total} boot entries"


def _running_changes(aim: Goal, live: Live) -> Iterator[Change]:
    for unit in aim.wanted:
        if not kernel_cmdline.holds(live.running, unit.arguments):
            yield Change((RUNNING,), None, str(unit), pending=True)
    own = own_running(live, aim.forecasts)
    for pattern in aim.absent:
        if visible(pattern, live.running, own):
            yield Change((RUNNING,), str(pattern), None, pending=True)
    for text in aim.drop_in.retired:
        if surplus_running(text, live, aim.forecasts):
            yield Change((RUNNING,), text, None, pending=True)
