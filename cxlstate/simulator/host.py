"""The machine as a whole: its programs, and how it boots."""

from __future__ import annotations

import re
import shutil
import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Self

from cxlstate.core.effect import Effect
from cxlstate.core.fragment import Fragment
from cxlstate.formats import forward_keeping, restore
from cxlstate.formats.partitions import SECTOR
from cxlstate.machine.outcome import Outcome
from cxlstate.simulator import filters, guests, loader, mtrr, processes, procfs
from cxlstate.simulator.accounts import Accounts
from cxlstate.simulator.blocks import Blocks
from cxlstate.simulator.boot_shell import BootShell
from cxlstate.simulator.ended import Ended, unknown
from cxlstate.simulator.files import Files
from cxlstate.simulator.first_boot import CloudInit
from cxlstate.simulator.folder import ROOT, WEB, load, save
from cxlstate.simulator.images import Disks, Drafts, Images
from cxlstate.simulator.kernel import Modules
from cxlstate.simulator.libvirt.driver import DAEMON as LIBVIRTD
from cxlstate.simulator.libvirt.driver import Libvirt
from cxlstate.simulator.libvirt.firewall import Firewall
from cxlstate.simulator.loader import NoBoot
from cxlstate.simulator.ndctl import Nd
from cxlstate.simulator.net import Devices
from cxlstate.simulator.packages import Packages
from cxlstate.simulator.sshd import Sshd
from cxlstate.simulator.unit_files import UnitFiles
from cxlstate.simulator.units import Units
from cxlstate.simulator.world import ActiveDomain, Running, World

_RESTORE = ("/bin/sh", restore.SCRIPT, "restore")
_TEXT = 2  # words of `-c` and its text
_PLAIN = re.compile(r"[A-Za-z0-9_./:=,+-]+")


