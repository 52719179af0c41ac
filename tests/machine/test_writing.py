"""Effects on a real file system, by a real shell, here and through sshd."""

from __future__ import annotations

import json
import os
import threading
import time

import pytest

from cxlstate.core.action import Generate, Reboot, RemoveFile, Run, WriteFile
from cxlstate.core.answers import Answer, Answers
from cxlstate.core.read import Attributes, File
from cxlstate.machine import records
from cxlstate.machine.outcome import Outcome, Result
from cxlstate.machine.posix import effects
from cxlstate.machine.posix.reader import PosixReader
from tests.fragments import step
from tests.machine.conftest import ENTRY, digest

DONE = Outcome(Result.DONE)


def journal(tmp_path):
    return [json.loads(line) for line in (tmp_path / "state" / "journal.jsonl").read_text().splitlines()]


def leftovers(tmp_path):
    outside = list(tmp_path.rglob("*.cxlstate*"))
    return outside + [path for path in (tmp_path / "state" / "tmp").iterdir() if path.name == "leftover"]


@pytest.mark.parametrize("content", [b"", b"text\n", bytes(range(256)) * 9, b"x" * 3_000_000])
def test_a_new_file_is_written_byte_for_byte(writer, tmp_path, content):
    path = tmp_path / "new" / "folder" / "file.conf"
    assert writer.perform(WriteFile(str(path), content, mode=0o640), ENTRY) == DONE
    assert path.read_bytes() == content
    assert path.stat().st_mode & 0o777 == 0o640
    assert path.parent.stat().st_mode & 0o777 == 0o755
    assert not leftovers(tmp_path)


