"""What is there of the boot script and its unit, and what systemd makes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cxlstate.core.answers import Answers, ReadFailed
from cxlstate.core.read import Command, File, Read
from cxlstate.formats import restore

SCRIPT: Final = File(restore.SCRIPT)
UNIT_FILE: Final = File(restore.UNIT_FILE)

_PROPERTIES: Final = (
    *("Id", "LoadState", "ActiveState", "UnitFileState"),
    *("Result", "NeedDaemonReload", "DropInPaths"),
)
STATE: Final = Command(
    ("systemctl", "show", f"--property={','.join(_PROPERTIES)}"),
    (restore.UNIT,),
)
"""org.freedesktop.systemd1(5): a block of `Key=value` lines a unit."""

READS: Final[tuple[Read, ...]] = (SCRIPT, UNIT_FILE, STATE)


@dataclass(frozen=True, slots=True)
class Live:
    """Contents are None where a file is not there. `drop_ins` are those of this unit alone."""

    script: str | None
    unit: str | None
    enabled: str
    failed: str | None = None
    masked: bool = False
    needs_reload: bool = False
    drop_ins: tuple[str, ...] = ()

    @property
    def lines(self) -> tuple[restore.Words, ...]:
        """What the script on the machine makes again; nothing where its table cannot be read."""
        return restore.table(self.script or "") or ()


def parse(answers: Answers) -> Live:
    """Raises ReadFailed."""
    block = _block(answers.text(STATE))
    return Live(
        script=answers.text_or_none(SCRIPT),
        unit=answers.text_or_none(UNIT_FILE),
        enabled=block.get("UnitFileState", ""),
        failed=block.get("Result") if block.get("ActiveState") == "failed" else None,
        masked="masked" in block.get("LoadState", "") or "masked" in block.get("UnitFileState", ""),
        needs_reload=block.get("NeedDaemonReload") == "yes",
        drop_ins=tuple(
            path for path in block.get("DropInPaths", "").split() if f"/{restore.UNIT}.d/" in path
        ),
    )


def _block(text: str) -> dict[str, str]:
    for part in text.split("\n\n"):
        block = dict(line.partition("=")[::2] for line in part.splitlines() if "=" in line)
        if block.get("Id") == restore.UNIT:
            return block
    raise ReadFailed(STATE, f"systemctl says nothing of {restore.UNIT}")
