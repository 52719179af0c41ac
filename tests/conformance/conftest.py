"""Every fact is checked on the simulator, and with the marker `lab` on the emulated host.

A fact leaves its machine as it found it, or has the marker `changes`: then the machine is put back after it.
So none needs another one before it; what all facts of a file begin with is a stage (`tests/lab/stages.py`).
"""

from __future__ import annotations

import pytest

from tests.conformance.guests import EmulatedGuest, SimulatedGuest
from tests.conformance.machines import Emulated, Simulated
from tests.lab.bare_guest import BareGuest
from tests.lab.build import ensure_image
from tests.lab.host import LabHost
from tests.lab.stages import FRESH, Stages


@pytest.fixture(scope="package", params=["sim", pytest.param("lab", marks=pytest.mark.lab)])
def stages(request, tmp_path_factory):
    if request.param == "sim":
        subject = Simulated(tmp_path_factory.mktemp("conformance") / "host")
        yield Stages(subject)
        subject.close()
        return
    with (
        pytest.MonkeyPatch.context() as patch,
        LabHost.start(ensure_image(), tmp_path_factory.mktemp("conformance-lab")) as host,
    ):
        patch.setenv("CXLSTATE_SSH_CONFIG", str(host.ssh_config))
        subject = Emulated(host)
        yield Stages(subject)
        subject.close()


@pytest.fixture
def machine(request, stages):
    """One machine for all facts, as this one needs it."""
    marker = request.node.get_closest_marker("stage")
    changes = request.node.get_closest_marker("changes") is not None
    return stages.at(marker.args[0] if marker else FRESH, looks=not changes)


@pytest.fixture(
    scope="package", params=["sim", pytest.param("guest", marks=[pytest.mark.lab, pytest.mark.long])]
)
def guest(request, tmp_path_factory):
    """A machine that is a guest. Its facts are one life: each begins where the last one ended."""
    if request.param == "sim":
        subject = SimulatedGuest(tmp_path_factory.mktemp("guest") / "host")
        yield subject
        subject.close()
        return
    machine = BareGuest.started(tmp_path_factory.mktemp("guest-lab"))
    with pytest.MonkeyPatch.context() as patch, machine:
        patch.setenv("CXLSTATE_SSH_CONFIG", str(machine.ssh_config))
        subject = EmulatedGuest(machine)
        yield subject
        subject.close()
