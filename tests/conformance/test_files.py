"""Facts of files: what reading and writing them gives, and the words for what it does not give."""

from __future__ import annotations

from hashlib import sha256

import pytest

from cxlstate.core.action import RemoveFile, Run, WriteFile
from cxlstate.core.answers import ConditionUnmet, ReadFailed
from cxlstate.core.file import PermitFile, PutFile, Unpack
from cxlstate.core.read import Asked, Attributes, Exists, File, Glob, Names
from cxlstate.core.secret import Secret
from cxlstate.machine.outcome import Result
from tests.tarballs import tarball

ABSENT = "No such file or directory"
DENIED = "Permission denied"
FOLDER = "/etc/conformance"
NOISE = "".join(sha256(bytes([number])).hexdigest() for number in range(256))  # no compression makes it short


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


@pytest.mark.long
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


@pytest.mark.long
def test_writing_over_a_folder_fails(machine):
    machine.write(f"{FOLDER}/inside", "text")
    outcome = machine.perform(WriteFile(FOLDER, b"text"))
    assert (outcome.result, outcome.status) == (Result.FAILED, 1)


def test_a_log_has_what_its_program_said_last(machine):
    log = f"{FOLDER}/logs/kernel.log"
    for argv, status in ((("uname", "-r"), 0), (("env", "--chdir=/conformance-absent", "uname"), 125)):
        outcome = machine.perform(Run(argv, log=log))
        assert (outcome.status, machine.text(log)) == (status, outcome.output)
        assert outcome.output
    assert machine.mode(log) == 0o600


def test_a_tarball_becomes_the_folder_that_it_holds(machine):
    tree = f"{FOLDER}/tree"
    machine.perform(
        WriteFile(f"{tree}.tar.xz", tarball({"tree/Makefile": "all:\n", "tree/fs/a.c": "a\n"}, "gz"))
    )
    assert machine.perform(Unpack(f"{tree}.tar.xz", tree)).result is Result.DONE
    assert (machine.text(f"{tree}/Makefile"), machine.text(f"{tree}/fs/a.c")) == ("all:\n", "a\n")
    assert (machine.mode(tree), machine.mode(f"{tree}/fs/a.c")) == (0o755, 0o644)
    machine.write(f"{tree}/Makefile", "somebody's edit\n")
    assert machine.perform(Unpack(f"{tree}.tar.xz", tree)).result is Result.STALE
    assert machine.text(f"{tree}/Makefile") == "somebody's edit\n"


@pytest.mark.parametrize(
    ("case", "content"),
    [
        ("none", b"no tarball"),
        ("cut", tarball({"tree/Makefile": NOISE}, "gz")[:4096]),
        ("another", tarball({"another/Makefile": ""}, "gz")),
        ("more", tarball({"tree/Makefile": "", "more": ""}, "gz")),
        ("file", tarball({"tree": "a file"}, "gz")),
    ],
)
@pytest.mark.long
def test_what_is_no_tarball_of_that_folder_leaves_nothing(machine, case, content):
    folder = f"{FOLDER}/{case}"
    machine.perform(WriteFile(f"{folder}/tree.tar.xz", content))
    assert machine.perform(Unpack(f"{folder}/tree.tar.xz", f"{folder}/tree")).result is Result.FAILED
    there, hidden = Names(f"{folder}/*"), Names(f"{folder}/.*.cxlstate")
    answers = machine.writer.read([there, hidden])
    assert (list(answers.files(there)), list(answers.files(hidden))) == ([f"{folder}/tree.tar.xz"], [])


@pytest.mark.long
def test_no_link_is_followed_where_a_tarball_is_unpacked(machine):
    machine.write(f"{FOLDER}/elsewhere/file", "text")
    machine.perform(WriteFile(f"{FOLDER}/linked.tar.xz", tarball({"linked/Makefile": ""}, "gz")))
    machine.link(f"{FOLDER}/linked", f"{FOLDER}/elsewhere")
    assert machine.perform(Unpack(f"{FOLDER}/linked.tar.xz", f"{FOLDER}/linked")).result is not Result.DONE
    machine.link(f"{FOLDER}/over", f"{FOLDER}/elsewhere")
    over = Unpack(f"{FOLDER}/linked.tar.xz", f"{FOLDER}/over/linked")
    assert machine.perform(over).result is Result.FAILED
    names = Names(f"{FOLDER}/elsewhere/*")
    assert list(machine.writer.read([names]).files(names)) == [f"{FOLDER}/elsewhere/file"]


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