class Host:
    """One state of the machine in `directory`; `save` makes it the present one."""

    def __init__(self, directory: Path, world: World, step: Callable[[str], None] = lambda _: None) -> None:
        self.world = world
        self._input = ""
        self._directory = directory
        self._step = step

    @classmethod
    def load(cls, directory: Path, step: Callable[[str], None] = lambda _: None) -> Self:
        """The machine as it stands. Raises CxlstateError CXC401."""
        return cls(directory, load(directory), step)

    @property
    def files(self) -> Files:
        """Its files as they are at this moment."""
        return Files(
            self._directory / ROOT,
            procfs.computed(self.world),
            privileged=self.world.login.root,
            links=procfs.links(self.world),
            refused=procfs.refused(self.world),
        )

    @property
    def _host(self) -> Path | None:
        """Of a machine in a domain, the folder of its host."""
        return guests.host_of(self._directory) if self.world.power.start else None

    def save(self) -> None:
        """Write `machine.json`, if anything in it changed."""
        save(self.world, self._directory)

    def run(self, argv: tuple[str, ...]) -> Ended:
        """Run a program of the closed list that the simulator knows."""
        name, *words = argv
        program = self._programs().get(name)
        return program(words) if program else unknown(argv)

    def step(self, fragment: Fragment, words: tuple[str, ...]) -> Ended:
        """One verb of the boot script."""
        shell = self._shell(self._checkpoint)
        program = restore.program(fragment.text, root=shell.root, overlay=shell.overlay())
        return shell.run(program, words)

    def _shell(self, step: Callable[[str], None]) -> BootShell:
        return BootShell(self._directory, self.world, self._run_with, step)

    def _run_with(self, argv: tuple[str, ...], given: str) -> Ended:
        self._input = given
        return self.run(argv)

    @property
    def libvirt(self) -> Libvirt:
        """Its libvirt."""
        return self._libvirt(self._checkpoint)

    def _libvirt(self, step: Callable[[str], None]) -> Libvirt:
        def hook(event: str) -> None:
            if event in ("started", "updated") and self._has_hook():
                self._keep_forwards(["gate"], step)

        inside = _Inside(self._directory, self.world, self._disk)
        return Libvirt(self.world, self._disk, step, inside, hook)

    def _has_hook(self) -> bool:
        """Ours alone is run here, if the daemon looked for hooks when it was there already."""
        path = forward_keeping.HOOK
        if self._disk.text(path) != forward_keeping.hook():
            return False
        info = self._disk.stat(path)
        looked = self.world.running.since.get(LIBVIRTD, 0)
        return info.st_mode & 0o111 != 0 and int(info.st_mtime) <= looked

    @property
    def _disk(self) -> Files:
        return Files(self._directory / ROOT, {}, privileged=True)

    def first_boot(self, seed: dict[str, bytes] | None) -> None:
        """What cloud-init does when the machine has booted."""
        self._cloud_init().boot(seed)

    def _cloud_init(self) -> CloudInit:
        return CloudInit(self.world, self.files)

    def image(self, effect: Effect, drafts: Drafts) -> Outcome:
        """One effect on a disk image."""
        inside = _Inside(self._directory, self.world, self._disk)
        return Images(
            self.world,
            self.files,
            web=self._directory / WEB,
            step=self._checkpoint,
            drafts=drafts,
            grown=inside.grow_disk,
        ).perform(effect)

    def _programs(self) -> dict[str, Callable[[list[str]], Ended]]:
        files = self.files
        units, accounts = self._units(files, self._checkpoint), Accounts(files, self.world.owners)
        packages = Packages(self.world, files, accounts, units, self._checkpoint)
        disks, devices = Disks(self.world, files), Devices(self.world)
        blocks = Blocks(self.world, self._checkpoint)
        return {
            **filters.programs(self.world, self._disk, self._input),
            "apt-cache": packages.cache,
            "apt-get": packages.apt_get,
            "apt-mark": packages.mark,
            "bridge": devices.bridge,
            "btrfs": blocks.btrfs,
            "chmod": disks.chmod,
            "chown": disks.chown,
            "cloud-init": self._cloud_init().run,
            "dmesg": self._dmesg,
            "dpkg": packages.dpkg,
            "dpkg-query": packages.query,
            "env": self._env,
            "getent": accounts.getent,
            "gpasswd": accounts.gpasswd,
            "grep": self._grep,
            "growpart": blocks.growpart,
            "install": self._install,
            "ip": devices.ip,
            "lsblk": blocks.lsblk,
            "modinfo": lambda words: Modules(self.world, files).modinfo(words),
            "modprobe": lambda words: Modules(self.world, files).modprobe(words),
            "ndctl": Nd(self.world, self._checkpoint, self._host).ndctl,
            "pgrep": lambda words: processes.pgrep(self.world, words),
            "pkill": lambda words: processes.pkill(self.world, words),
            "qemu-img": disks.qemu_img,
            "resize2fs": blocks.resize2fs,
            "rm": self._rm,
            "rmmod": lambda words: Modules(self.world, files).rmmod(words),
            "sh": self._shell_of,
            "sshd": Sshd(self.world, files).run,
            "stat": disks.stat,
            "sync": lambda _: Ended(),  # what is written is there
            "systemctl": units.systemctl,
            "systemd-detect-virt": self._detect_virt,
            "touch": self._touch,
            "uname": self._uname,
            "useradd": accounts.useradd,
            "userdel": accounts.userdel,
            "usermod": accounts.usermod,
            "virsh": self._virsh,
            "xfs_growfs": blocks.xfs_growfs,
        }

    def boot(self) -> None:
        """Everything volatile is lost; GRUB, the kernel, the modules, the services, the guests.

        Raises NoBoot.
        """
        self.world.running = Running()
        shutil.rmtree(self._directory / ROOT / "run", ignore_errors=True)
        kernel, command_line = loader.boot(self.files)
        self.world.running = Running(str(uuid.uuid4()), kernel, command_line)
        mtrr.boot(self.world)
        Nd(self.world, lambda _: None).boot()
        Modules(self.world, self.files).boot()
        units = self._units(self.files, lambda _: None)
        units.boot()
        self._libvirt(lambda _: None).boot()
        units.boot_late()

    def _units(self, files: Files, step: Callable[[str], None]) -> Units:
        def execute(program: tuple[str, ...]) -> Ended:
            match program:
                case ("/bin/sh", restore.SCRIPT, "restore"):
                    return self._script(files, step)
                case ("/bin/sh", forward_keeping.SCRIPT, verb):
                    return self._keep_forwards([verb], step)
            return Ended()

        def started(name: str) -> None:
            if name == LIBVIRTD and self.world.running.networks:
                Firewall(self.world).link()

        return Units(self.world, UnitFiles(self.world, files), execute, started)

    def _keep_forwards(self, words: list[str], step: Callable[[str], None]) -> Ended:
        """The script that keeps forwards, if it is ours to the byte: it is run on this computer."""
        there = self._disk.exists(forward_keeping.SCRIPT)
        if not there:
            return Ended(2, stderr=f"sh: 0: cannot open {forward_keeping.SCRIPT}: No such file\n")
        if self._disk.text(forward_keeping.SCRIPT) != forward_keeping.script():
            return unknown(("sh", forward_keeping.SCRIPT))
        shell = self._shell(step)
        return shell.run(forward_keeping.simulated(shell.root, shell.overlay()), words)

    def _virsh(self, words: list[str]) -> Ended:
        """`virsh --connect network:///system net-list`: an answer says that networks are there."""
        if words != ["--connect", "network:///system", "net-list"]:
            return unknown(("virsh", *words))
        return Ended()

    def _script(self, files: Files, step: Callable[[str], None]) -> Ended:
        """The boot script, which has to be just ours: it is run on this computer."""
        shell = self._shell(step)
        program = restore.simulated(files.text(restore.SCRIPT), shell.root, shell.overlay())
        return shell.run(program, ["restore"]) if program else unknown(_RESTORE)

    def _dmesg(self, words: list[str]) -> Ended:
        if words:
            return unknown(("dmesg", *words))
        if not self.world.login.root:
            return Ended(1, stderr="dmesg: read kernel buffer failed: Operation not permitted\n")
        return Ended(stdout="".join(f"{line}\n" for line in self.world.running.log))

    def _grep(self, words: list[str]) -> Ended:
        """`grep -m1 TEXT FILE`."""
        match words:
            case ["-m1", text, path]:
                found = [line for line in self.files.text(path).splitlines() if text in line]
                return Ended(0, f"{found[0]}\n") if found else Ended(1)
        return unknown(("grep", *words))

    def _env(self, words: list[str]) -> Ended:
        """`env --chdir=FOLDER PROGRAM WORD…`."""
        folder, *argv = words or [""]
        if not folder.startswith("--chdir=") or not argv:
            return unknown(("env", *words))
        path = folder.removeprefix("--chdir=")
        if not self.files.real(path).is_dir():
            return Ended(125, stderr=f"env: cannot change directory to '{path}': No such file or directory\n")
        return self.run(tuple(argv))

    def _install(self, words: list[str]) -> Ended:
        """`install --directory --mode=MODE FOLDER`."""
        match words:
            case ["--directory", mode, path] if mode.startswith("--mode="):
                self.files.real(path).mkdir(parents=True, exist_ok=True)
                return Ended()
        return unknown(("install", *words))

    def _rm(self, words: list[str]) -> Ended:
        """`rm --force FILE…`."""
        match words:
            case ["--force", *paths]:
                for path in paths:
                    if self.files.exists(path):
                        self.files.remove(path)
                return Ended()
        return unknown(("rm", *words))

    def _touch(self, words: list[str]) -> Ended:
        for path in words:
            if not self.files.exists(path):
                self.files.write(path, b"", mode=0o644)
        return Ended()

    def _checkpoint(self, name: str) -> None:
        self.save()
        self._step(name)

    def _uname(self, words: list[str]) -> Ended:
        return (
            Ended(stdout=f"{self.world.running.kernel}\n") if words == ["-r"] else unknown(("uname", *words))
        )

    def _detect_virt(self, words: list[str]) -> Ended:
        """A machine in a domain is one of KVM; the others are none."""
        if words != ["--vm"]:
            return unknown(("systemd-detect-virt", *words))
        return Ended(stdout="kvm\n") if self.world.power.start else Ended(1, stdout="none\n")

    def _shell_of(self, words: list[str]) -> Ended:
        if words[:1] == [forward_keeping.SCRIPT]:
            return self._keep_forwards(words[1:], self._checkpoint)
        return self._plain_shell(words)

    def _plain_shell(self, words: list[str]) -> Ended:
        """`sh -c` with commands of plain words and `;` between them, the last one perhaps after `exec`."""
        commands = [tuple(part.split()) for part in words[-1].split(";")] if len(words) == _TEXT else []
        commands = [one[1:] if one[:1] == ("exec",) else one for one in commands]
        if words[:1] != ["-c"] or not all(one and all(map(_PLAIN.fullmatch, one)) for one in commands):
            return unknown(("sh", *words))
        ended = [self.run(one) for one in commands]
        said = "".join(one.stdout for one in ended), "".join(one.stderr for one in ended)
        return Ended(ended[-1].status, *said)


