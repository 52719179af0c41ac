"""Where the machine of a spec is, before the spec is checked. Needs little that is slow to load."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from cxlstate.core.connect import Ssh
from cxlstate.machine import own_files
from cxlstate.spec import yaml_text
from cxlstate.spec.connection import MAX_PORT, SSH, is_host_name, parse_connect
from cxlstate.spec.document import Document, Mapping, Scalar
from cxlstate.spec.withheld import withhold


def glimpse(paths: Sequence[Path]) -> Ssh | None:
    """The SSH host of the only spec, read as YAML and checked as the schema checks it.

    None where it is not reached by SSH, or where the file cannot be read or its `host` is wrong: that is
    said when the spec is loaded. With several specs the machines are asked side by side, and there is
    nothing to hurry for.
    """
    if len(paths) != 1:
        return None
    try:
        content = own_files.read(paths[0], yaml_text.MAX_BYTES)
    except own_files.Unreadable:
        return None
    document, problems = yaml_text.parse(content, str(paths[0]))
    if document is None or problems:
        return None
    withhold(document)  # before the process that connects is told its environment
    return _ssh(document)


def _ssh(document: Document) -> Ssh | None:
    name, connect = _text(document, "name"), _text(document, "connect")
    if name is None or not is_host_name(name):
        return None
    if connect is None:
        return Ssh(name)
    match = re.fullmatch(SSH, connect)
    if match is None or int(match["port"] or 0) > MAX_PORT:
        return None
    found = parse_connect(connect, document.file)
    return found if isinstance(found, Ssh) else None


def _text(document: Document, key: str) -> str | None:
    """The text of a word of `host`; an empty one for a word that is there and no text."""
    host = document.root.entries.get("host") if isinstance(document.root, Mapping) else None
    entry = host.value.entries.get(key) if host and isinstance(host.value, Mapping) else None
    if entry is None:
        return None
    value = entry.value.value if isinstance(entry.value, Scalar) else None
    return value if isinstance(value, str) else ""
