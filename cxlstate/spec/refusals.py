"""What pydantic refused, in the words of the person who wrote the file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from cxlstate.core.diagnostic import Diagnostic
from cxlstate.core.path import Path, show
from cxlstate.spec.document import Document, Node, Scalar
from cxlstate.spec.yaml_text import MAX_PROBLEMS, describe, quote

KnownKeys = Callable[[Path], Sequence[str]]

_OWN_CODE = re.compile(r"CX[A-Z][0-9]{3}")
_CONSTRAINT = re.compile(r"\w+ should (?:be |have )?(?P<expected>.+?)(?: after validation, not \d+)?")
_TYPES: Final = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "none_required": "nothing",
    **dict.fromkeys(("list_type", "tuple_type", "set_type", "frozen_set_type"), "a list"),
    **dict.fromkeys(("model_type", "model_attributes_type", "dict_type", "dataclass_type"), "a mapping"),
}
_CHOICES: Final = frozenset({"literal_error", "enum", "union_tag_invalid"})
_SWITCHES: Final = {"on": "true", "yes": "true", "off": "false", "no": "false"}


@dataclass(frozen=True, slots=True)
class _Refusal:
    """One error of pydantic with its place in the document instead of pydantic's own."""

    type: str
    path: Path
    message: str
    context: Mapping[str, Any]

    @property
    def mismatch(self) -> bool:
        """Whether another alternative of a union might have taken the value."""
        return self.type in _TYPES or self.type in _CHOICES


def diagnose(error: ValidationError, base: Path, document: Document, known: KnownKeys) -> list[Diagnostic]:
    """Diagnostics for what was refused in the entry at `base`."""
    refusals = [
        _placed(raw, base, document)
        for raw in error.errors(include_url=False, include_input=False)[:MAX_PROBLEMS]
    ]
    settled = [
        refusal
        for refusal in refusals
        if not refusal.mismatch or not any(_closer(other, refusal) for other in refusals)
    ]
    found: dict[tuple[str, Path], Diagnostic] = {}
    for refusal in settled:
        if refusal.mismatch:
            same = [other for other in settled if other.mismatch and other.path == refusal.path]
            diagnostic = _mismatch(same, document)
        else:
            diagnostic = _single(refusal, document, known)
        found.setdefault((diagnostic.code + diagnostic.message, diagnostic.path), diagnostic)
    return list(found.values())


def unknown_key(path: Path, document: Document, known: KnownKeys) -> Diagnostic:
    """A key that has no meaning where it stands."""
    word, possible = str(path[-1]), known(path[:-1])
    parent = show(path[:-1])
    return Diagnostic(
        "CXS201",
        f"unknown key {quote(word)}" + (f" in {parent}" if parent else ""),
        path=path,
        source=document.locate_key(path),
        found=quote(word),
        expected=f"one of {', '.join(possible)}" if possible else None,
        hint=_belongs(word, path, known) or did_you_mean(word, possible),
    )


def _belongs(word: str, path: Path, known: KnownKeys) -> str | None:
    """Where a key of the top level stands one deeper, as `networks` in `host`."""
    at_the_top = len(path) == 2 and word in known(())  # noqa: PLR2004  # a key in a section
    return f"write {word} at the top level of the file, beside {path[0]}" if at_the_top else None


def wrong_type(path: Path, expected: str, document: Document, node: Node) -> Diagnostic:
    """A value of another type than its place asks for."""
    return Diagnostic(
        "CXS203",
        f"{show(path) or 'the document'} must be {expected}",
        path=path,
        source=document.locate(path),
        found=describe(node),
        expected=expected,
        hint=_type_hint(node, expected),
    )


def did_you_mean(word: str, possible: Iterable[str]) -> str | None:
    """A hint with the nearest of the possible words, if one is near."""
    if len(word) > 64:  # noqa: PLR2004  # longer than any word of ours, and slow to compare
        return None
    from difflib import get_close_matches  # noqa: PLC0415  # slow to import, and only for errors

    by_folded = {each.casefold(): each for each in possible}
    near = get_close_matches(word.casefold(), by_folded, n=1, cutoff=0.6)
    return f"did you mean {by_folded[near[0]]}?" if near else None


