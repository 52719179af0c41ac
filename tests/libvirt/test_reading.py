"""What libvirt is asked and what it answers: a real daemon with guests, and its test driver for numbers."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from hashlib import sha256

import libvirt
import pytest

from cxlstate.core.answers import Answer, Answers, ReadFailed
from cxlstate.core.exit_status import NOT_FOUND, TIMED_OUT
from cxlstate.core.read import LibvirtAddresses, LibvirtDomain, LibvirtNetwork
from cxlstate.machine.libvirt import reading
from cxlstate.machine.libvirt.reading import LibvirtReader, answers
from cxlstate.machine.libvirt.way import SYSTEM, Direct
from tests.libvirt.definitions import GRAPHICS, INTERFACE, MAC, NETWORK, disk, domain

VM, DEFAULT = LibvirtDomain("vm"), LibvirtNetwork("default")


@pytest.fixture
def reader(daemon):
    made = LibvirtReader(lambda: Direct(daemon.uri))
    yield made
    made.close()


def ask(reader, read):
    return Answers(reader.read([read])).files(read)


def facts(parts):
    return dict(line.split("=", 1) for line in parts["facts"].splitlines())


def test_a_running_domain(reader, connection, network):
    started = connection.defineXML(domain(devices=INTERFACE + GRAPHICS))
    started.setAutostart(1)
    started.create()
    parts = ask(reader, VM)
    assert sorted(parts) == ["active.xml", "affinity", "facts", "inactive.xml"]
    assert facts(parts) == {
        "state": "running",
        "id": str(started.ID()),
        "persistent": "yes",
        "autostart": "yes",
        "managed-save": "no",
        "snapshots": "0",
        "checkpoints": "0",
    }
    started.pinVcpuFlags(1, (True,), libvirt.VIR_DOMAIN_AFFECT_LIVE)
    every, pinned = ask(reader, VM)["affinity"].splitlines()
    assert every.startswith("0 0-")
    assert pinned == "1 0"
    assert parts["inactive.xml"] == started.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    assert parts["active.xml"].startswith(f"<domain type='qemu' id='{started.ID()}'")
    started.suspend()
    assert facts(ask(reader, VM))["state"] == "paused"


def test_of_secrets_no_answer_knows(reader, connection):
    connection.defineXML(domain(devices=GRAPHICS)).create()
    whole = connection.lookupByName("vm").XMLDesc(libvirt.VIR_DOMAIN_XML_SECURE)
    assert "passwd='s3c" in whole
    assert not [text for text in ask(reader, VM).values() if "s3c" in text or "passwd" in text]


def test_a_domain_that_is_off(reader, connection):
    connection.defineXML(domain())
    parts = ask(reader, VM)
    assert sorted(parts) == ["facts", "inactive.xml"]
    assert facts(parts) | {"state": "shut-off", "id": "-", "autostart": "no"} == facts(parts)


def test_a_transient_domain(reader, connection):
    connection.createXML(domain())
    parts = ask(reader, VM)
    assert sorted(parts) == ["active.xml", "affinity", "facts"]
    assert facts(parts)["persistent"] == "no"


def test_what_a_domain_keeps_is_counted(reader, connection, tmp_path):
    defined = connection.defineXML(domain(devices=disk(tmp_path / "disk")))
    for name in ("one", "two"):
        defined.snapshotCreateXML(f"<domainsnapshot><name>{name}</name></domainsnapshot>")
    defined.create()
    defined.managedSave()
    assert facts(ask(reader, VM)).items() >= {"snapshots": "2", "managed-save": "yes"}.items()


def test_only_libvirts_word_makes_something_absent(reader):
    reads = [VM, DEFAULT, LibvirtAddresses("vm")]
    assert reader.read(reads) == dict.fromkeys(reads, Answer(0))


@pytest.mark.parametrize("name", ["nul\0byte", "\udcff", ""])
def test_a_name_that_libvirt_cannot_have_is_no_proof_of_absence(reader, name):
    if name:
        with pytest.raises(ReadFailed, match="such a name"):
            ask(reader, LibvirtDomain(name))
    else:
        assert ask(reader, LibvirtDomain(name)) == {}


def test_an_active_network_and_who_is_plugged_into_it(reader, connection, network):
    connection.defineXML(domain("a & b", devices=INTERFACE)).create()
    connection.defineXML(domain("off", devices=INTERFACE.replace("bd", "be")))
    network.setAutostart(1)
    parts = ask(reader, DEFAULT)
    assert sorted(parts) == ["active.xml", "facts", "inactive.xml", "ports"]
    assert facts(parts) == {"active": "yes", "autostart": "yes", "persistent": "yes", "bridge": "virbr0"}
    assert parts["ports"] == f"{MAC} a & b\n"
    assert "connections='1'" in parts["active.xml"]
    assert parts["inactive.xml"] == network.XMLDesc(libvirt.VIR_NETWORK_XML_INACTIVE)


def test_a_network_that_is_not_active_or_not_defined(reader, connection):
    connection.networkDefineXML(NETWORK)
    parts = ask(reader, DEFAULT)
    assert sorted(parts) == ["facts", "inactive.xml", "ports"]
    assert (facts(parts)["active"], parts["ports"]) == ("no", "")
    connection.networkLookupByName("default").undefine()
    connection.networkCreateXML(NETWORK)
    parts = ask(reader, DEFAULT)
    assert sorted(parts) == ["active.xml", "facts", "ports"]
    assert facts(parts)["persistent"] == "no"


def test_a_network_without_a_bridge(reader, connection):
    connection.networkDefineXML(
        "<network><name>default</name><forward mode='passthrough'><interface dev='lo'/></forward></network>"
    )
    assert facts(ask(reader, DEFAULT))["bridge"] == ""


def test_addresses_that_a_guest_has_leased(reader, daemon, connection, network):
    connection.defineXML(domain(devices=INTERFACE)).create()
    leased = LibvirtAddresses("vm")
    assert Answers(reader.read([leased])).text(leased) == ""
    lease = {"ip-address": "192.168.122.110", "mac-address": MAC, "expiry-time": int(time.time()) + 3600}
    status = daemon.folder / "var/lib/libvirt/dnsmasq/virbr0.status"  # where dnsmasq's helper writes it
    status.write_text(json.dumps([lease]))
    assert Answers(reader.read([leased])).text(leased) == f"{MAC} 192.168.122.110/24\n"


def test_a_plan_and_an_apply_see_the_same_text(reader, connection):
    """By its SHA-256 one is compared with the other: the flags are the same, and so is the text."""
    for number, devices in enumerate(["", GRAPHICS, INTERFACE]):
        connection.defineXML(domain(f"vm{number}", devices=devices))
        seen = reader.read([LibvirtDomain(f"vm{number}")])[LibvirtDomain(f"vm{number}")].files["inactive.xml"]
        told = connection.lookupByName(f"vm{number}").XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
        assert sha256(seen.stdout).digest() == sha256(told.encode()).digest()


# Failures -------------------------------------------------------------------------------------------


def test_a_daemon_that_was_killed_is_asked_again(reader, daemon, connection):
    connection.defineXML(domain())
    assert ask(reader, VM)
    daemon.kill()
    daemon.await_up()
    assert ask(reader, VM)


def test_a_daemon_that_does_not_run_is_not_a_domain_that_is_not_there(reader, daemon):
    assert ask(reader, VM) == {}
    with daemon.down():
        for _ in range(2):
            with pytest.raises(ReadFailed, match="domain vm: libvirt's daemon does not run: ") as failed:
                ask(reader, VM)
            assert failed.value.missing_tool is None
    assert ask(reader, VM) == {}


def test_a_daemon_that_hangs_does_not_hang_us(reader, daemon, monkeypatch):
    monkeypatch.setattr(reading, "PATIENCE", 1)
    monkeypatch.setattr(reading, "_EACH", 0)
    for opened in (False, True):
        if opened:
            reader.read([VM])
        with daemon.hanging():
            assert reader.read([VM])[VM] == Answer(TIMED_OUT, b"", "libvirt does not answer")
    assert ask(reader, VM) == {}


def test_a_program_ends_although_the_daemon_hangs(daemon):
    code = (
        "import sys\nfrom cxlstate.core.read import LibvirtDomain\n"
        "from cxlstate.machine.libvirt import reading\nfrom cxlstate.machine.local import LocalTransport\n"
        "reading.PATIENCE, reading._EACH = 1, 0\n"
        "transport = LocalTransport(sys.argv[1])\n"
        "for _ in range(2):\n"
        "    print(transport.libvirt.read([LibvirtDomain('vm')])[LibvirtDomain('vm')].status, flush=True)\n"
        "    sys.stdin.readline()\n"
        "transport.close()\n"
    )
    argv = [sys.executable, "-c", code, daemon.uri]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout.readline() == "0\n"
        with daemon.hanging():
            assert program.communicate("\n", timeout=60)[0] == f"{TIMED_OUT}\n"
    assert program.returncode == 0


def test_no_libvirt_at_all_is_a_missing_tool(tmp_path):
    """In a file system without it: a folder with a few programs in the place of /usr/sbin."""
    code = (
        "from cxlstate.machine.libvirt.reading import LibvirtReader\n"
        "from cxlstate.machine.libvirt.way import SYSTEM, Direct\n"
        "from cxlstate.core.answers import Answers, ReadFailed\n"
        "from cxlstate.core.read import LibvirtDomain\n"
        "reader = LibvirtReader(lambda: Direct(SYSTEM))\n"
        "try: Answers(reader.read([LibvirtDomain('vm')])).files(LibvirtDomain('vm'))\n"
        "except ReadFailed as failed: print(failed.reason, '|', failed.missing_tool)\n"
    )
    hidden = "for there in /usr/sbin /run/libvirt; do [ ! -d $there ] || mount -t tmpfs none $there; done; "
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", f'{hidden} exec "$@"', "sh", sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("libvirt is not installed | libvirt\n", "")
    assert Direct(SYSTEM).explain("why").status != NOT_FOUND  # here it is


def test_what_a_driver_does_not_know_is_a_failure_and_not_a_guess():
    """The test driver cannot tell a network's persistent definition."""
    connection = libvirt.openReadOnly("test:///default")
    answer = answers(connection, [DEFAULT])[DEFAULT]
    assert (answer.status, answer.files) == (1, {})
    assert "unsupported flags" in answer.stderr


