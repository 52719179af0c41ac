"""What the host keeps of a seed is read as it is found: damaged, it tells nothing."""

from __future__ import annotations

import pytest

from cxlstate.formats import cloud_init
from cxlstate.resources.provision import made
from cxlstate.resources.provision.spec import Provision


@pytest.mark.parametrize("kept", ["", "[", "[" * 100_000, '{"a":' * 100_000, "null", "7", '{"disks": 7}'])
def test_what_is_damaged_is_another_seed(kept):
    spec = Provision.model_validate({"method": "cloud-init", "hostname": "g"})
    assert made.otherwise(kept, spec, ())
    assert made.disks(kept) == frozenset()


def test_a_name_that_is_not_utf_8_is_a_name():
    assert cloud_init.made_from("\udcff") == cloud_init.made_from("%FF").replace("%25FF", "%FF")
