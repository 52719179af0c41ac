"""`ssh-config`: what is printed, what is kept, and what is said of what is not known. Hosts are simulated."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml

from cxlstate.adapters import open_reader
from cxlstate.cli.main import _run
from cxlstate.core.diagnostic import fail
from cxlstate.core.guest import GuestAccess
from cxlstate.core.read import LibvirtAddresses
from cxlstate.engine import ssh_hosts
from cxlstate.formats import host_keys
from cxlstate.machine import ssh_config
from cxlstate.resources.package.probe import DATABASE
from cxlstate.simulator.reader import SimReader
from tests.cli.test_cli import DOCUMENT
from tests.laws.bench import Bench

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
MAC, ADDRESS = "52:54:00:fc:10:bd", "192.168.122.110"
RESERVED = ({"mac": MAC, "ip": ADDRESS},)
GUEST = f"""\
Host cxl_vmx
    HostName {ADDRESS}
    User comsys
    ProxyJump one
    HostKeyAlias one/cxl_vmx
"""
WRITTEN = f"""\
{GUEST}    UserKnownHostsFile {{home}}/.ssh/known_hosts.d/cxlstate
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
"""
PRINTED = f"""\
# cxlstate host one
Host one
    User admin

{GUEST}    UserKnownHostsFile /dev/null
    GlobalKnownHostsFile /dev/null
    KnownHostsCommand /usr/bin/printf "one/cxl_vmx {KEY}\\n"
    HostKeyAlgorithms ssh-ed25519
    StrictHostKeyChecking yes
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home of its own; our Python looks there, and `ssh` would not."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("CXLSTATE_SSH_CONFIG", raising=False)
    (tmp_path / ".ssh").mkdir()
    return tmp_path


@pytest.fixture
def config(home):
    return home / ".ssh/config"