class Restless:
    """A connection, while somebody else is at work: each look-up is followed by what they do."""

    def __init__(self, connection, *deeds):
        self._connection = connection
        self._deeds = list(deeds)

    def __getattr__(self, name):
        return getattr(self._connection, name)

    def lookupByName(self, name):  # noqa: N802  # libvirt's name for it
        found = self._connection.lookupByName(name)
        if self._deeds:
            self._deeds.pop(0)(self._connection.lookupByName(name))
        return found


def undefine(domain):
    domain.undefine()


def start(domain):
    domain.create()


def stop(domain):
    domain.destroy()


def test_a_domain_that_goes_while_it_is_asked_about_is_looked_up_again(connection):
    connection.defineXML(domain())
    assert answers(Restless(connection, undefine), [VM]) == {VM: Answer(0)}


def test_a_domain_that_starts_while_it_is_asked_about_is_asked_about_again(connection):
    connection.defineXML(domain())
    parts = answers(Restless(connection, start), [VM])[VM].files
    assert "active.xml" in parts
    assert "state=running" in parts["facts"].text


def test_a_domain_that_does_not_rest_is_not_guessed(connection):
    connection.defineXML(domain())
    answer = answers(Restless(connection, start, stop), [VM])[VM]
    assert answer.status == 1
    assert not answer.files


