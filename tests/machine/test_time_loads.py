"""Loads are timed by the real program: of this machine's own memory, and of a file that stands for a device.

The file is mapped as a device would be, in a mount namespace with a sysfs of its own.
"""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cxlstate.core.answers import ReadFailed
from cxlstate.core.read import TimeLoads
from cxlstate.engine.caching import Access, judge
from cxlstate.engine.measuring import VIRTUAL
from cxlstate.formats import loads
from cxlstate.formats.sh import quote
from cxlstate.machine.local import LocalTransport
from cxlstate.machine.posix import device_reads
from cxlstate.machine.posix.reader import PosixReader

NODE = TimeLoads("node0")
DEVICE = TimeLoads("dax0.0")
HOLDS = """\
import sys, mmap
kept = mmap.mmap(open(sys.argv[1], "r+b").fileno(), 0)
print(flush=True)
sys.stdin.read()
"""
DEV = "mount -t tmpfs none /dev && mknod -m 666 /dev/null c 1 3 && ln -s /proc/self/fd /dev/fd"

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="goes into a mount namespace")


@pytest.fixture
def reader(transport):
    return PosixReader(transport, "box")


class Apart(LocalTransport):
    """A mount namespace in which /sys/bus and /dev are the test's, entered by `user`."""

    def __init__(self, folder: Path, user: str = "", path: str = "/usr/sbin:/usr/bin:/sbin:/bin") -> None:
        before = f"mount --bind {folder} /sys/bus && {DEV} && cp --sparse=always {folder}/memory /dev/dax0.0"
        become = f"setpriv --reuid={user} --clear-groups --" if user else ""
        inside = f'{before} && chmod 600 /dev/dax0.0 && exec {become} "$@"'
        self._enter = f"exec unshare --mount sh -c {quote(inside)} sh env PATH={path}"

    def exchange(self, command, stdin, timeout, limit):
        return super().exchange(f"{self._enter} {command}", stdin, timeout, limit)


@pytest.fixture
def device(tmp_path):
    """What sysfs has of a device of 8 MiB, and its memory, with something in it."""
    folder = tmp_path / "dax" / "devices" / "dax0.0"
    folder.mkdir(parents=True)
    for name, value in {"align": 2 << 20, "size": 8 << 20, "target_node": 2, "numa_node": 0}.items():
        (folder / name).write_text(f"{value}\n")
    (folder / "driver").symlink_to("../../../../bus/dax/drivers/device_dax")
    (tmp_path / "memory").write_bytes(os.urandom(8 << 20))
    return folder


def timed(reader, read=DEVICE):
    return loads.parse(reader.read([read]).text(read))


# This machine -----------------------------------------------------------------------------------------


def test_memory_of_this_machine_is_cached_unless_its_processor_is_emulated(reader):
    """An emulated one is told as that; nothing here can be uncached."""
    answers = reader.read([NODE, VIRTUAL])
    said = answers.raw(VIRTUAL)
    found = loads.parse(answers.text(NODE))
    verdict = judge(found, said.text.strip() if said.status in (0, 1) else None)
    assert verdict.access in (Access.CACHED, Access.CANNOT_TELL), verdict
    if verdict.access is Access.CANNOT_TELL:
        assert "emulat" in verdict.why
    assert found.cpu in os.sched_getaffinity(0)
    assert found.node == 0
    assert found.rounds >= 8
    assert found.model in Path("/proc/cpuinfo").read_text()
    assert found.first(found.memory) > loads.undisturbed(found.memory.repeated)


@pytest.mark.parametrize(
    ("read", "why"),
    [(TimeLoads("node1023"), "there is no node 1023"), (TimeLoads("dax999.7"), "there is no dax999.7")],
)
def test_what_is_not_there_is_said(reader, read, why):
    with pytest.raises(ReadFailed, match=why):
        reader.read([read]).text(read)


