from __future__ import annotations

import os
import shutil
import subprocess
from importlib.util import find_spec

import pytest

from tests.libvirt import daemon as daemons
from tests.libvirt import definitions
from tests.machine import sshd

if find_spec("libvirt") is None and "CI" not in os.environ:  # tools/setup says how to get it
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def shared_daemon(tmp_path_factory):
    if os.geteuid() != 0 or not shutil.which("libvirtd", path="/usr/sbin"):
        pytest.skip("a private libvirtd needs its package (tools/test-setup) and root")
    if subprocess.run(["unshare", "--mount", "--net", "--pid", "--fork", "true"], check=False).returncode:
        pytest.skip("no namespace can be made here")
    started = daemons.start(tmp_path_factory.mktemp("libvirt"))
    yield started
    started.stop()


@pytest.fixture
def daemon(shared_daemon):
    """With nothing defined in it, and nothing left behind."""
    yield shared_daemon
    connection = definitions.connect(shared_daemon.uri)
    for domain in connection.listAllDomains():
        if domain.isActive():
            domain.destroy()
    for domain in connection.listAllDomains():
        if domain.hasManagedSaveImage():
            domain.managedSaveRemove()
        for snapshot in domain.listAllSnapshots():
            snapshot.delete(1 << 1)  # VIR_DOMAIN_SNAPSHOT_DELETE_METADATA_ONLY
        domain.undefineFlags(1 << 2)  # VIR_DOMAIN_UNDEFINE_NVRAM
    for network in connection.listAllNetworks():
        if network.isActive():
            network.destroy()
    for network in connection.listAllNetworks():
        network.undefine()
    connection.close()


@pytest.fixture(scope="session")
def shared_server(shared_daemon, tmp_path_factory):
    """An sshd where the daemon is: what runs on it sees the daemon's sockets in their usual places."""
    folder = tmp_path_factory.mktemp("libvirt-sshd")
    server = sshd.start(folder, enter=shared_daemon.enter)
    yield server
    server.stop()


@pytest.fixture
def server(shared_server, daemon, monkeypatch):
    monkeypatch.setenv("CXLSTATE_SSH_CONFIG", str(shared_server.config))
    return shared_server


@pytest.fixture
def connection(daemon):
    """To make things with, and to look at them."""
    made = definitions.connect(daemon.uri)
    yield made
    made.close()


@pytest.fixture
def network(connection):
    """An active one, with its dnsmasq."""
    defined = connection.networkDefineXML(definitions.NETWORK)
    defined.create()
    return defined


def pytest_collection_modifyitems(items):
    """What needs a daemon is left out of the fast loop."""
    for item in items:
        if "shared_daemon" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)
