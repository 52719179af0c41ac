"""A simulated machine on a bench: plan, apply, look at all of it, copy it, break it."""

from __future__ import annotations

import atexit
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from cxlstate.core.action import Risk
from cxlstate.core.address import Address
from cxlstate.core.consent import Consent, Consents, parse_consents
from cxlstate.core.diagnostic import Severity
from cxlstate.engine.apply import Applied, Converger
from cxlstate.engine.observe import Kinds
from cxlstate.engine.plan import Interruption, Plan, ResourcePlan
from cxlstate.engine.survey import look
from cxlstate.engine.writing import Writers
from cxlstate.machine.outcome import Entry, Result
from cxlstate.resources import kinds as all_kinds
from cxlstate.resources.service.spec import unit_of
from cxlstate.simulator import guests, mtrr
from cxlstate.simulator.dax import Bus
from cxlstate.simulator.default import create
from cxlstate.simulator.faults import Faults
from cxlstate.simulator.folder import load as load_world
from cxlstate.simulator.folder import save
from cxlstate.simulator.host import Host
from cxlstate.simulator.mkconfig import mkconfig
from cxlstate.simulator.netfilter import IptChain
from cxlstate.simulator.world import ActiveNetwork, Brings, Installed, Loaded, Package, Power, Unit, World
from cxlstate.simulator.writer import SimWriter, power_cut
from cxlstate.spec.load import load
from cxlstate.spec.tree import Tree
from tests.default_host import NETWORK
from tests.strategies import Named

DROP_IN = "etc/default/grub.d/zz-cxlstate.cfg"
GRUB_CFG = "boot/grub/grub.cfg"
OURS = "var/lib/cxlstate"
BASE = """\
<domain type='kvm'>
  <name>base</name>
  <memory unit='MiB'>64</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <devices/>
</domain>
"""
THEIRS = """\
<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
<name>theirs</name><!-- who: somebody -->
<metadata><x:note xmlns:x="urn:x">of theirs</x:note></metadata>
<memory unit='MiB'>64</memory><os><type machine='q35'>hvm</type></os>
<devices><graphics type='vnc' passwd='theirs'/></devices>
<qemu:commandline><qemu:arg value='-s'/></qemu:commandline></domain>
"""
BESIDE = ("networks", "images", "vms")
INTERRUPTIONS = parse_consents(
    ("network-blip,restart-vm,power-off-vm,reboot-guest,reboot-host,foreign-boot",)
)
EVERYTHING = Consents(
    INTERRUPTIONS.given
    | {Consent(Risk.DESTROY_DATA, "bench", Address(*one)) for one in (("vm", "plain"), ("provision", "g1"))},
)
"""What a run is allowed that is told nothing else; and what is in the namespaces of its guests may go."""


def _with_namespaces(spec: Tree) -> Consents:
    given = {
        Consent(Risk.DESTROY_DATA, machine.id, one.address)
        for machine in spec.machines
        for one in machine.resources
        if machine.parent and one.address.kind == "namespace"
    }
    return Consents(EVERYTHING.given | given)


