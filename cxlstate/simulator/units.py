"""systemd's units: systemctl(1). Texts and statuses as of systemd 257, the one of Debian 13."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from cxlstate.simulator.ended import Ended, unknown
from cxlstate.simulator.unit_files import FOLDER, UnitFiles
from cxlstate.simulator.world import Unit, World

_NOT_APPLICABLE = 3
_NOT_RUNNING = 3
_NOT_INSTALLED = 5
_WANTS = "/etc/systemd/system/multi-user.target.wants"
_FILES = "/usr/lib/systemd/system"
_SUFFIXES = (".service", ".socket", ".target", ".timer", ".mount", ".path", ".device", ".slice", ".scope")
_SUB_STATES = {".socket": "listening", ".target": "active", ".timer": "waiting", ".mount": "mounted"}
_NO_INSTALL_CONFIG = (
    "The unit files have no installation config (WantedBy=, RequiredBy=, UpheldBy=,\n"
    "Also=, or Alias= settings in the [Install] section, and DefaultInstance= for\n"
    "template units). This means they are not meant to be enabled or disabled using systemctl.\n"
)
# What `systemctl show` can be asked for, in the order in which it answers.
_PROPERTIES = (
    *("Type", "RemainAfterExit", "Result", "Id", "Names", "Conflicts", "TriggeredBy", "Description"),
    *("LoadState", "ActiveState", "SubState", "FragmentPath", "DropInPaths", "UnitFileState"),
    "NeedDaemonReload",
    "StateChangeTimestamp",
)
_HAVE_A_RESULT = (".service", ".socket", ".timer", ".mount")


def _time(seconds: int) -> str:
    """With TZ=UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%a %Y-%m-%d %H:%M:%S UTC") if seconds else ""


