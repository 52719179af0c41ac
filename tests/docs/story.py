"""A document as a story: its files are written, its commands are run, what they say is compared.

    ```yaml file=specs/mine.yaml     a block that is written to that file before the story goes on
    ```console                       each line that begins with `$ ` is run; what follows is its output

In an output, `...` stands for any text, and on a line of its own for any number of lines. A command that
ends with another status than 0 is followed by `$ echo $?`. All other blocks are only read.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])

_FENCE = re.compile(
    r"^(?P<fence>`{3,})(?P<language>\w*)(?: file=(?P<file>\S+))?\n(?P<text>.*?)^(?P=fence)$",
    re.MULTILINE | re.DOTALL,
)
_PARTS = (
    "cxlstate",
    "docs",
    "pyproject.toml",
    "README.md",
    "specs",
    "tests/resources",
    "tests/fragments.py",
    "tools",
)
_STATUS = "echo $?"


@dataclass(frozen=True)
class Block:
    """A fenced block; `start` and `end` are where its text stands in the document."""

    language: str
    file: str | None
    text: str
    line: int
    start: int
    end: int


@dataclass(frozen=True)
class Step:
    """A command, what the document says that it prints, what it printed, and how it ended."""

    command: str
    expected: str
    said: str
    status: int
    status_is_told: bool

    @property
    def as_told(self) -> bool:
        """Whether it went as the document says."""
        return matches(self.expected, self.said) and (self.status == 0 or self.status_is_told)

    def __str__(self) -> str:
        return f"$ {self.command}\n{self.said}[status {self.status}]\n\nThe document says:\n{self.expected}"


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a document."""
    return [
        Block(m["language"], m["file"], m["text"], text[: m.start()].count("\n") + 1, *m.span("text"))
        for m in _FENCE.finditer(text)
    ]


def commands(text: str) -> list[tuple[str, str]]:
    """The commands of a console block, each with the output that follows it."""
    first, *rest = re.split(r"^\$ ", text, flags=re.MULTILINE)
    assert not first, f"a console block begins with a command, not with {first!r}"
    return [(command, said) for command, _, said in (one.partition("\n") for one in rest)]


def untimed(said: str) -> str:
    """Without the seconds that are told where a step takes more than one, as on a busy machine."""
    return re.sub(r"(?m)^( *[✓✗] [^\n]*?) \(\d+ s\)", r"\1", said)


def matches(expected: str, said: str) -> bool:
    """Whether an output is as expected, `...` being whatever it is; but for how long a step took."""
    expected, said = untimed(expected), untimed(said)
    pattern = re.escape(expected).replace(re.escape("...\n"), "\0").replace(re.escape("..."), "[^\n]*")
    pattern = re.sub(r"(?m)^\0", lambda _: "(?:.*\n)*?", pattern).replace("\0", "[^\n]*\n")
    return re.fullmatch(pattern, said) is not None


class Scratch:
    """A copy of the project in which a story can do what it likes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "project"
        self.home = folder / "home"
        self.home.mkdir()
        for part in _PARTS:
            if (ROOT / part).is_dir():
                shutil.copytree(ROOT / part, self.folder / part, ignore=shutil.ignore_patterns("*.pyc.*"))
            else:
                shutil.copy2(ROOT / part, self.folder / part)

    @property
    def environment(self) -> dict[str, str]:
        """As little as a program needs, and the copy's code before all other."""
        return {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(self.home),
            "LC_ALL": "C.UTF-8",
            "PYTHONPATH": str(self.folder),
        }

    def run(self, command: str, before: int = 0, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a line of shell, with `$?` as the command before left it."""
        return subprocess.run(
            ["sh", "-c", f"(exit {before})\n{command}"],
            cwd=self.folder,
            env=self.environment | more,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )

    def write(self, block: Block) -> Path:
        """Put a block where it says that it belongs."""
        assert block.file
        assert not block.file.startswith("/"), "a story stays in its folder"
        path = self.folder / block.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text, encoding="utf-8")
        return path

    def play(self, text: str) -> Iterator[tuple[Block, list[Step]]]:
        """Write the files and run the commands of a document, in order."""
        for block in blocks(text):
            if block.file:
                self.write(block)
            elif block.language == "console":
                yield block, list(self._steps(block))

    def _steps(self, block: Block) -> Iterator[Step]:
        told = commands(block.text)
        status = 0
        for (command, expected), (after, _) in zip(told, [*told[1:], ("", "")], strict=True):
            done = self.run(command, before=status)
            status = done.returncode
            yield Step(command, expected, done.stdout, status, after == _STATUS)


def refreshed(text: str, scratch: Scratch) -> str:
    """The document with what its commands print today, where that is not as told."""
    for block, steps in reversed(list(scratch.play(text))):
        shown = "".join(
            f"$ {step.command}\n{step.expected if matches(step.expected, step.said) else step.said}"
            for step in steps
        )
        text = text[: block.start] + shown + text[block.end :]
    return text
