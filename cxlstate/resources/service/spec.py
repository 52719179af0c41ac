"""What may be said of a systemd unit: enabled, running, masked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated

from pydantic import AfterValidator, Field, WithJsonSchema

from cxlstate.core.diagnostic import Diagnostic
from cxlstate.core.model import Model, check, problem

_SUFFIXES = (".service", ".socket", ".timer", ".path", ".mount", ".automount", ".swap", ".target", ".slice")
_NAME = r"[A-Za-z0-9_:][A-Za-z0-9_:.\\@-]{0,254}"  # systemd.unit(5), without its patterns
_LONGEST = 255

# To start one of these is to end what runs on the machine.
_ENDS_ALL = re.compile(
    r"(systemd-)?(poweroff|reboot|halt|kexec|soft-reboot|shutdown|exit|final|umount|rescue|emergency|sleep"
    r"|suspend|hibernate|hybrid-sleep|suspend-then-hibernate|ctrl-alt-del|runlevel[016])\.(service|target)"
)


def unit_of(name: str) -> str:
    """The unit that a name means: `.service` where no type is written, as for systemctl."""
    return name if name.endswith(_SUFFIXES) else f"{name}.service"


def _name(text: str) -> str:
    unit = unit_of(text)
    if not re.fullmatch(_NAME, text) or len(unit) > _LONGEST:
        raise problem(
            "CXV101",
            "invalid systemd unit name",
            found=text[:80],
            expected="letters, digits and _ : . @ - \\",
            hint="write it as systemctl shows it: libvirtd, libvirtd.socket, serial-getty@ttyS0",
        )
    if "@." in unit:
        raise problem(
            "CXV101",
            "template unit has no instance",
            found=text[:80],
            hint="add the instance after the @: serial-getty@ttyS0",
        )
    if _ENDS_ALL.fullmatch(unit):
        raise problem(
            "CXV102",
            "unit stops or restarts the machine",
            found=text,
            hint="remove it: such a unit cannot be kept running",
        )
    return text


UnitName = Annotated[str, AfterValidator(_name), WithJsonSchema({"type": "string", "pattern": f"^{_NAME}$"})]


class Service(Model):
    """A systemd unit. What is not written is left as it is."""

    enabled: bool | None = Field(default=None, examples=[True])
    """Started at boot (`systemctl enable`)."""

    running: bool | None = Field(default=None, examples=[True])
    """Running now. A service that waits behind its active socket counts as running."""

    masked: bool | None = Field(default=None, examples=[True])
    """Kept from being started at all, by hand or by another unit (`systemctl mask`)."""

    @check
    def _masked_is_not_enabled(self) -> Iterator[Diagnostic]:
        if self.masked and self.enabled:
            yield _masked("enabled")

    @check
    def _masked_does_not_run(self) -> Iterator[Diagnostic]:
        if self.masked and self.running:
            yield _masked("running")


def _masked(word: str) -> Diagnostic:
    return Diagnostic(
        "CXV103",
        "a masked unit cannot be enabled or running",
        path=(word,),
        found=f"{word}: true",
        expected="masked: true alone, or masked: false",
    )
