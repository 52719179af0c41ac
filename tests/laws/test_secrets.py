"""Promise 7: secrets are planted wherever a spec takes one, and found nowhere but where they belong.

Not in what is printed (plans, JSON, errors, with and without tracebacks), not in what is kept on a machine
(journal, store, records, seeds, drafts), not in the effects and argument lists of what is done.
"""

from __future__ import annotations

import copy
from base64 import b64encode
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import pytest

from cxlstate.cli.main import _run
from cxlstate.core.diagnostic import CxlstateError
from cxlstate.engine.plan import Exit
from cxlstate.simulator.faults import Faults, PowerCut
from cxlstate.simulator.host import Host
from cxlstate.simulator.writer import SimWriter
from tests.laws import bench as benches
from tests.laws.bench import bench
from tests.laws.test_crash import STORIES

pytestmark = pytest.mark.slow

SCREEN = b"scr33n!"
LONG = bytes(range(256)) * 40
ALLOWED = "network-blip,restart-vm,power-off-vm,reboot-guest,reboot-host,foreign-boot"
READS = (("validate", "--json"), ("plan", "-v", "--all"), ("plan", "--json"), ("drift",), ("show",))
FILES = ("etc/lab/env", "etc/lab/file", "etc/lab/command")
BELONGS = (*FILES, "etc/shadow", "etc/libvirt/qemu/*.xml")
"""Below the root of a machine."""


def spellings(secret: bytes) -> list[bytes]:
    """As it is, and as a careless program would have it."""
    hashed = sha256(secret).hexdigest()
    return [secret, hashed[:12].encode(), b64encode(secret), repr(secret).encode(), secret.hex().encode()]


class Planted:
    """The secrets of one machine after the other, by reference; `round` changes them all."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.monkeypatch = folder, monkeypatch
        self.every: set[bytes] = set()
        self.round = 0

    def env(self, name: str, secret: str) -> dict[str, str]:
        self.monkeypatch.setenv(name, self._kept(secret.encode()).decode())
        return {"env": name}

    def file(self, name: str, secret: bytes) -> dict[str, str]:
        (self.folder / name).write_bytes(self._kept(secret))
        return {"file": name}

    def command(self, name: str, secret: bytes) -> dict[str, list[str]]:
        return {"command": ["cat", self.file(name, secret)["file"]]}

    def _kept(self, secret: bytes) -> bytes:
        self.every.add(secret)
        return secret

    def on(self, where: str, section: dict) -> dict:
        """A section of a host or a guest, with a secret in every place that takes one."""
        name, mark = where.upper(), f"{where}-{self.round}"
        files = {
            "/etc/lab/env": {"content": self.env(f"{name}_TOKEN", f"in-{mark}-env"), "mode": "0600"},
            "/etc/lab/file": {
                "content": self.file(f"{where}.bin", mark.encode() + LONG),
                "mode": "0400",
                "owner": "admin",
            },
            "/etc/lab/command": {
                "content": self.command(f"{where}.txt", f"of-{mark}-command".encode()),
                "mode": "0600",
            },
        }
        salt = f"saltsalt{self.round}"
        user = {"password_hash": self.env(f"{name}_HASH", f"$6${salt}$hash-of-{mark}-user")}
        planted = {**section, "files": {**section.get("files", {}), **files}}
        planted["users"] = {**section.get("users", {}), "planted": user}
        if "provision" in section:
            for first in planted["provision"]["users"].values():
                first["password"] = self.env(f"{name}_PASSWORD", f"correct-{where}-battery")
        return planted

    def in_spec(self, host: dict) -> dict:
        """A whole spec; the base documents of its VMs have a password for their screens."""
        planted = self.on("host", copy.deepcopy(host))
        for name, vm in planted.get("vms", {}).items():
            if "guest" in vm:
                vm["guest"] = self.on(name.replace(".", ""), vm["guest"])
            if vm.get("state") != "absent" and "guest" not in vm:
                vm["xml"] = f"{name}.xml"
                self.every.add(SCREEN)
        return planted


class Watched:
    """What is done to simulated machines, in all the words that tell of it; and all argument lists."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.words: list[str] = []
        self.argv = 0
        perform, run = SimWriter.perform, Host.run

        def performed(writer, effect, entry):
            told = (effect.shown(), effect.exact(), effect.fingerprint(), effect.journalled(), entry)
            self.words += map(repr, told)
            outcome = perform(writer, effect, entry)
            self.words.append(repr(outcome))
            return outcome

        def ran(host, argv):
            self.words.append(repr(argv))
            self.argv += 1
            return run(host, argv)

        monkeypatch.setattr(SimWriter, "perform", performed)
        monkeypatch.setattr(Host, "run", ran)


