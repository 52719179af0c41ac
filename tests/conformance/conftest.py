"""Every fact is checked on the simulator, and with the marker `lab` on the emulated host."""

from __future__ import annotations

import pytest

from tests.conformance.machines import Emulated, Simulated
from tests.lab.build import ensure_image
from tests.lab.host import LabHost


@pytest.fixture(scope="package", params=["sim", pytest.param("lab", marks=pytest.mark.lab)])
def machine(request, tmp_path_factory):
    """One machine for all facts; each leaves it as the next one may expect it."""
    if request.param == "sim":
        subject = Simulated(tmp_path_factory.mktemp("conformance") / "host")
        yield subject
        subject.close()
        return
    with (
        pytest.MonkeyPatch.context() as patch,
        LabHost.start(ensure_image(), tmp_path_factory.mktemp("conformance-lab")) as host,
    ):
        patch.setenv("CXLSTATE_SSH_CONFIG", str(host.ssh_config))
        subject = Emulated(host)
        yield subject
        subject.close()
