"""Links, names, who holds a device, and mapping one: over a real shell, here and through sshd.

Who holds what is asked in a process namespace of its own: the processes in it are those of the test.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cxlstate.core.answers import ReadFailed
from cxlstate.core.read import Holders, Links, MapAndRead, Names
from cxlstate.formats import dax
from cxlstate.machine.local import LocalTransport
from cxlstate.machine.posix.reader import PosixReader
from tests.machine.conftest import AsNobody

ABSENT_DEVICE = MapAndRead(0x7FFFFFFFF000)
OPENS = "kept = open(sys.argv[1], 'rb')"
MAPS = """\
import mmap
with open(sys.argv[1], "r+b") as file: kept = mmap.mmap(file.fileno(), 4096, mmap.MAP_SHARED)
"""
LIVES_SHORT_LIVES = "import subprocess\nfor _ in range(3000): subprocess.Popen(['true']).wait()"


class Namespace(LocalTransport):
    """Processes that see only each other."""

    def __init__(self):
        words = ["unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", "echo; exec cat"]
        self._first = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        if not self._first.stdout.readline():
            pytest.skip("no namespace can be made here")
        children = Path(f"/proc/{self._first.pid}/task/{self._first.pid}/children")
        self.enter = ["nsenter", "--target", children.read_text().strip(), "--pid", "--mount"]
        self._running = []

    def exchange(self, command, stdin, timeout, limit):
        return super().exchange(f"exec {' '.join(self.enter)} {command}", stdin, timeout, limit)

    def run(self, code, *arguments):
        """Starts a process and returns its number in the namespace, once it has done the code."""
        code = f"import os, sys\n{code}\nprint(os.getpid(), flush=True)\nsys.stdin.read()"
        words = [*self.enter, sys.executable, "-c", code, *arguments]
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._running.append(process)
        return int(process.stdout.readline())

    def holders(self, name):
        return dax.holders(PosixReader(self, "box").read([Holders(name)]).text(Holders(name)))

    def end(self):
        for process in (*self._running, self._first):
            process.communicate()


@pytest.fixture
def namespace():
    if os.geteuid() != 0:
        pytest.skip("only root sees what others hold")
    made = Namespace()
    yield made
    made.end()


@pytest.fixture
def reader(transport):
    return PosixReader(transport, "box")


def test_links_say_where_they_point_to_as_written(reader, tmp_path):
    targets = {"a": "../x/y", "b": "/nowhere at all", "c": "quo'te\nnew line", "d": "end\n"}
    for name, target in targets.items():
        (tmp_path / name).symlink_to(target)
    (tmp_path / "file").write_text("no link")
    read = Links(f"{tmp_path}/*")
    assert reader.read([read]).files(read) == {f"{tmp_path}/{name}": to for name, to in targets.items()}


def test_names_are_of_everything_that_is_there(reader, tmp_path):
    names = ["closed", "folder", "gone", "new\nline", "pipe"]
    (tmp_path / "folder").mkdir()
    (tmp_path / "closed").touch(mode=0)
    (tmp_path / "new\nline").touch()
    (tmp_path / "gone").symlink_to("/nowhere")
    os.mkfifo(tmp_path / "pipe")
    read = Names(f"{tmp_path}/*")
    assert reader.read([read]).files(read) == {f"{tmp_path}/{name}": "" for name in names}


@pytest.mark.parametrize("kind", [Links, Names])
def test_no_match_is_an_empty_answer(reader, tmp_path, kind):
    reads = [kind(f"{tmp_path}/no*"), kind(f"{tmp_path}/no/*/driver")]
    answers = reader.read(reads)
    assert [answers.files(read) for read in reads] == [{}, {}]


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
@pytest.mark.parametrize("kind", [Links, Names])
def test_a_closed_folder_is_not_an_empty_one(kind, tmp_path):
    tmp_path.chmod(0o700)
    (tmp_path / "link").symlink_to("x")
    read = kind(f"{tmp_path}/*")
    with pytest.raises(ReadFailed, match="Permission denied"):
        PosixReader(AsNobody(), "box").read([read]).files(read)


def test_a_process_that_has_a_device_open_is_named(namespace):
    pid = namespace.run(OPENS, "/dev/full", "with blanks, and\ta tab\nand \u2028 a line")
    (found,) = namespace.holders("ful?")
    assert (found.pid, found.device) == (pid, "full")
    assert found.command.startswith(sys.executable)
    assert found.command.endswith("/dev/full with blanks, and a tab and \u2028 a line")


def test_a_process_that_only_maps_it_is_named_also_where_the_file_is_gone(namespace, tmp_path):
    pids = []
    for name in ("dax7.0", "dax7.1", "dax77.0", "dax7x0", "a-dax7.0"):
        (tmp_path / name).write_bytes(bytes(4096))
        pids.append(namespace.run(MAPS, str(tmp_path / name)))
    (tmp_path / "dax7.1").unlink()
    found = [(one.pid, one.device) for one in namespace.holders("dax7.*")]
    assert sorted(found) == [(pids[0], "dax7.0"), (pids[1], "dax7.1")]
    assert [one.pid for one in namespace.holders("dax[0-9]7.0")] == [pids[2]]


def test_an_open_file_that_is_only_called_like_a_device_holds_nothing(namespace, tmp_path):
    (tmp_path / "dax8.0").touch()
    namespace.run(OPENS, str(tmp_path / "dax8.0"))
    assert namespace.holders("dax8.*") == ()


@pytest.mark.parametrize(
    ("counts", "looks"),
    [
        ({"device_dax": "0", "kmem": "0"}, False),
        ({"device_dax": "1", "kmem": "0"}, True),
        ({"device_dax": "0", "fsdev_dax": "2"}, True),
        ({"device_dax": "0", "built_in": None}, True),
        ({}, True),
    ],
    ids=["nobody", "somebody", "of another driver", "a driver without a count", "no drivers"],
)
def test_processes_are_looked_at_where_a_driver_of_the_bus_may_be_in_use(namespace, tmp_path, counts, looks):
    """The kernel's count stands for all of them: with 0, one that would be found is not looked for."""
    for driver, count in counts.items():
        module = tmp_path / "dax" / "drivers" / driver / "module"
        module.mkdir(parents=True)
        if count is not None:
            (module / "refcnt").write_text(f"{count}\n")
    subprocess.run([*namespace.enter, "mount", "--bind", str(tmp_path), "/sys/bus"], check=True)
    namespace.run(OPENS, "/dev/full")
    read = Holders("full", bus="dax")
    found = dax.holders(PosixReader(namespace, "box").read([read]).text(read))
    assert bool(found) is looks