def test_a_file_is_put_with_owner_and_mode_and_its_folders_are_made(machine):
    path = f"{FOLDER}/put/deep/file"
    effect = PutFile(path, bytes(range(256)), None, "admin", "adm", 0o640)
    assert machine.perform(effect).result is Result.DONE
    assert machine.answer(File(path)).stdout == bytes(range(256))
    assert inode(machine, path)[1:] == ("640", "admin:adm")
    assert inode(machine, f"{FOLDER}/put")[1:] == ("755", "root:root")
    assert machine.perform(PermitFile(path, group="root", mode=0o600)).result is Result.DONE
    assert inode(machine, path)[1:] == ("600", "admin:root")
    stale = machine.perform(PutFile(path, b"ours", "0" * 64))
    assert (stale.result, machine.answer(File(path)).stdout) == (Result.STALE, bytes(range(256)))


@pytest.mark.long
def test_private_folders_are_made_the_owners(machine):
    path = f"{FOLDER}/home/.ssh/authorized_keys"
    effect = PutFile(path, b"key\n", None, "admin", "admin", 0o600, private=True)
    assert machine.perform(effect).result is Result.DONE
    assert inode(machine, f"{FOLDER}/home/.ssh")[1:] == ("700", "admin:admin")


def test_no_link_is_followed_where_a_file_is_put(machine):
    machine.write(f"{FOLDER}/target/file", "old")
    machine.link(f"{FOLDER}/way", f"{FOLDER}/target")
    machine.link(f"{FOLDER}/link", f"{FOLDER}/target/file")
    expected = sha256(b"old").hexdigest()
    for path in (f"{FOLDER}/way/file", f"{FOLDER}/link"):
        assert machine.perform(PutFile(path, b"new", expected)).result is Result.FAILED
        assert machine.perform(PermitFile(path, "admin")).result is Result.FAILED
    assert machine.text(f"{FOLDER}/target/file") == "old"
    assert inode(machine, f"{FOLDER}/way")[0] == "a"
    assert inode(machine, f"{FOLDER}/link")[0] == "a"
    assert inode(machine, f"{FOLDER}/target")[0] == "4"


@pytest.mark.long
def test_what_is_not_there_is_told_beside_what_is(machine):
    machine.write(f"{FOLDER}/there", "text")
    paths = (f"{FOLDER}/there", f"{FOLDER}/not-there", f"{FOLDER}/there/below")
    answer = machine.ask(*STAT, operands=paths)
    assert answer.status == 1
    assert [line.split(":")[-1] for line in answer.text.splitlines()] == [f"{FOLDER}/there"]
    assert sorted(answer.stderr.splitlines()) == [
        f"stat: cannot statx '{FOLDER}/not-there': No such file or directory",
        f"stat: cannot statx '{FOLDER}/there/below': Not a directory",
    ]


def test_of_a_secret_neither_content_nor_hash_is_kept(machine):
    path = f"{FOLDER}/token"
    machine.write(path, "hunter1", mode=0o600)
    effect = PutFile(path, Secret(b"hunter2"), sha256(b"hunter1").hexdigest(), mode=0o600)
    assert machine.perform(effect).result is Result.DONE
    line = machine.text("/var/lib/cxlstate/journal.jsonl").splitlines()[-1]
    assert path in line
    for password in (b"hunter1", b"hunter2"):
        assert sha256(password).hexdigest() not in line
    assert machine.answer(File(f"/var/lib/cxlstate/blobs/{sha256(b'hunter1').hexdigest()}")).status == 1


STAT = ("stat", "--format=%f %s %Y %U:%G:%n")


def inode(machine, path: str) -> tuple[str, str, str]:
    """Kind as the first hex digit of the mode (4: folder, 8: file, a: link), permissions, owner and group."""
    mode, _, _, rest = machine.ask(*STAT, operands=(path,)).text.strip().split(" ")
    return f"{int(mode, 16) >> 12:x}", f"{int(mode, 16) & 0o7777:o}", rest.rpartition(":")[0]