class Quiet:
    """A watcher that remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []

    def planned(self, plan: Plan) -> None:
        self.told.append(("planned", plan))

    def begins(self, plans: tuple[ResourcePlan, ...]) -> None:
        self.told.append(("begins", plans))

    def ended(self, done: Any) -> None:
        self.told.append(("ended", done))

    def proven(self, plans: tuple[ResourcePlan, ...]) -> None:
        self.told.append(("proven", plans))

    def away(self, interruption: Interruption, *, begins: bool) -> None:
        self.told.append(("begins away" if begins else "ends away", interruption))

    def waits(self, what: str) -> None:
        self.told.append(("waits", what))


@cache
def _template() -> Path:
    """The default host, made once a process: all copies have the same boot id."""
    folder = Path(tempfile.mkdtemp(prefix="cxlstate-laws-", dir=in_memory()))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    SimWriter(folder / "host", "bench").close()
    return folder / "host"


@dataclass
class Bench:
    """The machine in `folder/host`, its spec beside it."""

    folder: Path
    kinds: Kinds = field(default_factory=all_kinds)
    watcher: Quiet = field(default_factory=Quiet)

    def __post_init__(self) -> None:
        if not self.directory.exists():
            shutil.copytree(_template(), self.directory, symlinks=True)

    @property
    def directory(self) -> Path:
        return self.folder / "host"

    @property
    def file(self) -> Path:
        return self.folder / "spec.yaml"

    def path(self, path: str) -> Path:
        """A file of the machine."""
        return self.directory / "root" / path

    # What is done with a spec ------------------------------------------------------------------

    def spec(self, host: dict[str, Any]) -> Tree:
        """Written to a file and read from it, as a user's would be. AssertionError where it is refused.

        What stands beside `host:` in a spec is in it, too.
        """
        beside = {key: host[key] for key in BESIDE if key in host}
        inside = {key: value for key, value in host.items() if key not in beside}
        for vm in beside.get("vms", {}).values():
            if "xml" in vm:
                (self.folder / vm["xml"]).write_text(BASE)
        named = {"name": "bench", "connect": "sim:host"}
        whole = {"apiVersion": "cxlstate/v1", "host": named | inside, **beside}
        self.file.write_text(json.dumps(whole, indent=1))
        loaded = load([self.file])
        assert not [one for one in loaded.diagnostics if one.severity is Severity.ERROR], loaded.diagnostics
        return loaded.trees[0]

    def named(self, named: Named) -> Tree:
        """The spec, on machines that have what it names."""
        self.offer(named.offered)
        for vm, offered in named.in_guests.items():
            folder = guests.folder(self.directory, vm)
            create(folder, Power())  # its first start boots it
            Inside(folder).offer(offered)
        return self.spec(named.host)

    def plan(self, spec: Tree) -> Plan:
        return look(spec, self.kinds)

    def apply(
        self,
        spec: Tree,
        consents: Consents | None = None,
        *,
        faults: Faults | None = None,
        stop: Callable[[], bool] = lambda: False,
        before: Callable[[], None] = lambda: None,
        sleep: Callable[[float], None] = lambda _: None,
    ) -> Applied:
        """As `cxlstate apply --yes --allow …`; `before` happens between the plan and the doing."""
        with SimWriter(self.directory, "bench", faults=faults) as writer:
            writers = Writers(lambda *_: writer)
            converger = Converger(
                spec,
                writers,
                self.kinds,
                (consents or _with_namespaces(spec)).with_live(),
                "run",
                "1",
                self.watcher,
                stop=stop,
                sleep=sleep,
            )
            try:
                plan = converger.plan()
                before()
                return converger.converge(plan)
            finally:
                writers.close()

    def offer(self, named: dict[str, Any]) -> None:
        """What a section names can be had here: its package brings its units and groups.

        The modules are those of the kernel.
        """
        with self.world() as world:
            for name in (one for one in named.get("packages", ()) if isinstance(one, str)):
                groups = [group for user in named.get("users", {}).values() for group in user["groups"]]
                units = {unit_of(name): Unit() for name in named.get("services", {})}
                there = name.replace("{kernel}", world.running.kernel)
                world.archive.packages.append(Package(there, "1", brings=Brings(groups, units)))
        lines = "".join(f"kernel/law/{name}.ko.xz:\n" for name in named.get("modules", ()))
        for file in self.path("lib/modules").glob("*/modules.dep"):
            file.write_text(file.read_text() + lines)

    # What is looked at -------------------------------------------------------------------------

    def snapshot(self) -> dict[str, tuple[Any, ...]]:
        """Every file of the folder to the byte, with mode and time; folders with their time."""
        found = {}
        for path in sorted(self.directory.rglob("*")):
            info = path.lstat()
            content = path.read_bytes() if stat.S_ISREG(info.st_mode) else b""
            found[str(path.relative_to(self.directory))] = (content, info.st_mode, info.st_mtime_ns)
        return found

    def files(self) -> dict[str, bytes]:
        """The machine's files by path, without what we keep for ourselves there."""
        root = self.directory / "root"
        paths = {str(path.relative_to(root)): path for path in root.rglob("*") if path.is_file()}
        return {name: path.read_bytes() for name, path in paths.items() if not name.startswith(OURS)}

    def records(self) -> dict[str, str]:
        """What each holds, but for the time."""
        files = self.path(f"{OURS}/applied").glob("*")
        return {path.name: re.sub(r'"at":"[^"]*"', '"at":""', path.read_text()) for path in files}

    def machine(self) -> dict[str, Any]:
        """`machine.json` without what no two boots, and no two starts of a domain, share."""
        machine: dict[str, Any] = json.loads((self.directory / "machine.json").read_bytes())
        machine["running"].pop("boot_id")
        for memory in (*machine["nvdimms"], *machine["memory"]):  # of each making its own
            memory.pop("made")
            for namespace in memory["namespaces"]:
                del namespace["uuid"], namespace["label"]
        machine["power"].pop("start")
        for domain in machine["running"]["domains"].values():
            domain.pop("start")
        for module in machine["running"]["modules"].values():
            module["used_by"].sort()  # the order of loading
        return machine

    def journal(self) -> list[dict[str, Any]]:
        path = self.path(f"{OURS}/journal.jsonl")
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def drafts(self) -> list[Path]:
        return list(self.directory.rglob(".*.cxlstate"))

    def guests(self) -> dict[str, Inside]:
        """The machines in its domains that were ever started."""
        return {path.name: Inside(path) for path in sorted((self.directory / "guests").glob("*"))}

    # What happens to it ------------------------------------------------------------------------

    def fork(self, name: str) -> Bench:
        """The same machine once more."""
        folder = self.folder / name
        folder.mkdir()
        shutil.copytree(self.directory, folder / "host", symlinks=True)
        return Bench(folder, self.kinds)

    @contextmanager
    def world(self) -> Iterator[World]:
        """`machine.json`, to be edited by hand."""
        world = load_world(self.directory)
        yield world
        save(world, self.directory)

    def write(self, path: str, text: str) -> None:
        self.path(path).parent.mkdir(parents=True, exist_ok=True)
        self.path(path).write_text(text)

    def edit(self, path: str, old: str, new: str, count: int = -1) -> None:
        text = self.path(path).read_text()
        assert old in text, f"{old!r} is not in {path}"
        self.path(path).write_text(text.replace(old, new, count))

    def run(self, *argv: str) -> None:
        """Somebody types a command."""
        host = Host.load(self.directory)
        ended = host.run(argv)
        host.save()
        assert ended.status == 0, ended.output

    def regenerate(self) -> None:
        """Somebody runs update-grub."""
        files = Host.load(self.directory).files
        ended, content = mkconfig(files)
        assert content is not None, ended.output
        files.write(f"/{GRUB_CFG}", content)

    def power_cut(self) -> None:
        power_cut(self.directory)

    def destroy_guests(self) -> None:
        """`virsh destroy` of each."""
        with self.world() as world:
            pids = {domain.pid for domain in world.running.domains.values()}
            world.running.processes = [one for one in world.running.processes if one.pid not in pids]

    def disturb(self, what: str) -> None:
        """One of `strategies.DISTURBANCES`."""
        _DISTURB[what](self)


