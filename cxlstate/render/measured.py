"""What was measured of memory, as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from click import style

from cxlstate.core.address import ScopedAddress
from cxlstate.core.units import format_cpus
from cxlstate.engine.caching import Access, Measurement
from cxlstate.formats.loads import Loads, Part, undisturbed
from cxlstate.render.shown import field

_COLOURS = {Access.CACHED: "green", Access.UNCACHED: "cyan"}


def measured_text(found: Sequence[Measurement], indent: str = "  ") -> str:
    """Each with its verdict and the evidence, and below it the figures."""
    return "\n".join(line for one in found for line in _lines(one, indent))


def _lines(one: Measurement, indent: str) -> Iterator[str]:
    access = style(one.verdict.access.value, fg=_COLOURS.get(one.verdict.access, "yellow"), bold=True)
    yield f"{indent}{style(field(one.name), bold=True)}  {access}: {field(one.verdict.why)}"
    rows = _figures(one, one.loads) if one.loads else ()
    for name, text in rows:
        yield f"{indent}    {style(f'{name:<10}', dim=True)}{field(text)}"


def _figures(one: Measurement, loads: Loads) -> Iterator[tuple[str, str]]:
    yield "memory", f"{_times(loads, of_memory=True)}{_as_written(one)}"
    yield "ordinary", _times(loads, of_memory=False)
    if loads.firmware is not None:
        yield "firmware", f"says {loads.firmware} ns{_whence(loads)}"
    yield "measured", f"by {_processor(one, loads)}"
    if disturbs := _disturbs(loads):
        yield "may vary", "; ".join(disturbs)


def _times(loads: Loads, *, of_memory: bool) -> str:
    rounds = loads.memory if of_memory else loads.ordinary
    return f"first load {loads.first(rounds):.0f} ns, repeated {undisturbed(rounds.repeated):.3g} ns"


def _as_written(one: Measurement) -> str:
    latency = one.asked.latency if one.asked else None
    return f"; the spec says {latency}" if latency else ""


def _processor(one: Measurement, loads: Loads) -> str:
    node = "" if loads.node is None else f" of node {loads.node}"
    virtual = f", in a virtual machine ({one.vm})" if one.vm not in (None, "none") else ""
    return f"CPU {loads.cpu}{node} ({loads.model or 'of no name'}){virtual}"


def _whence(loads: Loads) -> str:
    """What the firmware says is of its own choice of nodes."""
    if not loads.initiators or loads.node in loads.initiators:
        return ""
    return f", from node {', '.join(map(str, loads.initiators))}"


def _disturbs(loads: Loads) -> list[str]:
    """What makes these figures other ones the next time."""
    found = []
    if loads.governor not in ("", "performance"):
        found.append(f"governor {loads.governor}")
    if loads.siblings:
        found.append(f"CPU {format_cpus(frozenset(loads.siblings))} shares its core")
    if loads.balancing:
        found.append("NUMA balancing")
    if not loads.cold:
        found.append("first loads may come from a cache")
    return found


def measured_json(one: Measurement) -> dict[str, Any]:
    """`address` is null of a node. `ns` and all that follows it is null where nothing was timed."""
    loads, asked = one.loads, one.asked
    expected = (
        None if not asked or asked.cached is None else Access.CACHED if asked.cached else Access.UNCACHED
    )
    return {
        "machine": one.machine,
        "name": one.name,
        "address": str(ScopedAddress(one.machine, one.address)) if one.address else None,
        "memory": asked.memory if asked else None,
        "verdict": one.verdict.access.value,
        "why": one.verdict.why,
        "expected": expected.value if expected else None,
        "latency": str(asked.latency) if asked and asked.latency else None,
        "ns": _nanoseconds(loads) if loads else None,
        "places": _places(loads) if loads else None,
        "cpu": loads.cpu if loads else None,
        "node": loads.node if loads else None,
        "processor": loads.model if loads else None,
        "virtual": one.vm,
        "disturbs": _disturbs(loads) if loads else None,
    }


def _places(loads: Loads) -> list[dict[str, float]]:
    """Where in a device repeated loads were timed, by the offset in bytes; none of a node."""
    first = [Part(0, loads.memory.repeated)] if loads.elsewhere else []
    return [
        {"offset": part.at, "repeated": round(undisturbed(part.repeated), 1)}
        for part in (*first, *loads.elsewhere)
    ]


def _nanoseconds(loads: Loads) -> dict[str, float | None]:
    """To a tenth. `firmware` is null where it says nothing."""
    return {
        "first": round(loads.first(loads.memory), 1),
        "repeated": round(undisturbed(loads.memory.repeated), 1),
        "ordinary_first": round(loads.first(loads.ordinary), 1),
        "ordinary_repeated": round(undisturbed(loads.ordinary.repeated), 1),
        "firmware": loads.firmware,
    }
