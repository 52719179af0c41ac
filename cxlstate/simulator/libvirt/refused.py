"""Why libvirt does not do something, in its own words."""

from __future__ import annotations

from typing import Final

# What libvirt puts in front, by the kind of the error (src/util/virerror.c).
INVALID: Final = "Requested operation is not valid"
ARGUMENT: Final = "invalid argument"
FAILED: Final = "operation failed"
INTERNAL: Final = "internal error"
UNSUPPORTED: Final = "unsupported configuration"
XML: Final = "XML error"


class Refused(Exception):
    """An effect that is not done; the text is what libvirt says."""

    def __init__(self, why: str, kind: str = "") -> None:
        super().__init__(f"{kind}: {why}" if kind else why)


def not_running() -> Refused:
    """What is only for a domain that runs."""
    return Refused("domain is not running", INVALID)
