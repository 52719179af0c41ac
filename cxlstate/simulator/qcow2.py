"""The header of a qcow2 image, which is all that a simulated one consists of: nobody reads its disk.

docs/interop/qcow2.txt of QEMU.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

_MAGIC = b"QFI\xfb"
_VERSION = 3
_LAYOUT = struct.Struct(">4sIQIIQIIQQIIQQQQII")
_CLUSTER_BITS = 16
_REFCOUNT_ORDER = 4
_EXTENSION = struct.Struct(">II")
_BACKING_FORMAT = 0xE2792ACA
_CORRUPT = 1 << 1  # of the incompatible features
HEAD = 4096
"""Bytes that hold the header of any image that is made here."""


@dataclass(frozen=True, slots=True)
class Header:
    """What an image says of itself."""

    size: int
    backing: str | None = None
    backing_format: str | None = None
    corrupt: bool = False

    def pack(self) -> bytes:
        """The file."""
        name = (self.backing or "").encode("utf-8", "surrogateescape")
        extensions = b""
        if self.backing_format:
            text = self.backing_format.encode()
            extensions = _EXTENSION.pack(_BACKING_FORMAT, len(text)) + text + bytes(-len(text) % 8)
        extensions += _EXTENSION.pack(0, 0)
        at = _LAYOUT.size + len(extensions) if name else 0
        tables = (0, 0, 0, 0, 0, 0, 0)  # encryption, L1 table and its place, reference counts, snapshots
        features = (_CORRUPT if self.corrupt else 0, 0, 0)
        head = _LAYOUT.pack(
            *(_MAGIC, _VERSION, at, len(name), _CLUSTER_BITS, self.size, *tables, *features),
            *(_REFCOUNT_ORDER, _LAYOUT.size),
        )
        return head + extensions + name


def parse(content: bytes) -> Header | None:
    """The header at the beginning of a file; None: it is no qcow2 image."""
    if len(content) < _LAYOUT.size or not content.startswith(_MAGIC):
        return None
    _, _, at, length, _, size, *_, features, _, _, _, begins = _LAYOUT.unpack_from(content)
    backing = content[at : at + length].decode("utf-8", "surrogateescape") if at else None
    return Header(size, backing, _backing_format(content, begins), bool(features & _CORRUPT))


def _backing_format(content: bytes, at: int) -> str | None:
    while at + _EXTENSION.size <= len(content):
        kind, length = _EXTENSION.unpack_from(content, at)
        at += _EXTENSION.size
        if kind == 0:
            break
        if kind == _BACKING_FORMAT:
            return content[at : at + length].decode()
        at += length + -length % 8
    return None