class _Inside:
    """The machines in the domains of the host in a folder; `files` are those on its disk."""

    def __init__(self, directory: Path, world: World, files: Files) -> None:
        self._directory = directory
        self._world = world
        self._files = files

    def boot(self, vm: str, domain: ActiveDomain) -> None:
        """Boot the machine in a domain that starts, if there is one; one that cannot boot stays off."""
        inside = guests.folder(self._directory, vm)
        if not inside.exists():
            return
        guest = Host.load(inside)
        power = guest.world.power = guests.power(self._world, domain, self._files)
        guests.plug_in(self._directory, guest.world)
        with suppress(NoBoot):
            guest.boot()
            guest.first_boot(guests.seed_in(self._files, power.seed))
        guest.save()

    def grow_disk(self, vm: str, before: int, after: int) -> None:
        """Let it see that its disk of a size has grown (VIRTIO_BLK_F configuration change)."""
        inside = guests.folder(self._directory, vm)
        if not inside.exists():
            return
        guest = Host.load(inside)
        for disk in guest.world.disks.values():
            if disk.size * SECTOR == before:
                disk.size = after // SECTOR
                break
        guest.save()

    def unplug_seed(self, vm: str) -> None:
        """Take the seed away while it runs."""
        inside = guests.folder(self._directory, vm)
        if inside.exists():
            guest = Host.load(inside)
            guest.world.power.seed = ""
            guest.save()


class Still(Host):
    """A machine that is only read: what the kernel computes is computed once."""

    @cached_property
    def files(self) -> Files:
        """Its files as they were when they were first asked for."""
        return super().files
