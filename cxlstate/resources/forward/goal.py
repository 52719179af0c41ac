"""What the table has to hold: the forwards of the spec, with the addresses that networks reserve for VMs."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network

from cxlstate.core.address import Address
from cxlstate.core.exports import Inputs, MacAddresses, Reservations
from cxlstate.formats.forward_table import ORIGINS, Element, Table, apart
from cxlstate.resources.forward.spec import Forward, ForwardsSpec


def goal(spec: ForwardsSpec, inputs: Inputs) -> Table:
    """The whole table; without a forward for whose VM nothing is reserved, which a rule refuses (CXY402)."""
    found = {name: frozenset(_elements(one, inputs)) for name, one in spec.present.items()}
    return Table({name: many for name, many in found.items() if many}, _networks(inputs))


def _networks(inputs: Inputs) -> frozenset[IPv4Network]:
    return apart(IPv4Network(one.subnet) for _, one in inputs.all(Reservations) if one.subnet)


def _elements(forward: Forward, inputs: Inputs) -> Iterator[Element]:
    to = _address(forward, inputs)
    if to is None:
        return
    listen, (first, last) = forward.listen, forward.listen.range
    address = str(listen.address or "")
    for origin in forward.sources:
        interface = listen.interface or "" if origin == ORIGINS[0] else ""
        if not forward.moved:
            yield Element(origin, listen.protocol, first, last, to, 0, interface, address)
            continue
        for number, port in enumerate(range(first, last + 1), start=forward.to.port or first):
            yield Element(origin, listen.protocol, port, port, to, number, interface, address)


def _address(forward: Forward, inputs: Inputs) -> str | None:
    """Of a VM with several interfaces that of the first one for which an address is reserved."""
    if forward.to.address is not None:
        return str(forward.to.address)
    vm = Address("vm", forward.to.vm or "")
    macs = [mac for address, one in inputs.all(MacAddresses) if address == vm for mac in one.macs]
    reserved = {mac: ip for _, one in inputs.all(Reservations) for mac, ip in one.pairs}
    return next((reserved[mac] for mac in macs if mac in reserved), None)


def described(elements: frozenset[Element] | None) -> str | None:
    """A forward in one line: `tcp 8080 on eno1 to 192.168.122.110:80 from outside`."""
    if not elements:
        return None
    first, last = min(one.first for one in elements), max(one.last for one in elements)
    some = max(elements, key=lambda one: (one.interface, one))
    there = min(one.to_port for one in elements)
    to = f"{some.to}:{_span(there, there + last - first)}" if there else some.to
    origins = ", ".join(origin for origin in ORIGINS if any(one.origin == origin for one in elements))
    of = f" of {some.address}" if some.address else ""
    on = f" on {some.interface}" if some.interface else ""
    return f"{some.protocol} {_span(first, last)}{of}{on} to {to} from {origins}"


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"
