"""The steps that both images are made by: a key, Debian into a folder, the folder into a disk."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.lab.errors import LabError
from tests.lab.image import HERE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

SUITE = "trixie"

_MIB = 1024 * 1024
_PARTITION = f"label: dos\nstart={_MIB // 512}, type=83, bootable\n"


@dataclass(frozen=True)
class Recipe:
    """What an image consists of."""

    variant: str
    """mmdebstrap's word for how much of Debian is there before `packages`."""
    packages: tuple[str, ...]
    tree: str
    """The folder beside this file that is put in before the packages."""
    customize: str
    """The script beside this file that is run after them."""
    disk_mib: int
    backports: bool = False
    """Whether packages come from the release's backports where those have them."""


def make_key(path: Path) -> None:
    """Make the SSH key pair of the lab."""
    tool(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "cxlstate-lab", "-f", str(path)])


def bootstrap(recipe: Recipe, root: Path, *, identity: Path) -> None:
    """Install Debian and the tree of the lab into the folder `root`; `identity` may log in."""
    tool(
        [
            "mmdebstrap",
            *(f"--variant={recipe.variant}", "--mode=root", "--format=directory"),
            f"--include={','.join(recipe.packages)}",
            # The hooks are shell to mmdebstrap, which passes the folder as "$1".
            f'--essential-hook="$CXLSTATE_LAB_SOURCE/prepare.sh" "$CXLSTATE_LAB_SOURCE/{recipe.tree}" "$1"',
            f'--customize-hook="$CXLSTATE_LAB_SOURCE/{recipe.customize}" "$1"',
            "--skip=cleanup/apt/lists",
            *_sources(root, backports=recipe.backports),
        ],
        environment={
            "CXLSTATE_LAB_SOURCE": str(HERE),
            "CXLSTATE_LAB_KEY": f"{identity}.pub",
        },
    )


def _sources(root: Path, *, backports: bool) -> list[str]:
    """Return mmdebstrap's arguments from the suite on; by itself it knows where Debian is."""
    if not backports:
        return [SUITE, str(root)]
    suites = [SUITE, f"{SUITE}-backports"]
    sources = [f"deb {mirror()} {suite} main" for suite in suites]
    return [f'--aptopt=APT::Default-Release "{suites[-1]}"', SUITE, str(root), *sources]


def mirror() -> str:
    """Return the mirror of Debian that this machine uses."""
    command = ["apt-get", "indextargets", "--format", "$(ORIGIN)|$(LABEL)|$(REPO_URI)"]
    listed = subprocess.run([*command, "Created-By: Packages"], capture_output=True, text=True, check=False)
    for line in listed.stdout.splitlines():
        *whose, uri = line.split("|")
        if whose == ["Debian", "Debian"]:
            return uri
    msg = "no apt source of this machine is a mirror of Debian, from which to take the newest host"
    raise LabError(msg)


def make_disk(root: Path, disk: Path, *, mib: int) -> None:
    """Write the folder `root` as a disk with one partition; needs no loop device."""
    with disk.open("wb") as file:
        file.truncate(mib * _MIB)
    tool(["sfdisk", "--quiet", str(disk)], text=_PARTITION)
    options = ["-q", "-t", "ext4", "-L", "root", "-E", f"offset={_MIB}", "-d", str(root)]
    tool(["mke2fs", *options, str(disk), f"{(mib - 1) * 1024}k"])


def tool(
    argv: Sequence[str],
    *,
    text: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run a tool of the build; a failure shows the end of its output."""
    try:
        result = subprocess.run(
            argv,
            input=text,
            stdin=subprocess.DEVNULL if text is None else None,
            env={**os.environ, **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
    except FileNotFoundError as error:
        msg = f"{argv[0]} is missing; install what the lab needs: tests/lab/setup.sh"
        raise LabError(msg) from error
    if result.returncode:
        end = "\n".join(result.stdout.splitlines()[-30:])
        msg = f"{argv[0]} failed with exit {result.returncode}:\n{end}"
        raise LabError(msg)
