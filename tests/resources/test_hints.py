"""Every hint of the kinds of VMs, networks and images: what it says is done, and no error follows.

The hints are those that the cases beside this file make. One that names a word of the spec is applied as
it is written (`write size: 4GiB`, `add dhcp: {…}`, `leave out slot`; of several, each). Where something
else is to be chosen, the case has the spec as it is after the cure, in `cured`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from cxlstate.resources import kinds
from tests.resources.test_cases import CASES, outcome

KINDS = ("image", "network", "vm")

ELSEWHERE = (
    # what is done on the machine, or in another resource; the test driver and the laws know these
    r"^`?virsh .*",
    r"^`virt-xml-validate .*",
    r"^name the device by its own resource, dax: .*",
    r"^add to host\.grub\.args: .*",
    r"^end it, or shut that VM down, and plan again",
    r"^`(qemu-img convert|mv) .*",
    r"^activate the logical volume .*",
    r"^a logical volume is activated by .*",
    r"^remove it: rm .*",
    r"^move the file to .*",
    r"^shut the guest down that runs on it.*",
    r"^choose another one(; or, if it is the VM's, .*|: lsblk .*)?$",
    r"^`osinfo-query os` .*",
    r"^before its guest runs: unmount .*",
    r"^declare each with another address: .*",
    r"^with its guest shut down: qemu-img (check|amend) .*",
    r"^take the route out first: virsh .*",
    r"^put it there, or correct the path.*",
    r"^declare .* in the host's `packages`.*",
    r"^declare the package .*",
    # what explains why, and names nothing to write
    r"^the kernel refuses any other mapping of it",
    r"^or memory from node .*, if that has enough",
    r"^dnsmasq takes this word for .*",
    r"^KVM guests have addresses that begin with .*",
    r"^a name in it is at most \d+ bytes long",
    r"^the name is yours, for .*",
    r"^fetch it by hand and name it with `path`.*",
    r"^take it from who publishes the image.*",
)

ERRORS = ("invalid", "diagnostics")


@cache
def _hints() -> tuple[tuple[Path, dict[str, Any]], ...]:
    """Each case with each diagnostic of it that has a hint."""
    found = []
    for path in CASES:
        case = yaml.safe_load(path.read_text())
        if path.parent.name in KINDS and any(key in case for key in ERRORS):
            found += [(path, one) for one in _diagnostics(path, case) if one.get("hint")]
    return tuple(found)


def _diagnostics(path: Path, case: dict[str, Any]) -> list[dict[str, Any]]:
    """All of them. What is wrong by itself was found before the machine was asked, and stays so."""
    asked = {key: value for key, value in case.items() if key not in ERRORS}
    came = outcome(kinds()[path.parent.name].reconciler, asked, path.parent, all_asked=False)
    return [one for key in ERRORS if key == "invalid" or key in case for one in came.get(key, [])]


@pytest.mark.parametrize(
    ("path", "one"), _hints(), ids=[f"{path.parent.name}/{path.stem}-{one['code']}" for path, one in _hints()]
)
def test_a_cure_cures_and_leads_into_no_other_error(path: Path, one: dict[str, Any]) -> None:
    case = yaml.safe_load(path.read_text())
    elsewhere = any(re.match(known, one["hint"]) for known in ELSEWHERE)
    cured = [case["cured"]] if "cured" in case else []
    cured += [] if elsewhere or cured else _cured(case["spec"], one["path"], one["hint"])
    assert cured or elsewhere, f"who tries {one['hint']!r}?"
    others = [(each["code"], each["path"]) for each in _diagnostics(path, case) if each != one]
    for spec in cured:
        after = _diagnostics(path, {**case, "spec": spec})
        assert [each for each in after if (each["code"], each["path"]) not in others] == [], f"after {spec}"


def _cured(spec: Any, path: list[str | int], hint: str) -> Iterator[Any]:
    """The spec after each of the cures that a hint writes out."""
    for clause in re.split(r"; or (?=take)|; |, or |, and,? (?:if wished, )?| or (?=[\d{])", hint):
        said = re.sub(r" \([^)]*\)|,? (?:as|if|for) .*", "", clause)
        verb, _, rest = said.partition(" ")
        rest = rest.replace("NAME", "another")
        if left := re.match(r"leave (?:out ([a-z_.\[\]0-9]+)|it out)(?:$|:)", said):
            words = re.findall(r"[a-z_]+|\d+", left[1] or "")
            steps = [int(word) if word.isdecimal() else word for word in words]
            yield _without(spec, _where(path, steps) if steps else path)
        elif away := re.match(r"take it away: (\{.*\})$", said):
            yield {**spec, path[0]: [*spec[path[0]], yaml.safe_load(away[1])]}
        elif verb in ("write", "add") and "…" not in rest:
            yield _with(spec, path, yaml.safe_load(rest))
        elif re.match(r"[\d{]", said):
            yield _with(spec, path, yaml.safe_load(said))


def _with(spec: Any, path: list[str | int], value: Any) -> Any:
    """A mapping is words and what they are; anything else is the value at the path."""
    if not isinstance(value, dict):
        return _set(spec, path, value)
    for word, what in value.items():
        spec = _set(spec, _where(path, word.split(".")), what)
    return spec


def _where(path: list[str | int], words: list[Any]) -> list[Any]:
    """Words of the entry that the path leads to or through, else of the resource."""
    for depth in range(len(path), 0, -1):
        if path[depth - 1] == words[0]:
            return [*path[: depth - 1], *words]
        if isinstance(path[depth - 1], int):
            return [*path[:depth], *words] if words[0] in ENTRY else words
    return words


ENTRY = (
    "size",
    "slot",
    "alignsize",
    "node",
    "label",
    "bus",
    "path",
    "format",
    "device",
    "model",
    "network",
    "ip",
    "state",
)
"""Words of an entry of a list; others are the resource's."""


def _set(spec: Any, path: list[Any], value: Any) -> Any:
    changed = at = deepcopy(spec)
    for step, after in pairwise(path):
        if isinstance(step, str) and at.get(step) is None:
            at[step] = [] if isinstance(after, int) else {}
        at = at[step]
    at[path[-1]] = value
    return changed


def _without(spec: Any, path: list[Any]) -> Any:
    changed = at = deepcopy(spec)
    for step in path[:-1]:
        at = at[step]
    del at[path[-1]]
    return changed
