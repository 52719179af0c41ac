"""libvirt's guests, as far as they hold dax devices: each is a process while it runs."""

from __future__ import annotations

import posixpath

from cxlstate.machine.sim.dax import DEVDAX
from cxlstate.machine.sim.ended import Ended
from cxlstate.machine.sim.world import Process, World

_CLIENT = "libvirt-clients"
_DAEMON = ("libvirtd.service", "libvirtd.socket")
_FIRST_PID = 4200


class Guests:
    """The guests of one machine, asked through virsh."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._processes = world.running.processes

    def boot(self) -> None:
        """What libvirtd starts by itself. A guest whose device is not there stays off."""
        if self._world.running.units.get(_DAEMON[0]) == "active":
            for name, guest in self._world.guests.items():
                if guest.autostart:
                    self.start(name)

    def start(self, name: str) -> Ended:
        """Nothing where it runs."""
        refused = self._refused(name)
        if refused or self._process(name):
            return refused or Ended()
        holds = []
        for path in self._world.guests[name].opens:
            device = self._device(path)
            if device is None:
                why = f"error: unable to open {path}: No such file or directory"
                return Ended(1, stderr=f"error: Failed to start domain '{name}'\n{why}\n")
            holds.append(device)
        pid = max((one.pid for one in self._processes), default=_FIRST_PID) + 1
        command = f"/usr/bin/qemu-system-x86_64 -name guest={name.replace(',', ',,')},debug-threads=on -S"
        backends = "".join(
            f" -object memory-backend-file,mem-path={path},share=on"
            for path in self._world.guests[name].opens
        )
        self._processes.append(Process(pid, holds, command + backends, guest=name))
        return Ended()

    def stop(self, name: str, seconds: str) -> Ended:
        """A transient guest would be gone: it is refused."""
        refused = self._refused(name)
        process = self._process(name)
        if refused or process is None:
            return refused or Ended()
        guest = self._world.guests[name]
        if not guest.persistent:
            return Ended(1, stderr=f"cxlstate: guest {name} is transient: stopped, it would be gone\n")
        if not guest.obeys:
            why = f"guest {name} has not shut down within {seconds} s: it is running"
            return Ended(1, stderr=f"cxlstate: {why}\n")
        self._processes.remove(process)
        return Ended()

    def _process(self, name: str) -> Process | None:
        return next((one for one in self._processes if one.guest == name), None)

    def _refused(self, name: str) -> Ended | None:
        """Why virsh cannot ask for it."""
        installed = self._world.installed.get(_CLIENT)
        if installed is None or not installed.status.endswith(" installed"):
            return Ended(1, stderr="virsh: not found\n")
        if not any(self._world.running.units.get(unit) == "active" for unit in _DAEMON):
            return Ended(1, stderr="error: failed to connect to the hypervisor\n")
        if name not in self._world.guests:
            return Ended(1, stderr=f"error: failed to get domain '{name}'\n")
        return None

    def _device(self, path: str) -> str | None:
        """The device that a path leads to, if it can be opened."""
        target = self._world.running.links.get(path)
        name = posixpath.basename(target or path)
        device = self._world.running.dax.get(name)
        stays = path == f"/dev/{name}" or target is not None
        return name if device is not None and stays and device.driver == DEVDAX else None