@pytest.mark.parametrize("name", ["", "node", "node-1", "dax0", "dax0.0;true", "../dax0.0", "node2 ", "mem"])
def test_nothing_but_a_name_of_the_kernel_can_be_asked_for(name):
    with pytest.raises(ValueError, match="neither a dax device nor a node"):
        TimeLoads(name)


def test_the_program_needs_no_newer_python_than_it_says():
    """`feature_version` refuses what came later: `match`, parenthesised `with`, types of 3.9 in code."""
    ast.parse(device_reads.time_loads(), feature_version=(3, 8))


# A device ---------------------------------------------------------------------------------------------


@needs_root
def test_a_device_is_mapped_and_read_also_while_another_process_holds_it(device, tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, tmp_path / "memory"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        holder.stdout.readline()
        found = timed(PosixReader(Apart(tmp_path), "box"))
        holder.communicate()
    assert found.rounds >= 8
    assert judge(found, "kvm").access in (Access.CACHED, Access.CANNOT_TELL)


@needs_root
def test_timing_a_device_changes_nothing_of_it(device, tmp_path):
    def state():
        stats = {path: path.lstat() for path in tmp_path.rglob("*")}
        return {path: (one.st_mtime_ns, one.st_ctime_ns, one.st_size) for path, one in stats.items()}

    before, content = state(), (tmp_path / "memory").read_bytes()
    timed(PosixReader(Apart(tmp_path), "box"))
    assert state() == before
    assert (tmp_path / "memory").read_bytes() == content


@needs_root
@pytest.mark.parametrize("align", [4 << 10, 2 << 20, 8 << 20])
def test_any_alignment_will_do(device, tmp_path, align):
    (device / "align").write_text(f"{align}\n")
    assert timed(PosixReader(Apart(tmp_path), "box")).rounds >= 8


@needs_root
@pytest.mark.parametrize(("align", "size"), [(4 << 10, 8 << 20), (2 << 20, 8 << 20), (2 << 20, 2 << 20)])
def test_repeated_loads_are_timed_all_over_it(device, tmp_path, align, size):
    (device / "align").write_text(f"{align}\n")
    (device / "size").write_text(f"{size}\n")
    found = timed(PosixReader(Apart(tmp_path), "box"))
    places = [part.at for part in found.elsewhere]
    assert places == sorted({*places} - {0})
    assert all(at % align == 0 for at in places)
    last = size - -(-16384 // align) * align
    assert places[-1:] == ([last] if last else [])
    assert judge(found, "kvm").access in (Access.CACHED, Access.CANNOT_TELL)


@needs_root
@pytest.mark.parametrize("driver", [None, "../../../../bus/dax/drivers/kmem"])
def test_what_is_not_bound_to_device_dax_says_so(device, tmp_path, driver):
    (device / "driver").unlink()
    if driver:
        (device / "driver").symlink_to(driver)
    with pytest.raises(ReadFailed, match=r"dax0\.0 is not bound to device_dax"):
        timed(PosixReader(Apart(tmp_path), "box"))


@needs_root
def test_who_may_not_open_it_is_told_so(device, tmp_path):
    tmp_path.chmod(0o755)
    with pytest.raises(ReadFailed, match=r"/dev/dax0\.0: Permission denied"):
        timed(PosixReader(Apart(tmp_path, user="65534"), "box"))


@needs_root
def test_without_python_it_is_said(device, tmp_path):
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("sh", "sleep", "timeout", "readlink"):
        (tools / tool).symlink_to(f"/usr/bin/{tool}")
    with pytest.raises(ReadFailed, match="python3 is not installed"):
        timed(PosixReader(Apart(tmp_path, path=str(tools)), "box"))


# What keeps it from ending well ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("program", "status", "said"),
    [
        ("import os; os.kill(os.getpid(), 7)", 135, "SIGBUS: it cannot be read"),
        ("import os; os.kill(os.getpid(), 9)", 137, "SIGKILL: it was killed"),
        ("signal.alarm(1)\nwhile True: pass", 142, "it did not end within 30 s"),
        ("import no_such_module", 1, "No module named 'no_such_module'"),
    ],
)
def test_how_it_ended_is_said(program, status, said):
    done = call_time_loads(device_reads._BEGIN, program)
    assert (done.returncode, said in done.stderr.splitlines()[-1]) == (status, True), done.stderr


def call_time_loads(begin, program):
    text = f"{device_reads.FUNCTIONS}\ntime_loads node0 {quote(begin)} {quote(program)}\n"
    return subprocess.run(["sh", "-s"], input=text, text=True, capture_output=True, check=False)


def test_a_python_that_is_too_old_is_told_before_it_sees_the_program():
    """3.6 does not know `from __future__ import annotations`: it would tell of a wrong line."""
    begin = "import sys; sys.version_info = (3, 6, 15)\n" + device_reads._BEGIN
    done = call_time_loads(begin, "no program of Python")
    assert (done.returncode, done.stderr) == (1, "python3 is 3.6 there, and has to be 3.8 or later\n")
    ast.parse(device_reads._BEGIN, feature_version=(3, 4))


def inside(expression, **constants):
    """The value of an expression in the module, in a process of its own."""
    program = (
        "import runpy, sys; all_of = runpy.run_path(sys.argv[1], run_name='it')\n"
        f"all_of['word'].__globals__.update({constants!r})\n"
        f"print(eval({expression!r}, all_of))"
    )
    path = Path(device_reads.__file__).with_name("time_loads.py")
    done = subprocess.run([sys.executable, "-c", program, path], text=True, capture_output=True, check=False)
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


def test_it_is_the_first_to_go_where_memory_is_short():
    """And not a VM whose memory is bound to that node."""
    assert inside("(die_first(), word('/proc/self/oom_score_adj'))") == "(None, '1000')"


@pytest.mark.parametrize(("free", "asks"), [(0, False), (16 << 10, True), ((16 << 10) - 1, False)])
def test_nothing_is_taken_from_a_node_that_has_little(tmp_path, free, asks):
    node = tmp_path / "node3"
    node.mkdir()
    (node / "meminfo").write_text(f"Node 3 MemTotal:  99999 kB\nNode 3 MemFree:   {free} kB\n")
    said = inside("ordinary(4 << 20, 3)", NODES=str(tmp_path), MBIND=1 << 20)  # ENOSYS
    why = "mbind: Function not implemented" if asks else f"{free >> 10} MiB of it are free"
    assert said == f"node3 has no memory for us: {why}"


def test_a_processor_without_an_end_does_not_hold_it_up(tmp_path):
    """The file of one that ends without an empty line."""
    path = tmp_path / "cpuinfo"
    path.write_text("model name\t: x86\nflags\t\t: fpu hypervisor")
    assert inside("processor()", CPUINFO=str(path)) == "('x86', True)"


@needs_root
def test_ctrl_c_leaves_nothing_behind(tmp_path):
    """Of a local machine: what runs there ends with us, and not half a minute later."""
    (tmp_path / "h.yaml").write_text("apiVersion: cxlstate/v1\nhost: {name: h, connect: local}\n")
    shim = tmp_path / "python3"
    pid = tmp_path / "pid"
    shim.write_text(f"#!/bin/sh\necho $$ >{pid}.new && mv {pid}.new {pid}\nexec sleep 99\n")
    shim.chmod(0o755)
    with subprocess.Popen(
        [
            *("env", "--default-signal=INT"),  # whoever runs the tests in the background has it ignored
            *(sys.executable, "-m", "cxlstate", "measure", "node:0", tmp_path / "h.yaml", "--json"),
        ],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        number = int(wait_for(pid))
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    assert json.loads(out)["diagnostics"]
    assert process.returncode not in (0, 5)
    for _ in range(50):
        if not Path(f"/proc/{number}").exists():
            return
        time.sleep(0.1)
    pytest.fail("what was started there still runs")


def wait_for(path):
    for _ in range(600):
        if path.exists():
            return path.read_text()
        time.sleep(0.1)
    raise TimeoutError(path)
