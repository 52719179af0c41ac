"""`cxlstate ssh-config`: what an SSH client needs to log in to a host and its guests."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cxlstate.cli.common import (
    has_errors,
    json_option,
    load_specs,
    paths_argument,
    refuse_specs,
    say_problems,
    trees,
)
from cxlstate.render.output import say, say_json

if TYPE_CHECKING:
    from cxlstate.core.diagnostic import Diagnostic
    from cxlstate.formats.ssh_client import SshHost


@click.command("ssh-config", short_help="Print or keep the SSH client's configuration.")
@paths_argument
@json_option
@click.option(
    "--write",
    is_flag=True,
    help="Keep it in ~/.ssh/config.d/cxlstate, with host keys in ~/.ssh/known_hosts.d/cxlstate.",
)
def command(paths: tuple[Path, ...], as_json: bool, write: bool) -> int:
    """Print what ssh, scp and the remote mode of an editor need to log in without a question.

    There is a block for each host, and one for each of its guests, which is reached through the host
    and trusted by the host key that an apply kept there. Keys to log in with are left to your SSH
    configuration. The machines are only read, and only those that have guests.

    With --write it is kept in files of its own, which other hosts share; ~/.ssh/config is never
    changed. Exit status 5: the address or host key of a guest is not known yet.

    \b
    Examples:
      cxlstate ssh-config specs/cloudcxl2.yaml
      cxlstate ssh-config specs/ --write; ssh cxl_vmx
    """
    loaded = load_specs(paths)
    if has_errors(loaded.diagnostics):
        return refuse_specs(loaded.diagnostics, as_json=as_json)
    from cxlstate.adapters.open_reader import open_reader
    from cxlstate.engine.plan import worst
    from cxlstate.engine.ssh_hosts import ssh_hosts
    from cxlstate.resources import kinds

    found = [ssh_hosts(tree, kinds(), open_reader) for tree in trees(loaded)]
    problems = [*loaded.diagnostics, *(problem for one in found for problem in one.problems)]
    known = {one.tree.host.id: one.hosts for one in found if one.hosts}
    unknown = {guest for one in found for guest in one.unknown}
    hosts, told = (_kept(known, unknown) if write else _named(known)) if known else ({}, [])
    problems += told
    if as_json:
        say_json(_document(hosts, problems, write=write))
    else:
        _say(hosts, write=write)
        say_problems(problems)
    return worst(one.exit for one in found)


def _named(known: Mapping[str, Sequence[SshHost]]) -> tuple[dict[str, list[SshHost]], list[Diagnostic]]:
    from cxlstate.cli import client_files

    hosts = client_files.names(known, ())
    return hosts, client_files.renamed(known, hosts)


def _kept(
    known: Mapping[str, Sequence[SshHost]], unknown: Collection[str]
) -> tuple[dict[str, list[SshHost]], list[Diagnostic]]:
    from cxlstate.cli import client_files

    hosts = client_files.keep(known, unknown)
    unused = client_files.ineffective(one for its in hosts.values() for one in its)
    return hosts, [*client_files.renamed(known, hosts), *([unused] if unused else [])]


def _say(hosts: dict[str, list[SshHost]], *, write: bool) -> None:
    from cxlstate.cli.client_files import blocks
    from cxlstate.machine.ssh_config import own

    if not write:
        say("\n".join(blocks(host, its, None) for host, its in hosts.items()).rstrip())
    elif hosts:
        say(f"{own()}: {', '.join(one.name for its in hosts.values() for one in its)}")


def _document(
    hosts: dict[str, list[SshHost]], problems: Sequence[Diagnostic], *, write: bool
) -> dict[str, Any]:
    """The one document, with the machines as the client is told about them."""
    from cxlstate.cli.client_files import known_hosts
    from cxlstate.render.document import document

    keys = str(known_hosts()) if write else None
    entries = [
        {
            "machine": one.machine,
            "name": one.name,
            "options": [{"keyword": key, "arguments": value} for key, value in one.words(keys)],
            "host_keys": [f"{key.kind} {key.key}" for key in one.keys or ()],
        }
        for its in hosts.values()
        for one in its
    ]
    return {**document([], problems), "ssh_hosts": entries}
