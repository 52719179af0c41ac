"""Building the host image: Debian into a folder, the folder into a disk, GRUB, and one saved boot."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.lab.errors import LabError
from tests.lab.host import LabHost
from tests.lab.image import HERE, Image, cache_directory, current_image
from tests.lab.qemu import QEMU, Direct, accelerator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

SUITE = "trixie"
PACKAGES = (
    *("linux-image-amd64", "systemd-sysv", "openssh-server", "grub-pc", "sudo", "kmod", "udev"),
    *("libvirt-daemon-system", "libvirt-clients", "qemu-system-x86", "qemu-utils", "ovmf"),
    *("ndctl", "daxctl", "cxl", "python3", "iptables", "dnsmasq-base", "iproute2", "numactl"),
    *("pciutils", "cloud-guest-utils", "e2fsprogs"),
)

_MIB = 1024 * 1024
_DISK_MIB = 8 * 1024
_PARTITION = f"label: dos\nstart={_MIB // 512}, type=83, bootable\n"
_PARTITION_KIB = (_DISK_MIB - 1) * 1024
_KVM_PROBE_SECONDS = 5.0


def ensure_image(log: Callable[[str], None] = lambda _: None) -> Image:
    """Return the current image, built first if it is not there.

    Safe to call from several processes: one builds, the others wait. An image appears whole or
    not at all.
    """
    image = current_image()
    if image.manifest.exists():
        return image
    with _locked(image.directory.with_suffix(".lock")):
        if not image.manifest.exists():
            _build(image, log)
    return image


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(image: Image, log: Callable[[str], None]) -> None:
    """Build `image` beside its place and then move it there."""
    if os.geteuid() != 0:
        msg = "building the image needs root, for mmdebstrap; starting does not"
        raise LabError(msg)
    with tempfile.TemporaryDirectory(prefix="building-", dir=cache_directory()) as name:
        draft = Image(Path(name) / "image")
        draft.directory.mkdir()
        root = Path(name) / "root"
        begin = time.monotonic()

        def step(text: str) -> None:
            log(f"{time.monotonic() - begin:4.0f} s  {text}")

        step("installing Debian into a folder")
        _make_key(draft.identity)
        _bootstrap(root, draft)
        step("making the disk")
        _make_disk(root, draft.disk)
        shutil.copyfile((root / "vmlinuz").resolve(), draft.kernel)
        shutil.copyfile((root / "initrd.img").resolve(), draft.initrd)
        host_key = (root / "etc/ssh/ssh_host_ed25519_key.pub").read_text().strip()
        step("trying KVM")
        draft.describe(host_key=host_key, kvm=_kvm_works(draft, Path(name)))
        step(f"installing GRUB, with {'KVM' if draft.kvm else 'emulation: KVM does not work here'}")
        _install_grub(draft, Path(name) / "grub")
        step("booting once, to save the running machine")
        _save_boot(draft, Path(name) / "warm")
        step("done")
        draft.directory.rename(image.directory)


def _make_key(path: Path) -> None:
    """Make the SSH key pair of the lab."""
    _tool(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "cxlstate-lab", "-f", str(path)])


def _bootstrap(root: Path, draft: Image) -> None:
    """Install Debian and the tree of the lab into the folder `root`."""
    _tool(
        [
            "mmdebstrap",
            *("--variant=important", "--mode=root", "--format=directory"),
            f"--include={','.join(PACKAGES)}",
            # The hooks are shell to mmdebstrap, which passes the folder as "$1".
            '--essential-hook="$CXLSTATE_LAB_SOURCE/prepare.sh" "$1"',
            '--customize-hook="$CXLSTATE_LAB_SOURCE/customize.sh" "$1"',
            "--skip=cleanup/apt/lists",
            *(SUITE, str(root)),
        ],
        environment={
            "CXLSTATE_LAB_SOURCE": str(HERE),
            "CXLSTATE_LAB_KEY": f"{draft.identity}.pub",
        },
    )


def _make_disk(root: Path, disk: Path) -> None:
    """Write the folder `root` as a disk with one partition; needs no loop device."""
    with disk.open("wb") as file:
        file.truncate(_DISK_MIB * _MIB)
    _tool(["sfdisk", "--quiet", str(disk)], text=_PARTITION)
    options = ["-q", "-t", "ext4", "-L", "root", "-E", f"offset={_MIB}", "-d", str(root)]
    _tool(["mke2fs", *options, str(disk), f"{_PARTITION_KIB}k"])


def _kvm_works(image: Image, directory: Path) -> bool:
    """Tell whether the image's kernel reaches its first line with KVM: the device may exist and fail."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    console = directory / "kvm-console.log"
    direct = Direct(image.kernel, image.initrd, "console=ttyS0 earlyprintk=ttyS0 panic=-1")
    argv = [QEMU, *accelerator(kvm=True), "-machine", "q35", "-cpu", "max", "-m", "1G"]
    argv += ["-nodefaults", "-display", "none", "-no-reboot", "-serial", f"file:{console}"]
    with subprocess.Popen(
        [*argv, *direct.arguments()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as child:
        try:
            deadline = time.monotonic() + _KVM_PROBE_SECONDS
            while time.monotonic() < deadline and child.poll() is None:
                if console.exists() and b"Linux version" in console.read_bytes():
                    return True
                time.sleep(0.05)
        finally:
            child.kill()
    return False


def _install_grub(image: Image, directory: Path) -> None:
    """Boot the disk with QEMU's own loader and let the host install its GRUB."""
    direct = Direct(image.kernel, image.initrd, "root=/dev/vda1 ro console=ttyS0 quiet")
    with LabHost(image, directory, disk=image.disk) as host:
        host.boot(direct=direct)
        host.run(["grub-install", "/dev/vda"])
        host.run(["update-grub"])
        host.shutdown()


def _save_boot(image: Image, directory: Path) -> None:
    """Boot by GRUB to a settled state and keep the machine as it runs then."""
    with LabHost(image, directory, disk=image.warm_disk) as host:
        host.create_disk(image.disk)
        host.boot()
        host.save(image.warm_state)


def _tool(
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
