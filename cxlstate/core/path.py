"""Logical places in a spec: a tuple of keys and indices, resolved to file:line:col in one place."""

from __future__ import annotations

Path = tuple[str | int, ...]


def show(path: Path) -> str:
    """`('host', 'memmap', 0, 'size')` → `host.memmap[0].size`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text