@pytest.fixture
def kept(home):
    return home / ".ssh/config.d/cxlstate"


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A host whose VM runs, with an address and a host key."""
    made = Bench(tmp_path_factory.mktemp("bench"))
    assert made.apply(made.spec(host())).exit == 0
    path = made.path(host_keys.path("cxl_vmx").lstrip("/"))
    path.parent.mkdir(parents=True)
    path.write_text(f"{KEY}\n")
    return made.folder


@pytest.fixture
def bench(template, tmp_path):
    shutil.copytree(template, tmp_path / "bench", symlinks=True)
    return Bench(tmp_path / "bench")


def host(state="running", reservations=RESERVED, guest=None, vm="cxl_vmx"):
    interface = {"network": "default", "mac": MAC, "model": "virtio"}
    return {
        "packages": ["libvirt-daemon-system", "qemu-utils"],
        "networks": {"default": {"active": True, "reservations": [*reservations]}},
        "vms": {
            vm: {
                "state": state,
                "memory": "1GiB",
                "vcpu": 1,
                "interfaces": [interface],
                "guest": guest or {"connect": {"user": "comsys"}},
            }
        },
    }


@pytest.fixture
def specs(tmp_path, bench, monkeypatch):
    """Writes specs of SSH hosts, all of which turn out to be the one on the bench."""
    asked = []

    class Asked(SimReader):
        def read(self, reads):
            asked.extend(reads)
            return super().read(reads)

    monkeypatch.setattr(open_reader, "open_reader", lambda _, name: Asked(bench.directory, name))
    folder = tmp_path / "specs"
    folder.mkdir()

    def write(name="one", connect=None, **of):
        content = host(**of)
        beside = {key: content.pop(key) for key in ("networks", "vms")}
        content = {"name": name, "connect": connect or f"ssh://admin@{name}", **content}
        path = folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump({"apiVersion": "cxlstate/v1", "host": content, **beside}))
        return path

    write.asked = asked
    return write


@pytest.fixture
def run(capsys):
    def run(*arguments):
        status = _run(["ssh-config", *map(str, arguments)])
        said = capsys.readouterr()
        assert "Traceback" not in said.out + said.err
        return status, said.out, said.err

    return run


def everything(folder):
    return {
        path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()
    }


def test_a_host_and_its_guest_are_printed_and_nothing_is_written(run, specs, bench, home):
    spec = specs()
    before = everything(home)
    assert run(spec) == (0, PRINTED, "")
    assert everything(home) == before


def test_nothing_is_asked_but_the_way_to_the_guests(run, specs):
    """No package, and no secret is fetched: there is none."""
    spec = specs()
    text = yaml.safe_load(spec.read_text())
    text["host"]["files"] = {"/etc/token": {"content": {"env": "NOT_SET"}, "mode": "0600"}}
    spec.write_text(yaml.safe_dump(text))
    assert run(spec) == (0, PRINTED, "")
    assert LibvirtAddresses("cxl_vmx") in specs.asked
    assert DATABASE not in specs.asked
    assert not [one for one in specs.asked if "token" in str(one)]


def test_a_host_without_guests_is_not_asked(run, specs):
    spec = specs(vm="cxl_vmx")
    text = yaml.safe_load(spec.read_text())
    del text["vms"]["cxl_vmx"]["guest"]
    spec.write_text(yaml.safe_dump(text))
    status, out, _ = run(spec)
    assert (status, out, specs.asked) == (0, "# cxlstate host one\nHost one\n    User admin\n", [])


def test_user_and_ports_are_those_of_the_spec_or_left_to_the_user(run, specs):
    _, out, _ = run(specs(connect="ssh://10.1.2.3:2200", guest={"connect": {"port": 2222}}))
    assert out.startswith("# cxlstate host one\nHost one\n    Port 2200\n    HostName 10.1.2.3\n\n")
    assert f"    HostName {ADDRESS}\n    Port 2222\n    ProxyJump one\n" in out
    assert "User " not in out


def test_an_alias_of_another_name_is_copied(run, specs, config):
    config.write_text(
        'Host lab\n  HostName 10.1.2.3\n  User x\n  ProxyJump far\n  IdentityFile "/k k"\n'
        "Include config.d/cxlstate\nHost other\n  User y\n"
    )
    _, out, _ = run(specs(connect="ssh://admin@lab"))
    assert (
        'Host one\n    User admin\n    HostName 10.1.2.3\n    ProxyJump far\n    IdentityFile "/k k"\n' in out
    )


def test_what_is_copied_is_read_by_ssh_as_it_was(run, specs, config, tmp_path):
    """A user of a domain may have a blank in the name; the library takes the quotes away."""
    words = {
        "User": '"odd user"',
        "HostName": "%h.lab%%x",
        "UserKnownHostsFile": '"~/a b/kh" ~/c',
        "Port": "2200",
    }
    config.write_text("Host lab\n" + "".join(f"  {key} {value}\n" for key, value in words.items()))
    (tmp_path / "out").write_text(run(specs(connect="ssh://lab"))[1])

    def read(file, host):
        done = subprocess.run(["ssh", "-F", file, "-G", host], capture_output=True, text=True, check=True)
        said = dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)
        return {key: said[key.lower()] for key in words}

    assert read(tmp_path / "out", "one") == read(config, "lab")


def test_this_machine_needs_no_way_to_itself(run, specs):
    status, out, _ = run(specs(connect="local"))
    assert status == 0
    assert out.startswith(
        f"# cxlstate host one\nHost cxl_vmx\n    HostName {ADDRESS}\n    User comsys\n    HostKey"
    )


# What is not known ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("via", "cure"),
    [("ssh", "`cxlstate apply {}` keeps the key"), ("agent", "write `connect: {{via: ssh}}`")],
)
def test_without_a_kept_key_the_block_lets_nobody_in_and_says_what_to_run(run, specs, bench, via, cure):
    spec = specs(guest={"connect": {"via": via}})
    bench.path(host_keys.path("cxl_vmx").lstrip("/")).unlink()
    status, out, err = run(spec)
    assert status == 5
    assert "StrictHostKeyChecking yes" in out
    assert "KnownHostsCommand" not in out
    assert "warning[CXC603]" in err
    assert cure.format(spec) in err


def test_without_an_address_there_is_no_block(run, specs, bench):
    off = {"state": "shut-off", "reservations": ()}
    assert bench.apply(bench.spec(host(**off))).exit == 0
    status, out, err = run(specs(**off))
    assert (status, out) == (5, "# cxlstate host one\nHost one\n    User admin\n")
    assert "warning[CXC604]" in err
    assert "the VM is off" in err


def test_what_libvirt_cannot_tell_is_not_known(run, specs, bench):
    bench.run("systemctl", "stop", "libvirtd.service", "libvirtd.socket")
    status, _, err = run(specs())
    assert status == 5, err
    assert "warning[CXC604]" in err


@pytest.mark.parametrize(
    "address", ["10.0.0.1\n    ProxyCommand evil", "evil", "-oProxyCommand=x", "10.0.0.1 x", "fe80::1%$(id)"]
)
def test_what_a_host_tells_is_an_address_or_nothing(run, specs, monkeypatch, address):
    monkeypatch.setattr(ssh_hosts, "_way", lambda *_: GuestAccess(running=True, addresses=(address,)))
    status, out, _ = run(specs())
    assert (status, out) == (5, "# cxlstate host one\nHost one\n    User admin\n")


def test_a_name_that_ssh_would_take_for_something_else_has_no_block(run, specs):
    status, out, err = run(specs(vm="a@b"))
    assert (status, out) == (0, "# cxlstate host one\nHost one\n    User admin\n")
    assert "warning[CXC605]" in err


def test_a_simulated_host_has_nothing_to_write(run, bench):
    status, out, err = run(bench.file)
    assert (status, out) == (1, "")
    assert "error[CXC606]" in err


def test_a_host_that_cannot_be_reached_is_told_and_others_are_printed(run, specs, monkeypatch, bench):
    def opener(connect, name):
        if name == "two":
            raise fail("CXC102", "cannot be reached", machine=name)
        return SimReader(bench.directory, name)

    one = specs()
    specs("two")
    monkeypatch.setattr(open_reader, "open_reader", opener)
    status, out, err = run(one.parent)
    assert (status, out) == (1, PRINTED)
    assert "error[CXC102]" in err


# Kept -------------------------------------------------------------------------------------------------


def test_it_is_kept_in_files_of_its_own(run, specs, home, config, kept):
    spec = specs()
    config.write_text("Include config.d/cxlstate\nHost *\n  StrictHostKeyChecking ask\n")
    before = config.read_bytes()
    status, out, err = run(spec, "--write")
    assert (status, out, err) == (0, f"{kept}: one, cxl_vmx\n", "")
    keys = home / ".ssh/known_hosts.d/cxlstate"
    assert kept.read_text().endswith(
        f"\n\n# cxlstate host one\nHost one\n    User admin\n\n{WRITTEN.format(home=home)}"
    )
    assert keys.read_text().endswith(f"\n\n# cxlstate host one\none/cxl_vmx {KEY}\n")
    for path in (kept, keys):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert config.read_bytes() == before
    held = everything(home / ".ssh")
    assert run(spec, "--write") == (0, out, "")
    assert everything(home / ".ssh") == held


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "Host other\n  Include config.d/cxlstate\n",
        "Host *\n  StrictHostKeyChecking ask\nInclude config.d/cxlstate\n",
        "Match host nobody\nInclude config.d/*\n",
    ],
)
def test_how_to_include_it_is_told_until_ssh_takes_it(run, specs, config, text):
    spec = specs()
    if text is not None:
        config.write_text(text)
    status, _, err = run(spec, "--write")
    assert status == 0
    assert "warning[CXC602]" in err
    assert f"→        make this the first line of {config}: Include config.d/cxlstate" in err
    assert (config.read_text() if config.exists() else None) == text
    config.write_text(f"Include config.d/cxlstate\n{text or ''}")
    assert run(spec, "--write")[2] == ""


def test_sections_of_other_hosts_stay(run, specs, home, kept):
    one, two = specs("one"), specs("two", vm="other", guest={"connect": {"user": "else"}})
    run(one, "--write")
    run(two, "--write")
    both = kept.read_text()
    assert [line for line in both.splitlines() if line.startswith("Host ")] == [
        "Host one",
        "Host cxl_vmx",
        "Host two",
    ]
    specs("one", guest={"connect": {"user": "changed"}})
    run(one, "--write")
    assert kept.read_text() == both.replace("User comsys", "User changed")


def test_a_guest_whose_address_is_not_known_now_keeps_its_block(run, specs, bench, home):
    """Unknown is not absent. A key that the host no longer keeps is trusted no more."""
    spec = specs()
    run(spec, "--write")
    held = {path: content for path, (content, _) in everything(home / ".ssh").items()}
    bench.run("systemctl", "stop", "libvirtd.service", "libvirtd.socket")
    status, _, err = run(spec, "--write")
    assert status == 5
    assert "CXC604" in err
    assert {path: content for path, (content, _) in everything(home / ".ssh").items()} == held
    bench.run("systemctl", "start", "libvirtd.service")
    bench.path(host_keys.path("cxl_vmx").lstrip("/")).unlink()
    assert run(spec, "--write")[0] == 5
    assert KEY not in (home / ".ssh/known_hosts.d/cxlstate").read_text()
    assert "StrictHostKeyChecking yes" in (home / ".ssh/config.d/cxlstate").read_text()


def test_two_guests_that_are_called_alike_get_two_names(run, specs, kept, config):
    one, two = specs("one"), specs("two")
    status, out, err = run(one, two)
    assert status == 0
    assert [line for line in out.splitlines() if line.startswith("Host ")] == [
        "Host one",
        "Host cxl_vmx",
        "Host two",
        "Host cxl_vmx.two",
    ]
    assert "warning[CXC607]" in err
    config.write_text("Include config.d/cxlstate\n")
    assert run(two, "--write")[1].endswith(": two, cxl_vmx\n")
    assert run(one, "--write")[1].endswith(": one, cxl_vmx.one\n")
    assert run(two, "--write") == (0, f"{kept}: two, cxl_vmx\n", "")


@pytest.mark.parametrize("name", ["config.d/cxlstate", "known_hosts.d/cxlstate"])
def test_no_link_is_followed(run, specs, home, name):
    victim = home / "victim"
    victim.write_text("")
    path = home / ".ssh" / name
    path.parent.mkdir()
    path.symlink_to(victim)
    status, out, err = run(specs(), "--write")
    assert (status, out, victim.read_text()) == (1, "", "")
    assert "error[CXC601]" in err
    assert path.is_symlink()


def test_a_folder_that_cannot_be_locked_is_told(run, specs, home, monkeypatch):
    def no_locks(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    spec = specs()
    status, out, err = run(spec, "--write")
    assert (status, out) == (1, "")
    assert "error[CXC601]" in err
    assert "No locks available" in err


def test_our_own_file_is_no_source_of_ours(run, specs, config, kept):
    config.write_text("Include config.d/cxlstate\nHost one\n  User mine\n")
    run(specs(connect="ssh://admin@10.9.9.9"), "--write")
    assert "10.9.9.9" in kept.read_text()
    assert "10.9.9.9" not in ssh_config.load(ssh_config.files())
    assert "User mine" in ssh_config.load(ssh_config.files())
    assert "10.9.9.9" in ssh_config.load(ssh_config.files(), ours=True)


def test_json_is_one_document(run, specs, home):
    status, out, err = run(specs(), "--json", "--write")
    document = json.loads(out)
    jsonschema.validate(document, DOCUMENT)
    assert (status, err) == (0, "")
    assert [one["code"] for one in document["diagnostics"]] == ["CXC602"]
    _, guest = document["ssh_hosts"]
    assert {key: guest[key] for key in ("machine", "name", "host_keys")} == {
        "machine": "one/cxl_vmx",
        "name": "cxl_vmx",
        "host_keys": [KEY],
    }
    assert {"keyword": "ProxyJump", "arguments": "one"} in guest["options"]
    assert Path(home / ".ssh/config.d/cxlstate").exists()
