"""A whole apply on this machine, in folders of its own: who has a secret among its arguments, where it lies.

Every program is recorded with its arguments before it begins: the first folder of PATH has a name for each.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cxlstate.cli.main import _run
from cxlstate.core.first_boot import Account, FirstBoot, WriteSeed
from cxlstate.core.secret import Secret
from cxlstate.machine.local import LocalTransport
from cxlstate.machine.posix.writer import PosixWriter
from tests.machine.conftest import ENTRY

SECRETS = {"TOKEN": "in-the-environment", "HASH": "$6$saltsalt$hash-of-a-user", "PASSWORD": "correct-battery"}
FILE = b"in-a-file" + bytes(range(256)) * 40
PRIVATE = ("/etc", "/run", "/home", "/var/log", "/var/mail", "/var/lib/cxlstate")
BELONGS = ("/etc/lab/env", "/etc/lab/file", "/etc/shadow", "/etc/shadow-")
SPEC = """\
apiVersion: cxlstate/v1
host:
  name: here
  connect: local
  files:
    /etc/lab/env: {content: {env: TOKEN}, mode: '0600'}
    /etc/lab/file: {content: {file: secret.bin}, mode: '0400', owner: planted}
    /etc/lab/gone: {state: absent}
  users:
    planted: {password_hash: {env: HASH}, shell: /bin/sh}
"""
RECORDER = """\
#!/bin/bash
{ printf '%s\\0' "$0" "$@"; echo; } >>'LOG'
IFS=:
for folder in FOLDERS; do
    [ ! -x "$folder/${0##*/}" ] || exec -a "${0##*/}" "$folder/${0##*/}" "$@"
done
exit 127
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount folders of its own"),
]


def recorders(folder: Path) -> Path:
    """A folder for PATH, and the file in which all that is begun by way of it is found."""
    folders = [Path(one) for one in os.environ["PATH"].split(":") if Path(one).is_dir()]
    path, log = folder / "path", folder / "begun"
    path.mkdir()
    words = " ".join(f"'{one}'" for one in folders)
    (folder / "recorder").write_text(RECORDER.replace("LOG", str(log)).replace("FOLDERS", words))
    (folder / "recorder").chmod(0o755)
    for name in {one.name for each in folders for one in each.iterdir()}:
        (path / name).symlink_to(folder / "recorder")
    return log


def test_a_secret_is_in_no_argument_list_and_nowhere_but_where_it_belongs(tmp_path):
    log = recorders(tmp_path)
    (tmp_path / "spec.yaml").write_text(SPEC)
    (tmp_path / "secret.bin").write_bytes(FILE)
    mounts = "".join(f"mkdir -p {one}; mount -t tmpfs none {one}; " for one in PRIVATE if one != "/etc")
    etc = f"cp -a /etc {tmp_path}/etc; mount --bind {tmp_path}/etc /etc; "
    script = f'set -e; mount --make-rprivate /; {etc}{mounts}export PATH="$0:$PATH"; exec "$@"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, tmp_path / "path", sys.executable, __file__],
        env={**os.environ, **SECRETS, "PYTHONPATH": str(Path(__file__).parents[2]), "FOLDER": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    report = (
        json.loads(done.stdout.splitlines()[-1])
        if not done.returncode
        else (done.stdout + done.stderr).decode()
    )
    assert report == {"applied": [0, 0, 0], "hashed": True, "lies": []}
    begun = {line.partition(b"\0")[0].rpartition(b"/")[2] for line in log.read_bytes().splitlines()}
    assert {b"chpasswd", b"base64", b"sha256sum", b"useradd"} <= begun
    assert not [one for one in planted() if one in done.stdout + done.stderr]


def planted() -> list[bytes]:
    return [*(one.encode() for one in SECRETS.values()), FILE[:9], b"gone-by-now"]


def main() -> None:
    """Inside: apply, let a secret go, write a seed, and look where they lie."""
    folder = Path(os.environ["FOLDER"])
    applied = [_run(("apply", "--yes", "spec.yaml"))]
    Path("/etc/lab/gone").write_bytes(b"gone-by-now")
    Path("/etc/lab/gone").chmod(0o600)
    applied += [_run(("apply", "--yes", "--json", "spec.yaml")), _run(("plan", "spec.yaml"))]
    seed = Path("/run/seed.iso")
    boot = FirstBoot("i", "h", (Account("lab", password=Secret(SECRETS["PASSWORD"].encode())),))
    writer = PosixWriter(LocalTransport(), "here", survives_reboot=False)
    writer.perform(WriteSeed(str(seed), boot), ENTRY)
    writer.close()
    hashes = re.findall(rb"\$6\$[^\"\s]+", seed.read_bytes())
    belongs = {*map(Path, BELONGS), seed}
    places = {one for place in PRIVATE for one in Path(place).rglob("*") if one.is_file()} - belongs
    places.add(folder / "begun")
    secrets = (*planted(), *hashes)
    lies = sorted(str(one) for one in places if any(secret in one.read_bytes() for secret in secrets))
    print(json.dumps({"applied": applied, "hashed": bool(hashes), "lies": lies}))


if __name__ == "__main__":
    main()
