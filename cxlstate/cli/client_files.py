"""The files that `ssh-config --write` keeps for the SSH client, each a section a host."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from cxlstate.cli import out_file
from cxlstate.core.diagnostic import CxlstateError, Diagnostic, Severity, fail
from cxlstate.core.machine import MachineId, host_of
from cxlstate.formats.ssh_client import SshHost, blocks_of, distinct, keys_of, merged, names_in, section
from cxlstate.machine import own_files, ssh_config

_LARGEST = 4 << 20
_ABOUT = "Kept by `cxlstate ssh-config --write`. To drop a host, delete its section; other edits are lost."


def known_hosts() -> Path:
    """Not beside the configuration: an `Include` of that whole folder would take it for one."""
    return ssh_config.own().parents[1] / "known_hosts.d" / "cxlstate"


def keep(
    several: Mapping[str, Sequence[SshHost]], unknown: Collection[MachineId]
) -> dict[str, list[SshHost]]:
    """Write the sections of these hosts, and leave those of others. Returns them as they are called there.

    Guests that are `unknown` keep the block that they have. The keys come first: a block without them only
    fails. Raises CxlstateError (CXC601).
    """
    config, keys = ssh_config.own(), known_hosts()
    for folder in (config.parents[1], config.parent, keys.parent):
        _make(folder)
    with _alone(config.parent):
        before, before_keys = _read(config), _read(keys)
        old = {host: blocks_of(before, _on(host, unknown)) for host in several}
        taken = names_in(before, several.keys()) | names_in("".join(map("".join, old.values())))
        called = names(several, taken)
        trusted = {
            host: section(host, _known(its, keys_of(before_keys, _on(host, unknown))))
            for host, its in called.items()
        }
        _update(keys, before_keys, trusted)
        _update(config, before, {host: blocks(host, its, keys, old[host]) for host, its in called.items()})
    return called


def _on(host: str, guests: Collection[MachineId]) -> set[MachineId]:
    return {one for one in guests if host_of(one) == host}


def _known(its: Sequence[SshHost], old: Sequence[str]) -> list[str]:
    """Lines of known_hosts."""
    return ["".join(f"{line}\n" for line in (*(line for one in its for line in one.known), *old))]


def names(several: Mapping[str, Sequence[SshHost]], taken: Iterable[str]) -> dict[str, list[SshHost]]:
    """All of them, each with a name of its own."""
    found = distinct((one for its in several.values() for one in its), {*taken, *several})
    return {host: [one for one in found if one.host == host] for host in several}


def renamed(
    several: Mapping[str, Sequence[SshHost]], called: Mapping[str, Sequence[SshHost]]
) -> list[Diagnostic]:
    """Those whose name is somebody else's."""
    before = {one.machine: one.name for its in several.values() for one in its}
    return [
        Diagnostic(
            "CXC607",
            f"the name {before[one.machine]} is that of another machine",
            Severity.WARNING,
            machine=one.machine,
            found=f"another block `Host {before[one.machine]}`",
            expected="a name of its own",
            hint=f"ssh {one.name}",
        )
        for its in called.values()
        for one in its
        if one.name != before[one.machine]
    ]


def blocks(host: str, its: Sequence[SshHost], keys: Path | None, old: Sequence[str] = ()) -> str:
    """The configuration of a host and its guests. Without a file of keys, each block brings its own."""
    try:
        return section(host, [*(one.text(str(keys) if keys else None) for one in its), *old])
    except ValueError as odd:
        raise _unwritable(keys or Path(), f"{odd} cannot be written in ssh_config") from odd


def ineffective(hosts: Iterable[SshHost]) -> Diagnostic | None:
    """What has to be done so that ssh takes these blocks; None: it does."""
    from cxlstate.machine.ssh_words import as_ssh  # slow to load, and for `--write` only

    config, keys = ssh_config.own(), str(known_hosts())
    for one in hosts:
        found = as_ssh(one.name)
        for key, value in one.words(keys):
            there = found.get(key.lower())
            if key != "IdentityFile" and there != value.strip('"'):
                include = f"Include {config.parent.name}/{config.name}"
                return Diagnostic(
                    "CXC602",
                    f"ssh does not use {config} yet",
                    Severity.WARNING,
                    found=f"for `ssh {one.name}`, {key} is {there or 'not set'}",
                    expected=f"{key} {value}",
                    hint=f"make this the first line of {config.parents[1] / 'config'}: {include}",
                )
    return None


# The files themselves. --------------------------------------------------------------------------------


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two at once would each lose what the other writes."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise _unwritable(folder, error.strerror or str(error)) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:  # a file system over the network that has no locks
            raise _unwritable(folder, error.strerror or str(error)) from error
        yield
    finally:
        os.close(handle)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error.strerror or str(error)) from error


def _read(path: Path) -> str:
    try:
        return own_files.read(path, _LARGEST).decode("utf-8", "surrogateescape")
    except own_files.Unreadable as error:
        if error.missing:
            return ""
        raise _unwritable(path, str(error)) from error


def _update(path: Path, before: str, sections: Mapping[str, str]) -> None:
    content = merged(before, sections, _ABOUT)
    if content == before:
        return
    try:
        out_file.write(path, content, private=True)
    except CxlstateError as error:
        (problem,) = error.diagnostics
        raise _unwritable(path, problem.found or problem.message) from error


def _unwritable(path: Path, found: str) -> CxlstateError:
    return fail(
        "CXC601",
        f"cannot keep the SSH configuration in {path}",
        found=found,
        expected="regular files of yours below ~/.ssh",
        hint="remove what is in the way, or print it: `cxlstate ssh-config` without --write",
    )
