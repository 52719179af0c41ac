"""What is read over a real shell, here and through sshd."""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from cxlstate.core.answers import ReadFailed
from cxlstate.core.diagnostic import CxlstateError
from cxlstate.core.exit_status import TIMED_OUT
from cxlstate.core.read import Attributes, Command, File, Glob
from cxlstate.machine import limits
from cxlstate.machine.local import LocalTransport
from cxlstate.machine.posix import read_script
from cxlstate.machine.posix.reader import PosixReader
from tests.machine.conftest import AsNobody


@pytest.fixture
def reader(transport):
    return PosixReader(transport, "box")


NONCE_LIKE = b"\n" + b"0" * 32 + b" err 0 0\n\n" + b"f" * 32 + b" end\n"
CONTENTS = {
    "empty": b"",
    "no newline at the end": b"last",
    "only newlines": b"\n\n\n",
    "NULs": b"a\0b\0\n\0",
    "every byte": bytes(range(256)),
    "like a mark": NONCE_LIKE,
    "as a shell reads it": b"one\n  two\t\\n \\\n'three' \"$four\" `five`\n\n",
    "a page": b"x" * 4095 + b"\n",
    "ten megabytes": random.Random(1).randbytes(10 << 20),
}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_a_file_comes_byte_for_byte(reader, tmp_path, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    limit = 16 << 20
    one, some = tmp_path / "some", tmp_path / "some" / "more"
    one.mkdir()
    for other in (one / "before", some, one / "there"):
        other.write_bytes(content)
    reads = [File(str(path), limit), Glob(f"{tmp_path}/*", limit), Glob(f"{one}/*", limit)]
    answers = reader.read(reads)
    assert answers.raw(reads[0]).stdout == content
    assert answers.raw(reads[1]).files[str(path)].stdout == content
    assert [answer.stdout for answer in answers.raw(reads[2]).files.values()] == [content] * 3


def test_absent_is_told_from_unreadable_and_too_large(reader, tmp_path):
    (tmp_path / "large").write_bytes(b"12345")
    absent, folder, large = File(f"{tmp_path}/no"), File(str(tmp_path)), File(f"{tmp_path}/large", limit=4)
    below, under = File(f"{tmp_path}/large/x"), File(f"{tmp_path}/no/such/x")
    answers = reader.read([absent, folder, large, below, under])
    assert answers.text_or_none(absent) is None
    assert answers.text_or_none(under) is None
    with pytest.raises(ReadFailed, match="Not a directory"):
        answers.text_or_none(below)
    with pytest.raises(ReadFailed, match="Is a directory"):
        answers.text_or_none(folder)
    with pytest.raises(ReadFailed, match="larger than 4 bytes"):
        answers.text_or_none(large)


def test_a_file_named_like_an_error_is_not_absent(reader, tmp_path):
    folder = tmp_path / "x: No such file or directory"
    folder.mkdir()
    answers = reader.read([File(str(folder))])
    with pytest.raises(ReadFailed, match="Is a directory"):
        answers.text_or_none(File(str(folder)))


def test_patterns_match_regular_files_only(reader, tmp_path):
    (tmp_path / "a.cfg").write_bytes(b"A")
    (tmp_path / "b.cfg").write_bytes(b"B\nsecond\n")
    (tmp_path / "folder.cfg").mkdir()
    os.mkfifo(tmp_path / "pipe.cfg")
    (tmp_path / "dangling.cfg").symlink_to("/nowhere/at/all")
    (tmp_path / "link.cfg").symlink_to(tmp_path / "a.cfg")
    files, lines = Glob(f"{tmp_path}/*.cfg"), Attributes(f"{tmp_path}/*.cfg")
    answers = reader.read([files, lines])
    names = [f"{tmp_path}/{name}.cfg" for name in ("a", "b", "link")]
    assert answers.files(files) == dict(zip(names, ["A", "B\nsecond\n", "A"], strict=True))
    assert answers.files(lines) == dict(zip(names, ["A", "B", "A"], strict=True))


def test_no_match_is_an_empty_answer_only_if_proven(reader, tmp_path):
    (tmp_path / "sub").mkdir()
    patterns = [f"{tmp_path}/*.no", f"{tmp_path}/no/*", f"{tmp_path}/*/no*", f"{tmp_path}/sub/no"]
    reads = [kind(pattern) for pattern in patterns for kind in (Glob, Attributes)]
    answers = reader.read(reads)
    assert [answers.files(read) for read in reads] == [{}] * len(reads)


def test_attributes_keep_every_byte_of_their_line(reader, tmp_path):
    line = bytes(set(range(1, 256)) - {10})
    (tmp_path / "one").write_bytes(line + b"\nrest")
    answers = reader.read([Attributes(f"{tmp_path}/*")])
    text = answers.files(Attributes(f"{tmp_path}/*"))[f"{tmp_path}/one"]
    assert text.encode("utf-8", "surrogateescape") == line


def test_an_attribute_that_fails_to_read_is_a_failure(reader):
    """The memory of a process opens, and its first page gives EIO: no empty line may come of it."""
    read = Attributes("/proc/self/me[m]")
    with pytest.raises(ReadFailed, match="Input/output error"):
        reader.read([read]).files(read)


def test_commands_with_the_same_words_run_once(reader):
    first = Command(("dpkg-query", "--show"), ("dash",))
    second = Command(("dpkg-query", "--show"), ("bash", "no-such-package"))
    everything = Command(("dpkg-query", "--show"))
    answers = reader.read([first, second, everything])
    assert answers.raw(first) == answers.raw(second)
    assert answers.raw(first).status == 1
    assert [line.split()[0] for line in answers.raw(first).text.splitlines()] == ["bash", "dash"]
    assert len(answers.text(everything).splitlines()) > 2


def test_a_missing_tool_is_named(reader):
    read = Command(("daxctl", "list", "--no-such-host-has-it"))
    if shutil.which("daxctl"):
        pytest.skip("daxctl is here")
    with pytest.raises(ReadFailed) as failed:
        reader.read([read]).text(read)
    assert failed.value.missing_tool == "daxctl"


HOSTILE = [
    "$(touch {0}/owned)",
    "`touch {0}/owned`",
    ";touch {0}/owned;",
    "a\ntouch {0}/owned\n",
    "'; touch {0}/owned; '",
    '"; touch {0}/owned; "',
    "&& touch {0}/owned",
    "| touch {0}/owned",
    "> {0}/owned",
    "\\",
    "'",
    "''\\''",
    "*",
    "?[a-z]",
    "[$(touch {0}/owned)]",
    "~",
    "$HOME",
    "../../etc/passwd",
    "\x7f\x1b[31m",
    "nul\0byte",
    "lone \ud800 surrogate",
    "x" * 100_000,
]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:20]))
def test_hostile_values_are_literal_text_or_failures(reader, tmp_path, text):
    value = text.format(tmp_path) if "{0}" in text else text
    word = Command(("uname",), (value.lstrip("-") or "x",))
    reads = [
        File(f"{tmp_path}/{value}"),
        Glob(f"{tmp_path}/{value}/*"),
        Attributes(f"{tmp_path}/{value}.*"),
        word,
    ]
    answers = reader.read([*reads, File("/proc/version")])
    assert not (tmp_path / "owned").exists()
    assert answers.raw(word).status != 0
    assert answers.text(File("/proc/version"))


