"""Which line gives a keyword its value, compared with what a real sshd says of the same files."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from cxlstate.formats import sshd_config
from cxlstate.formats.sshd_config import deciding, directives, effective, exceptions, plain
from cxlstate.resources.sshd.probe import EFFECTIVE

KEYWORDS = {
    "passwordauthentication": "yes",
    "kbdinteractiveauthentication": "yes",
    "pubkeyauthentication": "yes",
    "permitrootlogin": "prohibit-password",
    "allowtcpforwarding": "yes",
}
INCLUDE = "Include sshd_config.d/*.conf\n"
FILES = {
    "cloud-init says no": {"": INCLUDE, "50-cloud-init.conf": "PasswordAuthentication no\n"},
    "ours wins": {
        "": f"{INCLUDE}PasswordAuthentication no\n",
        "00-cxlstate.conf": "PasswordAuthentication yes\n",
        "50-cloud-init.conf": "PasswordAuthentication no\n",
    },
    "too late": {"": f"PermitRootLogin yes\n{INCLUDE}", "00-cxlstate.conf": "PermitRootLogin no\n"},
    "not included": {"": "UsePAM yes\n", "00-cxlstate.conf": "PasswordAuthentication no\n"},
    "renamed as in the runbook": {"": INCLUDE, "50-cloud-init.conf.disable": "PasswordAuthentication no\n"},
    "within a match": {"": f"Match User bob\n{INCLUDE}", "00-cxlstate.conf": "PasswordAuthentication no\n"},
    "a match ends with its file": {
        "": f"{INCLUDE}PubkeyAuthentication no\n",
        "10-a.conf": "Match User bob\nPasswordAuthentication no\n",
        "20-b.conf": "PasswordAuthentication no\n",
    },
    "signs": {
        "": '  passwordauthentication=no # why\n\tPermitRootLogin "no"\n#PubkeyAuthentication no\n'
        "ChallengeResponseAuthentication no\n",
    },
    "match all beats what is outside": {
        "": f"{INCLUDE}PasswordAuthentication no\n",
        "10-a.conf": "PermitRootLogin no\nMatch all\nPermitRootLogin yes\nAllowTcpForwarding no\n",
        "20-b.conf": "Match all\nPermitRootLogin no\n",
    },
    "an include within match all": {
        "": f"Match User bob\nPasswordAuthentication no\nMatch all\n{INCLUDE}",
        "10-a.conf": "PermitRootLogin no\n",
    },
    "match all within a match": {
        "": f"Match User bob\n{INCLUDE}",
        "10-a.conf": "Match all\nPasswordAuthentication no\n",
    },
    "everybody by patterns": {"": "Match User * Address *\nPermitRootLogin no\n"},
    "returns and a tab": {"": "PermitRootLogin no \r\n\tPasswordAuthentication\tno\r\n"},
    "hidden and elsewhere": {"": INCLUDE, ".a.conf": "PasswordAuthentication no\n", "b.txt": "Foo\n"},
    "the first of two": {
        "": "PermitRootLogin without-password\nPermitRootLogin yes\nAllowTcpForwarding no\n"
    },
}


@pytest.mark.parametrize("files", FILES.values(), ids=FILES)
def test_it_reads_the_files_as_sshd_does(files, tmp_path, monkeypatch):
    if not Path("/usr/sbin/sshd").exists() or shutil.which("ssh-keygen") is None:
        pytest.skip("needs openssh-server")
    main = str(tmp_path / "sshd_config")
    monkeypatch.setattr(sshd_config, "MAIN", main)
    (tmp_path / "sshd_config.d").mkdir()
    texts = {str(tmp_path / "sshd_config.d" / name) if name else main: text for name, text in files.items()}
    absolute = {path: text.replace("Include ", f"Include {tmp_path}/") for path, text in texts.items()}
    for path, text in absolute.items():
        Path(path).write_text(text)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True)
    Path("/run/sshd").mkdir(exist_ok=True)
    real = subprocess.run(
        ["/usr/sbin/sshd", *EFFECTIVE.argv[1:], "-f", main, "-h", tmp_path / "key"],
        capture_output=True,
        text=True,
        check=True,
    )
    said = effective(real.stdout)
    found = list(directives(absolute, main))
    for keyword, default in KEYWORDS.items():
        one = deciding(found, keyword)
        assert (plain(one.value) if one else default) == said[keyword], keyword


def test_a_match_is_told_with_its_place():
    files = {sshd_config.MAIN: "UsePAM yes\nMatch User bob Address 192.0.2.*\n  PasswordAuthentication yes\n"}
    (found,) = exceptions(list(directives(files)), "PasswordAuthentication", "no")
    assert str(found) == "/etc/ssh/sshd_config line 3: passwordauthentication yes"
    assert found.match == "User bob Address 192.0.2.*"
    assert exceptions(list(directives(files)), "PasswordAuthentication", "yes") == []


def test_files_that_include_each_other_end():
    files = {sshd_config.MAIN: "Include sshd_config\nPermitRootLogin no\n"}
    assert deciding(list(directives(files)), "permitrootlogin").value == "no"


def test_files_that_include_all_of_each_other_end():
    several = {
        f"{sshd_config.FOLDER}/{name}.conf": "Include sshd_config.d/*.conf\nPort 22\n" for name in "abcd"
    }
    found = list(
        directives({sshd_config.MAIN: "Include sshd_config.d/*.conf\nPermitRootLogin no\n", **several})
    )
    assert deciding(found, "permitrootlogin").value == "no"


@pytest.mark.parametrize(
    "line", [f"Match all{' ' * 10**6}x", f"Port 22{' ' * 10**6}# x", " " * 10**6 + "Port"]
)
def test_a_line_of_blanks_takes_no_time(line):
    assert len(list(directives({sshd_config.MAIN: f"{line}\nPort 22\n"}))) < 3
