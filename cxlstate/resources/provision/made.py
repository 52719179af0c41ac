"""What a seed is made from, as the host keeps it: a line of JSON, with references in place of secrets."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cxlstate.core.first_boot import FirstBoot
from cxlstate.core.path import show
from cxlstate.formats import cloud_init
from cxlstate.resources.provision.spec import Provision
from cxlstate.words.accounts import lines

_DISKS = "disks"
CLAIM = "{}\n"
"""Kept before the first seed is written, and where one was given up: what is there is ours, no guest's."""


def boot(vm: str, spec: Provision, macs: Sequence[str]) -> FirstBoot:
    """What the seed says."""
    accounts = tuple(user.account(name) for name, user in spec.users.items())
    dhcp4 = spec.network is not None and spec.network.dhcp4
    its_macs = tuple(macs) if spec.network else ()
    return FirstBoot(cloud_init.instance(vm), spec.hostname or "", accounts, its_macs, dhcp4)


def text(spec: Provision, macs: Sequence[str], disks: Sequence[str]) -> str:
    """As it is kept, with the disks that were not there before the seed."""
    said = _of(spec, macs) | ({_DISKS: sorted(disks)} if disks else {})
    return json.dumps(said, sort_keys=True, separators=(",", ":")) + "\n"


def disks(kept: str | None) -> frozenset[str]:
    """Those disks: whatever is on them by now, the guest of this seed has put there."""
    try:
        return frozenset(json.loads(kept or "{}").get(_DISKS, ()))
    except (ValueError, AttributeError, TypeError, RecursionError):
        return frozenset()


def otherwise(kept: str, spec: Provision, macs: Sequence[str]) -> tuple[str, ...]:
    """The words of the spec that differ from what is kept; `all of it` of what cannot be read."""
    try:
        before = json.loads(kept)
    except (ValueError, RecursionError):
        return ("all of it",)
    now = json.loads(text(spec, macs, ()))
    if isinstance(before, dict):
        before.pop(_DISKS, None)
    return tuple(dict.fromkeys(show(path) for path in _differences(before, now)))


def said(spec: Provision) -> str:
    """In a line of a plan."""
    words = [spec.hostname] if spec.hostname else []
    words += [f"users {', '.join(spec.users)}"] if spec.users else []
    return "; ".join([*words, *(["DHCP"] if spec.network else [])]) or spec.method


def _of(spec: Provision, macs: Sequence[str]) -> dict[str, Any]:
    said: dict[str, Any] = spec.model_dump(mode="json", exclude_unset=True)
    for name, user in spec.users.items():
        if user.authorized_keys:  # the keys themselves: a file beside the spec may change
            said["users"][name]["authorized_keys"] = list(lines(user.authorized_keys))
    return said | ({"macs": list(macs)} if spec.network else {})


def _differences(before: object, now: object, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in sorted({*before, *now}):
            yield from _differences(before.get(key), now.get(key), (*path, str(key)))
    elif before != now:
        yield path
