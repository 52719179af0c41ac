"""Unit files that an administrator wrote: systemd.unit(5), and what of them `systemctl enable` makes."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256

from cxlstate.simulator.files import Files
from cxlstate.simulator.world import Unit, World

FOLDER = "/etc/systemd/system"


class UnitFiles:
    """The regular files in `/etc/systemd/system`. Those of packages are in `machine.json`."""

    def __init__(self, world: World, files: Files) -> None:
        self._known = world.running.known_units
        self._states = world.running.units
        self._files = files

    def names(self) -> list[str]:
        """Of all of them."""
        paths = self._files.glob(f"{FOLDER}/*.*")
        return [path.rpartition("/")[2] for path in paths if self.exists(path.rpartition("/")[2])]

    def exists(self, name: str) -> bool:
        """Whether there is a file of that unit."""
        path = f"{FOLDER}/{name}"
        return self._files.link(path) is None and self._files.is_file(path)

    def get(self, name: str) -> Unit | None:
        """The unit; one whose file is gone is still known to a systemd that was not told."""
        if not self.exists(name):
            return Unit(state="") if name in self._known else None
        said = self._settings(name)
        return Unit(
            state=self._state(name),
            type=said.get("Type", "simple"),
            remains=said.get("RemainAfterExit", "no") in ("yes", "true", "on", "1"),
            reloads="ExecReload" in said,
            description=said.get("Description", ""),
        )

    def wanted_by(self, name: str) -> list[str]:
        """Those that the start of a unit starts."""
        link = f"{FOLDER}/{name}.wants/{{}}"
        return [one for one in self.names() if self._files.link(link.format(one)) is not None]

    def after(self, name: str) -> list[str]:
        """What it is started after, if that is started at all."""
        return self._words(name, "After")

    def program(self, name: str) -> tuple[str, ...]:
        """What it runs."""
        return tuple(self._settings(name).get("ExecStart", "").split())

    def enable(self, name: str) -> list[str]:
        """Make the links that it asks for; those made."""
        made = [link for link in self._links(name) if self._files.link(link) is None]
        for link in made:
            self._files.make_link(link, f"{FOLDER}/{name}")
        return made

    def disable(self, name: str) -> list[str]:
        """Remove its links; those removed."""
        removed = [link for link in self._links(name) if self._files.link(link) is not None]
        for link in removed:
            self._files.remove(link)
        return removed

    def stale(self, name: str) -> bool:
        """Whether the file is another than the one that systemd has read."""
        return name in self._known and self._known[name] != self._digest(name)

    def read(self) -> None:
        """What daemon-reload does: read again those that something asks for."""
        self._known.clear()
        for name in self.names():
            if self._state(name) == "enabled" or name in self._states:
                self._known[name] = self._digest(name)

    def _state(self, name: str) -> str:
        links = self._links(name)
        if not links:
            return "static"
        return "enabled" if any(self._files.link(link) for link in links) else "disabled"

    def _links(self, name: str) -> list[str]:
        targets = self._words(name, "WantedBy")
        return [f"{FOLDER}/{target}.wants/{name}" for target in targets]

    def _settings(self, name: str) -> dict[str, str]:
        """The last value of each setting, whatever its section."""
        return dict(self._lines(name))

    def _words(self, name: str, setting: str) -> list[str]:
        """Of a setting that is a list: that of all its lines."""
        return [word for key, value in self._lines(name) if key == setting for word in value.split()]

    def _lines(self, name: str) -> Iterator[tuple[str, str]]:
        lines = (line.strip() for line in self._files.text(f"{FOLDER}/{name}").splitlines())
        pairs = (line.partition("=") for line in lines if line and line[0] not in "#;[")
        return ((key.strip(), value.strip()) for key, _, value in pairs)

    def _digest(self, name: str) -> str:
        return sha256(self._files.read(f"{FOLDER}/{name}")).hexdigest() if self.exists(name) else ""
