"""What the next boot leads to, told before anything is written: whole runs on a simulated host.

The files are those of hosts in public reports.
"""

from __future__ import annotations

import json
import textwrap
from hashlib import sha256

import pytest

from cxlstate.cli.main import _run
from cxlstate.simulator.folder import load
from cxlstate.simulator.host import Host
from cxlstate.simulator.loader import CONFIGURATION
from cxlstate.simulator.mkconfig import mkconfig
from cxlstate.simulator.writer import power_cut

# The same as data is in tests/resources/grub, for the fast loop.
pytestmark = pytest.mark.slow

DEFAULTS = 'GRUB_DEFAULT=0\nGRUB_CMDLINE_LINUX_DEFAULT="console=tty1 console=ttyS0 nomodeset"\n'
CONSENT = ("--yes", "--allow", "foreign-boot,reboot-host")


class Machine:
    """A simulated host, its spec, and the command line."""

    def __init__(self, folder, capsys):
        self.folder, self.capsys = folder, capsys
        self.root = folder / "host/root"
        self.spec("grub: {args: [iommu=pt]}")
        self.run("plan")
        for path in (self.root / "etc/default/grub.d").iterdir():
            path.unlink()
        self.write("etc/default/grub", DEFAULTS)

    def spec(self, *sections):
        body = "".join(textwrap.indent(section, "  ") + "\n" for section in sections)
        head = "apiVersion: cxlstate/v1\nhost:\n  name: h\n  connect: sim:host\n"
        (self.folder / "spec.yaml").write_text(head + body)

    def write(self, path, text):
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text, newline="")

    def run(self, verb, *more):
        """Exit status, and what was printed."""
        status = _run([verb, *more, str(self.folder / "spec.yaml")])
        said = self.capsys.readouterr()
        return status, said.out + said.err

    def regenerate(self, *, boot=False):
        """As `update-grub` does, and a reboot."""
        host = Host(self.folder / "host", load(self.folder / "host"))
        said, text = mkconfig(host.files)
        assert text is not None, said
        host.files.write(CONFIGURATION, text, mode=0o600)
        if boot:
            power_cut(self.folder / "host")

    @property
    def running(self):
        return json.loads((self.folder / "host/machine.json").read_text())["running"]

    def start_with(self, line):
        """The kernel was started otherwise than by GRUB."""
        path = self.folder / "host/machine.json"
        world = json.loads(path.read_text())
        world["running"]["command_line"] = line
        path.write_text(json.dumps(world))

    def state(self):
        """Everything of it that a boot or a write would change."""
        files = sorted(
            path for path in self.root.rglob("*") if path.is_file() and "cxlstate" not in path.parts
        )
        content = sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
        return self.running["boot_id"], content


