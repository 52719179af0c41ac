"""What was last applied, kept on the machine: one small file for each address. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote, unquote

from cxlstate.core.address import Address
from cxlstate.core.answers import Answers
from cxlstate.core.read import Attributes

STATE = "/var/lib/cxlstate"
"""Journal and records of what was last applied, on the machine itself."""

APPLIED = f"{STATE}/applied"


def applied_reads() -> tuple[Attributes, ...]:
    """What to ask for to know every record."""
    return (Attributes(f"{APPLIED}/*"),)


def applied(answers: Answers) -> dict[Address, str]:
    """The record of each address. Raises ReadFailed; a machine without records has none."""
    return {
        Address.parse(unquote(path.rpartition("/")[2])): record
        for read in applied_reads()
        for path, record in answers.files(read).items()
    }


def file_name(address: str) -> str:
    """An address as a file name: `vm.a/b` → `vm.a%2Fb`. None of them starts with a dot."""
    name = quote(address, safe="@:+,")
    return f"%2E{name[1:]}" if name.startswith(".") else name


def lines(records: Mapping[str, str | None]) -> dict[str, str | None]:
    """File name → its one line. ValueError: a record is more than a line."""
    for address, record in records.items():
        if record is not None and ("\n" in record or "\0" in record):
            raise ValueError(f"the record of {address} is not one line")
    return {file_name(address): record for address, record in records.items()}
