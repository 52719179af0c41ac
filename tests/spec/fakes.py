"""Kinds that only have words: what the spec layer needs of a kind, in every shape."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from cxlstate.core.assessment import Assessment
from cxlstate.core.machine import HOST_ONLY, ROOT_ONLY
from cxlstate.core.model import Model, problem
from cxlstate.core.reconciler import Place, Reconciler, Shape
from cxlstate.core.units import CpuSet, MemoryAddress, Size


def _no_slash(text: str) -> str:
    if "/" in text:
        raise problem("CXS999", "no slash", found=text, expected="no slash", hint="leave it out")
    return text


class Boot(Model):
    """One of a machine."""

    args: tuple[str, ...] = ()
    """Words."""
    timeout: Annotated[int, Field(ge=0, le=60)] = 5
    """Seconds."""
    quiet: bool = False
    """Whether to be quiet."""


class Window(Model):
    """A nested mapping."""

    start: MemoryAddress
    """From here."""
    size: Size
    """This much."""


class Device(Model):
    """One of several."""

    range: Window
    """Where it is."""
    mode: Literal["devdax", "system-ram"] = "devdax"
    """What it is for."""
    cpus: CpuSet | None = None
    """Near CPUs."""
    label: Annotated[str, AfterValidator(_no_slash)] | None = None
    """A text without slash."""
    pins: tuple[CpuSet, ...] = ()
    """A list of sets."""


class Options(Model):
    """The long form of a switch."""

    at_boot: bool
    """At boot too."""


class Volume(Model):
    """An entry of a list with a name of its own."""

    target: Annotated[str, Field(min_length=1, pattern="^[a-z]+$")]
    """Its name."""
    size: Size
    """Its size."""


class Fake(Reconciler):
    def reads(self, me):
        return ()

    def observe(self, me, answers):
        raise NotImplementedError

    def assess(self, resource, seen, inputs):
        return Assessment()


def fake(kind, place, model, name=None):
    members = {"kind": kind, "place": place, "model": model}
    if name:
        members["name"] = lambda _self, spec: name(spec)
    return type(kind.capitalize(), (Fake,), members)()


KINDS = {
    kind.kind: kind
    for kind in (
        fake("boot", Place("boot", Shape.ONE, HOST_ONLY), Boot),
        fake("device", Place("devices", Shape.MAP, HOST_ONLY), Device),
        fake("switch", Place("switches", Shape.MAP, HOST_ONLY), Literal["present", "absent"] | Options),
        fake("word", Place("words", Shape.LIST, HOST_ONLY), str, lambda spec: spec),
        fake("volume", Place("volumes", Shape.LIST, ROOT_ONLY), Volume, lambda spec: spec.target),
    )
}
