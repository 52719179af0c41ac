"""What the boot script finds below its root: the kernel's files of memory and devices, /run and /dev.

Character devices are links to /dev/null, which is one and can neither be read from nor harmed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from cxlstate.simulator import procfs
from cxlstate.simulator.dax import Bus
from cxlstate.simulator.world import World

_DEVICE = os.devnull
_VOLATILE = ("run", "dev")


class KernelTree:
    """Made in an empty folder, and kept up to date with the machine."""

    def __init__(self, root: Path, world: World) -> None:
        self._root = root
        self._world = world
        self._shown: dict[str, tuple[str, bool]] = {}  # content, or where a link leads

    def grow(self) -> None:
        """Show the machine as it is now."""
        if not self._shown:
            shutil.rmtree(self._root, ignore_errors=True)  # of one that was killed
        wanted = self._wanted()
        for path in self._shown.keys() - wanted.keys():
            self._at(path).unlink(missing_ok=True)
            self._without_empty_folders(path)
        for path, (content, is_link) in wanted.items():
            if self._shown.get(path) != (content, is_link):
                self._show(path, content, is_link=is_link)
        self._shown = wanted

    def changed(self) -> Iterator[str]:
        """Take over what was changed in the folder, a file or link at a time; what it was."""
        running, (files, links) = self._world.running, self._volatile()
        for kept, found, does in ((running.files, files, "kept"), (running.links, links, "linked")):
            for path in kept.keys() - found.keys():
                del kept[path]
                self._shown.pop(path, None)
                yield f"removed: {path}"
            for path, content in found.items():
                if kept.get(path) != content:
                    kept[path] = content
                    self._shown[path] = (content, found is links)
                    yield f"{does}: {path}"

    def _wanted(self) -> dict[str, tuple[str, bool]]:
        world = self._world
        files = {**procfs.of_memory(world), **world.running.files}
        nodes = {f"/dev/{name}": _DEVICE for name in world.running.dax}  # whatever driver has it
        links = {**dict(Bus(world).drivers()), **nodes, **world.running.links}
        for process in world.running.processes:
            files[f"/proc/{process.pid}/cmdline"] = process.command
            for number, name in enumerate(process.holds, start=3):
                if name in world.running.dax:
                    links[f"/proc/{process.pid}/fd/{number}"] = f"../../../dev/{name}"
        shown = {path: (text, False) for path, text in files.items()}
        return shown | {path: (target, True) for path, target in links.items()}

    def _show(self, path: str, content: str, *, is_link: bool) -> None:
        here = self._at(path)
        here.parent.mkdir(parents=True, exist_ok=True)
        if is_link:
            here.unlink(missing_ok=True)
            here.symlink_to(content)
        else:
            here.write_text(content, "utf-8", "surrogateescape")

    def _without_empty_folders(self, path: str) -> None:
        for folder in self._at(path).parents:
            if folder == self._root or any(folder.iterdir()):
                return
            folder.rmdir()

    def _volatile(self) -> tuple[dict[str, str], dict[str, str]]:
        files, links = {}, {}
        for here in sorted(here for folder in _VOLATILE for here in (self._root / folder).rglob("*")):
            path = f"/{here.relative_to(self._root)}"
            if here.is_symlink():
                links[path] = str(here.readlink())
            elif here.is_file():
                files[path] = here.read_text("utf-8", "surrogateescape")
        return files, {path: target for path, target in links.items() if target != _DEVICE}

    def _at(self, path: str) -> Path:
        return self._root / path.lstrip("/")