@pytest.fixture
def machine(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("CXLSTATE_DEBUG", raising=False)
    return Machine(tmp_path, capsys)


def refused(machine, *texts):
    """Plan and apply end with 1, and nothing was done."""
    before = machine.state()
    for arguments in (("plan",), ("apply", *CONSENT)):
        status, said = machine.run(*arguments)
        assert status == 1
        for text in texts:
            assert text in said
    assert machine.state() == before


QUOTINGS = {
    "double": ('"memmap=2M$0x3b7a00000 memmap=2M$0x7b7400000"', r"memmap=2M\\\$0x7b7400000 in double quotes"),
    "single": ("'memmap=2M$0x3b7a00000 memmap=2M$0x7b7400000'", r"memmap=2M\$0x7b7400000 in single quotes"),
    "once": (
        r'"memmap=2M\$0x3b7a00000 memmap=2M\$0x7b7400000"',
        r"memmap=2M\\\$0x7b7400000 in double quotes",
    ),
}


@pytest.mark.parametrize("sections", [
    ("grub: {args: [iommu=pt]}", "memmap: [{size: 2GiB, start: 320GiB, type: reserved}]"),
    ("grub: {args: [iommu=pt]}",),
    ("memmap: [{size: 2GiB, start: 320GiB, type: reserved}]",),
    ("modules: {kmem: absent}",),
], ids=["both", "grub", "memmap", "modules"])  # fmt: skip
@pytest.mark.parametrize("name", ["GRUB_CMDLINE_LINUX", "GRUB_CMDLINE_LINUX_DEFAULT"])
@pytest.mark.parametrize("quoting", QUOTINGS)
def test_a_dollar_that_would_be_eaten_stops_it(machine, quoting, name, sections):
    value, cure = QUOTINGS[quoting]
    machine.write("etc/default/grub", f"{DEFAULTS}{name}={value}\n")
    machine.spec(*sections)
    refused(machine, "error[CXM307]", "limits RAM to 2MiB", f"write {cure} in /etc/default/grub:3")


@pytest.mark.parametrize("quoting", ["single", "once"])
def test_the_cure_is_right_for_the_quotes_and_the_host_keeps_its_memory(machine, quoting):
    fixed = {"single": r"'memmap=2M\$0x3b7a00000'", "once": r'"memmap=2M\\\$0x3b7a00000"'}[quoting]
    machine.write("etc/default/grub", f"{DEFAULTS}GRUB_CMDLINE_LINUX={fixed}\n")
    status, said = machine.run("plan")
    assert status == 2
    assert "+ memmap=2M$0x3b7a00000" in said
    assert machine.run("apply", *CONSENT)[0] == 0
    assert "memmap=2M$0x3b7a00000" in machine.running["command_line"]


@pytest.mark.parametrize("quoting", ["single", "once"])
def test_grub_really_takes_the_memory_away(machine, quoting):
    machine.write("etc/default/grub", f"{DEFAULTS}GRUB_CMDLINE_LINUX={QUOTINGS[quoting][0]}\n")
    machine.regenerate(boot=True)
    assert "memmap=2Mx3b7a00000" in machine.running["command_line"]


def test_no_reboot_into_a_grub_cfg_that_loses_the_host(machine):
    """The reboot is asked for by another kind, and grub.cfg would stay as it is."""
    machine.spec("modules: {kmem: absent}")
    assert machine.run("apply", "--yes", "--allow", "foreign-boot")[0] == 3
    path = machine.root / "boot/grub/grub.cfg"
    path.write_text(path.read_text().replace(" nomodeset", " nomodeset memmap=2G$320G"))
    status, said = machine.run("plan")
    assert status == 1
    assert "error[CXM307] `memmap=2GG` limits RAM to 2GiB" in said
    boot = machine.running["boot_id"]
    assert machine.run("apply", *CONSENT)[0] == 1
    assert machine.running["boot_id"] == boot


def test_no_reboot_into_a_bad_grub_cfg_whose_defaults_cannot_be_read(machine):
    """What grub.cfg means is known although GRUB's defaults are not; the module alone asks for the reboot."""
    machine.write("etc/modprobe.d/kmem.conf", "blacklist kmem\ninstall kmem /bin/false\n")
    machine.spec("modules: {kmem: absent}")
    machine.write("etc/default/grub", f"{DEFAULTS}GRUB_CMDLINE_LINUX=$(cat /x)\n")
    assert "── reboot-host ──" in machine.run("plan")[1]
    path = machine.root / "boot/grub/grub.cfg"
    path.write_text(path.read_text().replace(" nomodeset", " nomodeset memmap=2G$320G"))
    boot = machine.running["boot_id"]
    status, said = machine.run("apply", *CONSENT)
    assert status == 1
    assert "error[CXM307] `memmap=2GG` limits RAM to 2GiB" in said
    assert machine.running["boot_id"] == boot


def test_no_reboot_into_a_recovery_entry(machine):
    """It starts no network, so that nobody would come back."""
    machine.spec("modules: {kmem: absent}")
    assert machine.run("apply", "--yes", "--allow", "foreign-boot")[0] == 3
    machine.write("boot/grub/grubenv", "# GRUB Environment Block\nnext_entry=1>1\n")
    boot = machine.running["boot_id"]
    status, said = machine.run("apply", *CONSENT)
    assert status == 1
    assert "the entry that boots next is a recovery entry" in said
    assert machine.running["boot_id"] == boot


def test_a_limit_that_is_meant_and_in_force_is_a_warning(machine):
    machine.write("etc/default/grub", f'{DEFAULTS}GRUB_CMDLINE_LINUX="mem=8G"\n')
    machine.regenerate(boot=True)
    status, said = machine.run("apply", *CONSENT)
    assert status == 0
    assert "warning[CXM307] `mem=8G` limits RAM to 8GiB" in said


PROXMOX = r"initrd=\EFI\proxmox\6.8.12-2-pve\initrd.img-6.8.12-2-pve root=ZFS=rpool/ROOT/pve-1 boot=zfs"


def test_a_host_that_systemd_boot_starts_is_left_alone(machine):
    machine.write("etc/kernel/proxmox-boot-uuids", "A1B2-C3D4\n")
    machine.start_with(PROXMOX)
    refused(machine, "error[CXG320]", "proxmox-boot-tool refresh")


def test_a_kernel_of_which_nobody_knows_who_started_it(machine):
    machine.start_with("root=/dev/vda1 ro quiet")
    refused(machine, "error[CXG321] cannot tell which boot loader started this kernel")


def test_the_entry_of_the_next_boot_is_asked(machine):
    machine.write("boot/grub/grubenv", "# GRUB Environment Block\nnext_entry=Memory test\n")
    refused(machine, "error[CXG322]", "'Memory test' of 40_custom, by next_entry", "unset next_entry")


def test_carriage_returns_stop_it_as_they_stop_grub_mkconfig(machine):
    machine.write("etc/default/grub", DEFAULTS.replace("\n", "\r\n") + "\r\n")
    host = Host(machine.folder / "host", load(machine.folder / "host"))
    assert mkconfig(host.files)[1] is None
    refused(machine, "error[CXG325]", r"sed -i 's/\r$//' /etc/default/grub")


INITRDLESS = """\
### BEGIN /etc/grub.d/10_linux ###
menuentry 'Ubuntu' --class ubuntu $menuentry_id_option 'gnulinux-simple-b993' {
	if [ "${initrdfail}" = 1 ]; then
		linux	/boot/vmlinuz-6.5.13 root=PARTUUID=26f2 ro  console=tty1 console=ttyS0
	else
		linux	/boot/vmlinuz-6.5.13 root=PARTUUID=26f2 ro  console=tty1 console=ttyS0 panic=-1
	fi
}
### END /etc/grub.d/10_linux ###
"""
RECOVERY = """\
### BEGIN /etc/grub.d/10_linux ###
menuentry 'Ubuntu' $menuentry_id_option 'gnulinux-simple-e832' {
	linux	/boot/vmlinuz-5.15 root=LABEL=x ro  console=tty1 console=ttyS0
}
menuentry 'Ubuntu (recovery mode)' $menuentry_id_option 'gnulinux-5.15-recovery-e832' {
	linux	/boot/vmlinuz-5.15 root=LABEL=x ro recovery nomodeset dis_ucode_ldr
}
### END /etc/grub.d/10_linux ###
"""


@pytest.mark.parametrize(
    ("grub_cfg", "drop_in"),
    [
        (INITRDLESS, "GRUB_FORCE_PARTUUID=26f2\n"),
        (RECOVERY, 'GRUB_CMDLINE_LINUX_RECOVERY="systemd.unit=multi-user.target"\n'),
    ],
    ids=["initrdless", "recovery"],
)
def test_words_of_10_linux_itself_are_nobodys_edit(machine, grub_cfg, drop_in):
    machine.write("etc/default/grub", DEFAULTS.replace(" nomodeset", ""))
    machine.write("etc/default/grub.d/40-image.cfg", drop_in)
    machine.write("boot/grub/grub.cfg", grub_cfg)
    status, said = machine.run("plan")
    assert status == 2
    assert "foreign-boot" not in said
