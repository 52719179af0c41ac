"""Programs that filter and translate packets, by the packages that bring them, and the kernel's switch."""

from __future__ import annotations

from collections.abc import Callable

from cxlstate.simulator.ended import NOT_FOUND, Ended, unknown
from cxlstate.simulator.files import Files
from cxlstate.simulator.iptables import VARIANTS, Iptables
from cxlstate.simulator.nftables import Nftables
from cxlstate.simulator.world import World

Program = Callable[[list[str]], Ended]


def programs(world: World, files: Files, given: str) -> dict[str, Program]:
    """By name; `given` is what is on their standard input."""
    nft = Nftables(world, lambda path: given if path == "-" else files.text(path)).run
    tables = {
        name: one for variant in VARIANTS for name, one in Iptables(world, variant, given).programs().items()
    }
    return {
        "nft": _of(world, "nftables", nft),
        "sysctl": lambda words: _sysctl(world, words),
        **{name: _of(world, "iptables", one) for name, one in tables.items()},
    }


def _of(world: World, package: str, program: Program) -> Program:
    """A program that a package brings."""
    one = world.installed.get(package)
    there = one is not None and one.status.endswith(" installed")
    return program if there else lambda _: Ended(NOT_FOUND, stderr=f"{package} is not installed\n")


def _sysctl(world: World, words: list[str]) -> Ended:
    """`sysctl --write net.ipv4.ip_forward=0|1`."""
    match words:
        case ["--write", "net.ipv4.ip_forward=0" | "net.ipv4.ip_forward=1" as wanted]:
            world.running.ip_forward = wanted.endswith("1")
            return Ended(stdout=f"{wanted.replace('=', ' = ')}\n")
    return unknown(("sysctl", *words))
