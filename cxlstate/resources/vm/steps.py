"""What makes a VM, edits it, starts and stops it: the actions."""

from __future__ import annotations

from collections.abc import Iterator

from cxlstate.core.action import Action, Risk, undoing
from cxlstate.core.domain import Domain
from cxlstate.core.exports import Inputs
from cxlstate.core.libvirt import (
    AutostartDomain,
    DefineDomain,
    EditDomain,
    LinkInterface,
    PinDomain,
    RestoreDomain,
    StartDomain,
    StopDomain,
    TuneNuma,
    UndefineDomain,
)
from cxlstate.core.reconciler import Resource
from cxlstate.formats.domain_xml import Difference
from cxlstate.resources.vm.compare import PINS, Compared
from cxlstate.resources.vm.probe import Live
from cxlstate.resources.vm.spec import VmSpec
from cxlstate.resources.vm.wish import path_of

Me = Resource[VmSpec]


def define(me: Me, xml: str) -> Action:
    """A VM that is not there. What fails behind it leaves the definition, which is what is wished."""
    return Action(f"define the VM {me.name}", DefineDomain(me.name, xml))


def edits(me: Me, wished: Domain, live: Live, found: Compared) -> tuple[Action, ...]:
    """The definition, and then what of it can be had at once."""
    define_again = Action(f"edit the definition of {me.name}", EditDomain(me.name, wished, live.digest))
    return (*((define_again,) if found.defined else ()), *_at_once(me, wished, live, found.live))


def _at_once(me: Me, wished: Domain, live: Live, differences: tuple[Difference, ...]) -> Iterator[Action]:
    for one in differences:
        match one.path:
            case (str(word), *rest) if word in PINS:
                yield _pin(me, wished, live, word, rest[0] if rest else None)
            case ("interfaces", int(index), "link"):
                interface = (wished.interfaces or ())[index]
                up = bool(interface.link)
                does = f"{'plug in' if up else 'pull out'} the cable of {interface.mac}"
                yield Action(
                    does,
                    LinkInterface(me.name, interface.mac, up),
                    Risk.LIVE if up else Risk.NETWORK_BLIP,
                    undo=undoing(LinkInterface(me.name, interface.mac, not up)),
                )
            case ("numatune", "nodeset") if wished.numa_nodeset:
                yield Action(
                    "take memory from other nodes from now on", TuneNuma(me.name, wished.numa_nodeset)
                )


def _pin(me: Me, wished: Domain, live: Live, word: str, index: int | str | None) -> Action:
    """One thread; back to where it was if something behind it fails."""
    of, before = PINS[word], live.active
    if word == "emulatorpin":
        cpus, number = wished.emulatorpin or frozenset(), 0
        was = before.emulatorpin if before else None
    else:
        number, cpus = (getattr(wished, word) or ())[index if isinstance(index, int) else 0]
        was = dict((getattr(before, word) if before else None) or ()).get(number)
    which = of.value if word == "emulatorpin" else f"{of.value} {number}"
    return Action(
        f"pin {which} of {me.name}",
        PinDomain(me.name, of, cpus, number),
        undo=undoing(PinDomain(me.name, of, was, number)) if was else (),
    )


def autostart(me: Me) -> Action:
    """With the host, or not."""
    on = bool(me.spec.autostart)
    does = f"{'enable' if on else 'disable'} autostart of {me.name}"
    return Action(does, AutostartDomain(me.name, on), undo=undoing(AutostartDomain(me.name, not on)))


def start(me: Me, inputs: Inputs, *, activation: bool = False) -> Action:
    """Only if what it opens is there at that moment."""
    return Action(
        f"start {me.name}",
        StartDomain(me.name, devices(me, inputs)),
        activation=activation,
        interrupts=me.address,
    )


def stop(me: Me, *, stays_off: bool, activation: bool = False) -> Action:
    """Asked to shut down; its power is cut only where that was allowed. Undone, it runs as it did."""
    return Action(
        f"shut down {me.name}",
        StopDomain(me.name, me.spec.shutdown_timeout),
        Risk.POWER_OFF_VM if stays_off else Risk.RESTART_VM,
        undo=undoing(RestoreDomain(me.name)),
        activation=activation,
        interrupts=me.address,
    )


def restart(me: Me, inputs: Inputs) -> tuple[Action, ...]:
    """What puts the definition into force. The guest's own reboot does not."""
    stops = stop(me, stays_off=False, activation=True)
    return (stops, start(me, inputs, activation=True))


def forget(me: Me, live: Live) -> tuple[Action, ...]:
    """Off, and undefined. Its NVRAM and disks are kept."""
    stops = (stop(me, stays_off=True),) if live.runs else ()
    return (*stops, Action(f"undefine {me.name}", UndefineDomain(me.name), Risk.DESTROY_DATA))


def devices(me: Me, inputs: Inputs) -> tuple[str, ...]:
    """Paths behind which there has to be a dax device when it starts."""
    entries = me.spec.nvdimm or ()
    return tuple(path_of(one, inputs) for one in entries if one.dax and one.state == "present")
