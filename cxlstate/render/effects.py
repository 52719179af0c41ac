"""An effect as the command a person would have typed."""

from __future__ import annotations

import shlex

from cxlstate.core.action import Effect, Generate, Reboot, RemoveFile, Run, WriteFile


def command(effect: Effect) -> str:
    """One line; what only exists for a program (environment, temporary files) is left out."""
    match effect:
        case WriteFile(path=path):
            return f"write {shlex.quote(path)}"
        case RemoveFile(path=path):
            return f"rm {shlex.quote(path)}"
        case Run(argv=argv, operands=operands):
            return shlex.join((*argv, *operands))
        case Generate(path=path, argv=argv):
            return shlex.join((*argv, path))
        case Reboot():
            return "systemctl reboot"