def test_owner_and_mode_are_kept_and_the_old_content_is_stored(writer, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    os.chown(path, 1234, 5678)
    path.chmod(0o604)
    os.setxattr(path, "user.note", b"kept")
    inode = path.stat().st_ino
    assert writer.perform(WriteFile(str(path), b"new", expected=digest(b"old")), ENTRY) == DONE
    stat = path.stat()
    assert (stat.st_uid, stat.st_gid, stat.st_mode & 0o7777) == (1234, 5678, 0o604)
    assert os.getxattr(path, "user.note") == b"kept"
    assert stat.st_ino != inode
    assert path.read_bytes() == b"new"
    stored = tmp_path / "state" / "blobs" / digest(b"old")
    assert stored.read_bytes() == b"old"
    assert stored.stat().st_mode & 0o777 == 0o600
    begin, done = journal(tmp_path)
    assert begin["event"] == "begin"
    assert done | {"before": digest(b"old"), "after": digest(b"new"), "event": "done"} == done
    assert (done["run"], done["addresses"], done["does"], done["risk"]) == (
        ENTRY.run,
        list(ENTRY.addresses),
        ENTRY.does,
        ENTRY.risk,
    )


def test_a_link_is_followed_and_stays(writer, tmp_path):
    (tmp_path / "target").write_bytes(b"old")
    (tmp_path / "link").symlink_to("target")
    assert writer.perform(WriteFile(f"{tmp_path}/link", b"new", expected=digest(b"old")), ENTRY) == DONE
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"new"


@pytest.mark.parametrize("there", [b"somebody's edit", None])
def test_a_file_that_changed_since_is_left_alone(writer, tmp_path, there):
    path = tmp_path / "file"
    if there is not None:
        path.write_bytes(there)
    for effect in (
        WriteFile(str(path), b"new", expected=digest(b"planned")),
        RemoveFile(str(path), expected=digest(b"planned")),
        Generate(str(path), ("sh", "-c", "echo x >$1", "sh"), b"x\n", expected=digest(b"planned")),
    ):
        assert writer.perform(effect, ENTRY).result is Result.STALE
    assert (path.read_bytes() if path.exists() else None) == there
    assert not leftovers(tmp_path)


def test_a_file_that_appeared_since_is_left_alone(writer, tmp_path):
    (tmp_path / "file").write_bytes(b"somebody's")
    assert writer.perform(WriteFile(f"{tmp_path}/file", b"new"), ENTRY).result is Result.STALE
    assert (tmp_path / "file").read_bytes() == b"somebody's"


def test_what_is_no_regular_file_is_not_written(writer, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "null").symlink_to("/dev/null")
    for name in ("folder", "null"):
        outcome = writer.perform(WriteFile(f"{tmp_path}/{name}", b"new"), ENTRY)
        assert outcome.result is Result.FAILED
        assert "not a regular file" in outcome.output


def test_a_file_is_removed(writer, tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    assert writer.perform(RemoveFile(f"{tmp_path}/file", digest(b"old")), ENTRY) == DONE
    assert not (tmp_path / "file").exists()
    assert (tmp_path / "state" / "blobs" / digest(b"old")).read_bytes() == b"old"


NAMES = [
    "$(touch owned)",
    "`touch owned`",
    ";touch owned;",
    "new\nline\n",
    "quo'te",
    'quo"te',
    "*",
    "-n",
    "\\",
]


@pytest.mark.parametrize("name", NAMES)
def test_hostile_paths_are_literal(writer, tmp_path, name):
    path = tmp_path / name
    (tmp_path / "bystander").write_text("stays")
    assert writer.perform(WriteFile(str(path), b"one"), ENTRY) == DONE
    assert writer.perform(WriteFile(str(path), b"two", expected=digest(b"one")), ENTRY) == DONE
    assert path.read_bytes() == b"two"
    assert writer.perform(RemoveFile(str(path), digest(b"two")), ENTRY) == DONE
    assert sorted(one.name for one in tmp_path.iterdir()) == ["bystander", "lock", "state"]


def test_a_nul_in_a_path_is_refused(writer):
    assert writer.perform(WriteFile("/tmp/nul\0byte", b""), ENTRY).result is Result.FAILED


def test_a_program_gets_its_words_and_surroundings(writer):
    words = ("$(touch owned)", "a b", "new\nline", "'", "")
    program = Run(("printf", "<%s>"), words)
    assert writer.perform(program, ENTRY) == Outcome(Result.DONE, 0, "".join(f"<{word}>" for word in words))
    surroundings = Run(
        ("sh", "-c", 'echo "$A"; umask; cat; ls /proc/self/fd/9'), environment=(("A", "x; y"),)
    )
    outcome = writer.perform(surroundings, ENTRY)
    assert outcome.output.startswith("x; y\n0022\nls: ")  # no input, and the lock is not handed down


def test_a_program_that_fails_or_hangs_is_a_failure(writer):
    failed = writer.perform(Run(("sh", "-c", "echo why >&2; exit 7")), ENTRY)
    assert failed == Outcome(Result.FAILED, 7, "why\n")
    hung = writer.perform(Run(("sleep", "60"), timeout=1), ENTRY)
    assert (hung.result, hung.status) == (Result.FAILED, 124)
    assert "within 1 s" in hung.output
    missing = writer.perform(Run(("no-such-program",)), ENTRY)
    assert (missing.result, missing.status) == (Result.FAILED, 127)


def test_a_log_has_what_is_said_while_it_is_said_and_the_end_of_it_for_good(writer, tmp_path):
    log = tmp_path / "state" / "logs of mine" / "build.log"
    program = (
        f"echo first; cat '{log}' >'{tmp_path}/seen'; head -c {effects.LOG} /dev/zero; echo why >&2; exit 2"
    )
    failed = writer.perform(Run(("sh", "-c", program), log=str(log)), ENTRY)
    assert (failed.result, failed.status, failed.output[-4:]) == (Result.FAILED, 2, "why\n")
    assert (tmp_path / "seen").read_text() == "first\n"
    assert log.read_bytes() == bytes(effects.LOG - 4) + b"why\n"
    assert writer.perform(Run(("echo", "again"), log=str(log)), ENTRY) == Outcome(Result.DONE, 0, "again\n")
    assert log.read_text() == "again\n"
    assert log.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["$(touch owned)", "a b", "-e", "'"])
def test_a_program_is_not_run_where_something_has_come_into_its_way(writer, tmp_path, name):
    path, ran = tmp_path / name, tmp_path / "ran"
    program = Run(("touch", str(ran)), unless=str(path))
    path.mkdir()
    assert writer.perform(program, ENTRY) == Outcome(Result.STALE)
    assert not ran.exists()
    path.rmdir()
    assert writer.perform(program, ENTRY).result is Result.DONE
    assert ran.exists()


def test_of_much_output_the_last_is_kept(writer):
    outcome = writer.perform(Run(("seq", "1000000")), ENTRY)
    assert len(outcome.output) == 65536
    assert outcome.output.endswith("\n1000000\n")


def generate(tmp_path, text, **more):
    program = ("sh", "-c", 'echo making; printf %s "$1" >"$2"; echo aside >"$2.new"', "sh", text)
    return Generate(f"{tmp_path}/made", program, **more)


def test_what_was_generated_as_planned_is_put_in_place(writer, tmp_path):
    (tmp_path / "made").write_bytes(b"old")
    (tmp_path / "made").chmod(0o444)
    effect = generate(tmp_path, "a \t b\n", predicted=b"a b\n", must_hold=("a b",), expected=digest(b"old"))
    assert writer.perform(effect, ENTRY) == Outcome(Result.DONE, 0, "making\n")
    assert (tmp_path / "made").read_bytes() == b"a \t b\n"
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o444
    assert not leftovers(tmp_path)
    assert [line["event"] for line in journal(tmp_path)] == ["begin", "done"]


def test_foreign_changes_are_shown_and_nothing_is_written(writer, tmp_path):
    outcome = writer.perform(generate(tmp_path, "a\nforeign\n", predicted=b"a\nours\n"), ENTRY)
    assert outcome.result is Result.FOREIGN
    assert "-ours" in outcome.output.splitlines()
    assert "+foreign" in outcome.output.splitlines()
    assert not (tmp_path / "made").exists()
    assert not leftovers(tmp_path)


def test_with_consent_foreign_changes_go_in_but_ours_must_be_there(writer, tmp_path):
    lacking = generate(tmp_path, "foreign\n", predicted=b"ours\n", must_hold=("ours",), foreign=True)
    assert writer.perform(lacking, ENTRY).result is Result.FAILED
    assert not (tmp_path / "made").exists()
    holding = generate(tmp_path, "foreign\nours\n", predicted=b"ours\n", must_hold=("ours",), foreign=True)
    assert writer.perform(holding, ENTRY).result is Result.DONE
    assert (tmp_path / "made").read_bytes() == b"foreign\nours\n"


def test_a_generator_that_fails_changes_nothing(writer, tmp_path):
    effect = Generate(f"{tmp_path}/made", ("sh", "-c", "echo half >$1; echo why; exit 3", "sh"), b"")
    assert writer.perform(effect, ENTRY) == Outcome(Result.FAILED, 3, "why\n")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["lock", "state"]


def test_records_are_kept_read_and_forgotten(writer, tmp_path, monkeypatch):
    monkeypatch.setattr(records, "APPLIED", f"{tmp_path}/state/applied")
    kept = {"module.kmem": '{"a": "$(x)"}', "vm.a/b:c d": "x", "user..hidden": "", "grub": "%41"}
    writer.record(kept)
    reads = records.applied_reads()
    shown = {str(address): record for address, record in records.applied(writer.read(reads)).items()}
    assert shown == kept
    writer.record(dict.fromkeys(kept) | {"grub": "new", "never.was": None})
    assert {str(a): r for a, r in records.applied(writer.read(reads)).items()} == {"grub": "new"}


def test_a_record_is_kept_where_the_address_is_too_long_for_a_file_name(writer, tmp_path, monkeypatch):
    """A path of many folders; the name of a VM in another script takes nine bytes a character."""
    monkeypatch.setattr(records, "APPLIED", f"{tmp_path}/state/applied")
    path = "/".join(f"folder{number}" for number in range(30))
    addresses = (f"file./etc/{path}", f"vm.{'虚拟机' * 20}", "grub")
    kept = {address: f'{{"wanted": {number}}}' for number, address in enumerate(addresses)}
    writer.record(kept)
    reads = records.applied_reads()
    shown = {str(address): json.loads(line) for address, line in records.applied(writer.read(reads)).items()}
    assert {address: record["wanted"] for address, record in shown.items()} == dict(
        zip(addresses, range(3), strict=True)
    )
    for file in (tmp_path / "state/applied").glob("%_*"):
        file.write_text("damaged\n")
    assert [str(one) for one in records.applied(writer.read(reads))] == ["grub"]
    writer.record(dict.fromkeys(kept))
    assert [*(tmp_path / "state/applied").iterdir()] == []


def test_a_record_is_one_line(writer):
    with pytest.raises(ValueError, match="one line"):
        writer.record({"grub": "two\nlines"})


def test_no_records_on_a_bare_machine(tmp_path, monkeypatch, transport):
    monkeypatch.setattr(records, "APPLIED", f"{tmp_path}/never/applied")
    assert records.applied(PosixReader(transport, "box").read(records.applied_reads())) == {}


def test_a_torn_journal_line_does_not_spoil_the_next(writer, tmp_path):
    writer.perform(Run(("true",)), ENTRY)
    with (tmp_path / "state" / "journal.jsonl").open("a") as file:
        file.write('{"at":"2026-')
    writer.perform(Run(("true",)), ENTRY)
    lines = (tmp_path / "state" / "journal.jsonl").read_text().splitlines()
    assert [line.endswith("}") for line in lines] == [True, True, False, True, True]


def test_the_state_is_closed_to_others(writer, tmp_path):
    writer.perform(WriteFile(f"{tmp_path}/file", b"x"), ENTRY)
    for path in [tmp_path / "state", *(tmp_path / "state").rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_writer_reads_over_its_own_connection(writer):
    assert writer.read([File("/proc/version")]).text(File("/proc/version"))


def test_a_reboot_is_not_just_performed(writer):
    with pytest.raises(TypeError):
        writer.perform(Reboot(), ENTRY)


def test_readers_of_a_file_see_the_old_or_the_new_and_never_half(writer, tmp_path):
    path = tmp_path / "file"
    contents = [bytes([letter]) * 200_000 for letter in b"ab"]
    path.write_bytes(contents[0])
    seen, over = set(), threading.Event()

    def watch():
        while not over.is_set():
            seen.add(path.read_bytes())
            time.sleep(0)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for turn in range(6):
        effect = WriteFile(str(path), contents[(turn + 1) % 2], expected=digest(contents[turn % 2]))
        assert writer.perform(effect, ENTRY) == DONE
    over.set()
    watcher.join()
    assert seen <= set(contents)


def test_applied_reads_are_attributes_of_the_state_folder():
    assert records.applied_reads() == (Attributes("/var/lib/cxlstate/applied/*"),)
    assert records.applied(Answers({records.applied_reads()[0]: Answer(0)})) == {}


def test_a_step_is_run_and_the_journal_has_its_words_alone(writer, tmp_path):
    words = ("dax_bind", "name=dax99.9'$(reboot)", "-")
    outcome = writer.perform(step(*words), ENTRY)
    assert outcome == Outcome(Result.FAILED, 64, f"cxlstate: not a plain word: {words[1]}\n")
    begin, failed = journal(tmp_path)
    assert (begin["event"], failed["event"]) == ("begin", "failed")
    assert (failed["effect"], failed["words"]) == ("step", list(words))
    assert "main" not in (tmp_path / "state" / "journal.jsonl").read_text()
