"""The way from the reservations there are to those that are wished, in steps that libvirt accepts.

What virNetworkUpdate does with a `<host>` (virNetworkDefUpdateIPDHCPHost in network_conf.c): it adds one
of which no other has the MAC, the IP or the name; it modifies the first one that has any of the three; it
deletes the first one of which all that is given is the same, where one without a MAC has every MAC.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from cxlstate.core.libvirt import Update
from cxlstate.formats.network_xml import Host, HostStep


@dataclass(frozen=True, slots=True)
class Wish:
    """What a MAC address is to get. Without a name, any is right."""

    ip: str
    name: str | None = None


@dataclass(frozen=True)
class Wishes:
    """By MAC address: who is to get what, and of whom no entry is to be left."""

    present: Mapping[str, Wish]
    gone: Collection[str] = frozenset()

    @cached_property
    def names(self) -> Mapping[str, str]:
        """Who is to have a name."""
        return {wish.name: mac for mac, wish in self.present.items() if wish.name}

    def concern(self, host: Host) -> bool:
        """Whether it is ours to change."""
        return host.mac in self.present or host.mac in self.gone

    def met_by(self, host: Host) -> bool:
        """Whether it is as it is to be."""
        return self.target(host) == host

    def target(self, host: Host) -> Host:
        """What is to become of it. A name that is not wished stays, unless another one is to have it."""
        wish = self.present[host.mac or ""]
        taken = self.names.get(host.name or "", host.mac) != host.mac
        return replace(host, ip=wish.ip, name=wish.name or (None if taken else host.name))


@dataclass(frozen=True, slots=True)
class InTheWay:
    """Somebody else's entry, which has what a wish needs: its `ip` or its `name`."""

    mac: str
    word: str
    host: Host


def in_the_way(hosts: Sequence[Host], wishes: Wishes) -> Iterator[InTheWay]:
    """Entries that nobody declared, and that have a wished address or name."""
    ips = {wish.ip: mac for mac, wish in wishes.present.items()}
    for host in hosts:
        if wishes.concern(host):
            continue
        if host.ip in ips:
            yield InTheWay(ips[host.ip], "ip", host)
        elif host.name and host.name in wishes.names:
            yield InTheWay(wishes.names[host.name], "name", host)


def not_to_be_told_apart(hosts: Sequence[Host], wishes: Wishes) -> Iterator[tuple[Host, Host]]:
    """What is to be deleted, and somebody else's entry that would go in its place."""
    entries = by_mac(hosts)
    others = [(at, host) for at, host in enumerate(hosts) if host.mac is None]
    for at, host in enumerate(hosts):
        if not host.mac or not wishes.concern(host):
            continue
        if host.mac in wishes.gone or len(entries[host.mac]) > 1:
            hit = next((one for before, one in others if before < at and _deletes(host, one)), None)
            if hit:
                yield host, hit


def _deletes(key: Host, one: Host) -> bool:
    """Whether a deletion of `key` may take this one."""
    return one.mac in (None, key.mac) and one.ip == key.ip and key.name in (None, one.name)


def by_mac(hosts: Sequence[Host]) -> Mapping[str, list[Host]]:
    """The entries of each MAC address: one, if nobody wrote them by hand."""
    found: dict[str, list[Host]] = {}
    for host in hosts:
        if host.mac is not None:
            found.setdefault(host.mac, []).append(host)
    return found


@dataclass(frozen=True, slots=True)
class Difference:
    """One MAC address of which the entries are not as they are to be. None: there is none."""

    mac: str
    old: str | None
    new: str | None


def differences(hosts: Sequence[Host], wishes: Wishes) -> tuple[Difference, ...]:
    """Those that are wished in their order, then those that are to go."""
    entries = by_mac(hosts)
    found = []
    for mac, wish in wishes.present.items():
        mine = entries.get(mac, [])
        if len(mine) != 1 or not wishes.met_by(mine[0]):
            found.append(Difference(mac, _all_said(mine), said(Host(mac, wish.ip, wish.name))))
    gone = sorted(mac for mac in wishes.gone if mac in entries)
    return (*found, *(Difference(mac, _all_said(entries[mac]), None) for mac in gone))


def said(host: Host) -> str:
    """An entry in few words."""
    return " ".join(filter(None, (host.ip, host.name)))


def _all_said(hosts: Sequence[Host]) -> str | None:
    return ", ".join(map(said, hosts)) or None


def steps(hosts: Sequence[Host], wishes: Wishes) -> tuple[HostStep, ...]:
    """The way, in order. Nobody may be in the way, and all that goes must be told apart."""
    return _Way(list(hosts), wishes).walked()


