"""An effect as the command a person would have typed."""

from __future__ import annotations

import shlex

from cxlstate.core.action import Effect, Generate, Reboot, RemoveFile, Run, Step, WriteFile


def command(effect: Effect, *, whole: bool = False) -> str:
    """One line. What only matters to a program is left out, unless `whole`."""
    match effect:
        case WriteFile(path=path):
            return f"write {shlex.quote(path)}"
        case RemoveFile(path=path):
            return f"rm {shlex.quote(path)}"
        case Run(argv=argv, operands=operands, shown=shown):
            said = shlex.join(argv) if whole or not shown else shown
            return " ".join((said, *map(shlex.quote, operands)))
        case Step(shown=shown):
            return shown
        case Generate(path=path, argv=argv):
            return shlex.join((*argv, path))
        case Reboot():
            return "systemctl reboot"
