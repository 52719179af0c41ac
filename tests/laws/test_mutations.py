"""The laws are worth something: a kind that does not look at one of its fields is caught."""

from __future__ import annotations

import pytest

from cxlstate.resources import kinds
from tests.laws.bench import bench
from tests.laws.mutations import caught_by, fields
from tests.laws.sight import applied


@pytest.fixture(scope="module")
def in_force():
    with bench() as one:
        yield applied(one)


@pytest.mark.slow
def test_every_field_of_every_kind_that_a_diff_could_forget_is_caught(in_force):
    found = fields(in_force)
    own_laws = {"kernel", "provision"}  # see test_sight.py
    assert {field.kind for field in found} | own_laws == set(kinds())
    missed = [str(field) for field, laws in found.items() if not any(caught_by(field, laws, in_force))]
    # Whoever shows one of these has another difference, too: one step of two, a hook that libvirt has not
    # seen as it is, and where what is new will be.
    hook = "forward./etc/libvirt/hooks/network.d/50-cxlstate"
    assert missed == ["filesystem.partition", hook, "namespace.region"]