@pytest.fixture(params=STORIES)
def scene(request, monkeypatch, capfdbinary):
    """A machine on which an earlier spec is in force, the planted one, and what is said and done then."""
    screen = f"<devices><graphics type='vnc' passwd='{SCREEN.decode()}'/></devices>"
    monkeypatch.setattr(benches, "BASE", benches.BASE.replace("<devices/>", screen))
    earlier, host = STORIES[request.param]
    with bench() as one:
        for spec in earlier:
            assert one.apply(one.spec(spec)).exit is Exit.IN_SYNC
        monkeypatch.chdir(one.folder)
        monkeypatch.setenv("CXLSTATE_DEBUG", "1")
        yield Scene(one, host, Planted(one.folder, monkeypatch), Watched(monkeypatch), capfdbinary)


class Scene:
    def __init__(self, one, host, planted, watched, capfd) -> None:
        self.one, self.host, self.planted, self.watched, self.capfd = one, host, planted, watched, capfd
        self.said = b""

    def plant(self) -> None:
        """Other secrets than before."""
        self.planted.round += 1
        self.tree = self.one.spec(self.planted.in_spec(self.host))

    def run(self, *words: str) -> int:
        status = _run((*words, "spec.yaml"))
        said = self.capfd.readouterr()
        self.said += said.out + said.err
        return status

    def apply(self, *words: str) -> int:
        vms = self.host.get("vms", {})
        data = ["bench/vm.plain"] if vms.get("plain", {}).get("state") == "absent" else []
        data += [
            f"bench/{vm}:namespace.{name}"
            for vm, its in vms.items()
            for name in its.get("guest", {}).get("namespaces", ())
        ]
        allowed = ",".join((ALLOWED, *(f"destroy-data={one}" for one in data)))
        return self.run("apply", "--yes", "--allow", allowed, *words)

    def machines(self) -> list[Path]:
        return [self.one.directory, *(guest.directory for guest in self.one.guests().values())]

    def written(self) -> list[Path]:
        paths = [machine / "root" / name for machine in self.machines() for name in FILES]
        return [path for path in paths if path.exists()]

    def scan(self) -> None:
        """AssertionError with the place of the first secret that is where it does not belong."""
        beside = {one for one in self.one.folder.iterdir() if one.suffix in (".bin", ".txt", ".xml")}
        roots = [machine / "root" for machine in self.machines()]
        belongs = beside | {one for root in roots for name in BELONGS for one in root.glob(name)}
        files = {one for one in self.one.folder.rglob("*") if one.is_file()} - belongs
        places = {str(one): one.read_bytes() for one in files}
        places |= {"said": self.said, "done": "\n".join(self.watched.words).encode()}
        for secret in self.planted.every | self._hashes():
            found = {
                name for name, content in places.items() if any(one in content for one in spellings(secret))
            }
            if secret == SCREEN:  # of a domain that runs, as its libvirt knows it
                found.discard(str(self.one.directory / "machine.json"))
            assert not found, secret

    def _hashes(self) -> set[bytes]:
        """Those that were made here of the passwords of a first boot."""
        shadows = [machine / "root/etc/shadow" for machine in self.machines()]
        lines = [line for one in shadows if one.exists() for line in one.read_bytes().splitlines()]
        return {line.split(b":")[1] for line in lines if b"$6$" in line}


def test_secrets_are_found_nowhere_but_where_they_belong(scene):
    guests = [name for name, vm in scene.host.get("vms", {}).items() if "guest" in vm]
    for _ in range(2):  # the second time others are there
        scene.plant()
        assert [scene.run(*words) for words in READS] == [0, 2, 2, 2, 0]
        assert scene.run("plan", "--out", f"plan{scene.planted.round}.json") == 2
        assert scene.apply("--json") == 0, scene.said.decode()
        assert [scene.run(*words) for words in READS] == [0] * 5
        written = {one.read_bytes() for one in scene.written()}
        assert len(written) == 3 * (1 + len(guests))
        assert written <= scene.planted.every
    assert scene.watched.argv
    scene.scan()


@pytest.mark.parametrize(
    "scene", ["another spec was in force", "guests", "a guest from nothing"], indirect=True
)
def test_nor_are_they_where_it_was_stopped_on_the_way(scene):
    for number in range(3, 60, 8):
        scene.plant()
        with suppress(PowerCut, CxlstateError):
            scene.one.apply(scene.tree, faults=Faults(**{"stop_at" if number % 2 else "lose_at": number}))
    assert scene.apply() == 0, scene.said.decode()
    scene.scan()


@pytest.mark.parametrize("scene", ["a fresh host"], indirect=True)
def test_nor_are_those_kept_that_are_dropped(scene):
    """What was a secret is one still where the spec has another word for it by now."""
    scene.plant()
    assert scene.apply() == 0
    plain = {"/etc/lab/env": {"content": "a\n", "mode": "0600"}, "/etc/lab/file": {"state": "absent"}}
    scene.one.spec({"files": plain})
    assert scene.run("plan", "--json") == 2
    assert scene.apply() == 0
    assert [one.name for one in scene.written()] == ["env", "command"]
    scene.scan()