@dataclass
class _Way:
    """The entries as they are after the steps `taken`; `again` are those that have to come back."""

    now: list[Host]
    wishes: Wishes
    taken: list[HostStep] = field(default_factory=list)
    again: dict[str | None, Host] = field(default_factory=dict)
    ips: Counter[str | None] = field(default_factory=Counter)
    names: Counter[str | None] = field(default_factory=Counter)

    def walked(self) -> tuple[HostStep, ...]:
        """One entry a MAC address first, then each to its place, then those that have none yet."""
        self.ips.update(host.ip for host in self.now)
        self.names.update(host.name for host in self.now)
        for mac, mine in by_mac(self.now).items():
            self._leave_one(mac, mine)
        ours = [host for host in self.now if host.mac in self.wishes.present]
        self._move({host.mac: host for host in ours if not self.wishes.met_by(host)})
        there = by_mac(self.now)
        for mac, wish in self.wishes.present.items():
            if mac not in there:
                self._add(self.again.get(mac) or Host(mac, wish.ip, wish.name))
        return tuple(self.taken)

    def _leave_one(self, mac: str, mine: list[Host]) -> None:
        """None of who is to go. Which one is left of equals does not matter."""
        kept: Host | None = None
        if mac in self.wishes.present:
            kept = next(filter(self.wishes.met_by, mine), mine[0])
        elif mac not in self.wishes.gone:
            return
        for host in mine:
            if host is not kept:
                self._delete(host)

    def _move(self, left: dict[str | None, Host]) -> None:
        """Who finds its place free goes there. Where all wait in a circle, one steps out of it."""
        waiting = {place: host for host in left.values() for place in _places(self.wishes.target(host))}
        ready = deque(left.values())
        while left:
            host = ready.popleft() if ready else self._step_out(left)
            if host.mac in left:
                target = self._fitting(host)
                if not self._is_free(target, host):
                    continue
                self._take(HostStep(Update.MODIFY, self.now.index(host), target, host))
                del left[host.mac]
            freed = [waiting[place] for place in _places(host) if place in waiting]
            ready.extend(other for other in freed if other.mac in left)

    def _step_out(self, left: dict[str | None, Host]) -> Host:
        """It comes back when the others are where they are to be."""
        out = min(self._circle(list(left.values())), key=self._lost_of)
        self.again[out.mac] = self.wishes.target(out)
        self._delete(out)
        return left.pop(out.mac)

    def _circle(self, left: Sequence[Host]) -> Sequence[Host]:
        """Some of which each waits for the place of the next."""
        holders: dict[tuple[str, str], list[Host]] = {}
        for host in left:
            for place in _places(host):
                holders.setdefault(place, []).append(host)
        seen: dict[Host, None] = {}
        one = left[0]
        while one not in seen:
            seen[one] = None
            places = _places(self.wishes.target(one))
            one = next(other for place in places for other in holders.get(place, ()) if other is not one)
        return list(seen)[list(seen).index(one) :]

    def _lost_of(self, host: Host) -> int:
        """What nobody could write again, should this be stopped before it is added again."""
        unwritten = host.name is not None and self.wishes.present[host.mac or ""].name is None
        return unwritten + len(host.more) + len(host.inner)

    def _fitting(self, host: Host) -> Host:
        """Its target, without a name that it merely has and that is another one's too."""
        target = self.wishes.target(host)
        wished = self.wishes.present[host.mac or ""].name
        twice = self.names[target.name] > (host.name == target.name)
        return target if wished or not twice else replace(target, name=None)

    def _is_free(self, target: Host, host: Host) -> bool:
        """Whether nobody else has its address or name."""
        ip = self.ips[target.ip] == (host.ip == target.ip)
        return ip and (target.name is None or self.names[target.name] == (host.name == target.name))

    def _add(self, host: Host) -> None:
        if self.names[host.name] and host.name not in self.wishes.names:
            host = replace(host, name=None)
        last = self.taken.pop() if self.taken and not self.now else None
        if last is None:
            self._take(HostStep(Update.ADD_LAST, len(self.now), host))
        else:
            self._in_place_of(last, host)

    def _in_place_of(self, deletion: HostStep, host: Host) -> None:
        """The only entry goes with or after the one that follows it, so that `<dhcp>` is never empty.

        libvirt writes an empty one out as none, and `<bootp>` is gone (virNetworkIPDefFormat).
        """
        old = deletion.was or deletion.host
        self.now, self.ips, self.names = [old], Counter([old.ip]), Counter([old.name])
        if set(_places(old)) & set(_places(host)):
            self._take(HostStep(Update.MODIFY, 0, host, old))
        else:
            self._take(HostStep(Update.ADD_LAST, 1, host))
            self._take(deletion)

    def _delete(self, key: Host) -> None:
        at = next(at for at, one in enumerate(self.now) if _deletes(key, one))
        self._take(HostStep(Update.DELETE, at, key, self.now[at]))

    def _take(self, step: HostStep) -> None:
        """Do it here as libvirt will do it there."""
        self.taken.append(step)
        end = step.at if step.command is Update.ADD_LAST else step.at + 1
        new = [] if step.command is Update.DELETE else [step.host]
        for host, sign in ((step.was, -1), *((one, 1) for one in new)):
            if host:
                self.ips[host.ip] += sign
                self.names[host.name] += sign
        self.now[step.at : end] = new


def _places(host: Host) -> Iterator[tuple[str, str]]:
    """What only one entry can have."""
    for word, value in (("ip", host.ip), ("name", host.name)):
        if value is not None:
            yield word, value
