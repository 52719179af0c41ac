"""What a machine has without a word in its spec."""

from __future__ import annotations

import pytest

from cxlstate.core.machine import Scope
from cxlstate.engine.observe import resources_of
from cxlstate.resources import kinds
from cxlstate.spec.load import load


@pytest.mark.parametrize(
    ("guest", "implied"),
    [
        ("{}", set()),
        ("{packages: [ndctl], modules: {nd_pmem: present}}", set()),
        ("{modules: {kmem: absent}}", {"grub"}),
        ("{modules: {kmem: absent}, grub: {args: [quiet]}}", set()),
    ],
)
def test_a_guest_has_of_the_implied_what_it_needs_and_a_host_all(tmp_path, guest, implied):
    (tmp_path / "a.yaml").write_text(
        f"apiVersion: cxlstate/v1\nhost: {{name: one}}\nvms: {{g1: {{guest: {guest}}}}}\n"
    )
    (tree,) = load([tmp_path / "a.yaml"]).trees
    assert set(map(str, resources_of(tree.guests[0], kinds(), Scope.GUEST)[1])) == implied
    assert set(map(str, resources_of(tree.host, kinds())[1])) == {"grub", "boot"}
