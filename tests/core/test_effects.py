"""Every effect shows itself, and its fingerprint tells whether the same is done."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from dataclasses import dataclass, fields, replace
from enum import Enum

import pytest

from cxlstate.core.action import Generate, Reboot, RemoveFile, Run, Step, WriteFile
from cxlstate.core.domain import Disk, Domain
from cxlstate.core.effect import Effect
from cxlstate.core.file import PermitFile, PutFile, SetPassword, Unpack
from cxlstate.core.first_boot import Account, AwaitFirstBoot, CustomizeImage, FirstBoot, WriteSeed
from cxlstate.core.fragment import Fragment
from cxlstate.core.image import FetchFile, GrowImage, MakeImage, PermitImage, RemoveImage
from cxlstate.core.libvirt import (
    AutostartDomain,
    AutostartNetwork,
    DefineDomain,
    DefineNetwork,
    DetachDisk,
    EditDomain,
    LinkInterface,
    PinDomain,
    PinOf,
    RestoreDomain,
    StartDomain,
    StartNetwork,
    StopDomain,
    StopNetwork,
    TuneNuma,
    UndefineDomain,
    UndefineNetwork,
    Update,
    UpdateNetwork,
)
from cxlstate.core.secret import Secret
from tests.fragments import NONE

MAC = "52:54:00:fc:10:bd"
SECRET = Account("a", password=Secret(b"hidden", "env A"))
EVERY = [
    WriteFile("/a", b"content"),
    RemoveFile("/a", "0f"),
    Run(("apt-get", "install"), ("a b",), (("KEY", "hidden"),), typed="apt install"),
    Step(NONE, ("dax_bind", "x"), "echo x"),
    Generate("/a", ("grub-mkconfig", "-o"), b"predicted"),
    Reboot(),
    PutFile("/a", Secret(b"hidden", "env A"), Secret(b"hidden"), "u", mode=0o600),
    PermitFile("/a", "u", "g", 0o640),
    SetPassword("a", Secret(b"hidden", "env A")),
    Unpack("/a.tar", "/a"),
    WriteSeed("/a", FirstBoot("i", accounts=(SECRET,))),
    CustomizeImage("a", "/a", "qcow2", "/b", FirstBoot("i", accounts=(SECRET,)), "0", "/l"),
    AwaitFirstBoot(),
    FetchFile("https://h/a?token=hidden", "0f", "/a"),
    MakeImage("/a", "qcow2", 1 << 30, owner="u", mode=0o640),
    GrowImage("/a", 1 << 30, "raw"),
    RemoveImage("/a", "1:2"),
    PermitImage("/a", owner="u"),
    DefineDomain("a", "<domain>hidden</domain>"),
    EditDomain("a", Domain(vcpu=2, disks=(Disk("vda", cache="none"),)), "0f"),
    UndefineDomain("a"),
    StartDomain("a", ("/dev/cxlstate/x",)),
    RestoreDomain("a"),
    StopDomain("a"),
    AutostartDomain("a", on=True),
    PinDomain("a", PinOf.VCPU, frozenset({0, 1}), 3),
    TuneNuma("a", frozenset({0, 1})),
    LinkInterface("a", MAC, up=True),
    DetachDisk("a", "/a"),
    DefineNetwork("a", "<network>hidden</network>"),
    UpdateNetwork("a", Update.MODIFY, "ip-dhcp-host", "<host/>", live=True, config=True),
    StartNetwork("a"),
    StopNetwork("a"),
    AutostartNetwork("a", on=True),
    UndefineNetwork("a"),
]


def subclasses(of):
    for one in of.__subclasses__():
        yield one
        yield from subclasses(one)


def test_every_effect_of_ours_is_here():
    """By name: a dataclass with slots is made twice, and its first form may still be there."""
    ours = {one.__name__ for one in subclasses(Effect) if one.__module__.startswith("cxlstate.")}
    bases = {"LibvirtEffect", "DomainEffect", "NetworkEffect", "_Owned"}
    assert ours - bases == {type(effect).__name__ for effect in EVERY}


@pytest.mark.parametrize("effect", EVERY, ids=lambda one: type(one).__name__)
def test_it_is_shown_and_journalled_in_a_line_without_what_is_hidden(effect):
    said = [effect.shown(), effect.exact(), json.dumps(effect.journalled())]
    assert all(said)
    assert not any("\n" in one or "hidden" in one for one in said)
    assert effect.journalled()["effect"]


def test_what_is_left_out_for_the_eye_is_there_for_programs():
    effect = Run(("sh", "-c", "exec a"), ("b c",), typed="a")
    assert (effect.shown(), effect.exact()) == ("a 'b c'", "sh -c 'exec a' 'b c'")


ANOTHER = {Domain: {"disks": (Disk("vda", cache="writeback"),)}, FirstBoot: {"hostname": "x"}}


def another(value):
    """One of the same type that differs."""
    match value:
        case int():
            return type(value)(not value) if isinstance(value, bool) else value + 1
        case Enum():
            return next(one for one in type(value) if one is not value)
        case str() | None:
            return f"{value or ''}x"
        case bytes():
            return value + b"x"
        case frozenset():
            return value | {7}
        case tuple():
            return (*value, *(value[:1] or ("x",)))
        case Secret():
            return Secret(value.reveal() + b"x", f"{value.reference}x")
        case Fragment():
            return replace(value, text=f"{value.text}:")
        case Domain() | FirstBoot():
            return replace(value, **ANOTHER[type(value)])
    raise AssertionError(value)


@pytest.mark.parametrize("effect", EVERY, ids=lambda one: type(one).__name__)
def test_its_fingerprint_changes_with_every_field_that_changes_what_is_done(effect):
    assert replace(effect).fingerprint() == effect.fingerprint()
    for field in fields(effect):
        changed = replace(effect, **{field.name: another(getattr(effect, field.name))})
        assert (changed.fingerprint() == effect.fingerprint()) is (changed == effect), field.name


def test_no_two_have_the_same_fingerprint():
    every = [effect.fingerprint() for effect in EVERY]
    assert len(set(every)) == len(every)


def test_a_fingerprint_is_the_same_in_another_process():
    effect = TuneNuma("a", frozenset({f"node{n}" for n in range(20)}))
    code = (
        "from cxlstate.core.libvirt import TuneNuma\n"
        "print(TuneNuma('a', frozenset(f'node{n}' for n in range(20))).fingerprint())"
    )
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
        )  # fmt: skip
        assert done.stdout.strip() == effect.fingerprint()


@dataclass(frozen=True)
class Login(Effect):
    """With what has to stay hidden, in a value and in a key."""

    password: object
    others: object = None

    def shown(self):
        return "log in"


def test_a_fingerprint_tells_nothing_of_a_secret_but_where_it_is_to_be_had():
    one, other = Login(Secret(b"a", "env A")), Login(Secret(b"b", "env A"))
    assert one.fingerprint() == other.fingerprint()
    assert one.fingerprint() != Login(Secret(b"a", "env B")).fingerprint()
    assert one.fingerprint() != Login("env A").fingerprint() != Login("(secret)").fingerprint()


def test_the_order_of_a_mapping_does_not_matter_and_its_content_does():
    pairs = {"a": 1, "b": 2}
    turned = dict(itertools.islice(reversed(pairs.items()), 2))
    assert Login("", pairs).fingerprint() == Login("", turned).fingerprint()
    assert Login("", pairs).fingerprint() != Login("", {"a": 2, "b": 1}).fingerprint()


def test_what_has_no_canonical_form_is_refused_and_not_guessed():
    with pytest.raises(TypeError, match="object has no canonical form"):
        Login(object()).fingerprint()


def test_an_effect_that_does_not_show_itself_cannot_be_made():
    @dataclass(frozen=True)
    class Mute(Effect):
        name: str

    with pytest.raises(TypeError, match="shown"):
        Mute("a")