class Inside(Bench):
    """The machine in a folder of its own, without a spec."""

    @property
    def directory(self) -> Path:
        return self.folder


def _set_unit(name: str, state: str | None) -> Callable[[Bench], None]:
    def disturb(bench: Bench) -> None:
        with bench.world() as world:
            world.running.units.pop(name, None)
            if state:
                world.running.units[name] = state

    return disturb


def _set_package(name: str, version: str, status: str) -> Callable[[Bench], None]:
    def disturb(bench: Bench) -> None:
        with bench.world() as world:
            world.installed[name] = Installed(version, status)

    return disturb


def _load_dummy(bench: Bench) -> None:
    with bench.world() as world:
        world.running.modules["dummy"] = Loaded()


def _drop_in_of_others(bench: Bench) -> None:
    text = 'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX a=1 site.answer=42 console=ttyS1"\n'
    bench.write("etc/default/grub.d/60-site.cfg", text)
    bench.regenerate()


def _another_register(bench: Bench) -> None:
    with bench.world() as world:
        assert mtrr.write(world, "base=0xa000000000 size=0x1000 type=uncachable") == 0


def _numbered_anew(bench: Bench) -> None:
    with bench.world() as world:
        world.first_region += 1
    bench.power_cut()


def _without_link(bench: Bench) -> None:
    with bench.world() as world:
        world.running.links.clear()


def _not_bound(bench: Bench) -> None:
    with bench.world() as world:
        for name, device in world.running.dax.items():
            if device.driver == "device_dax":
                Bus(world).unbind(name)


def _without_our_registers(bench: Bench) -> None:
    with bench.world() as world:
        world.running.mtrr = [replace(one) for one in world.mtrr.firmware]


