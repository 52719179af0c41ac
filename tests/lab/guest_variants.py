"""Images that are made as the guest of the host is, each with another recipe in its place.

`bare` is started without a host around it (`bare_guest.py`). `cloud` is one as a distribution hands it out:
nobody can log in to it, until cloud-init has been told who may.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.lab import guest_image
from tests.lab.build import _ensure
from tests.lab.guest_image import GUEST
from tests.lab.image import _GUEST_FROM, Image, _hash_sources, cache_directory

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.lab.steps import Recipe

_AGENT = "qemu-guest-agent"  # left out, as Debian does: so the host keys are told by the console
VARIANTS = {
    "bare": replace(
        GUEST,
        packages=(*GUEST.packages, "python3-minimal", "xfsprogs", "btrfs-progs"),
        disk_mib=2 * 1024,
    ),
    "cloud": replace(
        GUEST,
        packages=(*(one for one in GUEST.packages if one != _AGENT), "cloud-init"),
        customize="customize-cloud-guest.sh",
        disk_mib=2 * 1024,
    ),
}


def ensure_variant(name: str, log: Callable[[str], None] = lambda _: None) -> Image:
    """Return the image called `name`, built first if it is not there."""
    recipe = VARIANTS[name]
    sources = tuple(dict.fromkeys((*_GUEST_FROM, recipe.customize)))
    key = _hash_sources(hashlib.sha256(repr(recipe).encode()), sources)
    return _ensure(Image(cache_directory() / f"{name}-{key}"), partial(_build, recipe), log)


def _build(recipe: Recipe, draft: Image, work: Path, log: Callable[[str], None]) -> None:
    """As the guest of the host is built, whose image is named by the text of that module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(guest_image, "GUEST", recipe)
        guest_image.build_guest(draft, work, log)
