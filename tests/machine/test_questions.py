"""What a plan asks: only what the spec needs, and what is ours only where there is anything of ours."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cxlstate.core.answers import Answer, Answers, ConditionUnmet, NotAsked, ReadFailed
from cxlstate.core.read import (
    Asked,
    Attributes,
    Command,
    Exists,
    File,
    Glob,
    Holders,
    LibvirtRead,
    Links,
    Names,
    conditions,
)
from cxlstate.engine.observe import observe
from cxlstate.machine.posix import read_script
from cxlstate.machine.posix.reader import PosixReader
from cxlstate.resources import kinds
from cxlstate.spec.load import load
from tests.machine.conftest import AsNobody

HEAD = "apiVersion: cxlstate/v1\nhost:\n  name: box\n  connect: local\n"
PLAIN = "  packages: [ndctl, daxctl, dash]\n  services: {x: {running: true}, y: {enabled: true}}\n"
MODULE = "  modules: {loop: present}\n"
DAX = "  dax: {cxl0: {device: dax0.0}}\n"
VM = "vms: {g: {state: running, memory: 1GiB, vcpu: 1}}\n"

DROP_IN = "/etc/default/grub.d/zz-cxlstate.cfg"
SCRIPT = "/etc/cxlstate/restore"
UNIT = "/etc/systemd/system/cxlstate-restore.service"


class Overheard:
    """A machine on which nothing can be read, and some paths are there; what was asked is kept."""

    def __init__(self, *there):
        self.there = set(there)
        self.asked = []
        self.exchanges = 0

    def read(self, questions):
        of_libvirt = [one for one in questions if isinstance(one, LibvirtRead)]
        merged = read_script.merge([one for one in questions if not isinstance(one, LibvirtRead)])
        self.asked += [*of_libvirt, *dict.fromkeys(merged.values())]
        self.exchanges += 1
        return Answers({one: self.answer(one) for one in (*of_libvirt, *merged)})

    def answer(self, one):
        if isinstance(one, Exists):
            return Answer(0, b"yes" if self.there & set(one.patterns) else b"")
        return Answer(1, b"", "no")

    def lacks(self, _effect):
        return None

    def close(self):
        pass


def questions(folder, text, *there):
    """Those of a plan, of a machine that has these paths."""
    return overheard(folder, text, *there).asked


def overheard(folder, text, *there):
    path = folder / "spec.yaml"
    path.write_text(HEAD + text)
    (tree,) = load([path]).trees
    machine = Overheard(*there)
    observe(machine, tree.host, kinds())
    return machine


def done(asked, *there):
    """What is done on a machine that has these paths and no other artefact of ours."""
    return [
        read_script.read_of(one)
        for one in asked
        if not isinstance(one, Asked) or set(one.only_if.patterns) & set(there)
    ]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 8),
        (PLAIN, 12),
        (VM, 12),
        (PLAIN + MODULE, 53),
        (DAX, 67),
    ],
    ids=["nothing", "packages and services", "a VM", "a module", "a dax device"],
)
def test_a_plan_asks_what_the_spec_needs_and_no_more(tmp_path, text, count):
    """Exact, so that one more is a decision. The aim for packages and services is 12."""
    assert len(done(questions(tmp_path, text))) == count


def test_who_holds_a_dax_device_is_asked_for_dax_devices_registers_and_nvdimms_alone(tmp_path):
    mtrr = "  mtrr: {other: {ranges: [{start: 512GiB, size: 64GiB}]}}\n"
    nvdimm = "vms: {g: {nvdimm: [{path: /dev/dax0.0, size: 1GiB}]}}\n"
    asks = {text: any(isinstance(one, Holders) for one in done(questions(tmp_path, text)))
            for text in (PLAIN, MODULE, VM, DAX, mtrr, nvdimm)}  # fmt: skip
    assert asks == {PLAIN: False, MODULE: False, VM: False, DAX: True, mtrr: False, nvdimm: True}


def test_what_is_ours_is_read_where_anything_of_ours_is_there(tmp_path):
    found = {there: done(questions(tmp_path, PLAIN, there), there) for there in (DROP_IN, SCRIPT, UNIT)}
    assert File("/boot/grub/grub.cfg") in found[DROP_IN]
    assert File("/proc/mtrr") in found[SCRIPT]
    assert any(isinstance(one, Holders) for one in found[SCRIPT])
    states = [one for one in found[UNIT] if isinstance(one, Command) and one.operands]
    assert ("cxlstate-restore.service",) in [one.operands for one in states]


@pytest.mark.parametrize(
    ("text", "there", "exchanges"),
    [
        (PLAIN, (), 1),
        (PLAIN, (DROP_IN,), 2),
        (PLAIN + DAX, (SCRIPT, UNIT), 1),
        (PLAIN + MODULE, (DROP_IN,), 1),
    ],
    ids=["nothing", "of a kind without a word in the spec", "of a device", "of a module"],
)
def test_a_second_exchange_is_about_what_the_spec_has_no_word_for(tmp_path, text, there, exchanges):
    """And so not about registers: they leave their traces where devices do."""
    assert overheard(tmp_path, text, *there).exchanges == exchanges


# The condition ----------------------------------------------------------------------------------------


@pytest.fixture
def reader(transport):
    return PosixReader(transport, "box")


def test_a_read_is_done_where_its_condition_holds_and_else_not(reader, tmp_path):
    (tmp_path / "there").touch()
    (tmp_path / "leads nowhere").symlink_to("/nowhere")
    (tmp_path / "file").write_text("content\n")
    file, folder = File(f"{tmp_path}/file"), Glob(f"{tmp_path}/*")
    yes = [Exists(f"{tmp_path}/there"), Exists(f"{tmp_path}/leads*"), Exists("/no", f"{tmp_path}/t*e")]
    no = [Exists(f"{tmp_path}/no"), Exists(f"{tmp_path}/no*", "/no/where"), Exists(f"{tmp_path}/file/x")]
    for condition in (*yes, *no):
        answers = reader.read([Asked(file, only_if=condition), Asked(folder, only_if=condition)])
        assert answers.exists(condition) is (condition in yes)
        if condition in yes:
            assert answers.text(file) == "content\n"
        else:
            with pytest.raises(ConditionUnmet, match="only where there is"):
                answers.raw(file)
            with pytest.raises(ConditionUnmet):
                answers.files(folder)


def test_what_is_not_asked_is_no_answer_of_any_kind():
    read, condition = File("/x"), Exists("/y")
    answers = Answers({read: NotAsked(condition), condition: Answer(0)})
    assert answers.exists(condition) is False
    for ask in (answers.raw, answers.text, answers.text_or_none):
        with pytest.raises(ConditionUnmet):
            ask(read)


def test_of_several_conditions_one_will_do(reader, tmp_path):
    (tmp_path / "b").touch()
    a, b = Exists(f"{tmp_path}/a"), Exists(f"{tmp_path}/b")
    one, two = Command(("getent", "group"), ("root",)), Command(("getent", "group"), ("daemon",))
    asked = [Asked(one, a), Asked(two, b), Asked(File("/proc/version"), a), File("/proc/version")]
    answers = reader.read(asked)
    assert answers.text(one).count("\n") == 2
    assert answers.text(File("/proc/version"))
    assert conditions(asked)[File("/proc/version")] is None
    with pytest.raises(ConditionUnmet):
        reader.read(asked[:1]).raw(one)


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_a_condition_that_cannot_be_told_is_a_failure(tmp_path):
    (tmp_path / "closed").mkdir(mode=0o700)
    tmp_path.chmod(0o700)
    read = Attributes("/proc/sys/kernel/ostype")
    for pattern in (f"{tmp_path}/closed/x", f"{tmp_path}/*", f"{tmp_path}/closed/*/x"):
        condition = Exists("/no/where", pattern)
        answers = PosixReader(AsNobody(), "box").read([Asked(read, only_if=condition)])
        with pytest.raises(ReadFailed, match="Permission denied"):
            answers.exists(condition)
        with pytest.raises(ConditionUnmet):
            answers.raw(read)


HOSTILE = ["$(touch {0}/owned)", "';touch {0}/owned;'", "a\ntouch {0}/owned\n", "nul\0byte", "\ud800", "-n"]


@pytest.mark.parametrize("text", HOSTILE, ids=repr)
def test_a_hostile_condition_is_literal_text_or_a_failure(reader, tmp_path, text):
    condition = Exists(f"{tmp_path}/{text.format(tmp_path)}")
    answers = reader.read([Asked(Names("/proc/version"), only_if=condition), File("/proc/version")])
    assert not Path(f"{tmp_path}/owned").exists()
    assert answers.text(File("/proc/version"))
    with pytest.raises(ConditionUnmet):
        answers.files(Names("/proc/version"))


def test_links_and_conditions_stand_side_by_side(reader, tmp_path):
    """What follows a read that was passed over is answered as ever."""
    (tmp_path / "link").symlink_to("target")
    never = Exists("/no/where")
    many = [Asked(File(f"/no/{number}"), only_if=never) for number in range(20)]
    answers = reader.read([*many, Links(f"{tmp_path}/*"), Command(("uname",))])
    assert answers.files(Links(f"{tmp_path}/*")) == {f"{tmp_path}/link": "target"}
    assert answers.text(Command(("uname",))) == "Linux\n"
