"""What may be said of a user: groups, shell, home, keys, and the hash of a password by reference."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from cxlstate.core.diagnostic import Diagnostic
from cxlstate.core.model import Model, check
from cxlstate.core.reference import SecretReference
from cxlstate.core.secret import Secret
from cxlstate.words.accounts import AbsolutePath, GroupName, Keys, UserName, lines

__all__ = ["User", "UserName"]


class User(Model):
    """A user. What is not written is left as it is."""

    groups: Annotated[tuple[GroupName, ...], Field(strict=False)] = Field(
        default=(), examples=[["kvm", "libvirt"]]
    )
    """Groups that it must be in. Others are left."""

    shell: AbsolutePath | None = Field(default=None, examples=["/bin/bash"])
    """What it works in once it has logged in."""

    home: AbsolutePath | None = Field(default=None, examples=["/home/admin"])
    """Where a new user gets its home. That of a user that exists is never moved."""

    authorized_keys: Keys = Field(default=(), examples=[[{"file": "~/.ssh/id_ed25519.pub"}]])
    """Public keys that it can log in with: lines, or files beside the spec. Others are left."""

    password_hash: SecretReference | None = Field(default=None, examples=[{"env": "ADMIN_HASH"}])
    """A hash as `mkpasswd` prints it, by reference; `!` locks the password."""

    state: Literal["present", "absent"] = Field(default="present", examples=["absent"])
    """`absent`: neither the user nor its home is there."""

    @property
    def keys(self) -> tuple[str, ...]:
        """Every line of every file."""
        return lines(self.authorized_keys)

    @property
    def hash(self) -> Secret | None:
        """Without the newline that a file or a command ends with."""
        if self.password_hash is None:
            return None
        written = self.password_hash.value
        return Secret(written.reveal().strip(), written.reference)

    @property
    def may_be_made(self) -> bool:
        """Whether it says more than which groups a user is in that exists: a slip in a name makes nobody."""
        more = self.shell or self.home or self.authorized_keys or self.password_hash
        return self.state == "present" and (bool(more) or "state" in self.model_fields_set)

    @check
    def _absent_says_nothing_more(self) -> Iterator[Diagnostic]:
        for word in ("groups", "shell", "home", "authorized_keys", "password_hash"):
            if self.state == "absent" and getattr(self, word):
                yield Diagnostic(
                    "CXU104",
                    f"an absent user has no {word}",
                    path=(word,),
                    found="state: absent",
                    hint=f"remove `{word}` or `state: absent`",
                )
