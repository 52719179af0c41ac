"""Effects on disk images as the commands a person would have typed."""

from __future__ import annotations

import pytest

from cxlstate.core.image import FetchFile, GrowImage, MakeImage, RemoveImage

GIB = 1 << 30
WHOLE = (
    "qemu-img convert -f raw -O qcow2 '/b c' /i && qemu-img resize -f qcow2 /i 1G && chown u:g /i "
    "&& chmod 0640 /i"
)


@pytest.mark.parametrize(
    ("effect", "shown"),
    [
        (
            FetchFile("https://h/a?token=x", "0" * 64, "/c/a b"),
            "curl --location --output '/c/a b' 'https://h/a?…'",
        ),
        (MakeImage("/i", "raw", 20 * GIB), "qemu-img create -f raw /i 20G"),
        (MakeImage("/i", "qcow2", 512), "qemu-img create -f qcow2 /i 512"),
        (MakeImage("/i", "qcow2", source="/b"), "qemu-img convert -O qcow2 /b /i"),
        (
            MakeImage("/i", "qcow2", GIB, "/b c", "raw", owner="u", group="g", mode=0o640),
            WHOLE,
        ),
        (
            MakeImage("/i", "qcow2", GIB, "/b", "raw", overlay=True, group="g"),
            "qemu-img create -f qcow2 -b /b -F raw /i 1G && chown :g /i",
        ),
        (MakeImage("/i", "qcow2", source="/b", overlay=True), "qemu-img create -f qcow2 -b /b /i"),
        (GrowImage("/i j", GIB + 512, "raw"), "qemu-img resize -f raw '/i j' 1073742336"),
        (RemoveImage("/i", "1:2"), "rm /i"),
    ],
)
def test_each_is_a_line(effect, shown):
    assert effect.shown() == shown