def test_processes_that_come_and_go_are_no_trouble(namespace):
    words = [*namespace.enter, sys.executable, "-c", LIVES_SHORT_LIVES]
    with subprocess.Popen(words) as busy:
        for _ in range(10):
            assert namespace.holders("dax9.*") == ()
        busy.kill()


def test_a_process_that_even_root_may_not_look_into_is_a_failure(namespace):
    namespace.run("os.setresuid(65534, 65534, 65534)\n" + OPENS, "/dev/full")
    namespace.enter += ["setpriv", "--bounding-set=-sys_ptrace,-dac_override,-dac_read_search"]
    with pytest.raises(ReadFailed, match="Permission denied"):
        namespace.holders("full")


def test_without_find_it_is_a_failure(namespace, tmp_path):
    for tool in ("sh", "id", "timeout", "grep", "sed", "sort", "tr"):
        (tmp_path / tool).symlink_to(f"/usr/bin/{tool}")
    namespace.enter += ["env", f"PATH={tmp_path}"]
    with pytest.raises(ReadFailed, match="find: not found"):
        namespace.holders("dax*")


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
@pytest.mark.parametrize("read", [Holders("dax*"), ABSENT_DEVICE])
def test_what_only_root_can_see_is_not_nothing_to_others(read):
    with pytest.raises(ReadFailed, match="Permission denied"):
        PosixReader(AsNobody(), "box").read([read]).text(read)


@pytest.mark.skipif(os.geteuid() != 0, reason="others are told less")
def test_a_device_that_is_not_there_cannot_be_mapped(reader):
    with pytest.raises(ReadFailed, match="no dax device starts there"):
        reader.read([ABSENT_DEVICE]).text(ABSENT_DEVICE)
