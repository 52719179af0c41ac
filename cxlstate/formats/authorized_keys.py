"""authorized_keys(5) (sshd(8)): a key a line, with options before it and a comment behind it."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from binascii import Error
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

_KEY: Final = re.compile(
    r"(?P<options>(?:[^\s\"]|\"(?:\\\"|[^\"\\]|\\(?!\"))*\")+\s+)??"
    r"(?P<type>(?:ssh|ecdsa|sk-ssh|sk-ecdsa)-[a-z0-9@.-]+)\s+(?P<blob>[A-Za-z0-9+/]+=*)(?:\s+(?P<comment>.*))?"
)


@dataclass(frozen=True, slots=True)
class Key:
    """One line: which key it is, and what it is allowed."""

    type: str
    blob: str
    options: str = ""
    comment: str = ""

    @property
    def fingerprint(self) -> str:
        """As `ssh-keygen -l` shows it."""
        digest = b64encode(sha256(b64decode(self.blob)).digest()).decode().rstrip("=")
        return f"SHA256:{digest}"

    def same(self, other: Key) -> bool:
        """Whether they are one key, whatever it is allowed."""
        return (self.type, self.blob) == (other.type, other.blob)

    def __str__(self) -> str:
        words = (self.options, self.type, self.fingerprint, self.comment)
        return " ".join(word for word in words if word)


def parse(line: str) -> Key | None:
    """None: it is no key."""
    said = _KEY.fullmatch(line.strip())
    if said is None or line.lstrip().startswith("#"):
        return None
    try:
        blob = b64decode(said["blob"], validate=True)
    except Error:
        return None
    name = said["type"].encode()
    if blob[: 4 + len(name)] != len(name).to_bytes(4) + name:  # RFC 4253, 6.6: the type is in it, too
        return None
    return Key(said["type"], said["blob"], (said["options"] or "").strip(), (said["comment"] or "").strip())


def missing(text: str, wanted: Sequence[str]) -> list[tuple[int, Key | None, Key]]:
    """Index, what is there instead, and the key, of each wanted line that is not there with its options.

    Of several lines with one key the first counts, unless it is for other addresses: one that nobody wants
    and that is ahead of the wanted one is there instead.
    """
    there = [key for line in text.splitlines() if (key := parse(line))]
    every = [key for line in wanted if (key := parse(line))]
    found = []
    for index, line in enumerate(wanted):
        key = parse(line)
        if key is None:
            continue
        its = [one for one in there if one.same(key)]
        welcome = {one.options for one in every if one.same(key)}
        first = next((one for one in its if "from=" not in one.options), None)
        overruled = first is not None and first.options not in welcome
        if overruled or not any(one.options == key.options for one in its):
            found.append((index, first if overruled else next(iter(its), None), key))
    return found


def with_keys(text: str, wanted: Sequence[str]) -> str:
    """With every wanted line: in place of that key with other options, else at the end. The rest stays."""
    lines = text.splitlines(keepends=True)
    for index, other, _ in missing(text, wanted):
        line = f"{wanted[index].strip()}\n"
        at = next((n for n, one in enumerate(lines) if other and parse(one) == other), None)
        if at is None:
            if lines and not lines[-1].endswith("\n"):
                lines[-1] += "\n"
            lines.append(line)
            continue
        lines[at] = line
    return "".join(lines)
