"""Networks converge from wherever an apply was stopped, and nothing is changed that nobody named.

`Host` does to a network what libvirt and the kernel do to it. Its taps are plugged into the bridge until
somebody stops the network, and stay in none until somebody plugs them in again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from xml.etree import ElementTree as ET

from hypothesis import example, given, settings
from hypothesis import strategies as st

from cxlstate.core.action import Action, Effect, RemoveFile, Risk, Run, WriteFile
from cxlstate.core.address import Address
from cxlstate.core.answers import Answer, Answers
from cxlstate.core.diagnostic import Severity
from cxlstate.core.exports import Inputs
from cxlstate.core.libvirt import (
    AutostartNetwork,
    DefineNetwork,
    StartNetwork,
    StopNetwork,
    UndefineNetwork,
    Update,
    UpdateNetwork,
)
from cxlstate.core.observation import Absent, Present
from cxlstate.core.read import Attributes, Command, File, LibvirtNetwork, Names, Read
from cxlstate.core.reconciler import Resource
from cxlstate.formats.network_xml import parse
from cxlstate.resources.network.reconcile import reconciler
from cxlstate.resources.network.spec import NetworkSpec

NAME, LIST = "lab", "/etc/cxlstate/networks/lab"
TAPS = ("vnet0", "vnet1")
THEIRS = "<host mac='52:54:00:aa:00:01' name='theirs' ip='10.0.0.200'/>"
ORIGINAL = f"""<network>
  <name>lab</name>
  <uuid>9e2f3a5c-0d1b-4c8e-8a57-3b1c6d2f4e90</uuid>
  <forward mode='nat'/>
  <bridge name='virbr7' stp='on' delay='0'/>
  <ip address='10.0.0.1' netmask='255.255.255.0'>
    <dhcp>
      <range start='10.0.0.2' end='10.0.0.99'/>
      {THEIRS}
    </dhcp>
  </ip>
