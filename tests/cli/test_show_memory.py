"""The memory map below the resources of `show`: how it reads, and what `--json` has of it."""

from __future__ import annotations

import json
from contextlib import nullcontext

import click
import pytest

from cxlstate.cli import show
from cxlstate.cli.main import _run
from cxlstate.core.address import Address, ScopedAddress
from cxlstate.core.answers import Answer, Answers
from cxlstate.core.connect import Local
from cxlstate.core.machine import Scope
from cxlstate.core.reconciler import Resource
from cxlstate.engine.memory_map import BLOCKS, READS, Kind, MemoryMap, Row, memory_map
from cxlstate.engine.plan import Exit, MachinePlan, Plan, ResourcePlan, Status
from cxlstate.render import terminal
from cxlstate.render.document import document
from cxlstate.render.memory_map import memory_map_text
from cxlstate.render.terminal import live_text
from cxlstate.rules import load
from cxlstate.spec.tree import Machine
from tests.engine.memory_maps import LAB, PERMISSION_DENIED, RUNBOOK, answers

COLUMNS = 100
GIB = 1 << 30
RED, YELLOW = "\x1b[31m", "\x1b[33m"

RUNBOOK_TEXT = """\
         start             end      at     size  memory                          node  type
        0x1000      0x6f7fffff    4KiB   1.7GiB  System RAM: 3 ranges            0     write-back
           0x0      0xffffffff       0   2.3GiB  firmware, devices: 16 ranges
   0x100000000    0x287fffffff    4GiB   158GiB  System RAM                      0     write-back
  0x2880000000    0x4fffffffff  162GiB   158GiB  System RAM                      1     write-back
  0x5000000000    0x507fffffff  320GiB     2GiB  Reserved (memmap=2G$320G)             uncachable
  0x5080000000    0x687fffffff  322GiB    96GiB  Soft Reserved                         uncachable
  0x5080000000    0x687fffffff  322GiB    96GiB    dax0.0 → /dev/cxlstate/cxl0   2     uncachable
                                                     (device_dax, align 2MiB, PAT write-back)
                                                 ✗ mapped write-back under uncachable MTRRs
  0x6880000000    0x6fffffffff  418GiB    30GiB  (hole)                                uncachable
  0x7000000000  0x3effffffffff  448GiB  62.6TiB  PCI, firmware, holes: 8 ranges

  MTRRs  uncachable 0x80000000+2GiB, uncachable 0x5000000000+64GiB, uncachable 0x6000000000+64GiB
"""

LAB_TEXT = """\
         start           end       at    size  memory                         node  type
        0x1000    0x7ffdcfff     4KiB  2.0GiB  System RAM: 2 ranges           0     write-back
           0x0    0xffffffff        0  2.0GiB  firmware, devices: 17 ranges
   0x100000000   0x13fffffff     4GiB    1GiB  Soft Reserved                        uncachable
                                                 (memmap=1G%4G-1+0xefffffff)
   0x100000000   0x13fffffff     4GiB    1GiB    dax0.0 → /dev/cxlstate/cxl0  0     uncachable
                                                   (device_dax, align 2MiB, PAT uncached-minus)
   0x140000000   0x17fffffff     5GiB    1GiB  System RAM                     0     write-back
   0x180000000   0x27fffffff     6GiB    4GiB  System RAM                     1     write-back
   0x280000000  0xbfffffffff    10GiB  758GiB  (hole)
  0xc000000000  0xc7ffffffff   768GiB   32GiB  PCI Bus 0000:00
  0xc800000000  0xfcffffffff   800GiB  212GiB  (hole)
  0xfd00000000  0xffffffffff  1012GiB   12GiB  Reserved

  MTRRs  uncachable 0xc0000000+1GiB, uncachable 0x100000000+1GiB
"""


def coloured(host, **changed):
    return memory_map_text(memory_map(answers(host, **changed)))


def text(host, **changed):
    return click.unstyle(coloured(host, **changed)) + "\n"


def test_the_runbooks_host_reads_like_this():
    assert text(RUNBOOK) == RUNBOOK_TEXT


def test_the_emulated_host_reads_like_this():
    assert text(LAB) == LAB_TEXT


@pytest.mark.parametrize("host", [LAB, RUNBOOK], ids=["lab", "runbook"])
@pytest.mark.parametrize(
    "changed", [{}, {"mtrr": PERMISSION_DENIED}, {"blocks": PERMISSION_DENIED}, {"iomem": PERMISSION_DENIED}]
)
def test_it_fits_a_hundred_columns_and_no_line_ends_in_a_blank(host, changed):
    lines = text(host, **changed).splitlines()
    assert max(map(len, lines)) <= COLUMNS
    assert [line for line in lines if line != line.rstrip()] == []


def test_what_is_wrong_is_red_and_what_is_uncachable_yellow():
    lines = coloured(RUNBOOK).splitlines()
    (at,) = [number for number, line in enumerate(lines) if "dax0.0" in line]
    assert [number for number, line in enumerate(lines) if RED in line] == [at, at + 1, at + 2]
    assert [number for number, line in enumerate(lines) if YELLOW in line] == [at - 2, at - 1, at + 3]


def test_a_type_that_could_not_be_read_is_a_question_mark_with_a_reason():
    said = text(LAB, mtrr=PERMISSION_DENIED)
    (ram, *_) = [line for line in said.splitlines() if "System RAM" in line]
    assert ram.endswith("?")
    assert "  !  memory types: /proc/mtrr: Permission denied\n" in said


def test_without_a_map_there_is_only_the_reason():
    said = text(LAB, iomem="00000000-00000000 : System RAM\n")
    assert said.startswith("  !  memory: every address in /proc/iomem is zero; connect as root")
    assert len(said.splitlines()) == 2