def test_ten_megabytes_are_no_path(reader):
    read = File("/" + "y" * 10_000_000)
    with pytest.raises(ReadFailed, match="long"):
        reader.read([read]).text_or_none(read)


def test_hostile_names_are_read_as_they_are(reader, tmp_path):
    names = ["$(reboot)", "`reboot`", "a;b", "new\nline", "quo'te", 'quo"te', "back\\slash", "-n", " "]
    for name in names:
        (tmp_path / name).write_text(f"content of {name}\n")
    reads = [File(f"{tmp_path}/{name}") for name in names]
    answers = reader.read([*reads, Glob(f"{tmp_path}/*"), Attributes(f"{tmp_path}/*")])
    wanted = {f"{tmp_path}/{name}": f"content of {name}\n" for name in names}
    assert {read.path: answers.text(read) for read in reads} == wanted
    assert answers.files(Glob(f"{tmp_path}/*")) == wanted
    assert len(answers.files(Attributes(f"{tmp_path}/*"))) == len(names)


def test_reading_leaves_no_trace(reader, tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "file").write_text("content\n")
    before = snapshot(tmp_path)
    reader.read([File(f"{tmp_path}/sub/file"), Glob(f"{tmp_path}/*/*"), Attributes(f"{tmp_path}/*/no")])
    assert snapshot(tmp_path) == before


