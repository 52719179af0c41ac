"""What a machine has without a word in its spec."""

from __future__ import annotations

import pytest

from cxlstate.engine.observe import resources_of
from cxlstate.resources import kinds
from cxlstate.spec.load import load


@pytest.mark.parametrize(
    ("guest", "needed"),
    [
        ("{}", set()),
        ("{packages: [ndctl]}", set()),
        ("{modules: {nd_pmem: present}}", {"grub"}),
        ("{modules: {kmem: absent}}", {"grub"}),
        ("{modules: {kmem: absent}, grub: {args: [quiet]}}", set()),
    ],
)
def test_a_guest_has_of_the_implied_what_a_guest_can_have_and_reads_what_it_needs(tmp_path, guest, needed):
    (tmp_path / "a.yaml").write_text(
        f"apiVersion: cxlstate/v1\nhost: {{name: one}}\nvms: {{g1: {{guest: {guest}}}}}\n"
    )
    (tree,) = load([tmp_path / "a.yaml"]).trees
    assert implied(tree.guests[0]) == needed
    assert implied(tree.host) == set()


def implied(machine):
    """What has to do with its spec. Of what has not, the machine is asked only whether there is a trace."""
    return set(map(str, resources_of(machine, kinds())[1]))
