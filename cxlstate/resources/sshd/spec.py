"""What may be said of the SSH server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

from pydantic import Field

from cxlstate.core.diagnostic import Diagnostic
from cxlstate.core.model import Model, check

KEYWORDS: Final = {
    "password_authentication": "PasswordAuthentication",
    "kbd_interactive_authentication": "KbdInteractiveAuthentication",
    "pubkey_authentication": "PubkeyAuthentication",
    "permit_root_login": "PermitRootLogin",
    "allow_tcp_forwarding": "AllowTcpForwarding",
}
"""Words of a spec, and those of sshd_config(5)."""


class SshdSpec(Model):
    """The SSH server. What is not written is left as it is."""

    password_authentication: bool | None = Field(default=None, examples=[False])
    """Log in with a password. `false` also closes `kbd_interactive_authentication` unless that is written."""

    kbd_interactive_authentication: bool | None = Field(default=None, examples=[False])
    """Log in by questions, which PAM asks: mostly for the password, too."""

    pubkey_authentication: bool | None = Field(default=None, examples=[True])
    """Log in with a key."""

    permit_root_login: Literal["yes", "no", "prohibit-password", "forced-commands-only"] | None = Field(
        default=None, examples=["prohibit-password"]
    )
    """Whether root may log in; in quotes, since a bare `no` is false."""

    allow_tcp_forwarding: bool | None = Field(default=None, examples=[True])
    """Whether connections go through it: `ProxyJump` to a guest needs that."""

    def wanted(self) -> dict[str, str]:
        """Word of the spec → value of sshd_config, in the order of `KEYWORDS`."""
        said = {word: getattr(self, word) for word in KEYWORDS}
        if said["password_authentication"] is False and said["kbd_interactive_authentication"] is None:
            said["kbd_interactive_authentication"] = False
        return {word: _text(value) for word, value in said.items() if value is not None}

    @check
    def _some_way_in(self) -> Iterator[Diagnostic]:
        ways = (self.password_authentication, self.kbd_interactive_authentication, self.pubkey_authentication)
        if ways[0] is False and not ways[1] and ways[2] is False:
            yield Diagnostic(
                "CXH101",
                "nobody could log in",
                path=("pubkey_authentication",),
                found="no key, no password",
                expected="one way in",
                hint="write `pubkey_authentication: true`",
            )


def _text(value: object) -> str:
    return value if isinstance(value, str) else "yes" if value else "no"
