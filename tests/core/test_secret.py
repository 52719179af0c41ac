"""Every way to print a secret gives a mask, or nothing."""

from __future__ import annotations

import copy
import json
import pickle
from dataclasses import asdict

import pytest

from cxlstate.core.change import Change
from cxlstate.core.file import PutFile, SetPassword
from cxlstate.core.reference import Reference
from cxlstate.core.secret import Secret

SECRET = Secret(b"hunter2")


@pytest.mark.parametrize("text", [f"{SECRET}", f"{SECRET!r}", f"{SECRET!s:>12}", str(SECRET), repr([SECRET])])
def test_printed_it_is_a_mask(text):
    assert "(secret)" in text
    assert "hunter2" not in text


@pytest.mark.parametrize(
    "holder",
    [
        Change((), SECRET, None),
        PutFile("/x", SECRET),
        SetPassword("u", SECRET),
        Reference("env", ("X",), SECRET),
    ],
)
def test_what_holds_it_does_not_print_it(holder):
    assert "hunter2" not in repr(holder)
    assert "hunter2" not in str(holder)


@pytest.mark.parametrize("serialise", [pickle.dumps, copy.copy, copy.deepcopy, json.dumps, bytes, vars])
def test_it_cannot_be_serialised(serialise):
    with pytest.raises(TypeError):
        serialise(SECRET)


def test_nor_by_way_of_what_holds_it():
    with pytest.raises(TypeError):
        asdict(SetPassword("u", SECRET))
    assert Change((), SECRET, None).as_json()["from"] == "(secret)"


def test_equal_secrets_have_equal_digests_that_tell_nothing():
    assert Secret(b"hunter2").digest() == SECRET.digest() != Secret(b"hunter3").digest()
    assert Secret(b"hunter2") == SECRET != Secret(b"hunter3")
    assert SECRET != b"hunter2"
    assert len(SECRET.digest()) == 8
