"""Effects on files that belong to somebody, put in place never through a link; on trees, and passwords."""

from __future__ import annotations

import posixpath
import shlex
from dataclasses import dataclass
from hashlib import sha256

from cxlstate.core.effect import Effect
from cxlstate.core.secret import Secret


@dataclass(frozen=True, slots=True)
class PutFile(Effect):
    """Put a regular file in place, atomically, with its owner, group and mode.

    No symbolic link is followed, neither in place of the file nor on the way, whoever may write there:
    folders are entered one by one. Missing ones are made, root's and 0755; if `private`, the owner's and
    0700, with the owner's login group. `expected` is the SHA-256 of the content that was seen (None:
    absent); another one at that moment stops the action. No `owner`, `group` or `mode`: as the file has
    it; a new one is root's, and 0644. Of a `Secret` neither content nor hash is kept; where what is there
    is one, the hash that is expected is, too. Of a secret that comes, the one before it counts as secret.
    """

    path: str
    content: bytes | Secret
    expected: str | Secret | None = None
    owner: str = ""
    group: str = ""
    mode: int | None = None
    private: bool = False

    @property
    def data(self) -> bytes:
        """What is written, a secret revealed: for what writes it."""
        return self.content.reveal() if isinstance(self.content, Secret) else self.content

    @property
    def expects(self) -> str:
        """The hash of what is there, for what compares it; empty: nothing."""
        expected = self.expected or ""
        return expected.reveal().decode() if isinstance(expected, Secret) else expected

    @property
    def secret(self) -> bool:
        """Whether nothing of what is there may be kept or shown."""
        return isinstance(self.content, Secret) or isinstance(self.expected, Secret)

    def shown(self) -> str:
        """Without the content."""
        return " && ".join((f"write {shlex.quote(self.path)}", *_permits(self)))

    def journalled(self) -> dict[str, object]:
        """With the hash of what the file then holds, unless that is a secret."""
        after = {} if isinstance(self.content, Secret) else {"after": sha256(self.data).hexdigest()}
        return {"effect": "put-file", "path": self.path, **after}


@dataclass(frozen=True, slots=True)
class PermitFile(Effect):
    """Give a regular file to an owner and a group, and set its mode. No symbolic link is followed."""

    path: str
    owner: str = ""
    group: str = ""
    mode: int | None = None

    def shown(self) -> str:
        """As chown(1) and chmod(1)."""
        return " && ".join(_permits(self))

    def journalled(self) -> dict[str, object]:
        """With what is set."""
        return {"effect": "permit-file", "path": self.path, "command": self.shown()}


@dataclass(frozen=True, slots=True)
class SetPassword(Effect):
    """Set the hash of a user's password; it is handed to chpasswd(8) on standard input."""

    user: str
    hash: Secret

    def shown(self) -> str:
        """Without the hash."""
        return f"chpasswd --encrypted   # {self.user}"

    def journalled(self) -> dict[str, object]:
        """Without the hash."""
        return {"effect": "set-password", "user": self.user}


@dataclass(frozen=True, slots=True)
class Unpack(Effect):
    """Unpack a tarball of one folder, which is called like `folder` and becomes it; STALE if that is there.

    All of it is root's. It takes its place whole, and no symbolic link is followed on the way there.
    """

    archive: str
    folder: str
    timeout: int = 3600

    def shown(self) -> str:
        """In the words of tar(1). That it is made apart, and only put in place whole, is not told."""
        return shlex.join(("tar", "-xf", self.archive, "-C", posixpath.dirname(self.folder)))

    def journalled(self) -> dict[str, object]:
        """With what comes from where."""
        return {"effect": "unpack", "archive": self.archive, "path": self.folder}


def _permits(effect: PutFile | PermitFile) -> list[str]:
    path, group = shlex.quote(effect.path), f":{effect.group}" if effect.group else ""
    said = [f"chown {effect.owner}{group} {path}"] if effect.owner or group else []
    return [*said, *([] if effect.mode is None else [f"chmod {effect.mode:04o} {path}"])]
