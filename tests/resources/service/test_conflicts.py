"""Units that cannot both run, as chrony and systemd-timesyncd."""

from __future__ import annotations

import pytest

from cxlstate.core.address import Address
from cxlstate.core.answers import Answer, Answers
from cxlstate.core.exports import Inputs
from cxlstate.core.reconciler import Resource
from cxlstate.resources.service.reconcile import reconciler
from cxlstate.resources.service.spec import Service

SOCKET = "Id={}.socket\nNames={}.socket\nTriggeredBy=\nLoadState={}\nActiveState={}\nSubState=dead\n"


def unit(name, conflicts="", active="inactive", *, listens=False):
    """A unit and its socket, as `systemctl show` prints them."""
    load, state = ("loaded", "active") if listens else ("not-found", "inactive")
    socket = SOCKET.format(name, name, load, state)
    return (
        f"Id={name}.service\nNames={name}.service\nTriggeredBy={f'{name}.socket' if listens else ''}\n"
        f"Conflicts=shutdown.target {conflicts}\nLoadState=loaded\nActiveState={active}\nSubState=dead\n"
        f"UnitFileState=enabled\n\n{socket}"
    )


def together(*units, **spec):
    """What comes of all of them, each to run unless `spec` says otherwise."""
    text = "\n".join(units)
    assessed = {}
    for name in (one.partition(".service")[0].removeprefix("Id=") for one in units):
        wish = Service(running=True, enabled=None, masked=None).model_copy(update=spec.get(name, {}))
        resource = Resource(Address("service", name), wish)
        answers = Answers({read: Answer(0, text.encode()) for read in reconciler.reads(resource)})
        seen = reconciler.observe(resource, answers)
        assessed[resource.address] = reconciler.assess(resource, seen, Inputs({}))
    return reconciler.together(assessed)


CHRONY = unit("chrony", "systemd-timesyncd.service openntpd.service ntp.service ntpsec.service")
TIMESYNCD = unit("systemd-timesyncd", active="active")


@pytest.mark.parametrize("units", [(CHRONY, TIMESYNCD), (TIMESYNCD, CHRONY)])
def test_the_error_is_told_at_both_with_the_way_out_for_each(units):
    found = {str(one.address): one for one in together(*units)}
    assert found.keys() == {"service.chrony", "service.systemd-timesyncd"}
    for address, one in found.items():
        assert (one.code, one.path) == ("CXV330", ("running",))
        assert one.message == "chrony and systemd-timesyncd cannot both run"
        assert one.found is not None
        assert "chrony.service has Conflicts=systemd-timesyncd.service" in one.found
        assert one.hint == f"write `{address.removeprefix('service.')}: {{running: false}}`"


def test_where_both_say_so_it_is_told_once_at_each():
    assert len(together(unit("a", "b.service"), unit("b", "a.service"))) == 2


def test_where_one_need_not_run_there_is_no_conflict():
    assert together(CHRONY, TIMESYNCD, chrony={"running": None}) == []
    assert together(CHRONY, TIMESYNCD, chrony={"running": False}) == []


def test_those_that_do_run_both_are_left():
    """One behind its socket, until somebody connects."""
    assert together(unit("a", "b.service", listens=True), unit("b", active="active")) == []


def test_what_conflicts_with_a_unit_that_is_not_declared_is_none_of_ours():
    assert together(CHRONY) == []