def _placed(raw: Any, base: Path, document: Document) -> _Refusal:
    """Pydantic's location holds names of union branches too; only what leads somewhere is kept."""
    location, context = base + raw["loc"], raw.get("ctx", {})
    kind = raw["type"]
    if kind == "missing":
        path = (*document.existing(location[:-1]), location[-1])
    elif kind == "union_tag_not_found":
        path = (*document.existing(location), context["discriminator"].strip("'"))
        kind = "missing"
    elif kind == "union_tag_invalid":
        path = (*document.existing(location), context["discriminator"].strip("'"))
        context = {"expected": context["expected_tags"]}
    else:
        path = document.existing(location)
    return _Refusal(kind, path, raw["msg"], context)


def _closer(other: _Refusal, refusal: _Refusal) -> bool:
    """Whether `other` shows that a branch of a union went further into the same value."""
    beneath = len(other.path) > len(refusal.path) and other.path[: len(refusal.path)] == refusal.path
    return beneath or (other.path == refusal.path and not other.mismatch)


def _mismatch(refusals: Sequence[_Refusal], document: Document) -> Diagnostic:
    path = refusals[0].path
    node = document.node(path)
    choices = [each for refusal in refusals for each in _choices(refusal)]
    types = [_TYPES[refusal.type] for refusal in refusals if refusal.type in _TYPES]
    expected = ", ".join(dict.fromkeys((*choices, *types)))
    expected = " or ".join(expected.rsplit(", ", 1))
    if choices and isinstance(node, Scalar) and isinstance(node.value, str):
        return Diagnostic(
            "CXS204",
            f"{show(path)} cannot be {quote(node.value)}",
            path=path,
            source=document.locate(path),
            found=quote(node.value),
            expected=expected,
            hint=did_you_mean(node.value, choices),
        )
    return wrong_type(path, expected, document, node)


def _choices(refusal: _Refusal) -> list[str]:
    return re.findall(r"'([^']*)'", str(refusal.context.get("expected", "")))


def _single(refusal: _Refusal, document: Document, known: KnownKeys) -> Diagnostic:
    path, context = refusal.path, refusal.context
    source = document.locate(path)
    if _OWN_CODE.fullmatch(refusal.type):
        return Diagnostic(
            refusal.type,
            context["text"],
            path=path,
            source=source,
            found=_on_one_line(context["found"]),
            expected=context["expected"],
            hint=context["hint"],
        )
    if refusal.type == "extra_forbidden":
        return unknown_key(path, document, known)
    if refusal.type == "missing":
        return missing(path, document, known(path))
    message, expected = refusal.message, None
    if refusal.type in ("value_error", "assertion_error"):
        message = str(context.get("error") or message)
    elif match := _CONSTRAINT.fullmatch(refusal.message):
        message, expected = f"{show(path)} has an invalid value", match["expected"].replace("match ", "the ")
    found = describe(document.node(path))
    return Diagnostic("CXS205", message, path=path, source=source, found=found, expected=expected)


def missing(path: Path, document: Document, possible: Sequence[str] = ()) -> Diagnostic:
    """A required key that is not there; it is shown at the mapping that lacks it.

    `possible` are the words of which one may stand there, or the keys that it may have.
    """
    parent = show(path[:-1])
    words = " or ".join(", ".join(possible).rsplit(", ", 1))
    return Diagnostic(
        "CXS202",
        f"{path[-1]} is missing" + (f" in {parent}" if parent else ""),
        path=path,
        source=document.locate(path),
        expected=f"{path[-1]}: {words}" if words else f"the key {path[-1]}",
    )


def _on_one_line(found: str | None) -> str | None:
    return found if found is None or found.isprintable() else quote(found)


def _type_hint(node: Node, expected: str) -> str | None:
    if not isinstance(node, Scalar):
        return None
    if node.value is None:
        return "write a value, or remove the key"
    if "true or false" in expected and (switch := _SWITCHES.get(node.text.lower())):
        return f"write {switch}"
    if "text" in expected and not isinstance(node.value, str):
        return f'quote it: "{node.text}"'
    if "whole number" in expected and re.fullmatch("[0-9]{1,20}", node.text):
        return "remove the quotes or the leading zero"
    return None
