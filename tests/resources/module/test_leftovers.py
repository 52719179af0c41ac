"""What our files in modules-load.d say, and the spec no longer does."""

from __future__ import annotations

from cxlstate.core.action import RemoveFile
from cxlstate.core.answers import Answer, Answers
from cxlstate.resources.module import probe
from cxlstate.resources.module.reconcile import reconciler


def test_only_our_own_files_of_modules_that_are_not_declared_go():
    files = {
        "/etc/modules-load.d/modules.conf": Answer(0, b"loop\n"),
        "/etc/modules-load.d/cxlstate-nd_pmem.conf": Answer(0, b"nd_pmem\n"),
        "/etc/modules-load.d/cxlstate-dax_pmem.conf": Answer(0, b"dax_pmem\n"),
    }
    answers = Answers({probe.OURS: Answer(0, files=files)})
    (leftover,) = reconciler.leftovers(answers, frozenset({"nd-pmem"}))
    assert leftover.name == "dax_pmem"
    (action,) = leftover.actions
    assert isinstance(action.effect, RemoveFile)
    assert action.effect.path == "/etc/modules-load.d/cxlstate-dax_pmem.conf"
