"""Sizes, addresses and CPU sets: how they are written, what they mean, and how we write them.

A size is an int of bytes, a CPU set a frozenset of numbers. `parse_*` raise what `core.model.problem`
makes; the types `Size`, `MemoryAddress` and `CpuSet` are for spec models.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from cxlstate.core.model import problem

_PREFIXES: Final = "KMGTPE"
_LIMIT: Final = 1 << 64
_PAGE: Final = 4096
_HEX_DIGITS: Final = 16
_CLEARLY: Final = 64
MAX_CPU: Final = 16383  # libvirt's VIR_DOMAIN_CPUMASK_LEN is 16384 (src/conf/domain_conf.h)

_SIZE_PATTERN: Final = r"(0|[1-9][0-9]{0,19})([KMGTPE]iB|[KMGTPEkmgtpe])?"
_ADDRESS_PATTERN: Final = rf"0[xX][0-9a-fA-F]{{1,16}}|{_SIZE_PATTERN}"
_CPU_PATTERN: Final = r"\^?[0-9]{1,5}|[0-9]{1,5}-[0-9]{1,5}"

_SIZE = re.compile(_SIZE_PATTERN)
_HEX = re.compile(r"0[xX]([0-9a-fA-F]{1,16})")
_BARE_HEX = re.compile(r"(?=[0-9]*[a-fA-F])[0-9a-fA-F]{6,16}")
_FRACTION = re.compile(r"([0-9]+)\.([0-9]+) ?([KMGTPEkmgtpe])(?:i?[Bb])?")
_DECIMAL = re.compile(r"([0-9]+) ?([KMGTPEkmgtpe])[Bb]")
_NEARLY = re.compile(r"([1-9][0-9]*) ?([kmgtpe])i?b?", re.IGNORECASE)

_SIZE_EXPECTED: Final = "a size such as 2GiB, 512MiB, 2G (the same as 2GiB) or a number of bytes"
_ADDRESS_EXPECTED: Final = "an address such as 0x5080000000, 320GiB or a number of bytes"
_CPUS_EXPECTED: Final = "CPU numbers such as 0-3,8 (^2 takes one out again)"


def parse_size(value: object) -> int:
    """Bytes of `2GiB`, `2G` or a byte count: more than zero and less than 16 EiB."""
    size = _bytes(value, "size", _SIZE_EXPECTED)
    if not 0 < size < _LIMIT:
        raise problem(
            "CXS303", "size is out of range", found=_written(value), expected="more than 0, below 16EiB"
        )
    return size


def parse_address(value: object) -> int:
    """The address `0x5080000000`, `322GiB` or a byte count: from zero to below 16 EiB."""
    if isinstance(value, str) and (match := _HEX.fullmatch(value)):
        return int(match.group(1), 16)
    if isinstance(value, str) and _BARE_HEX.fullmatch(value):
        raise _lacks_0x(value)
    address = _bytes(value, "address", _ADDRESS_EXPECTED)
    if address % _PAGE and str(value).isdecimal() and int(str(value), 16) % _PAGE == 0:
        raise _lacks_0x(str(value))
    if not 0 <= address < _LIMIT:
        raise problem(
            "CXS303", "address is out of range", found=_written(value), expected="from 0 to below 16EiB"
        )
    return address


def parse_cpus(value: object) -> frozenset[int]:
    """The CPUs of `0-3,8` or of a single number, in libvirt's syntax: `^2` takes 2 out again."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or len(text) > MAX_CPU:
        raise _bad_cpus(value)
    cpus: set[int] = set()
    for part in text.split(","):
        if not re.fullmatch(_CPU_PATTERN, part):
            raise _bad_cpus(value, "write no blanks in it" if " " in text else None)
        first, _, last = part.lstrip("^").partition("-")
        low, high = int(first), int(last or first)
        if high > MAX_CPU:
            raise _bad_cpus(value, f"the highest CPU number is {MAX_CPU}")
        if low > high:
            raise _bad_cpus(value, f"{part} runs backwards: {high}-{low}")
        if part.startswith("^"):
            cpus.discard(low)
        else:
            cpus.update(range(low, high + 1))
    if not cpus:
        raise _bad_cpus(value, "no CPU is left in it")
    return frozenset(cpus)


def format_size(size: int) -> str:
    """The largest binary unit that says it exactly: `2GiB`, `1536MiB`, `4097`."""
    if size == 0:
        return "0"
    step = min((size & -size).bit_length() - 1, 10 * len(_PREFIXES)) // 10
    return f"{size >> 10 * step}{_PREFIXES[step - 1]}iB" if step else str(size)


def format_address(address: int) -> str:
    """Whole GiB as a size, everything else as the kernel shows it: `320GiB`, `0x5080001000`."""
    return hex(address) if address % (1 << 30) else format_size(address)