class Units:
    """The units of one machine and what they do. `execute` runs the program of a unit file on the disk.

    `started` is told of each unit of a package that comes up.
    """

    def __init__(
        self,
        world: World,
        own: UnitFiles,
        execute: Callable[[tuple[str, ...]], Ended] = lambda _: Ended(),
        started: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._units = world.units
        self._states = world.running.units
        self._since = world.running.since
        self._own = own
        self._execute = execute
        self._started = started

    def boot(self) -> None:
        """Start what is enabled: first what an administrator wrote, to be before the daemons."""
        self._boot_own(late=False)
        self._own.read()
        for name, unit in self._units.items():
            if unit.state == "enabled" and not unit.masked:
                self._up(name, unit)

    def boot_late(self) -> None:
        """Start what an administrator wrote to be after one of the daemons."""
        self._boot_own(late=True)

    def _boot_own(self, *, late: bool) -> None:
        for name in self._own.names():
            unit = self._get(name)
            follows = any(one in self._units for one in self._own.after(name))
            if unit is not None and unit.state == "enabled" and not unit.masked and follows is late:
                self._up(name, unit)

    def systemctl(self, words: Sequence[str]) -> Ended:
        """`systemctl VERB [--now] UNIT…`."""
        options = [word for word in words if word.startswith("-")]
        verb, *given = [word for word in words if not word.startswith("-")] or [""]
        names = [self._canonical(name) for name in given]
        if verb == "show":
            return self._show(options, given)
        if verb in ("daemon-reload", "daemon-reexec") and not given:
            self._own.read()
            return Ended()
        if verb == "reset-failed":
            return self._reset_failed(names)
        one = {
            "start": self._start,
            "is-active": self._is_active,
            "reload": self._reload,
            "restart": self._restart,
            "reload-or-restart": self._restart,
            "stop": self._stop,
            "enable": self._enable,
            "disable": self._disable,
            "mask": self._mask,
            "unmask": self._unmask,
        }.get(verb)
        if one is None or not names or set(options) - {"--now", "--no-ask-password", "--quiet"}:
            return unknown(("systemctl", *words))
        ended = _together([one(name) for name in names])
        if "--now" in options and ended.status == 0:
            after = {"enable": self._start, "disable": self._stop, "mask": self._stop}.get(verb)
            ended = _together([ended, *(after(name) for name in names)]) if after else ended
        return ended

    def add(self, name: str, unit: Unit) -> None:
        """What installing a daemon does: its unit comes with its preset, and is started if enabled."""
        if name in self._units and self._units[name].masked:
            self._units[name].state = unit.state
            return
        self._units[name] = unit
        if unit.state == "enabled":
            self._start(name)

    def drop(self, name: str) -> None:
        """What removing it does: stopped, and its unit gone."""
        self._states.pop(name, None)
        self._units.pop(name, None)

    def _get(self, name: str) -> Unit | None:
        return self._units.get(name) or self._own.get(name)

    def _canonical(self, given: str) -> str:
        name = given if given.endswith(_SUFFIXES) else f"{given}.service"
        return next((unit for unit, one in self._units.items() if name in one.aliases), name)

    def _show(self, options: Sequence[str], given: Sequence[str]) -> Ended:
        asked: set[str] = set()
        for option in options:
            name, _, value = option.partition("=")
            if name in ("--property", "-p"):
                asked.update(value.split(","))
            elif option not in ("--no-pager", "--all"):
                return unknown(("systemctl", "show", *options))
        blocks = [self._properties(self._canonical(name)) for name in given]
        return Ended(
            stdout="\n".join(
                "".join(
                    f"{key}={block[key]}\n"
                    for key in _PROPERTIES
                    if key in block and (key in asked or not asked)
                )
                for block in blocks
            )
        )

    def _properties(self, name: str) -> dict[str, str]:
        unit = self._get(name)
        state = self._states.get(name, "inactive")
        load, file_state, path = "not-found", "", ""
        if unit is not None and unit.masked:
            load, file_state, path = "masked", "masked", f"/etc/systemd/system/{name}"
        elif unit is not None:
            folder = _FILES if name in self._units else FOLDER
            load, file_state, path = "loaded", unit.state, f"{folder}/{name}"
        shown = {
            "Id": name,
            "Names": " ".join([name, *(unit.aliases if unit else [])]),
            "Conflicts": " ".join(["shutdown.target", *unit.conflicts] if unit and load == "loaded" else []),
            "TriggeredBy": " ".join(unit.triggered_by if unit and load == "loaded" else []),
            "Description": (unit.description if unit else "") or name,
            "LoadState": load,
            "ActiveState": state,
            "SubState": self._sub_state(name, state),
            "FragmentPath": path,
            "DropInPaths": "",
            "UnitFileState": file_state,
            "NeedDaemonReload": "yes" if self._own.stale(name) else "no",
            "StateChangeTimestamp": _time(self._since.get(name, 0)),
        }
        if name.endswith(_HAVE_A_RESULT):
            shown["Result"] = "exit-code" if state == "failed" else "success"
        if name.endswith(".service"):
            shown["Type"] = unit.type if unit and load == "loaded" else ""
            shown["RemainAfterExit"] = "yes" if unit and unit.remains and load == "loaded" else "no"
        return shown

    def _sub_state(self, name: str, state: str) -> str:
        if state != "active":
            return "failed" if state == "failed" else "dead"
        unit = self._get(name)
        if unit is not None and unit.type == "oneshot":
            return "exited"
        return _SUB_STATES.get(name[name.rindex(".") :], "running")

    def _up(self, name: str, unit: Unit) -> None:
        """Start it: a oneshot unit that does not remain is done at once."""
        conflicting = {other for other, one in self._units.items() if name in one.conflicts}
        for other in conflicting | {*unit.conflicts, *unit.stops}:  # systemd.unit(5): in both directions
            self._states.pop(other, None)
        starts = unit.starts
        if self._own.exists(name) and name not in self._units:
            starts = self._execute(self._own.program(name)).status == 0
        self._states[name] = "active" if starts else "failed"
        self._since[name] = int(time.time())
        if starts and unit.type == "oneshot" and not unit.remains:
            del self._states[name]

    def _start(self, name: str, *, again: bool = False) -> Ended:
        unit = self._get(name)
        if unit is None:
            said = f"Failed to start {name}: Unit {name} not found.\n"
            return Ended(_NOT_INSTALLED, stderr=said)
        if unit.masked:
            return Ended(1, stderr=f"Failed to start {name}: Unit {name} is masked.\n")
        if not again and name not in self._units and self._states.get(name) == "active":
            return Ended()
        self._up(name, unit)
        if name in self._units and self._states.get(name) == "active":
            self._started(name)
            for own in self._own.wanted_by(name):
                self._start(own)
        self._own.read()
        if self._states.get(name) != "failed":
            return Ended()
        see = f'See "systemctl status {name}" and "journalctl -xeu {name}" for details.'
        why = f"Job for {name} failed because the control process exited with error code."
        return Ended(1, stderr=f"{why}\n{see}\n")

    def _restart(self, name: str) -> Ended:
        ended = self._start(name, again=True)
        return Ended(ended.status, stderr=ended.stderr.replace("Failed to start", "Failed to restart"))

    def _is_active(self, name: str) -> Ended:
        """What it says is left out: it is asked with `--quiet`."""
        return Ended(0 if self._states.get(name) == "active" else _NOT_RUNNING)

    def _reload(self, name: str) -> Ended:
        unit = self._get(name)
        if unit is None:
            return Ended(_NOT_INSTALLED, stderr=f"Failed to reload {name}: Unit {name} not found.\n")
        if not unit.reloads and unit.type != "notify-reload":
            why = f"Job type reload is not applicable for unit {name}."
            return Ended(_NOT_APPLICABLE, stderr=f"Failed to reload {name}: {why}\n")
        if self._states.get(name) != "active":
            return Ended(1, stderr=f"{name} is not active, cannot reload.\n")
        self._since[name] = int(time.time())
        return Ended()

    def _stop(self, name: str) -> Ended:
        if self._get(name) is None and name not in self._states:
            said = f"Failed to stop {name}: Unit {name} not loaded.\n"
            return Ended(_NOT_INSTALLED, stderr=said)
        if self._states.get(name) != "failed":
            self._states.pop(name, None)
        triggers = self._units[name].triggered_by if name in self._units else []
        active = [one for one in triggers if self._states.get(one) == "active"]
        if not active:
            return Ended()
        listed = f"Stopping '{name}', but its triggering units are still active:\n{', '.join(active)}\n"
        return Ended(stderr=listed)

    def _enable(self, name: str) -> Ended:
        unit = self._get(name)
        if unit is None:
            return Ended(1, stderr=f"Failed to enable unit: Unit {name} does not exist\n")
        if unit.masked:
            return Ended(1, stderr=f"Failed to enable unit: Unit /etc/systemd/system/{name} is masked\n")
        if unit.state == "static":
            return Ended(stderr=_NO_INSTALL_CONFIG)
        if unit.state == "enabled":
            return Ended()
        if name not in self._units:
            made = self._own.enable(name)
            self._own.read()
            return Ended(stderr="".join(f"Created symlink '{one}' -> '{FOLDER}/{name}'.\n" for one in made))
        unit.state = "enabled"
        return Ended(stderr=f"Created symlink '{_WANTS}/{name}' -> '{_FILES}/{name}'.\n")

    def _disable(self, name: str) -> Ended:
        unit = self._get(name)
        if unit is None:
            return Ended(1, stderr=f"Failed to disable unit: Unit {name} does not exist\n")
        if unit.masked:
            ignored = f"Unit /etc/systemd/system/{name} is masked, ignoring.\n"
            return Ended(stderr=ignored + _NO_INSTALL_CONFIG)
        if unit.state == "static":
            return Ended(stderr=_NO_INSTALL_CONFIG)
        if unit.state != "enabled":
            return Ended()
        if name not in self._units:
            removed = self._own.disable(name)
            self._own.read()
            return Ended(stderr="".join(f"Removed '{one}'.\n" for one in removed))
        unit.state = "disabled"
        return Ended(stderr=f"Removed '{_WANTS}/{name}'.\n")

    def _mask(self, name: str) -> Ended:
        if self._own.exists(name) and name not in self._units:
            said = f"Failed to mask unit: File '{FOLDER}/{name}' already exists\n"
            return Ended(1, stderr=said)
        unit = self._units.setdefault(name, Unit(state=""))
        said = "" if unit.state else f"Unit {name} does not exist, proceeding anyway.\n"
        if unit.masked:
            return Ended(stderr=said)
        unit.masked = True
        return Ended(stderr=f"{said}Created symlink '/etc/systemd/system/{name}' -> '/dev/null'.\n")

    def _unmask(self, name: str) -> Ended:
        unit = self._get(name)
        if unit is None:
            return Ended(stderr=f"Unit {name} does not exist, proceeding anyway.\n")
        if not unit.masked:
            return Ended()
        unit.masked = False
        if not unit.state:
            del self._units[name]
        return Ended(stderr=f"Removed '/etc/systemd/system/{name}'.\n")

    def _reset_failed(self, names: Sequence[str]) -> Ended:
        for name in names:
            if name not in self._states:  # systemd keeps no unit in memory that does nothing
                said = f"Failed to reset failed state of unit {name}: Unit {name} not loaded.\n"
                return Ended(1, stderr=said)
        for name in names or list(self._states):
            if self._states.get(name) == "failed":
                del self._states[name]
        return Ended()


def _together(all_of: Sequence[Ended]) -> Ended:
    """Several ends as one: the first failure's status, and all that was said."""
    status = next((ended.status for ended in all_of if ended.status), 0)
    return Ended(status, stderr="".join(ended.stderr for ended in all_of))