</network>
"""


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass
class Host:
    """One network, the files of the host, and the taps with the bridge that each is in."""

    inactive: str | None = ORIGINAL
    active: str | None = ORIGINAL
    autostart: bool = False
    files: dict[str, str] = field(default_factory=dict)
    taps: dict[str, str | None] = field(default_factory=lambda: dict.fromkeys(TAPS, "virbr7"))
    isolated: str = TAPS[1]
    performed: list[Action] = field(default_factory=list)

    def answer(self, read: Read) -> Answer:
        match read:
            case LibvirtNetwork():
                parts = {"inactive.xml": self.inactive, "active.xml": self.active}
                if self.inactive or self.active:
                    parts |= {"facts": f"autostart={'yes' if self.autostart else 'no'}", "ports": ""}
                there = {name: Answer(0, text.encode()) for name, text in parts.items() if text is not None}
                return Answer(0, files=there)
            case File(path=path) if path in self.files:
                return Answer(0, self.files[path].encode())
            case File(path=path):
                return Answer(1, stderr=f"cat: {path}: No such file or directory")
            case Attributes():
                return Answer(0, files={f"/sys/class/net/{self.isolated}/brport/isolated": Answer(0, b"1\n")})
            case Names(pattern=pattern):
                plugged = [f"/sys/class/net/{on}/brif/{tap}" for tap, on in self.taps.items() if on]
                every = [f"/sys/class/net/{tap}" for tap in self.taps]
                found = plugged if "brif" in pattern else every
                return Answer(0, files={path: Answer(0) for path in found})
            case Command():
                return Answer(1)
        raise AssertionError(read)

    def perform(self, effect: Effect) -> None:  # noqa: C901, PLR0912 -- a case for each
        match effect:
            case WriteFile(path=path, content=content, expected=expected):
                assert expected == (_digest(self.files[path]) if path in self.files else None)
                self.files[path] = content.decode()
            case RemoveFile(path=path, expected=expected):
                assert _digest(self.files.pop(path)) == expected
            case DefineNetwork(xml=xml, expected=expected):
                assert expected == (_digest(self.inactive) if self.inactive else None)
                self.inactive = xml
            case UpdateNetwork():
                assert effect.live or effect.config
                if effect.live:
                    assert self.active
                    self.active = _updated(self.active, effect)
                if effect.config:
                    assert self.inactive
                    self.inactive = _updated(self.inactive, effect)
            case StartNetwork():
                self.active = self.active or self.inactive
            case StopNetwork():
                self.taps, self.isolated = dict.fromkeys(self.taps), ""
                self.active = None
            case AutostartNetwork(on=on):
                self.autostart = on
            case UndefineNetwork():
                assert self.active is None
                self.inactive, self.autostart = None, False
            case Run(argv=("ip", "link", "set", "dev", tap, "master", bridge, "up")):
                assert self.active
                assert parse(self.active).bridge in (bridge, None)
                self.taps[tap] = bridge
            case Run(argv=("bridge", "link", "set", "dev", tap, "isolated", "on")):
                assert self.taps[tap]
                self.isolated = tap
            case _:
                raise AssertionError(effect)

    def plan(self, spec: NetworkSpec) -> tuple[Sequence[Action], bool]:
        """What the engine would do next with every consent, and whether nothing is left to do."""
        me = Resource(Address("network", NAME), spec)
        observed = reconciler.observe(me, Answers({read: self.answer(read) for read in reconciler.reads(me)}))
        assert isinstance(observed, Present | Absent)
        found = reconciler.assess(me, observed, Inputs({}))
        assert not [one for one in found.problems if one.severity is Severity.ERROR]
        pending = bool(found.changes) and all(change.pending for change in found.changes)
        todo = [action for action in found.actions if action.activation == pending]
        assert bool(todo) == bool(found.changes)
        return todo, not found.changes

    def meaning(self) -> object:
        """What it comes to, whatever the order in which it is written."""
        kept = {path: text for path, text in self.files.items() if not path.startswith("/run")}
        plugged = (dict(self.taps), self.isolated)
        return _meaning(self.inactive), _meaning(self.active), self.autostart, kept, plugged

    def converge(self, spec: NetworkSpec, stop_after: int = 99) -> None:
        """Plan and act until there is nothing to do, or stop after some actions: the power goes."""
        for _ in range(4):
            actions, done = self.plan(spec)
            if done:
                return
            for action in actions:
                if stop_after == 0:
                    return
                stop_after -= 1
                self.perform(action.effect)
                self.performed.append(action)
        raise AssertionError("it never comes to an end")


def _updated(text: str, effect: UpdateNetwork) -> str:
    """As virNetworkUpdate changes the only `<ip>`: test_updates has its rules for hosts."""
    root, new = ET.fromstring(text), ET.fromstring(effect.xml)
    dhcp = root.find("ip/dhcp")
    if dhcp is None:
        dhcp = ET.SubElement(root.findall("ip")[0], "dhcp")
    same = [one for one in dhcp.findall(new.tag) if one.attrib.items() >= new.attrib.items()]
    clashing = [one for one in dhcp.findall("host") if _clashes(one, new)]
    match effect.command, effect.section:
        case Update.DELETE, _:
            dhcp.remove(same[0])
        case Update.ADD_LAST, "ip-dhcp-range":
            assert not same
            dhcp.append(new)
        case Update.ADD_LAST, _:
            assert not clashing
            dhcp.append(new)
        case _:
            (one,) = clashing
            one.attrib.clear()
            one.attrib.update(new.attrib)
    return ET.tostring(root, encoding="unicode")


def _meaning(text: str | None) -> object:
    if text is None:
        return None
    found = parse(text)
    return found.address, found.bridge, found.forward, frozenset(found.hosts), frozenset(found.ranges)


def _clashes(one: ET.Element, new: ET.Element) -> bool:
    return any(one.get(key) == new.get(key) is not None for key in ("mac", "ip", "name"))


def _spec(shape: tuple[str, int], members: list[tuple[int, int, str | None]], **words: object) -> NetworkSpec:
    base, size = shape
    macs, ips, names = set(), set(), set()
    reservations = []
    for mac, ip, name in members:
        if mac not in macs and ip not in ips and (name is None or name not in names):
            macs.add(mac)
            ips.add(ip)
            names.add(name)
            reservations.append({"mac": f"52:54:00:00:00:0{mac}", "ip": f"{base}.{ip}", "name": name})
    return NetworkSpec.model_validate(
        {
            "address": f"{base}.1/{size}",
            "dhcp": {"start": f"{base}.2", "end": f"{base}.90"},
            "reservations": reservations,
            **words,
        }
    )


members = st.lists(
    st.tuples(st.integers(1, 4), st.integers(100, 104), st.sampled_from([None, "a", "b"])), max_size=4
)
specs = st.builds(
    _spec,
    st.sampled_from([("10.0.0", 24), ("10.0.0", 25), ("10.9.0", 24)]),
    members,
    active=st.sampled_from([None, True, False]),
    autostart=st.sampled_from([None, True]),
    bridge=st.sampled_from([None, "virbr7", "virbr8"]),
    forward=st.sampled_from([None, "nat", "isolated"]),
    state=st.sampled_from(["present", "present", "present", "absent"]),
)


@settings(max_examples=80, deadline=None)
@given(specs, specs, st.integers(0, 9), st.sampled_from([None, ORIGINAL]))
@example(_spec(("10.0.0", 25), []), _spec(("10.0.0", 24), [], bridge="virbr8"), 4, ORIGINAL)
def test_it_converges_from_wherever_it_was_stopped(
    first: NetworkSpec, second: NetworkSpec, stop_after: int, there: str | None
) -> None:
    host = Host(there, there, taps=dict.fromkeys(TAPS if there else (), "virbr7"))
    host.converge(first, stop_after)
    was_up = host.active is not None or "/run/cxlstate/networks/lab" in host.files
    host.converge(second)
    assert host.plan(second) == ([], True)
    assert "/run/cxlstate/networks/lab" not in host.files
    if second.state == "absent":
        assert (host.inactive, host.active, host.files) == (None, None, {})
        return
    _assert_wished(host, second)
    if second.active is None and there and first.state == "present":
        assert (host.active is not None) == was_up


def _assert_wished(host: Host, spec: NetworkSpec) -> None:
    declared = {one.mac: (str(one.ip), one.name) for one in spec.reservations}
    listed = [line for line in host.files.get(LIST, "").splitlines() if not line.startswith("#")]
    assert listed == sorted(declared)
    for text in filter(None, (host.inactive, host.active)):
        definition = parse(text)
        hosts = {one.mac: one for one in definition.hosts}
        assert declared.keys() <= hosts.keys() <= {*declared, "52:54:00:aa:00:01"}
        assert all(hosts[mac].ip == ip for mac, (ip, _) in declared.items())
        assert all(hosts[mac].name == name for mac, (_, name) in declared.items() if name)
        assert definition.address == spec.address
    assert spec.active is None or (host.active is not None) == spec.active


@settings(max_examples=100, deadline=None)
@given(specs, st.integers(0, 9))
def test_whoever_was_plugged_in_is_so_again(spec: NetworkSpec, stop_after: int) -> None:
    host = Host()
    host.converge(spec, stop_after)
    host.converge(spec)
    if host.active:
        assert set(host.taps.values()) == {parse(host.active).bridge}
        assert host.isolated == TAPS[1]


@settings(max_examples=100, deadline=None)
@given(specs)
def test_only_what_cuts_guests_off_needs_consent_and_what_nobody_named_stays(spec: NetworkSpec) -> None:
    host = Host()
    host.converge(spec)
    for action in host.performed:
        assert (action.risk is Risk.NETWORK_BLIP) == isinstance(action.effect, StopNetwork)
    if spec.state == "present":
        assert host.inactive is not None
        assert 'name="theirs"' in host.inactive or "name='theirs'" in host.inactive


@settings(max_examples=60, deadline=None)
@given(specs, specs, st.integers(1, 9))
@example(
    first=_spec(("10.0.0", 24), [(1, 100, None), (2, 101, None)]),
    second=_spec(("10.0.0", 24), [], active=False),
    failing=3,
)
def test_what_was_done_before_a_failure_is_undone(
    first: NetworkSpec, second: NetworkSpec, failing: int
) -> None:
    """As the engine undoes it: the last action first, what one names in the order in which it is written."""
    host = Host()
    host.converge(first)
    for _ in range(2):
        before = host.meaning()
        actions, done = host.plan(second)
        if done or failing >= len(actions):
            break
        for action in actions[:failing]:
            host.perform(action.effect)
        for back in [back for action in reversed(actions[:failing]) for back in action.undo]:
            with suppress(AssertionError):  # a bridge may be gone: nobody looks at how an undo ends
                host.perform(back.effect)
        done_before = [action for action in actions[:failing] if action.does != "note what is plugged in"]
        assert host.meaning() == before or not all(action.undo for action in done_before)
        host.converge(second)
    host.converge(second)
    assert host.plan(second) == ([], True)
    if host.active and first.active is not False and first.state == "present":
        assert set(host.taps.values()) <= {parse(host.active).bridge}
