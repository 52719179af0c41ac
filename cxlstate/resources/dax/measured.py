"""What of a dax device can be measured, and what its MTRRs let expect."""

from __future__ import annotations

from typing import Final

from cxlstate.core.measure import Measurable, Nanoseconds
from cxlstate.core.observation import Absent, Observation, Unknown
from cxlstate.formats import dax, mtrr
from cxlstate.resources.dax.probe import Live, Missing
from cxlstate.resources.dax.spec import DaxSpec

_LATENCY: Final = ("latency",)


def memory(spec: DaxSpec, seen: Observation[Live | Missing]) -> Measurable | str:
    """What is bound to device_dax can be mapped, whoever else holds it; nothing else can."""
    if isinstance(seen, Unknown):
        return f"{seen.reason}; {seen.hint}" if seen.hint else seen.reason
    if isinstance(seen, Absent):
        return seen.reason
    return _of(spec, seen.live)


def _of(spec: DaxSpec, live: Live | Missing) -> Measurable | str:
    if isinstance(live, Missing):
        return f"there is no such device: {live.instead}"
    if live.others:
        return f"several devices fit: {', '.join(one.name for one in (live.device, *live.others))}"
    name, driver, node = live.device.name, live.device.driver, live.device.target_node
    if driver == dax.KMEM:
        return f"{name} is system RAM (kmem): nothing to map; measure node:{node}"
    if driver != dax.DEVDAX:
        return f"{name} is bound to {driver}" if driver else f"{name} has no driver: nothing to map"
    cached, by = _expected(live)
    latency = Nanoseconds.parse(spec.latency) if spec.latency else None
    return Measurable(name, cached, by, latency, _LATENCY if latency else ())


def _expected(live: Live) -> tuple[bool | None, str]:
    """By the MTRRs, where all of it has one type and nothing is known to overrule them."""
    types = {one.effective for one in live.mapped}
    if types == {mtrr.UNCACHABLE} and not live.forced:
        return False, "its MTRRs are uncachable"
    if types == {mtrr.WRITE_BACK} and live.types == (mtrr.WRITE_BACK,):
        return True, "its MTRRs and its mapping are write-back"
    return None, ""
