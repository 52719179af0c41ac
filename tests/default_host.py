"""Of the simulator's default host, what tests write by hand."""

from __future__ import annotations

from pathlib import Path

from cxlstate.simulator import default
from cxlstate.simulator.folder import load

_PACKAGES = load(Path(default.__file__).with_name("default_host")).archive.packages
(NETWORK,) = (text for one in _PACKAGES for path, text in one.brings.files.items() if "/networks/" in path)
