"""Laws of disk images: stopped anywhere an apply converges, what drifts is seen, and contents never are."""

from __future__ import annotations

import json
from contextlib import suppress
from hashlib import sha256

import pytest

from cxlstate.core.address import Address
from cxlstate.core.consent import parse_consents
from cxlstate.core.diagnostic import Severity
from cxlstate.engine.plan import Exit, Status
from cxlstate.engine.record import Cause
from cxlstate.simulator import qcow2
from cxlstate.simulator.faults import Faults, PowerCut
from cxlstate.spec.load import load
from tests.laws.bench import OURS, bench
from tests.laws.stops import stops

GIB = 1 << 30
CONTENT = qcow2.Header(3 * GIB).pack()
SUM = sha256(CONTENT).hexdigest()
CACHED = f"{OURS}/images/{SUM}.img"
CONSENT = parse_consents(("destroy-data=bench/image.gone",))

IMAGES = {
    "fetched": {
        "path": "/srv/fetched.qcow2",
        "source": {"url": "https://cloud.example.org/base.qcow2", "sha256": SUM},
        "as": "overlay",
        "size": "20GiB",
    },
    "copied": {
        "path": "/srv/copied.qcow2",
        "source": {"path": "/srv/base.qcow2"},
        "owner": "admin",
        "group": "kvm",
        "mode": "0640",
    },
    "empty": {"path": "/srv/new/empty.raw", "format": "raw", "size": "4KiB"},
    "grown": {"path": "/srv/grown.qcow2", "size": "5GiB", "owner": "admin", "mode": "0660"},
    "gone": {"path": "/srv/gone.qcow2", "state": "absent"},
}


def spec_of(one, images):
    """Written beside the machine, and read from there."""
    host = {"name": "bench", "connect": "sim:host", "packages": ["qemu-utils"]}
    one.file.write_text(json.dumps({"apiVersion": "cxlstate/v1", "host": host, "images": images}))
    loaded = load([one.file])
    assert not [problem for problem in loaded.diagnostics if problem.severity is Severity.ERROR]
    return loaded.trees[0]


def image(one, path, header):
    one.path(path).parent.mkdir(parents=True, exist_ok=True)
    one.path(path).write_bytes(header.pack())


@pytest.fixture(scope="module")
def before():
    """A base on the host and on the web, an image that is too small, one to go, and one of somebody."""
    with bench() as one:
        for path in ("srv/base.qcow2", "srv/grown.qcow2", "srv/gone.qcow2", "srv/somebodys.qcow2"):
            image(one, path, qcow2.Header(3 * GIB))
        web = one.directory / "web/cloud.example.org/base.qcow2"
        web.parent.mkdir(parents=True)
        web.write_bytes(CONTENT)
        yield one


@pytest.fixture(scope="module")
def whole(before):
    """The machine of an apply that nothing stops, and its steps."""
    one, faults = before.fork("whole"), Faults()
    assert one.apply(spec_of(one, IMAGES), CONSENT, faults=faults).exit is Exit.IN_SYNC
    return one, faults.steps


def state(one):
    machine = one.machine()
    machine.pop("running")
    return one.files(), machine, one.records(), one.drafts()


def test_reading_and_planning_change_nothing(before):
    one = before.fork("read")
    seen = one.snapshot()
    assert one.plan(spec_of(one, IMAGES)).exit is Exit.CHANGES
    assert one.snapshot() == seen


def test_a_second_apply_does_nothing_and_what_nobody_named_stays(before, whole):
    one = whole[0].fork("second")
    spec, seen = spec_of(one, IMAGES), one.snapshot()
    assert one.plan(spec).exit is Exit.IN_SYNC
    assert one.apply(spec, CONSENT).done == []
    assert {path: one_of for path, one_of in one.snapshot().items() if "lock" not in path} == {
        path: one_of for path, one_of in seen.items() if "lock" not in path
    }
    for path in ("srv/base.qcow2", "srv/somebodys.qcow2"):
        assert one.path(path).read_bytes() == before.path(path).read_bytes()
    assert not one.path("srv/gone.qcow2").exists()


@pytest.mark.slow
@pytest.mark.parametrize("odd", [False, True], ids=["even", "odd"])
def test_stopped_behind_any_step_it_converges(before, whole, odd, every_crash):
    """Killed behind one step, without power behind the next."""
    finished, steps = whole
    for turn, number in enumerate(stops(steps, every=every_crash)[odd::2]):
        cut = turn % 2 == 1
        one = before.fork(f"{cut}{number}")
        with suppress(PowerCut):
            one.apply(spec_of(one, IMAGES), CONSENT, faults=Faults(stop_at=number))
        if cut:
            one.power_cut()
        spec = spec_of(one, IMAGES)
        assert one.apply(spec, CONSENT).exit is Exit.IN_SYNC, steps[number - 1]
        assert state(one) == state(finished), steps[number - 1]
        assert not list(one.directory.rglob("*.part"))