def _somebodys(bench: Bench) -> None:
    """Definitions of others, as no libvirt would have written them."""
    bench.write("etc/libvirt/qemu/theirs.xml", THEIRS)
    bench.write(
        "etc/libvirt/qemu/networks/theirs.xml", "<network>\n<name>theirs</name> <!-- ours --></network>"
    )


def _default_network(bench: Bench) -> Path:
    """The definition, which may be there before the package is."""
    path = bench.path("etc/libvirt/qemu/networks/default.xml")
    if not path.exists():
        bench.write("etc/libvirt/qemu/networks/default.xml", NETWORK)
    return path


def _reserved(bench: Bench) -> None:
    path = _default_network(bench)
    host = "      <host mac='52:54:00:00:99:99' name='theirs' ip='192.168.122.222'/>\n    </dhcp>"
    path.write_text(path.read_text().replace("    </dhcp>", host))


def _is_up(bench: Bench) -> None:
    text = _default_network(bench).read_text()
    with bench.world() as world:
        world.running.networks["default"] = ActiveNetwork(text, "virbr0")


def _rejects(bench: Bench) -> None:
    """By a rule that is ahead of all others."""
    rule = "-p tcp -j REJECT --reject-with icmp-port-unreachable"
    with bench.world() as world:
        chains = world.running.iptables.setdefault("nft", {}).setdefault("filter", {})
        chains.setdefault("FORWARD", IptChain("ACCEPT")).rules.insert(0, rule)


def _flushed(bench: Bench) -> None:
    """As nftables.service does by its own configuration when it starts."""
    with bench.world() as world:
        world.running.nftables.clear()
        world.running.iptables.pop("nft", None)


_DISTURB: dict[str, Callable[[Bench], None]] = {
    "apt has lists": lambda b: b.write("var/lib/apt/lists/archive_debian_dists_trixie_InRelease", ""),
    "hello is installed": _set_package("hello", "2.10-5", "install ok installed"),
    "tree was removed, its configuration is left": _set_package(
        "tree", "2.2.1-1", "deinstall ok config-files"
    ),
    "hello is half-configured": _set_package("hello", "2.10-4", "install ok half-configured"),
    "dpkg was interrupted": lambda b: b.write("var/lib/dpkg/updates/0001", ""),
    "cron is stopped": _set_unit("cron.service", None),
    "cron has failed": _set_unit("cron.service", "failed"),
    "ssh is disabled": lambda b: b.run("systemctl", "disable", "ssh"),
    "networkd is masked": lambda b: b.run("systemctl", "mask", "systemd-networkd"),
    "dummy is loaded": _load_dummy,
    "vfio-pci is not loaded": lambda b: b.run("rmmod", "vfio_pci"),
    "others have modules loaded at boot": lambda b: b.write("etc/modules-load.d/site.conf", "dummy\nveth\n"),
    "others have a drop-in in force": _drop_in_of_others,
    "our drop-in was edited": lambda b: b.write(DROP_IN, 'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX mine=1"\n'),
    "libvirt is a group already": lambda b: b.edit(
        "etc/group", "users:x:100:", "libvirt:x:64055:admin\nusers:x:100:"
    ),
    "another register is in use": _another_register,
    "the devices are numbered anew": _numbered_anew,
    "the link is gone": _without_link,
    "the device is not bound": _not_bound,
    "our registers are gone": _without_our_registers,
    "somebody has a network and a VM": _somebodys,
    "somebody has a reservation": _reserved,
    "a network is up that nobody wants": _is_up,
    "somebody rejects what is forwarded": _rejects,
    "all rules are flushed": _flushed,
    "the power was cut": lambda b: b.power_cut(),
}


@contextmanager
def bench(disturbed: list[str] | tuple[str, ...] = ()) -> Iterator[Bench]:
    """A fresh machine for as long as it is needed; hypothesis needs a new one for every example."""
    with tempfile.TemporaryDirectory(prefix="cxlstate-law-", dir=in_memory()) as folder:
        one = Bench(Path(folder))
        for what in disturbed:
            one.disturb(what)
        yield one


def in_memory() -> str | None:
    """A folder in memory: a disk that discards takes longer to remove a machine than a law to look at it."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK | os.X_OK) else None


__all__ = [
    "DROP_IN",
    "EVERYTHING",
    "GRUB_CFG",
    "INTERRUPTIONS",
    "OURS",
    "Bench",
    "Entry",
    "Quiet",
    "Result",
    "bench",
]
