"""What may be said of the kernel command line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from cxlstate.core.diagnostic import Diagnostic
from cxlstate.core.model import Model, check, problem, readable
from cxlstate.formats import grub_script, kernel_cmdline, memmap

_PLAIN: Final = re.compile(r"[A-Za-z0-9_.,:=/+@%^~-]+")
_MAX_ARGUMENT: Final = 1024


def _argument(text: str) -> str:
    """Check an entry of `args`: one argument that GRUB hands to the kernel unchanged."""
    if not text or len(text) > _MAX_ARGUMENT:
        found = "nothing" if not text else f"{len(text)} characters"
        raise problem(
            "CXG201",
            "argument is empty or too long",
            found=found,
            expected=f"1 to {_MAX_ARGUMENT} characters",
        )
    if bad := next((char for char in text if not " " <= char <= "~"), None):
        raise problem(
            "CXG202",
            "argument holds a character that is not printable ASCII",
            found=f"{bad!r} in {text[:60]!r}",
            expected="printable ASCII",
        )
    try:
        grub_script.quote(text)
    except ValueError as error:
        raise problem(
            "CXG203",
            str(error),
            found=text,
            expected='one argument: name, name=value or name="value with blanks"',
            hint="write each argument as an entry of its own" if " " in text else None,
        ) from None
    _not_special(text)
    return text


def _not_special(text: str) -> None:
    argument = kernel_cmdline.read(text)
    if argument.name == "__":
        raise problem(
            "CXG203", "`--` ends the kernel's arguments", found=text, expected="an argument of the kernel"
        )
    if argument.name == "memmap":
        entries = memmap.as_entries(argument.value or "") or ("{size: 2GiB, start: 320GiB, type: reserved}",)
        raise problem(
            "CXG204",
            "`memmap` does not belong in `grub`",
            found=text,
            expected="an entry of the host's `memmap`; a guest has none",
            hint=f"on a host write memmap: [{', '.join(entries)}]; "
            "the escaping of $ and the checks of the range come with it",
        )


def _absent(text: str) -> str:
    """Check an entry of `absent`: plain text, since it is searched in shell and GRUB source."""
    if not _PLAIN.fullmatch(text):
        raise problem(
            "CXG205",
            "`absent` takes a plain name or name=value",
            found=text[:80] or "nothing",
            expected="letters, digits and any of _ . , : = / + @ % ^ ~ -",
            hint="write the name alone to remove the argument with any value",
        )
    if kernel_cmdline.read(text).name == "memmap":
        raise problem(
            "CXG204",
            "`memmap` does not belong in `grub`",
            found=text,
            expected="the name of another argument: what `memmap` has no entry for any more goes by itself",
            hint=f"take a {text} that somebody wrote out of /etc/default/grub, its drop-ins or /etc/grub.d",
        )
    _not_special(text)
    return text


Argument = Annotated[str, AfterValidator(_argument)]
AbsentArgument = Annotated[str, AfterValidator(_absent)]


class GrubSpec(Model):
    """Arguments of the kernel, in every boot entry, recovery included."""

    args: Annotated[tuple[Argument, ...], Field(strict=False)] = ()
    """Arguments that have to stand in every boot entry, in this order. `memmap=` stands below `memmap`."""

    absent: Annotated[tuple[AbsentArgument, ...], Field(strict=False)] = ()
    """Arguments that must not be there: `name` means it with any value, `name=value` only that."""

    @check
    def _none_is_in_both(self) -> Iterator[Diagnostic]:
        wanted = [argument for _, argument in readable(self.args, kernel_cmdline.read)]
        for number, pattern in readable(self.absent, kernel_cmdline.read):
            for argument in wanted:
                if kernel_cmdline.names(pattern, argument):
                    yield Diagnostic(
                        "CXG206",
                        f"`{argument}` is in both `args` and `absent`",
                        path=("absent", number),
                        found=f"{argument} in args, {pattern} in absent",
                        expected="each argument in one of the two lists",
                    )
