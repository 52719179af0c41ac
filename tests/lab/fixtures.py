"""Fixtures for tests on the emulated host: the host, at the stage that a test names.

    @pytest.mark.stage(APPLIED)
    def test_something(host): ...

Without the marker it is as first started. A test with the marker `looks` leaves the host as it found it,
which saves the next one some seconds.
"""

from __future__ import annotations

import pytest

from tests.lab.build import ensure_image
from tests.lab.host import LabHost
from tests.lab.stages import FRESH, Stages


class Hosts:
    """One host of each image, on demand. One runs at a time: a guest without a system busies a processor."""

    def __init__(self, folders):
        self._folders = folders
        self._stages = {}

    def at(self, stage, *, looks):
        for image, others in self._stages.items():
            if image != stage.image:
                others.leave()
        if stage.image not in self._stages:
            folder = self._folders.mktemp(f"lab-{stage.image}")
            self._stages[stage.image] = Stages(LabHost.start(ensure_image(name=stage.image), folder))
        return self._stages[stage.image].at(stage, looks=looks)

    def close(self):
        for stages in self._stages.values():
            stages.machine.close()


@pytest.fixture(scope="session")
def hosts(tmp_path_factory):
    made = Hosts(tmp_path_factory)
    yield made
    made.close()


@pytest.fixture
def host(request, hosts):
    marker = request.node.get_closest_marker("stage")
    looks = request.node.get_closest_marker("looks") is not None
    return hosts.at(marker.args[0] if marker else FRESH, looks=looks)