def snapshot(folder: Path) -> dict[str, tuple[int, ...]]:
    stats = {str(path): path.stat() for path in [folder, *folder.rglob("*")]}
    return {path: (one.st_mtime_ns, one.st_ctime_ns, one.st_size, one.st_ino) for path, one in stats.items()}


def test_more_than_the_limit_is_refused(reader, tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"x" * 100_000)
    monkeypatch.setattr(limits, "EXCHANGE", 50_000)
    with pytest.raises(CxlstateError, match="CXC202"):
        reader.read([File(f"{tmp_path}/file")])


@pytest.mark.parametrize("kind", [File, Glob, Attributes])
def test_a_pipe_or_device_is_never_opened(reader, tmp_path, kind):
    os.mkfifo(tmp_path / "pipe")
    read, device, folder = kind(f"{tmp_path}/pipe"), File("/dev/zero"), File(str(tmp_path))
    answers = reader.read([read, device, folder])
    if kind is File:
        with pytest.raises(ReadFailed, match="not a regular file"):
            answers.text_or_none(read)
    else:
        assert answers.files(read) == {}
    with pytest.raises(ReadFailed, match="not a regular file"):
        answers.text_or_none(device)


@pytest.fixture
def hang(monkeypatch):
    """Makes files whose opening blocks: the kernel waits for the holder of a lease (fcntl(2), F_SETLEASE)."""
    monkeypatch.setattr(limits, "READ", 1)
    monkeypatch.setattr(limits, "TICK", 1)
    monkeypatch.setattr(limits, "HUNG", 2)
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    held = []

    def make(path):
        path.write_bytes(b"leased\n")
        held.append(os.open(path, os.O_WRONLY))
        fcntl.fcntl(held[-1], fcntl.F_SETLEASE, fcntl.F_WRLCK)

    yield make
    for descriptor in held:
        os.close(descriptor)
    signal.signal(signal.SIGIO, before)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [File, Glob, Attributes])
def test_a_read_that_hangs_is_unknown_and_the_others_are_answered(reader, tmp_path, hang, kind):
    (tmp_path / "good").write_bytes(b"good\n")
    hang(tmp_path / "held")
    read, after = kind(f"{tmp_path}/held"), Attributes(f"{tmp_path}/good")
    started = time.monotonic()
    answers = reader.read([File("/proc/version"), read, after, Command(("uname",))])
    assert time.monotonic() - started < 10
    with pytest.raises(ReadFailed, match="no answer within 1 s"):
        answers.text(read) if kind is File else answers.files(read)
    assert answers.text(File("/proc/version"))
    assert answers.files(after) == {f"{tmp_path}/good": "good"}
    assert answers.text(Command(("uname",))) == "Linux\n"
    assert left_over(str(tmp_path)) == []


@pytest.mark.slow
def test_a_command_has_its_own_limit_and_does_not_count_as_a_read_that_hangs(tmp_path, hang, monkeypatch):
    (tmp_path / "uname").write_text("#!/bin/sh\nexec sleep 1000.7531\n")
    (tmp_path / "uname").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    hung = [Command(("uname", f"-{letter}"), timeout=1) for letter in "abcdefgh"[: limits.HUNG + 1]]
    answers = PosixReader(LocalTransport(), "box").read([*hung, File("/proc/version")])
    for read in hung:
        with pytest.raises(ReadFailed, match=r"uname -. did not end within 1 s"):
            answers.text(read)
    assert answers.text(File("/proc/version"))
    assert left_over("1000.7531") == []


@pytest.mark.slow
def test_what_hung_in_the_middle_of_a_pattern_gives_no_half_answer(reader, tmp_path, hang):
    (tmp_path / "a").write_bytes(b"good\n")
    hang(tmp_path / "b")
    read = Attributes(f"{tmp_path}/*")
    answers = reader.read([read])
    assert answers.raw(read).status == TIMED_OUT
    assert answers.raw(read).files == {}


@pytest.mark.slow
def test_when_many_reads_hang_the_rest_is_not_tried(reader, tmp_path, hang):
    reads = [File(f"{tmp_path}/held{number}") for number in range(30)]
    for read in reads:
        hang(Path(read.path))
    started = time.monotonic()
    answers = reader.read([*reads, File("/proc/version")])
    assert time.monotonic() - started < len(reads) * limits.READ
    assert {answers.raw(read).status for read in answers._answers} == {TIMED_OUT}
    with pytest.raises(ReadFailed, match="not read, since other reads hang"):
        answers.text(File("/proc/version"))


