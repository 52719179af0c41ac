"""Problems for a person: where, what was found and expected, and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from click import style

from cxlstate.core.diagnostic import Diagnostic, Severity
from cxlstate.render.shown import block, field


def diagnostics_text(diagnostics: Iterable[Diagnostic]) -> str:
    """Problems, each with where, what was found and expected, and what to do."""
    return "\n".join(line for diagnostic in diagnostics for line in _diagnostic_lines(diagnostic))


def _diagnostic_lines(diagnostic: Diagnostic) -> Iterator[str]:
    colour = "red" if diagnostic.severity is Severity.ERROR else "yellow"
    word = style(f"{diagnostic.severity.value}[{diagnostic.code}]", fg=colour, bold=True)
    yield f"{word} {style(field(diagnostic.message), bold=True)}"
    where = [field(str(diagnostic.source))] if diagnostic.source else []
    named = " ".join(field(str(part)) for part in (diagnostic.machine, diagnostic.address) if part)
    where += [named] if named else []
    if where:
        yield "   at       " + "  ".join(where)
    for label, text in (("found", diagnostic.found), ("expected", diagnostic.expected)):
        if text is not None:
            yield from _labelled(label, text)
    if diagnostic.hint:
        yield from _labelled("→", diagnostic.hint)


def _labelled(label: str, text: str) -> Iterator[str]:
    first, *rest = block(text.removesuffix("\n"))
    yield f"   {style(f'{label:<8}', fg='blue')} {first}"
    yield from (f"            {line}" for line in rest)
