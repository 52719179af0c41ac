"""What the kernel has of rules for packets, as it stands in `machine.json`."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class NftChain:
    """A chain of nftables: its rules in nft's words. One with a hook is asked about packets."""

    rules: list[str] = field(default_factory=list)
    type: str = ""
    hook: str = ""
    priority: int = 0
    policy: str = ""


@dataclass
class NftSet:
    """A set, or with a type of `data` a map: types and elements in nft's words."""

    type: str
    data: str = ""
    flags: list[str] = field(default_factory=list)
    elements: list[str] = field(default_factory=list)


@dataclass
class NftTable:
    """A table of nftables."""

    sets: dict[str, NftSet] = field(default_factory=dict)
    chains: dict[str, NftChain] = field(default_factory=dict)


@dataclass
class IptChain:
    """A chain of iptables: its rules as iptables-save prints them. One without a policy is not built in."""

    policy: str = ""
    rules: list[str] = field(default_factory=list)
