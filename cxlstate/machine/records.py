"""What was last applied, kept on the machine: one small file for each address. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Final
from urllib.parse import quote, unquote

from cxlstate.core.address import Address
from cxlstate.core.answers import Answers
from cxlstate.core.read import Attributes

STATE = "/var/lib/cxlstate"
"""Journal and records of what was last applied, on the machine itself."""

APPLIED = f"{STATE}/applied"

_LONGEST: Final = 200
"""Bytes of a name that leave room below NAME_MAX (255) for what is put around it while it is written."""

_DIGEST: Final = "%_"
"""What a name begins with that is a digest: no quoted one does. The record itself then tells its address."""


def applied_reads() -> tuple[Attributes, ...]:
    """What to ask for to know every record."""
    return (Attributes(f"{APPLIED}/*"),)


def applied(answers: Answers) -> dict[Address, str]:
    """The record of each address. Raises ReadFailed; a machine without records has none."""
    return {
        Address.parse(address): record
        for read in applied_reads()
        for path, record in answers.files(read).items()
        for address in _addresses(path.rpartition("/")[2], record)
    }


def _addresses(name: str, record: str) -> Iterator[str]:
    """Whose record it is: of a damaged one whose name is a digest, nobody's."""
    if not name.startswith(_DIGEST):
        yield unquote(name)
        return
    try:
        read = json.loads(record)
    except (ValueError, RecursionError):
        return
    if isinstance(read, dict) and isinstance(address := read.get("address"), str):
        yield address


def file_name(address: str) -> str:
    """An address as a file name: `vm.a/b` → `vm.a%2Fb`; a long one as a digest. None starts with a dot."""
    name = quote(address, safe="@:+,")
    if len(name) > _LONGEST:
        return f"{_DIGEST}{sha256(address.encode()).hexdigest()}"
    return f"%2E{name[1:]}" if name.startswith(".") else name


def lines(records: Mapping[str, str | None]) -> dict[str, str | None]:
    """File name → its one line. ValueError: a record is more than a line."""
    for address, record in records.items():
        if record is not None and ("\n" in record or "\0" in record):
            raise ValueError(f"the record of {address} is not one line")
    return {file_name(address): _with_address(address, record) for address, record in records.items()}


def _with_address(address: str, record: str | None) -> str | None:
    """A record, an object of JSON, that tells its address where its name does not."""
    if record is None or not file_name(address).startswith(_DIGEST):
        return record
    return json.dumps({**json.loads(record), "address": address}, sort_keys=True, separators=(",", ":"))
