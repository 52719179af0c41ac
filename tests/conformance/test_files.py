"""Facts of files: what reading and writing them gives, and the words for what it does not give."""

from __future__ import annotations

import pytest

from cxlstate.core.action import RemoveFile, WriteFile
from cxlstate.core.read import Asked, Attributes, ConditionUnmet, Exists, File, Glob, ReadFailed
from cxlstate.machine.outcome import Result

ABSENT = "No such file or directory"
DENIED = "Permission denied"
FOLDER = "/etc/conformance"


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/etc/conformance-absent", ABSENT),
        ("/conformance-absent/file", ABSENT),
        ("/proc/conformance-absent", ABSENT),
        ("/etc/passwd/file", "Not a directory"),
        ("/etc", "Is a directory"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(machine, path, reason):
    answer = machine.answer(File(path))
    assert (answer.status, answer.stderr) == (1, reason)


def test_a_pattern_without_a_match_is_no_failure(machine):
    for pattern in ("/etc/conformance-absent/*.cfg", "/etc/default/conformance-*"):
        answer = machine.answer(Glob(pattern))
        assert (answer.status, answer.files) == (0, {})


def test_a_pattern_gives_files_in_order_and_neither_folders_nor_hidden_ones(machine):
    for name in ("b.cfg", "a.cfg", ".hidden.cfg", "c.txt", "folder.cfg/file"):
        machine.write(f"{FOLDER}/{name}", f"{name}\nsecond line\n")
    files = machine.writer.read([Glob(f"{FOLDER}/*.cfg")]).files(Glob(f"{FOLDER}/*.cfg"))
    assert list(files.items()) == [
        (f"{FOLDER}/a.cfg", "a.cfg\nsecond line\n"),
        (f"{FOLDER}/b.cfg", "b.cfg\nsecond line\n"),
    ]
    lines = machine.writer.read([Attributes(f"{FOLDER}/[ab].cfg")]).files(Attributes(f"{FOLDER}/[ab].cfg"))
    assert lines == {f"{FOLDER}/a.cfg": "a.cfg", f"{FOLDER}/b.cfg": "b.cfg"}


def test_a_condition_is_looked_at_by_the_machine(machine):
    machine.write(f"{FOLDER}/there", "content\n")
    read = File(f"{FOLDER}/there")
    for pattern in (f"{FOLDER}/there", f"{FOLDER}/t*"):
        condition = Exists("/conformance-absent/file", pattern)
        answers = machine.writer.read([Asked(read, only_if=condition)])
        assert (answers.exists(condition), answers.text(read)) == (True, "content\n")
    for pattern in (f"{FOLDER}/no", f"{FOLDER}/no*", "/conformance-absent/*", "/etc/passwd/file"):
        condition = Exists(pattern)
        answers = machine.writer.read([Asked(read, only_if=condition)])
        assert answers.exists(condition) is False
        with pytest.raises(ConditionUnmet):
            answers.text(read)


def test_a_condition_in_a_closed_folder_cannot_be_told(machine):
    condition = Exists("/var/lib/cxlstate/applied/no")
    with machine.unprivileged() as reader, pytest.raises(ReadFailed, match=DENIED):
        reader.read([condition]).exists(condition)


def test_only_root_reads_what_is_private(machine):
    machine.write(f"{FOLDER}/private", "secret\n", mode=0o600)
    with machine.unprivileged() as reader:
        answer = reader.read([File(f"{FOLDER}/private")]).raw(File(f"{FOLDER}/private"))
        assert (answer.status, answer.stdout, answer.stderr) == (1, b"", DENIED)
        state = Glob("/var/lib/cxlstate/applied/*")
        assert DENIED in reader.read([state]).raw(state).stderr
        with pytest.raises(ReadFailed, match=DENIED):
            reader.read([Glob(f"{FOLDER}/*")]).files(Glob(f"{FOLDER}/*"))


def test_others_than_root_see_no_addresses_in_iomem(machine):
    with machine.unprivileged() as reader:
        text = reader.read([File("/proc/iomem")]).text(File("/proc/iomem"))
    assert text != ""
    assert all(line.lstrip().startswith("00000000-00000000 : ") for line in text.splitlines())


def test_a_written_file_is_read_back_to_the_byte(machine):
    content = bytes(range(256)) + b"no newline at the end"
    path = f"{FOLDER}/bytes"
    assert machine.perform(WriteFile(path, content)).result is Result.DONE
    assert machine.answer(File(path)).stdout == content


def test_a_new_file_gets_the_mode_and_a_replaced_one_keeps_its_own(machine):
    path = f"{FOLDER}/mode"
    machine.write(path, "first", mode=0o640)
    assert machine.mode(path) == 0o640
    machine.write(path, "second", mode=0o644)
    assert (machine.text(path), machine.mode(path)) == ("second", 0o640)


def test_a_file_that_is_not_what_was_expected_is_left_alone(machine):
    path = f"{FOLDER}/stale"
    machine.write(path, "somebody's edit")
    for effect in (
        WriteFile(path, b"ours", expected="0" * 64),
        WriteFile(path, b"ours", expected=None),
        RemoveFile(path, expected="0" * 64),
    ):
        assert machine.perform(effect).result is Result.STALE
    assert machine.text(path) == "somebody's edit"
    gone = WriteFile(f"{FOLDER}/gone", b"ours", expected="0" * 64)
    assert machine.perform(gone).result is Result.STALE
    assert machine.answer(File(f"{FOLDER}/gone")).stderr == ABSENT


def test_a_removed_file_is_gone(machine):
    path = f"{FOLDER}/removed"
    machine.write(path, "text")
    assert machine.remove(path).result is Result.DONE
    assert machine.answer(File(path)).stderr == ABSENT


def test_writing_over_a_folder_fails(machine):
    machine.write(f"{FOLDER}/inside", "text")
    outcome = machine.perform(WriteFile(FOLDER, b"text"))
    assert (outcome.result, outcome.status) == (Result.FAILED, 1)


def test_records_are_kept_and_forgotten(machine):
    machine.writer.record({"vm.a/b": "one line", "grub": "another"})
    pattern = Attributes("/var/lib/cxlstate/applied/*")
    assert machine.writer.read([pattern]).files(pattern) == {
        "/var/lib/cxlstate/applied/grub": "another",
        "/var/lib/cxlstate/applied/vm.a%2Fb": "one line",
    }
    machine.writer.record({"vm.a/b": None, "grub": None})
    assert machine.writer.read([pattern]).files(pattern) == {}


def test_the_journal_says_what_was_begun_and_how_it_ended(machine):
    machine.write(f"{FOLDER}/journalled", "text")
    journal = machine.text("/var/lib/cxlstate/journal.jsonl").splitlines()
    assert '"event":"begin"' in journal[-2].replace(" ", "")
    assert '"event":"done","status":0,"before":""' in journal[-1].replace(" ", "")
    assert all(f"{FOLDER}/journalled" in line for line in journal[-2:])
