"""A real libvirt with its QEMU driver, for one test run: nothing of it outlives the process.

`qemu:///embed` keeps all that it has below one folder, and needs no daemon and no rights. As root it
would look for a user of its own, so the process that has it gives root away first. Where root has
/dev/kvm for itself, the process sees another node of it, in a mount namespace of its own.

Run as a script it is that process: a line of JSON in, a line of JSON out.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

NOBODY = 65534
NEEDED = (
    "Debian and Ubuntu: libvirt-daemon-driver-qemu, qemu-system-x86; libvirt-dev for pip's libvirt-python"
)


class NoLibvirtError(AssertionError):
    """A test may not pass without what it is about."""


class Refused(Exception):
    """libvirt's own words."""


class Oracle:
    """The other process."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="embed-"))
        (self.folder / "etc").mkdir()
        (self.folder / "etc/qemu.conf").write_text('stdio_handler = "file"\n')
        script = [sys.executable, str(Path(__file__).resolve()), str(self.folder)]
        if os.getuid() == 0:
            for path in (self.folder, self.folder / "etc", self.folder / "etc/qemu.conf"):
                os.chown(path, NOBODY, NOBODY)
            script = [*_own_kvm(self.folder), *script]
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "XDG_RUNTIME_DIR": str(self.folder),
        }
        self._process = subprocess.Popen(
            script, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            self.has_kvm = bool(self._ask(do="kvm"))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it, and all that it started."""
        with self._process:  # closes its pipes, which ends it, and waits for that
            pass
        shutil.rmtree(self.folder, ignore_errors=True)

    def define(self, xml: str) -> str:
        """The inactive XML that libvirt makes of it, checked against its schema; then it is forgotten."""
        return str(self._ask(do="define", xml=xml))

    def run(self, xml: str) -> str:
        """The active XML of it: started, and stopped before the guest's first instruction."""
        return str(self._ask(do="run", xml=xml))

    def _ask(self, **question: str) -> object:
        if not (self._process.stdin and self._process.stdout):
            raise NoLibvirtError("it was closed")
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise NoLibvirtError(f"libvirt did not start. {NEEDED}") from None
        line = self._process.stdout.readline()
        if not line:
            raise NoLibvirtError(f"libvirt ended, and said why above. {NEEDED}")
        answer = json.loads(line)
        if "missing" in answer:
            raise NoLibvirtError(f"{answer['missing']}. {NEEDED}")
        if "refused" in answer:
            raise Refused(answer["refused"])
        return answer["is"]


def _own_kvm(folder: Path) -> list[str]:
    """The words that give the process a /dev/kvm that it can open, where there is one at all."""
    there = Path("/dev/kvm")
    if not there.exists():
        return []
    node = folder / "kvm"
    os.mknod(node, 0o20666, there.stat().st_rdev)
    node.chmod(0o666)
    return ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /dev/kvm; exec "$@"', str(node)]


# The other process ------------------------------------------------------------------------------------


def _serve(folder: str) -> None:
    try:
        import libvirt  # noqa: PLC0415 -- only here, and told where it is not
    except ImportError as error:
        _give_up(f"no libvirt-python: {error}")
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    libvirt.registerErrorHandler(lambda *_: None, None)
    libvirt.virEventRegisterDefaultImpl()
    threading.Thread(
        target=lambda: [libvirt.virEventRunDefaultImpl() for _ in iter(int, 1)], daemon=True
    ).start()
    try:
        connection = libvirt.open(f"qemu:///embed?root={folder}")
    except libvirt.libvirtError as error:
        _give_up(f"no embedded QEMU driver: {error}")
    for line in sys.stdin:
        try:
            answer = {"is": _answer(libvirt, connection, json.loads(line))}
        except libvirt.libvirtError as error:
            answer = {"refused": str(error)}
        print(json.dumps(answer), flush=True)


def _give_up(why: str) -> NoReturn:
    print(json.dumps({"missing": why}), flush=True)
    sys.exit(1)


def _answer(libvirt: Any, connection: Any, question: dict[str, str]) -> object:
    if question["do"] == "kvm":
        return "kvm" in connection.getCapabilities().partition("name='x86_64'")[2].partition("</guest>")[0]
    domain = connection.defineXMLFlags(question["xml"], libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
    try:
        if question["do"] == "define":
            return domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE)
        domain.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED)
        try:
            return domain.XMLDesc()
        finally:
            domain.destroy()
    finally:
        domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM)


if __name__ == "__main__":
    _serve(sys.argv[1])
