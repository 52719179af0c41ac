"""How we came in, by what a real sshd and the processes above us say."""

from __future__ import annotations

import getpass
import subprocess

import pytest

from cxlstate.core.connect import Ssh
from cxlstate.core.read import Included, SshLogin
from cxlstate.machine.local import LocalTransport
from cxlstate.machine.posix.login_reads import FUNCTIONS
from cxlstate.machine.posix.reader import PosixReader
from cxlstate.machine.ssh import SshTransport


def test_by_ssh_the_user_and_the_client_are_told(server):
    transport = SshTransport(Ssh("box"), "box")
    answer = PosixReader(transport, "box").read([SshLogin()]).raw(SshLogin())
    transport.close()
    groups = subprocess.run(["id", "-Gn"], capture_output=True, text=True, check=True).stdout.strip()
    user = getpass.getuser()
    told = [f"login user {user}", "login client 127.0.0.1", f"login groups {groups}"]
    assert answer.text.splitlines()[:4] == [*told, f"login server 127.0.0.1 {server.port}"]


def test_a_shell_that_has_lost_its_environment_asks_those_above_it():
    """As sudo does: the process above still has it."""
    inner = f"{FUNCTIONS}\nsshd() {{ :; }}\nssh_login"
    outer = ["env", "-i", "LOGNAME=bob", "SSH_CONNECTION=192.0.2.1 5 192.0.2.2 22", "sh", "-c"]
    done = subprocess.run(
        [*outer, 'env -i PATH=/usr/bin:/bin sh -c "$0"; exit $?', inner],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines()[:2] == ["login user bob", "login client 192.0.2.1"]


def test_without_ssh_there_is_no_client():
    words = ["env", "-i", "PATH=/usr/bin:/bin", "setsid", "sh", "-c", f"{FUNCTIONS}\nssh_login"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    if "login client" not in done.stdout:  # these tests themselves may run in a shell that came by SSH
        assert done.stdout == f"login user {getpass.getuser()}\n"


@pytest.mark.parametrize(
    ("files", "found"),
    [
        (".ssh/a .ssh/authorized_keys2", True),
        ("%h/.ssh/authorized_keys2", True),
        ("/nowhere/%u none%%", False),
        (".ssh/%U", False),
    ],
)
def test_whether_sshd_finds_a_file_of_keys(tmp_path, files, found):
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/authorized_keys2").touch()
    entry = f"bob:x:1001:1001::{tmp_path}:/bin/sh"
    fakes = (
        f"getent() {{ echo {entry}; }}\nsshd() {{ echo authorizedkeysfile {files}; }}\nid() {{ echo bob; }}"
    )
    outer = ["env", "-i", "LOGNAME=bob", "SSH_CONNECTION=192.0.2.1 5 192.0.2.2 22", "PATH=/usr/bin:/bin"]
    script = f'{FUNCTIONS}\n{fakes}\ntimeout() {{ shift 3; "$@"; }}\nssh_login'
    done = subprocess.run([*outer, "sh", "-c", script], capture_output=True, text=True, check=True)
    assert ("login keys none" in done.stdout.splitlines()) is not found


def test_what_is_included_is_read_in_turn(tmp_path):
    texts = {
        "sshd_config": 'Port 22\n  include=d/*.conf "odd/a b" # not/this\nInclude sshd_config\n',
        "d/1.conf": f"Include {tmp_path}/deep\r\n",
        "d/other": "Port 1\n",
        "deep": "Include d/*.conf\n",
        "not": "",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    read, nothing = Included(f"{tmp_path}/sshd_config"), Included(f"{tmp_path}/none")
    answers = PosixReader(LocalTransport(), "here").read([read, nothing])
    names = ("sshd_config", "d/1.conf", "deep")
    assert answers.files(read) == {f"{tmp_path}/{name}": texts[name] for name in names}
    assert answers.files(nothing) == {}


def test_what_is_hidden_from_us_is_not_absent():
    """As a home on NFS is from root: nobody may enter its `.ssh`."""
    entry = "bob:x:1001:1001::/home/bob:/bin/sh"
    denied = "echo \"stat: cannot statx '$5': Permission denied\" >&2; return 1"
    fakes = f"getent() {{ echo {entry}; }}\nid() {{ echo 0; }}\nstat() {{ {denied}; }}"
    script = f"{FUNCTIONS}\n{fakes}\nauthorized_keys bob"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Permission denied" in done.stderr


def test_keys_are_read_where_the_home_is_and_no_link_of_its_owner_is_followed(tmp_path):
    home = tmp_path / "real"
    (home / ".ssh").mkdir(parents=True)
    (tmp_path / "home").symlink_to("real")
    (tmp_path / "precious").write_text("root:hash")
    keys = home / ".ssh" / "authorized_keys"
    entry = f"bob:x:1001:1001::{tmp_path}/home:/bin/sh"
    script = f"{FUNCTIONS}\ngetent() {{ echo {entry}; }}\nid() {{ echo 0; }}\nauthorized_keys bob"

    def read():
        return subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout

    assert read().splitlines()[0] == f"home {home}"
    assert read().endswith(f":{home}/.ssh\ncontent\n")
    keys.write_text("key\n")
    assert read().endswith(f":{keys}\ncontent\nkey\n")
    keys.unlink()
    keys.symlink_to(tmp_path / "precious")
    assert read().endswith(f":{keys}\ncontent\n")
    keys.unlink()
    (home / ".ssh").rmdir()
    (home / ".ssh").symlink_to(tmp_path)
    (tmp_path / "authorized_keys").write_text("elsewhere\n")
    assert read().endswith(f":{home}/.ssh\ncontent\n")
