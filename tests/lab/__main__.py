"""The emulated host for people: build it, boot it, get a shell in it, end it."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.lab.build import HOSTS, ensure_image
from tests.lab.errors import LabError
from tests.lab.guest_variants import VARIANTS, ensure_variant
from tests.lab.host import LabHost, socket_directory
from tests.lab.image import cache_directory
from tests.lab.qemu import FLAVOURS
from tests.lab.qmp import Qmp
from tests.lab.ssh import ALIASES

IMAGES = (*HOSTS, *VARIANTS)
_OFF = 1
_INTERRUPTED = 130


def main() -> int:
    """Run one command and return the exit status."""
    options = _parser().parse_args()
    try:
        return int(options.run(options))
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    """Describe the commands."""
    parser = argparse.ArgumentParser(prog="python3 -m tests.lab", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, about: str) -> argparse.ArgumentParser:
        entry = commands.add_parser(name, help=about, description=about)
        entry.set_defaults(run=globals()[f"_{name}"])
        return entry

    def with_directory(entry: argparse.ArgumentParser) -> None:
        entry.add_argument(
            "--dir", type=Path, default=cache_directory() / "run", help="where the machine keeps its files"
        )

    def with_start(entry: argparse.ArgumentParser) -> None:
        flavours = "; ".join(f"{name}: {flavour.about}" for name, flavour in FLAVOURS.items())
        entry.add_argument("--flavour", choices=FLAVOURS, default="hmem", help=flavours)
        entry.add_argument("--image", choices=HOSTS, default="stable", help="which host (default: stable)")
        entry.add_argument("--cold", action="store_true", help="boot by GRUB; do not resume the saved boot")

    def with_user(entry: argparse.ArgumentParser) -> None:
        entry.add_argument("--user", choices=ALIASES, default="root")

    build = command("build", "make the images, if they are not there")
    build.add_argument("images", nargs="*", metavar="IMAGE", help=f"{', '.join(IMAGES)}; default: the hosts")
    boot = command("boot", "start a host on a fresh disk and leave it running")
    with_start(boot)
    with_directory(boot)
    shell = command("shell", "open a shell in the host, started if it is not running")
    with_start(shell)
    with_directory(shell)
    with_user(shell)
    run = command("run", "run a command in the running host")
    with_directory(run)
    with_user(run)
    run.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND …")
    with_directory(command("down", "switch the running host off, as a power cut does"))
    with_directory(command("status", "tell whether the host runs"))
    return parser


def _build(options: argparse.Namespace) -> int:
    """Make the images, the hosts' one beside the other."""
    wanted = options.images or HOSTS
    if unknown := set(wanted) - set(IMAGES):
        msg = f"no image {', '.join(sorted(unknown))}; there are: {', '.join(IMAGES)}"
        raise LabError(msg)
    hosts = [name for name in wanted if name in HOSTS]
    with ThreadPoolExecutor() as threads:
        for image in threads.map(lambda name: ensure_image(_progress, name=name), hosts):
            print(image.directory)
    for name in filter(VARIANTS.__contains__, wanted):  # one by one: see guest_variants.py
        print(ensure_variant(name, _progress).directory)
    return 0


def _boot(options: argparse.Namespace) -> int:
    """Start a host and say how to reach it."""
    if _running(options.dir):
        msg = f"the host in {options.dir} runs already; end it first: python3 -m tests.lab down"
        raise LabError(msg)
    image = ensure_image(_progress, name=options.image)
    host = LabHost.start(image, options.dir, flavour=options.flavour, cold=options.cold, detached=True)
    print(f"ssh_config  {host.ssh_config}")
    print(f"console     {options.dir / 'console.log'}")
    print(f"root        ssh -F {host.ssh_config} {ALIASES['root']}")
    print(f"admin       ssh -F {host.ssh_config} {ALIASES['admin']}        (sudo without a password)")
    print(f"reader      ssh -F {host.ssh_config} {ALIASES['reader']} (no sudo)")
    host.detach()
    return 0


def _shell(options: argparse.Namespace) -> int:
    """Replace this program by a shell in the host."""
    if not _running(options.dir):
        _boot(options)
    return _replace(options, [])


def _run(options: argparse.Namespace) -> int:
    """Replace this program by a command in the host."""
    if not _running(options.dir):
        msg = "no host is running; start it first: python3 -m tests.lab boot"
        raise LabError(msg)
    return _replace(options, options.command[options.command[:1] == ["--"] :])


def _replace(options: argparse.Namespace, command: list[str]) -> int:
    """Become the ssh client; one word is a line of shell, several are an argument list."""
    argv = ["ssh", "-F", str(options.dir.resolve() / "ssh_config"), ALIASES[options.user]]
    if command:
        argv.append(command[0] if len(command) == 1 else shlex.join(command))
    os.execvp(argv[0], argv)


def _down(options: argparse.Namespace) -> int:
    """Switch the host off."""
    if not _running(options.dir):
        print("off")
        return 0
    with Qmp(socket_directory(options.dir) / "qmp") as qmp:
        qmp.command("quit")
    shutil.rmtree(socket_directory(options.dir), ignore_errors=True)
    return 0


def _status(options: argparse.Namespace) -> int:
    """Tell whether the host runs; exit 1 when it does not."""
    if _running(options.dir):
        print(f"running; ssh -F {options.dir.resolve() / 'ssh_config'} {ALIASES['root']}")
        return 0
    print("off")
    return _OFF


def _running(directory: Path) -> bool:
    """Tell whether a machine answers on the control socket of `directory`."""
    try:
        Qmp(socket_directory(directory) / "qmp").close()
    except OSError:
        return False
    return True


def _progress(text: str) -> None:
    """Show a step of the build."""
    print(text, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