def left_over(argument):
    """Processes that have a text among their arguments."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if int(path.parent.name) != os.getpid() and argument in path.read_text(errors="replace"):
                found.append(path.parent.name)
    return found


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="goes into a mount namespace")
def test_reading_as_it_is_bounded_costs_few_processes(tmp_path):
    """Three for the watch, whatever is read, and none for a file of a pattern that the shell reads."""
    for number in range(200):
        (tmp_path / f"{number}").write_bytes(b"x\n")
    most = 8  # with one that the watch starts whenever it looks, on a machine that is busy
    assert processes([Attributes(f"{tmp_path}/1")]) <= most
    assert processes([Attributes(f"{tmp_path}/*")]) <= most


def processes(reads):
    """How many a script starts, by what the kernel hands out as process numbers meanwhile."""
    script = read_script.script("n", reads)
    done = subprocess.run(
        ["unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", "dash; sh -c 'echo $$'"],
        input=script, capture_output=True, check=True,
    )  # fmt: skip
    return int(done.stdout.splitlines()[-1]) - 2


def test_nothing_asked_is_nothing_done():
    class Unreachable:
        def __getattr__(self, name):
            raise AssertionError(f"{name} was used")

    assert PosixReader(Unreachable(), "box").read([]) is not None


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_what_a_user_may_not_read_is_a_failure_and_not_absent():
    """Run by dash as nobody: closed files, closed folders, also where a pattern passes through."""
    opened = Path("/tmp") / f"cxlstate-test-{os.getpid()}"
    opened.mkdir(mode=0o755)
    try:
        (opened / "closed").mkdir(mode=0o700)
        (opened / "closed" / "a.conf").write_text("secret\n")
        (opened / "names-only").mkdir()
        (opened / "names-only" / "a.conf").write_text("secret\n")
        (opened / "names-only").chmod(0o744)
        (opened / "file").write_text("secret\n")
        (opened / "file").chmod(0o600)
        (opened / "link").symlink_to(opened / "closed" / "a.conf")
        reads = [
            File(f"{opened}/file"),
            File(f"{opened}/closed/a.conf"),
            File(f"{opened}/closed/absent"),
            *(kind(f"{opened}/{pattern}") for kind in (Glob, Attributes) for pattern in PATTERNS),
        ]
        answers = read_as_nobody(reads)
        for read, answer in answers.items():
            failed = answer.status != 0 or any(one.status != 0 for one in answer.files.values())
            assert failed, read
            assert "Permission denied" in answer.stderr + "".join(o.stderr for o in answer.files.values())
    finally:
        shutil.rmtree(opened)


PATTERNS = [
    "closed/*.conf",
    "closed/*.no",
    "names-only/*.conf",
    "*/*.conf",
    "*/*.no",
    "closed/x/*",
    "fil*",
    "lin*",
]


def read_as_nobody(reads):
    script = read_script.script("n0nce", reads)
    as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "dash"]
    output = subprocess.run(as_nobody, input=script, capture_output=True, check=True, cwd="/").stdout
    return read_script.parse("n0nce", output, reads)


def test_an_answer_that_broke_off_is_noticed():
    reads = [File("/proc/version"), File("/etc/hostname")]
    output = subprocess.run(
        ["dash"], input=read_script.script("n", reads), capture_output=True, check=True
    ).stdout
    assert read_script.parse("n", b"a login script's words\n" + output, reads)
    for cut in (0, 1, len(output) // 2, len(output) - 3):
        with pytest.raises(ValueError, match="answers came"):
            read_script.parse("n", output[:cut], reads)


def test_importing_the_ports_does_not_load_the_libraries():
    code = (
        "import sys, cxlstate.adapters.open_reader, cxlstate.adapters.open_writer\n"
        "print([m for m in ('fabric', 'paramiko') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_a_user_without_sudo_reads_what_is_open_to_all():
    opened, closed = File("/proc/version"), File("/etc/shadow")
    answers = PosixReader(AsNobody(), "box").read([opened, closed])
    assert answers.text(opened)
    with pytest.raises(ReadFailed, match="Permission denied"):
        answers.text_or_none(closed)
