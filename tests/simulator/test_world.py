"""The folder of a simulated machine: how it comes to be, and that reading leaves it alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from cxlstate.core.action import Run, WriteFile
from cxlstate.core.diagnostic import CxlstateError
from cxlstate.core.read import Attributes, Command, File, Glob
from cxlstate.machine.outcome import Entry
from cxlstate.simulator.reader import SimReader
from cxlstate.simulator.writer import SimWriter

ENTRY = Entry("run", ("test",), "a test", "live")
READS = (
    File("/proc/iomem"),
    File("/boot/grub/grub.cfg"),
    File("/absent"),
    Glob("/etc/default/grub.d/*.cfg"),
    Attributes("/sys/firmware/memmap/*/*"),
    Command(("dpkg-query", "--show")),
    Command(("systemctl", "show"), ("ssh.service",)),
    Command(("daxctl", "list")),
)


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "host"


def everything(directory):
    return {
        str(path.relative_to(directory)): (path.stat().st_mtime_ns, path.is_file() and path.read_bytes())
        for path in [directory, *directory.rglob("*")]
    }


def edit(directory, change):
    path = directory / "machine.json"
    world = json.loads(path.read_text())
    change(world)
    path.write_text(json.dumps(world))


def code(error):
    return error.value.diagnostics[0].code


def test_the_default_host_is_that_of_the_runbook(directory):
    reader = SimReader(directory, "host")
    iomem = reader.read([File("/proc/iomem")]).text(File("/proc/iomem"))
    assert "100000000-507fffffff : System RAM" in iomem, "320 to 322 GiB are RAM that memmap can take away"
    assert "5080000000-687fffffff : Soft Reserved" in iomem
    assert "    5080000000-687fffffff : System RAM (kmem)" in iomem
    assert oct((directory / "root/boot/grub/grub.cfg").stat().st_mode)[-3:] == "600"
    assert list(directory.parent.iterdir()) == [directory], "no draft is left beside it"


def test_reading_leaves_everything_as_it_is_time_stamps_included(directory):
    reader = SimReader(directory, "host")
    before = everything(directory)
    for _ in range(2):
        reader.read(READS)
    SimReader(directory, "host").read(READS)
    assert everything(directory) == before


def test_a_folder_that_is_no_machine_is_refused_and_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(CxlstateError) as error:
        SimReader(tmp_path, "host").read([File("/etc/passwd")])
    assert code(error) == "CXC401"
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda world: world.update(colour="red"), "unknown key 'colour'"),
        (lambda world: world.update(format=2), "format is 2"),
        (
            lambda world: world["units"].update(x={"masked": 1}),
            "machine.json: units: x: masked: 1 is not a bool",
        ),
        (lambda world: world["firmware"].append({"start": "0x0"}), "'end' is missing"),
    ],
)
def test_a_wrong_edit_of_machine_json_is_told_with_its_place(directory, change, found):
    reader = SimReader(directory, "host")
    edit(directory, change)
    with pytest.raises(CxlstateError) as error:
        reader.read([])
    assert code(error) == "CXC401"
    assert found in str(error.value)


def test_text_that_is_no_json_is_told_with_its_line(directory):
    reader = SimReader(directory, "host")
    (directory / "machine.json").write_text('{\n  "format": 1,\n}')
    with pytest.raises(CxlstateError, match="line 3"):
        reader.read([])


def test_an_edit_by_hand_is_seen_at_once(directory):
    reader = SimReader(directory, "host")
    edit(directory, lambda world: world["running"]["units"].pop("ssh.service"))
    (directory / "root/etc/default/grub.d/99-hand.cfg").write_text("X=1\n")
    state = Command(("systemctl", "show", "--property=ActiveState"), ("ssh.service",))
    answers = reader.read([state, Glob("/etc/default/grub.d/99*")])
    assert answers.text(state) == "ActiveState=inactive\n"
    assert answers.files(Glob("/etc/default/grub.d/99*")) == {"/etc/default/grub.d/99-hand.cfg": "X=1\n"}


def test_a_link_leads_nowhere_outside_the_machine(directory, tmp_path):
    (tmp_path / "secret").write_text("of the real machine")
    with SimWriter(directory, "host") as writer:
        (directory / "root/etc/link").symlink_to(tmp_path / "secret")
        (directory / "root/etc/up").symlink_to("../../../../../../../secret")
        (directory / "root/etc/inside").symlink_to("/etc/hostname")
        for path in ("/etc/link", "/etc/up", "/../../secret"):
            assert writer.read([File(path)]).raw(File(path)).stderr == "No such file or directory"
        assert writer.read([File("/etc/inside")]).text(File("/etc/inside")) == "cloudcxl2\n"
        writer.perform(WriteFile("/etc/link", b"ours"), ENTRY)
    assert (tmp_path / "secret").read_text() == "of the real machine"


def test_an_unknown_command_is_like_a_missing_tool(directory):
    with SimWriter(directory, "host") as writer:
        outcome = writer.perform(Run(("conformance", "--absent")), ENTRY)
    assert outcome.status == 127
    assert outcome.output == "the simulator does not know this command: conformance --absent\n"


def test_without_root_it_cannot_be_written_to(directory):
    SimReader(directory, "host")
    edit(directory, lambda world: world["login"].update(root=False))
    with pytest.raises(CxlstateError) as error:
        SimWriter(directory, "host")
    assert code(error) == "CXC301"


def test_it_has_one_writer_at_a_time(directory):
    with SimWriter(directory, "host"):
        with pytest.raises(CxlstateError) as error:
            SimWriter(directory, "host")
        assert code(error) == "CXC302"
        assert f"process {os.getpid()}, for " in error.value.diagnostics[0].found
        SimReader(directory, "host").read(READS)
    SimWriter(directory, "host").close()


def test_the_lock_dies_with_its_holder(directory):
    SimReader(directory, "host")
    program = (
        "import sys, time; from pathlib import Path\n"
        "from cxlstate.simulator.writer import SimWriter\n"
        "writer = SimWriter(Path(sys.argv[1]), 'host'); print('locked', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", program, directory], stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(CxlstateError):
            SimWriter(directory, "host")
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    SimWriter(directory, "host").close()
