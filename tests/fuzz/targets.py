"""What is tried with odd texts, and what must hold of each.

spec      loading never raises; each diagnostic has a code with a page and a place in the file; `validate`
          exits 0 or 1 and `validate --json` prints one document; where a machine is guessed ahead, it is the
          one of the spec once that is valid
plan      `apply FILE` exits 0, 1, 3, 4 or 64, prints one document with --json, never CXE900; what is not
          the plan that would be made now changes nothing
domain    reading and merging raise ValueError and nothing else; what is merged can be read and merges into
          itself; a document type or an entity is refused
network   the same for networks

Answers of hosts are tried in tests/machine/test_hostile_answers.py, by `tests/fuzz/answers.py`.
"""

from __future__ import annotations

import io
import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Interface
from pathlib import Path

from lxml import etree

from cxlstate.cli.main import _run
from cxlstate.core.connect import Ssh
from cxlstate.core.domain import Domain
from cxlstate.formats import domain_xml, network_xml, xml
from cxlstate.pages import pages
from cxlstate.rules import load
from cxlstate.simulator.writer import SimWriter
from cxlstate.spec.glimpse import glimpse
from tests.default_host import NETWORK

ROOT = Path(__file__).parents[2]
SEEDS = Path(__file__).parent / "seeds"


@dataclass(frozen=True)
class Target:
    """Texts to begin with, and a check that raises where something does not hold."""

    name: str
    seeds: Callable[[], Sequence[bytes]]
    check: Callable[[bytes, Path], None]

    def regressions(self) -> list[Path]:
        """Texts with which something did not hold once."""
        return sorted((SEEDS / self.name).glob("*"))


# Specs -----------------------------------------------------------------------------------------------


@cache
def _specs() -> Sequence[bytes]:
    good = [*(ROOT / "specs").glob("*.yaml"), *(ROOT / "tests/spec/good").rglob("*.yaml")]
    bad = sorted((ROOT / "tests/spec/bad").rglob("*.yaml"))
    return [path.read_bytes() for path in (*sorted(good), *bad)]


def _check_spec(text: bytes, folder: Path) -> None:
    file = folder / "spec.yaml"
    file.write_bytes(text)
    guess = glimpse([file])
    loaded = load([file])
    lines = len(text.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n").split("\n"))
    for problem in loaded.diagnostics:
        assert problem.code in pages(), problem
        assert problem.source is not None, problem
        assert problem.source.file == str(file), problem
        assert 1 <= problem.source.line <= lines, problem
        assert problem.source.column >= 1, problem
    for tree in loaded.trees:
        connect = tree.host.connect
        assert guess == (connect if isinstance(connect, Ssh) else None), (guess, connect)
    wrong = any(problem.severity == "error" for problem in loaded.diagnostics)
    assert bool(loaded.trees) is not wrong
    status, _, err = _quietly("validate", file)
    assert status == int(wrong), err
    _document(*_quietly("validate", "--json", file))


# Plan files ------------------------------------------------------------------------------------------

_SPEC = """\
apiVersion: cxlstate/v1
host:
  name: box
  connect: sim:host
  packages: [hello]
  modules: {kmem: absent}
  grub: {args: [quiet]}
"""


@cache
def _host(folder: Path) -> None:
    SimWriter(folder / "host", "box").close()
    (folder / "box.yaml").write_text(_SPEC)
    _quietly("plan", folder / "box.yaml", "--out", folder / "good.json")
    shutil.copytree(folder / "host", folder / "kept", symlinks=True)


def _plans() -> Sequence[bytes]:
    with tempfile.TemporaryDirectory() as name:
        _host(Path(name))
        text = (Path(name) / "good.json").read_bytes().replace(name.encode(), b"FOLDER")
    return [text, b'{"format": 2, "machines": []}', b"[]"]


def _check_plan(text: bytes, folder: Path) -> None:
    _host(folder)
    file = folder / "plan.json"
    file.write_bytes(text.replace(b"FOLDER", str(folder).encode()))
    before = (folder / "host/machine.json").read_bytes()
    status, out, err = _quietly("apply", "--json", file)
    document = _document(status, out, err)
    assert status in (0, 1, 3, 4, 64), (status, out)
    if (folder / "host/machine.json").read_bytes() != before:
        shutil.rmtree(folder / "host")
        shutil.copytree(folder / "kept", folder / "host", symlinks=True)
        assert _effects(file.read_bytes()) <= _effects((folder / "good.json").read_bytes()), document


def _effects(plan: bytes) -> set[tuple[str, str]]:
    """What a plan file promises."""
    effects = (effect for turn in json.loads(plan)["turns"] for effect in turn["effects"])
    return {(effect["address"], effect["fingerprint"]) for effect in effects}


# XML -------------------------------------------------------------------------------------------------


def _captured(pattern: str) -> Sequence[bytes]:
    return [path.read_bytes() for path in sorted((ROOT / "tests").rglob(pattern)) if path.suffix == ".xml"]


def _domains() -> Sequence[bytes]:
    return [one for one in _captured("*.xml") if b"<domain" in one]


def _networks() -> Sequence[bytes]:
    return [NETWORK.encode(), *(one for one in _captured("*.xml") if b"<network" in one)]


_WISHES = (
    Domain(memory=2 << 30, vcpu=2),
    Domain(emulatorpin=frozenset({0}), cpu_mode="host-passthrough", machine="q35"),
    Domain(hugepages=2 << 20, firmware="efi"),
)


def _check_domain(text: bytes, _: Path) -> None:
    said = _xml(text)
    if said is None:
        return
    try:
        domain_xml.read(said)
    except ValueError:
        return
    for wish in _WISHES:
        try:
            merged = domain_xml.merge(said, wish)
        except ValueError:
            continue
        domain_xml.read(merged)
        assert domain_xml.merge(merged, wish) == merged


_FIELDS = network_xml.Fields(
    address=IPv4Interface("192.168.122.1/24"),
    dhcp=network_xml.Range("192.168.122.2", "192.168.122.99"),
)


def _check_network(text: bytes, _: Path) -> None:
    said = _xml(text)
    if said is None:
        return
    try:
        network_xml.parse(said)
        edited = network_xml.edit(said, _FIELDS)
    except ValueError:
        return
    network_xml.parse(edited)
    assert network_xml.edit(edited, _FIELDS) == edited


def _xml(text: bytes) -> str | None:
    """The text, if it is XML for us; then it has no document type and no entity."""
    said = text.decode("utf-8", "surrogateescape")
    try:
        root = xml.parse(said)
    except ValueError:
        return None
    assert not root.getroottree().docinfo.doctype
    assert not any(isinstance(one, etree._Entity) for one in root.iter())
    return said


# Running ---------------------------------------------------------------------------------------------


def _quietly(*arguments: object) -> tuple[int, str, str]:
    """A command line in this process: exit status, standard output and error."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    with redirect_stdout(out), redirect_stderr(err):
        status = _run([str(one) for one in arguments])
    said, told = (stream.buffer.getvalue().decode("utf-8") for stream in (out, err))
    assert "CXE900" not in said + told, said + told
    return status, said, told


def _document(status: int, out: str, err: str) -> dict[str, object]:
    document: dict[str, object] = json.loads(out)
    assert isinstance(document["diagnostics"], list)
    assert status != 1 or document["diagnostics"], err
    return document


TARGETS = (
    Target("spec", _specs, _check_spec),
    Target("plan", _plans, _check_plan),
    Target("domain", _domains, _check_domain),
    Target("network", _networks, _check_network),
)