def format_cpus(cpus: frozenset[int]) -> str:
    """Ascending, neighbours joined: `0-3,8`, as the kernel and libvirt write it."""
    runs: list[tuple[int, int]] = []
    for cpu in sorted(cpus):
        if runs and cpu == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], cpu)
        else:
            runs.append((cpu, cpu))
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in runs)


def read_as_hex(address: int) -> int | None:
    """What an address means if it lacks the 0x of /proc/iomem, where that is the better guess.

    Addresses are aligned on large powers of two. One that is so only if its digits are hex was hardly
    meant as a number of bytes.
    """
    if not address or len(str(address)) > _HEX_DIGITS:
        return None
    as_hex = int(str(address), 16)
    return as_hex if as_hex & -as_hex >= _CLEARLY * (address & -address) else None


def _lacks_0x(digits: str) -> PydanticCustomError:
    return problem(
        "CXS320",
        "a hex address starts with 0x",
        found=digits,
        expected="0x in front of hex digits; without it a number is decimal",
        hint=f"write 0x{digits}",
    )


def _bytes(value: object, noun: str, expected: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if not isinstance(value, str):
        raise problem("CXS302", f"invalid {noun}", found=_written(value), expected=expected)
    if match := _SIZE.fullmatch(value):
        number, unit = match.groups()
        return int(number) << (10 * (_PREFIXES.index(unit[0].upper()) + 1) if unit else 0)
    raise _bad_size(value, noun, expected)


def _bad_size(text: str, noun: str, expected: str) -> PydanticCustomError:
    found = _written(text)
    if match := _DECIMAL.fullmatch(text):
        number, unit = match.group(1), match.group(2).upper()
        power = 3 * (_PREFIXES.index(unit) + 1)
        return problem(
            "CXS301",
            f"`{unit}B` is ambiguous: 10^{power} or 2^{10 * power // 3} bytes",
            found=found,
            expected=expected,
            hint=f"write {number}{unit}iB, or the number of bytes",
        )
    hint = None
    if match := _FRACTION.fullmatch(text):
        whole, part, unit = match.group(1), match.group(2), match.group(3).upper()
        hint = "write it in a smaller unit, without a fraction"
        thousandths = int(f"{whole[:12]}{part[:3]:0<3}") << 10
        if unit != "K" and thousandths % 1000 == 0 and len(part) <= len("000"):
            hint = f"write {thousandths // 1000}{_PREFIXES[_PREFIXES.index(unit) - 1]}iB"
    elif _HEX.fullmatch(text) and int(text, 16):
        hint = f"write {format_size(int(text, 16))}: hex is for addresses"
    elif match := _NEARLY.fullmatch(text):
        hint = f"write {match.group(1)}{match.group(2).upper()}iB"
    return problem("CXS302", f"invalid {noun}", found=found, expected=expected, hint=hint)


def _bad_cpus(value: object, hint: str | None = None) -> PydanticCustomError:
    return problem("CXS304", "invalid CPU set", found=_written(value), expected=_CPUS_EXPECTED, hint=hint)


def _written(value: object) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case int() | str():
            text = str(value) or "nothing"
            return text if len(text) <= len(str(_LIMIT)) * 3 else f"{text[:60]}…"
        case _:
            return "a list" if isinstance(value, list) else "a mapping"


def _schema(description: str, pattern: str, smallest: int, *examples: str | int) -> WithJsonSchema:
    return WithJsonSchema(
        {
            "description": description,
            "anyOf": [
                {"type": "integer", "minimum": smallest},
                {"type": "string", "pattern": f"^({pattern})$"},
            ],
            "examples": list(examples),
        }
    )


def _plain_number(text: str) -> str | int:
    return int(text) if text.isdecimal() else text


def _dump_size(size: Any) -> str | int:
    if isinstance(size, bool):  # of `Size | Literal[True]`, pydantic asks the first for both
        return size
    return _plain_number(format_size(size))


def _dump_address(address: Any) -> str | int:
    return _plain_number(format_address(address))


def _dump_cpus(cpus: Any) -> str | int:
    return _plain_number(format_cpus(cpus))


Size = Annotated[
    int,
    PlainValidator(parse_size),
    PlainSerializer(_dump_size),
    _schema("A size: 2GiB, 512MiB, 2G (the same as 2GiB) or bytes", _SIZE_PATTERN, 1, "2GiB", "512MiB", 4096),
]
"""Bytes, more than zero."""

MemoryAddress = Annotated[
    int,
    PlainValidator(parse_address),
    PlainSerializer(_dump_address),
    _schema(
        "A physical address: hex, a size, or bytes", _ADDRESS_PATTERN, 0, "0x5080000000", "320GiB", 4294967296
    ),
]
"""A physical address in bytes, zero included."""

CpuSet = Annotated[
    frozenset[int],
    PlainValidator(parse_cpus),
    PlainSerializer(_dump_cpus),
    _schema("CPU numbers", rf"({_CPU_PATTERN})(,({_CPU_PATTERN}))*", 0, "0-3,8", "0-15,^2", 5),
]
"""CPU numbers; never empty."""
