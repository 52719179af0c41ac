"""What went wrong, where, what was found, what was expected, and what to do next.

Every diagnostic has a code, and every code has a page (`cxlstate explain CODE`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

from cxlstate.core.address import Address
from cxlstate.core.path import Path


class Severity(StrEnum):
    """How bad it is. Only an error stops something."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Source:
    """A position in a spec file. Lines and columns count from 1, columns in characters."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One problem. `path` is its place in the spec; `source` is filled in from it at the end."""

    code: str
    message: str
    severity: Severity = Severity.ERROR
    path: Path = ()
    source: Source | None = None
    machine: str | None = None
    address: Address | None = None
    found: str | None = None
    expected: str | None = None
    hint: str | None = None

    def at(self, source: Source | None) -> Diagnostic:
        """The same problem with its position in a file."""
        return replace(self, source=source)

    def on(self, machine: str | None, address: Address | None = None) -> Diagnostic:
        """The same problem with the machine and the resource it was met on."""
        return replace(self, machine=machine or self.machine, address=address or self.address)

    def as_json(self) -> dict[str, object]:
        """The shape of `diagnostics` in every `--json` document."""
        return {
            "code": self.code,
            "severity": self.severity.value,
            "message": self.message,
            "file": self.source.file if self.source else None,
            "line": self.source.line if self.source else None,
            "column": self.source.column if self.source else None,
            "found": self.found,
            "expected": self.expected,
            "hint": self.hint,
            "machine": self.machine,
            "address": str(self.address) if self.address else None,
        }


@dataclass
class CxlstateError(Exception):
    """An error that ends what was being done. It carries diagnostics, never a traceback's text."""

    diagnostics: tuple[Diagnostic, ...] = field(default=())

    def __str__(self) -> str:
        return "; ".join(f"{d.code}: {d.message}" for d in self.diagnostics)


def fail(code: str, message: str, **more: str | None) -> CxlstateError:
    """An error of one diagnostic; `more` is any of machine, found, expected, hint."""
    return CxlstateError((Diagnostic(code=code, message=message, **more),))  # type: ignore[arg-type]  # keyword names are checked by the dataclass
