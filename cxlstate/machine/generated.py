"""Whether a generated file is what was planned. Pure: every kind of machine asks the same."""

from __future__ import annotations

import re
from difflib import unified_diff

from cxlstate.core.action import Generate
from cxlstate.machine.outcome import Outcome, Result

_BLANKS = re.compile(r"[ \t]+")
_AT_THE_END = re.compile(r"(?<!\\) $")


def judge(effect: Generate, content: bytes) -> Outcome | None:
    """Why `content` must not be put in place; None where it may be.

    Runs of blanks count as one blank, and as none at the end of a line: 10_linux leaves one there where
    GRUB_CMDLINE_LINUX is empty. A text that must hold is asked for even with consent to
    foreign changes: without it the effect would not do what it is for.
    """
    made, wanted = _lines(content), _lines(effect.predicted)
    whole = "\n".join(made)
    missing = [text for text in effect.must_hold if "\n".join(_lines(text.encode())) not in whole]
    if missing:
        what = "".join(f"what was generated for {effect.path} does not hold: {text}\n" for text in missing)
        return Outcome(Result.FAILED, 1, what + _difference(effect.path, wanted, made))
    if made != wanted and not effect.foreign:
        return Outcome(Result.FOREIGN, 0, _difference(effect.path, wanted, made))
    return None


def _lines(content: bytes) -> list[str]:
    lines = content.decode("utf-8", "surrogateescape").split("\n")
    return [_AT_THE_END.sub("", _BLANKS.sub(" ", line)) for line in lines]


def _difference(path: str, wanted: list[str], made: list[str]) -> str:
    return "\n".join(
        unified_diff(wanted, made, f"{path} (as planned)", f"{path} (as generated)", lineterm="")
    )