def test_a_long_link_goes_below_the_device():
    link = "/dev/cxlstate/the-memory-of-the-expander-in-slot-four"
    lines = text(LAB, links={link: "../dax0.0"}).splitlines()
    (at,) = [number for number, line in enumerate(lines) if "dax0.0" in line]
    assert lines[at + 1].strip() == f"→ {link}"


def test_a_few_dull_ranges_above_4_gib_stand_alone_and_many_are_summed_up():
    holes = tuple(Row(n * GIB, (n + 1) * GIB, 0, Kind.PCI, f"PCI Bus {n}") for n in range(8, 15))
    assert "PCI, firmware, holes: 7 ranges" in memory_map_text(MemoryMap(holes))
    assert "PCI Bus 13" in memory_map_text(MemoryMap(holes[:6]))


def test_what_a_machine_says_does_not_steer_the_terminal():
    evil = "140000000-27fffffff : System RAM\x1b[2J\n"
    assert "\x1b[2J" not in coloured(LAB, iomem=evil)
    assert "\x1b" not in text(LAB, links={"/dev/cxlstate/\x1b[2J": "../dax0.0"})


def test_facts_that_do_not_fit_a_terminal_go_on_below_the_first(monkeypatch):
    facts = (("device", "dax0.0 (hmem)"), ("running", "quiet " * 16), ("node", "2"))
    at = ScopedAddress("h", Address("dax", "cxl0"))
    resource = ResourcePlan(at, Resource(at.address, None), Status.IN_SYNC, Exit.IN_SYNC, facts=facts)
    plan = MachinePlan(Machine("h", None, Scope.HOST, Local(), ()), resources=(resource,))
    monkeypatch.setenv("COLUMNS", "60")
    (one,) = [line for line in click.unstyle(live_text(plan, "h.yaml")).splitlines() if "cxl0" in line]
    assert one.endswith("quiet   node 2")
    monkeypatch.setattr(terminal.sys.stdout, "isatty", lambda: True)
    _, first, *rest, _, _ = click.unstyle(live_text(plan, "h.yaml")).splitlines()
    assert first == "  ✓ dax.cxl0  device dax0.0 (hmem)"
    assert rest[0].startswith(" " * 14 + "running quiet quiet")
    assert rest[-1].endswith("quiet  node 2")
    assert max(map(len, rest)) < 60


# The verb -----------------------------------------------------------------------------------------------


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """`show` of a machine that answers like a host: (exit status, stdout)."""
    spec = tmp_path / "host.yaml"
    spec.write_text(
        "apiVersion: cxlstate/v1\nhost:\n  name: h\n  connect: ssh://admin@h\n  packages: [ndctl]\n"
    )
    asked = set()

    class Machine:
        def lacks(self, effect):
            return None

        def read(self, reads):
            asked.update(reads)
            given = answers(RUNBOOK)
            missing = Answer(1, stderr="No such file or directory")
            return Answers({read: given.raw(read) if read in READS else missing for read in reads})

        def close(self):
            pass

    def run(*arguments):
        status = _run(["show", *arguments, str(spec)])
        said = capsys.readouterr()
        assert "Traceback" not in said.out + said.err
        return status, said.out, asked

    def loading(paths):
        return nullcontext((load(paths), lambda connect, name: Machine()))

    monkeypatch.setattr(show, "loading", loading)
    return run


def test_show_has_the_map_below_the_resources(run):
    _, out, _ = run()
    resources, _, rest = out.partition("\n\n")
    assert "package.ndctl" in resources
    assert rest.endswith(RUNBOOK_TEXT)


def test_show_json_has_every_range(run):
    _, out, _ = run("--json")
    (machine,) = json.loads(out)["machines"]
    found = machine["memory_map"]
    names = [row["name"] for row in found["rows"]]
    assert {"Kernel code", "ACPI Tables", "dax0.0", "PCI Bus 0000:97"} <= set(names)
    assert found["rows"][names.index("dax0.0")] == {
        "start": "0x5080000000",
        "end": "0x687fffffff",
        "size": 96 * GIB,
        "depth": 1,
        "kind": "dax",
        "name": "dax0.0",
        "nodes": [2],
        "type": "uncachable",
        "details": ["device_dax", "align 2MiB", "PAT write-back"],
        "link": "/dev/cxlstate/cxl0",
        "problem": "mapped write-back under uncachable MTRRs",
    }
    assert found["registers"][1] == "uncachable 0x5000000000+64GiB"
    assert found["notes"] == []


def test_with_a_target_there_is_no_map_and_nothing_is_asked_for_it(run):
    _, out, asked = run("--target", "package.ndctl")
    assert "System RAM" not in out
    assert BLOCKS not in asked
    assert "memory_map" not in json.loads(run("--json", "--target", "package.ndctl")[1])["machines"][0]


def test_the_document_of_a_plan_has_no_map(run, tmp_path):
    (tree,) = load([tmp_path / "host.yaml"]).trees
    assert "memory_map" not in document([Plan(tree, (MachinePlan(tree.host),))])["machines"][0]


HUGE = f"reg00: base=0x{'f' * 400} (    0MB), size= 1024MB, count=1: uncachable\n"


@pytest.mark.parametrize(
    "changed", [{"mtrr": HUGE}, {"block_size": "f" * 400}, {"iomem": "f" * 400 + "-0 : x\n"}]
)
def test_no_number_is_too_large_for_it(changed):
    """A size that no float can hold; a range that ends before it begins."""
    memory_map_text(memory_map(answers(LAB, **changed)))
