"""The gate in a filter of others: what is ahead of it, however chains jump to each other."""

from __future__ import annotations

import pytest

from cxlstate.formats.filter_gate import GATE, in_iptables, tables


def of(*rules: str) -> str | None:
    return in_iptables(tables("\n".join(("*filter", *rules, "COMMIT")))["filter"])


@pytest.mark.parametrize(("last", "wrong"), [("DROP", "behind -j c0"), ("ACCEPT", None)])
def test_a_chain_is_looked_at_once_however_many_ways_lead_to_it(last, wrong):
    jumps = [f"-A c{number} -j c{number + 1}" for number in range(60) for _ in range(2)]
    assert of("-A FORWARD -j c0", *jumps, f"-A c60 -j {last}", GATE) == wrong


def test_chains_that_jump_in_a_circle_end():
    assert of("-A FORWARD -j a", "-A a -j b", "-A b -j a", GATE) is None
    assert of("-A FORWARD -j a", "-A a -j b", "-A b -j a", "-A b -j REJECT", GATE) == "behind -j a"
