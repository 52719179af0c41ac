"""Keeping what is secret in a domain's XML out of every text that is shown or kept."""

from __future__ import annotations

import html
import re

_VALUE = re.compile(r"""=\s*(?:'([^']*)'|"([^"]*)")|>([^<>]+)<""")
_PASSWORD = re.compile(r"""\bpasswd\s*=\s*(?:'([^']*)'|"([^"]*)")""")


class Refused(Exception):
    """An effect that was not done, and why, in a text that may be shown."""


def secrets_in(xml: str, open_xml: str | None = None) -> frozenset[str]:
    """The passwords in a definition, and, given the same one without secrets, what only the first has."""
    found = _values(_PASSWORD, xml)
    if open_xml is not None:
        found |= _values(_VALUE, xml) - _values(_VALUE, open_xml)
    return frozenset(found)


def masked(text: str, secrets: frozenset[str]) -> str:
    """The text without any of them, as it is or in any form that XML has for it."""
    forms = {form for secret in secrets for form in (secret, *_forms(html.unescape(secret)))}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, "***")
    return text


def _forms(secret: str) -> tuple[str, ...]:
    return (secret, html.escape(secret), html.escape(secret, quote=False))


def _values(pattern: re.Pattern[str], xml: str) -> set[str]:
    return {value for found in pattern.findall(xml) for value in found if value.strip()}
