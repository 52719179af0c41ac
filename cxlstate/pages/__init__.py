"""The pages of the error codes: those of the core here, those of kinds and rules in their folders."""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).parent


def pages() -> dict[str, Path]:
    """Code → page."""
    package = _HERE.parent
    found = [*_HERE.glob("*.md"), *package.glob("resources/*/pages/*.md"), *package.glob("rules/pages/*.md")]
    return {page.stem: page for page in sorted(found)}