def test_without_consent_nothing_is_removed(before):
    one = before.fork("refused")
    done = one.apply(spec_of(one, {"gone": IMAGES["gone"]}), parse_consents(("destroy-data=bench/image.x",)))
    assert done.exit is Exit.REFUSED
    assert one.path("srv/gone.qcow2").exists()


def _smaller(one):
    image(one, "srv/grown.qcow2", qcow2.Header(GIB))


def _given(whose):
    return lambda one: one.run("chown", whose, "/srv/copied.qcow2")


UNDONE = {
    "an image is removed": ("image.copied", lambda one: one.path("srv/copied.qcow2").unlink()),
    "an image is smaller": ("image.grown", _smaller),
    "it is another user's": ("image.copied", _given("root")),
    "it is another group's": ("image.copied", _given(":adm")),
    "its mode is another": ("image.copied", lambda one: one.path("srv/copied.qcow2").chmod(0o600)),
    "the base of an overlay is gone": ("image.fetched", lambda one: one.path(CACHED).unlink()),
    "what was removed is there again": (
        "image.gone",
        lambda one: image(one, "srv/gone.qcow2", qcow2.Header(GIB)),
    ),
}


@pytest.mark.parametrize("undone", UNDONE)
def test_what_drifts_is_seen_and_mended(whole, undone):
    address, undo = UNDONE[undone]
    one = whole[0].fork(undone.replace(" ", "-").replace("'", ""))
    undo(one)
    spec = spec_of(one, IMAGES)
    found = one.plan(spec).at(Address.parse(address))
    assert found is not None
    assert (found.status, found.cause) == (Status.CHANGE, Cause.DRIFTED)
    assert one.apply(spec, CONSENT).exit is Exit.IN_SYNC


SPOILT = {
    "another format": ("copied", lambda one: one.write("srv/copied.qcow2", "raw now" * 100), "CXI302"),
    "another backing file": (
        "fetched",
        lambda one: image(one, "srv/fetched.qcow2", qcow2.Header(20 * GIB, "/srv/base.qcow2", "qcow2")),
        "CXI303",
    ),
    "larger": ("grown", lambda one: image(one, "srv/grown.qcow2", qcow2.Header(9 * GIB)), "CXI304"),
}


@pytest.mark.parametrize("spoilt", SPOILT)
def test_what_would_have_to_be_written_over_is_an_error_and_stays(whole, spoilt):
    name, spoil, code = SPOILT[spoilt]
    one = whole[0].fork(spoilt.replace(" ", "-"))
    spoil(one)
    seen = one.files()
    done = one.apply(spec_of(one, IMAGES), CONSENT)
    assert done.exit is Exit.ERROR
    found = done.plan.at(Address("image", name))
    assert found is not None
    assert [problem.code for problem in found.diagnostics] == [code]
    assert one.files() == seen


def test_what_is_written_into_an_image_is_no_difference(whole):
    one = whole[0].fork("written")
    path = one.path("srv/copied.qcow2")
    path.write_bytes(path.read_bytes() + b"of the guest")
    one.path("srv/base.qcow2").write_bytes(b"something else by now")
    assert one.plan(spec_of(one, IMAGES)).exit is Exit.IN_SYNC


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("grown", "size", "6GiB"),
        ("copied", "owner", "root"),
        ("copied", "group", "adm"),
        ("copied", "mode", "0600"),
        ("copied", "path", "/srv/elsewhere.qcow2"),
        ("grown", "state", "absent"),
        ("gone", "state", "present"),
    ],
)
def test_another_wish_is_no_longer_in_sync(whole, name, key, value):
    one = whole[0].fork(f"{name}-{key}-{value.replace('/', '_')}")
    more = {"size": "1GiB"} if name == "gone" else {}
    images = {**IMAGES, name: {**IMAGES[name], key: value, **more}}
    found = one.plan(spec_of(one, images)).at(Address("image", name))
    assert found is not None
    assert (found.status, found.cause) == (Status.CHANGE, Cause.UNAPPLIED)


def test_a_bare_host_is_planned_as_a_whole(before):
    plan = before.plan(spec_of(before, IMAGES))
    images = [one for one in plan.resources if one.address.kind == "image" and one.address.name != "gone"]
    assert [one.status for one in images] == [Status.BLOCKED] * 4
    assert all(one.actions for one in images)
    assert plan.exit is Exit.CHANGES
