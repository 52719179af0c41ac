"""Whether a host key is the guest's: who is asked, in which order, and what follows."""

from __future__ import annotations

import pytest

from cxlstate.core.guest import Accepted, CannotTell, Changed, HostKey, Said, Source, judge

A, B, C = (HostKey("ssh-ed25519", name * 4) for name in "ABC")
AGENT, CONSOLE, KEPT = Source.AGENT, Source.CONSOLE, Source.KEPT
SILENT = "is not running"

# kept, what the agent says, what the console says → what is thought of A; who was asked
CASES = [
    ([A], [B], [B], Accepted(A, KEPT), ""),
    ([B, A], None, None, Accepted(A, KEPT), ""),
    ([], [A], None, Accepted(A, AGENT), "a"),
    ([B], [C, A], [B], Accepted(A, AGENT), "a"),
    ([B], None, [A], Accepted(A, CONSOLE), "ac"),
    ([], None, [B, A], Accepted(A, CONSOLE), "ac"),
    ([], [B], [A], Changed(A, (B,), AGENT), "a"),
    ([B], None, [C], Changed(A, (C,), CONSOLE, (SILENT,)), "ac"),
    ([B], None, None, Changed(A, (B,), KEPT, (SILENT, SILENT)), "ac"),
    ([], None, None, CannotTell(A, (SILENT, SILENT)), "ac"),
]


@pytest.mark.parametrize(("kept", "agent", "console", "verdict", "asked"), CASES)
def test_a_key_is_kept_or_said_by_the_hypervisor(kept, agent, console, verdict, asked):
    called = []

    def source(name, keys):
        def ask():
            called.append(name)
            return Said(reason=SILENT) if keys is None else Said(tuple(keys))

        return ask

    said = judge(A, kept, [(AGENT, source("a", agent)), (CONSOLE, source("c", console))])
    assert said == verdict
    assert "".join(called) == asked


def test_nobody_to_ask_is_nothing_to_believe():
    assert judge(A, [], []) == CannotTell(A, ())
