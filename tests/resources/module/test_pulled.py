"""Modules that others load along, whatever a blacklist says."""

from __future__ import annotations

import pytest

from cxlstate.core.address import Address
from cxlstate.core.answers import Answer, Answers
from cxlstate.core.exports import Inputs
from cxlstate.core.reconciler import Resource
from cxlstate.formats import modprobe
from cxlstate.resources.module import probe
from cxlstate.resources.module.reconcile import reconciler

MODULES = (
    "cxl_core 253952 1 cxl_acpi, Live 0x0\ncxl_acpi 81920 1 cxl_site, Live 0x0\ncxl_site 4096 0 - Live 0x0\n"
)


def together(command_line, *absent, whole=True):
    """What comes of all that are to be absent."""
    texts = {
        modprobe.LOADED: MODULES,
        modprobe.COMMAND_LINE: command_line,
        probe.RELEASE: "6.12\n",
    }
    assessed = {}
    for name in absent:
        resource = Resource(Address("module", name), "absent")
        answers = Answers(
            {read: Answer(0, texts.get(read, "").encode()) for read in reconciler.reads(resource)}
        )
        seen = reconciler.observe(resource, answers)
        assessed[resource.address] = reconciler.assess(resource, seen, Inputs({}))
    return [(str(one.address), one.hint) for one in reconciler.together(assessed, whole=whole)]


@pytest.mark.parametrize("command_line", ["quiet", "modprobe.blacklist=cxl_core"])
def test_a_module_that_another_needs_stays_whatever_the_blacklist_says(command_line):
    assert together(command_line, "cxl_core") == [("module.cxl_core", "add to modules: cxl_acpi: absent")]


@pytest.mark.parametrize(
    ("command_line", "absent"),
    [
        ("quiet", ("cxl_core", "cxl-acpi", "cxl_site")),
        ("modprobe.blacklist=cxl_acpi", ("cxl_core",)),
        ("module_blacklist=cxl_core", ("cxl_core",)),
    ],
)
def test_what_goes_with_it_or_is_kept_out_does_not_hold_it(command_line, absent):
    assert together(command_line, *absent) == []


def test_of_a_part_of_the_modules_it_is_not_told():
    assert together("quiet", "cxl_core", whole=False) == []
