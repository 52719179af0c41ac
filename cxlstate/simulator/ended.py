"""How a simulated program ended: what its caller would see of it."""

from __future__ import annotations

from dataclasses import dataclass

NOT_FOUND = 127


@dataclass(frozen=True, slots=True)
class Ended:
    """Exit status and what was said. Lines end with a newline, as the real programs write them."""

    status: int = 0
    stdout: str = ""
    stderr: str = ""

    @property
    def output(self) -> str:
        """Both streams, as a journal keeps them."""
        return self.stdout + self.stderr


def unknown(argv: tuple[str, ...]) -> Ended:
    """The end of a command that the simulator does not know: that of a missing tool."""
    line = " ".join(argv)
    return Ended(NOT_FOUND, stderr=f"the simulator does not know this command: {line}\n")
