"""The folder of a simulated machine: `machine.json`, and beside it its files (`root`) and its web (`web`)."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from cxlstate.core.diagnostic import CxlstateError, fail
from cxlstate.machine import own_files
from cxlstate.simulator.world import FORMAT, World

FILE = "machine.json"
MAX_BYTES = 64 << 20
ROOT = "root"
WEB = "web"


def load(directory: Path) -> World:
    """Read `machine.json`. Raises CxlstateError CXC401 where it is missing or not understood."""
    path = directory / FILE
    try:
        data = json.loads(own_files.read(path, MAX_BYTES))
    except own_files.Unreadable as error:
        raise broken(
            directory, f"there is no {FILE} in it" if error.missing else f"{FILE}: {error}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise broken(directory, f"{FILE} is not JSON: {error}") from error
    world: World = _decode(World, data, directory, ())
    if world.format != FORMAT:
        raise broken(directory, f"{FILE}: format is {world.format}, and this version knows {FORMAT}")
    return world


def dump(world: World) -> bytes:
    """The text of `machine.json`: two blanks a level, keys in the order of their meaning."""
    return (json.dumps(world, default=vars, indent=2, ensure_ascii=False) + "\n").encode()


def save(world: World, directory: Path) -> None:
    """Replace `machine.json` in one step, and not at all where nothing changed."""
    path = directory / FILE
    with suppress(own_files.Unreadable, ValueError):
        if _compact(json.loads(own_files.read(path, MAX_BYTES))) == _compact(world):
            return
    draft = path.with_name(f".{FILE}.new")
    draft.write_bytes(dump(world))
    os.replace(draft, path)  # noqa: PTH105 - pathlib's own rename differs between platforms


def _compact(world: object) -> str:
    return json.dumps(world, default=vars)  # with an indent, no C code does it


def broken(directory: Path, reason: str) -> CxlstateError:
    """A folder that is no simulated machine, or is damaged."""
    return fail(
        "CXC401",
        f"{directory} is not a simulated machine: {reason}",
        found=reason,
        expected=f"a folder with {FILE} and {ROOT}/, or no folder at all: it is then made",
        hint="fix the file, or remove the folder: the next run then creates a default host",
    )


_Where = tuple[object, ...]
"""The way down to a value: put into words only where something is wrong with it."""


def _decode(kind: Any, data: object, directory: Path, where: _Where) -> Any:
    """JSON data as `kind`: a dataclass, a list or dict of one, or a plain value.

    A machine is read anew for every step of an apply, so what is plain is taken where it stands.
    """
    if type(data) is kind:
        return data
    origin, of = _shape(kind)
    if origin is list and isinstance(data, list):
        return [
            one if type(one) is of else _decode(of, one, directory, (*where, n)) for n, one in enumerate(data)
        ]
    if origin is dict and isinstance(data, dict):
        return {
            key: one if type(one) is of else _decode(of, one, directory, (*where, key))
            for key, one in data.items()
        }
    if is_dataclass(kind) and isinstance(kind, type) and isinstance(data, dict):
        hints, needed = _fields(kind)
        for key in data:
            if key not in hints:
                raise broken(directory, f"{_place(where)}: unknown key {key!r}")
        for name in needed:
            if name not in data:
                raise broken(directory, f"{_place(where)}: {name!r} is missing")
        return kind(
            **{
                key: one if type(one) is hints[key] else _decode(hints[key], one, directory, (*where, key))
                for key, one in data.items()
            }
        )
    raise broken(directory, f"{_place(where)}: {data!r} is not a {getattr(kind, '__name__', kind)}")


def _place(where: _Where) -> str:
    return FILE + "".join(f"[{one}]" if isinstance(one, int) else f": {one}" for one in where)


@contextmanager
def legible(directory: Path) -> Iterator[None]:
    """What a damaged folder makes the simulator stumble over is CXC401, in words."""
    try:
        yield
    except CxlstateError:
        raise
    except OSError as error:
        name = str(error.filename or ROOT).removeprefix(f"{directory}/")
        raise broken(directory, f"{name}: {error.strerror or error}") from error
    except Exception as error:
        raise broken(directory, f"{FILE}: {type(error).__name__}: {error}") from error


@cache
def _shape(kind: Any) -> tuple[Any, Any]:
    """What it is made of, and what its members are: `dict[str, int]` is made of dict, and they are int."""
    return get_origin(kind), (get_args(kind) or (None,))[-1]


@cache
def _fields(kind: type) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The kind of each field of a dataclass, and those without a default."""
    needed = (one.name for one in fields(kind) if one.default is MISSING and one.default_factory is MISSING)
    return get_type_hints(kind), tuple(needed)