class Counting:
    """The library's calls, by name, on their way."""

    def __init__(self, library):
        self.library = library
        self.calls = Counter()

    def __getattr__(self, name):
        self.calls[name] += 1
        return getattr(self.library, name)


@pytest.mark.parametrize("active", [False, True])
def test_as_many_calls_among_500_as_among_5(monkeypatch, active):
    connection = libvirt.open("test:///default")
    counted = []
    for number in range(500):
        defined = connection.defineXML(domain(f"vm{number}", kind="test"))
        if active:
            defined.create()
        if number in (4, 499):
            counting = Counting(libvirt.libvirtmod)
            with monkeypatch.context() as patched:
                patched.setattr(libvirt, "libvirtmod", counting)
                read = answers(connection, [LibvirtDomain(f"vm{number}") for number in (0, 2, 4)])
            assert all(answer.files for answer in read.values())
            calls = counting.calls  # those that let go go nowhere, and come when Python likes it
            counted.append({n: calls[n] for n in calls if not n.endswith(("Free", "Close"))})
    assert counted[0] == counted[1]
    assert counted[0]["virDomainLookupByName"] == 3
    assert sum(counted[0].values()) <= 3 * (13 if active else 10)
    assert not [name for name in counted[0] if "ListAllDomains" in name]


def test_nothing_of_libvirt_is_loaded_where_nothing_of_it_is_asked():
    code = (
        "import sys\nfrom cxlstate.core.read import File\nfrom cxlstate.machine.local import LocalTransport\n"
        "from cxlstate.machine.posix.reader import PosixReader\n"
        "PosixReader(LocalTransport(), 'here').read([File('/proc/version')])\n"
        "print([name for name in sys.modules if name.startswith('libvirt')])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_without_the_library_the_error_says_how_to_get_it():
    code = (
        "import sys\nsys.modules['libvirt'] = None\n"
        "from cxlstate.core.diagnostic import CxlstateError\nfrom cxlstate.core.read import LibvirtDomain\n"
        "from cxlstate.machine.local import LocalTransport\n"
        "from cxlstate.machine.posix.reader import PosixReader\n"
        "try: PosixReader(LocalTransport(), 'here').read([LibvirtDomain('vm')])\n"
        "except CxlstateError as error: print(error, '|', error.diagnostics[0].hint)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("CXC501: ")
    assert done.stdout.endswith(f"{sys.executable} -m pip install libvirt-python\n")


def test_the_library_prints_nothing(daemon):
    code = (
        "import sys\nfrom cxlstate.core.read import LibvirtDomain, LibvirtNetwork\n"
        "from cxlstate.machine.local import LocalTransport\n"
        "from cxlstate.machine.posix.reader import PosixReader\n"
        "for uri in (sys.argv[1], 'qemu+unix:///system?socket=/nonexistent'):\n"
        "    reader = PosixReader(LocalTransport(uri), 'here')\n"
        "    reader.read([LibvirtDomain('none'), LibvirtNetwork('none')])\n"
        "    reader.close()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, daemon.uri], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("", "")
