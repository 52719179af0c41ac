"""The pages of the error codes: those of the core here, those of a kind in the kind's folder."""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).parent


def pages() -> dict[str, Path]:
    """Code → page."""
    found = [*_HERE.glob("*.md"), *(_HERE.parent / "resources").glob("*/pages/*.md")]
    return {page.stem: page for page in sorted(found)}
