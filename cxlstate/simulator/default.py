"""The default host: a Debian cloud server with 318 GiB of RAM and 96 GiB of CXL memory above it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from cxlstate.core.diagnostic import fail
from cxlstate.simulator.host import Host
from cxlstate.simulator.loader import CONFIGURATION
from cxlstate.simulator.mkconfig import mkconfig
from cxlstate.simulator.world import (
    ROOT,
    Archive,
    Brings,
    Installed,
    Mtrr,
    Package,
    Region,
    Unit,
    VariableRange,
    World,
    save,
)

KERNELS = ("6.12.117+deb13-amd64", "6.12.107+deb13-amd64")

_FIRMWARE = (
    ("0x0", "0x9ffff", "System RAM"),
    ("0xa0000", "0xfffff", "Reserved"),
    ("0x100000", "0x7fffffff", "System RAM"),
    ("0x80000000", "0xffffffff", "Reserved"),
    ("0x100000000", "0x507fffffff", "System RAM"),
    ("0x5080000000", "0x687fffffff", "Soft Reserved"),
)
_MODULES = """\
kernel/drivers/dax/hmem/dax_hmem.ko.xz:
kernel/drivers/dax/device_dax.ko.xz:
kernel/drivers/dax/kmem.ko.xz:
kernel/drivers/cxl/core/cxl_core.ko.xz:
kernel/drivers/cxl/cxl_acpi.ko.xz: kernel/drivers/cxl/core/cxl_core.ko.xz
kernel/drivers/nvdimm/libnvdimm.ko.xz:
kernel/drivers/nvdimm/nd_e820.ko.xz: kernel/drivers/nvdimm/libnvdimm.ko.xz
kernel/drivers/nvdimm/nd_pmem.ko.xz: kernel/drivers/nvdimm/libnvdimm.ko.xz
kernel/virt/lib/irqbypass.ko.xz:
kernel/arch/x86/kvm/kvm.ko.xz: kernel/virt/lib/irqbypass.ko.xz
kernel/arch/x86/kvm/kvm-intel.ko.xz: kernel/arch/x86/kvm/kvm.ko.xz kernel/virt/lib/irqbypass.ko.xz
kernel/drivers/watchdog/iTCO_wdt.ko.xz:
kernel/drivers/net/dummy.ko.xz:
kernel/drivers/net/veth.ko.xz:
kernel/drivers/vfio/vfio.ko.xz:
kernel/drivers/vfio/pci/vfio-pci.ko.xz: kernel/drivers/vfio/vfio.ko.xz
kernel/fs/ext4/ext4.ko.xz:
"""
_BUILTIN = """\
kernel/drivers/dax/dax.ko
kernel/drivers/tty/serial/8250/8250.ko
kernel/drivers/virtio/virtio.ko
"""
_FILES = {
    "etc/hostname": "cloudcxl2\n",
    "etc/passwd": """\
root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
admin:x:1000:1000:Operator:/home/admin:/bin/bash
""",
    "etc/shadow": """\
root:*:20000:0:99999:7:::
daemon:*:20000:0:99999:7:::
admin:!:20000:0:99999:7:::
""",
    "etc/group": """\
root:x:0:
adm:x:4:admin
sudo:x:27:admin
users:x:100:
kvm:x:993:
admin:x:1000:
""",
    "etc/ssh/sshd_config": """\
# As Debian's openssh-server has it, without its comments.
Include /etc/ssh/sshd_config.d/*.conf
KbdInteractiveAuthentication no
UsePAM yes
X11Forwarding yes
PrintMotd no
AcceptEnv LANG LC_* COLORTERM NO_COLOR
Subsystem\tsftp\t/usr/lib/openssh/sftp-server
""",
    "etc/ssh/sshd_config.d/50-cloud-init.conf": "PasswordAuthentication no\n",
    "etc/default/grub": """\
# Settings of the boot loader: run update-grub after an edit.
GRUB_DEFAULT=0
GRUB_TIMEOUT=5
GRUB_DISTRIBUTOR=`( . /etc/os-release && echo ${NAME} )`
GRUB_CMDLINE_LINUX_DEFAULT="quiet splash"
GRUB_CMDLINE_LINUX=""

# Agreed with the team on site: nobody boots another system on this host.
GRUB_DISABLE_OS_PROBER=true
""",
    "etc/default/grub.d/50-cloudimg-settings.cfg": """\
# Written by the maker of the image: a serial console for the cloud.
GRUB_CMDLINE_LINUX_DEFAULT="console=tty1 console=ttyS0 nomodeset"
GRUB_TIMEOUT=0
""",
    "etc/grub.d/40_custom": """\
#!/bin/sh
exec tail -n +3 $0
# Entries of our own go below this line.
menuentry 'Memory test' {
\tlinux\t/boot/memtest86+x64.bin
}
""",
    "etc/modprobe.d/blacklist-watchdog.conf": "# The board resets by itself.\nblacklist iTCO_wdt\n",
    "etc/modules-load.d/modules.conf": "# A module a line, loaded at boot.\nvfio-pci\n",
}
_BASE = {
    "apt": "3.0.3",
    "bash": "5.2.37-2+b5",
    "cron": "3.0pl1-197",
    "dpkg": "1.22.22",
    "grub-pc": "2.12-9+deb13u2",
    "kmod": "34.2-2",
    "openssh-server": "1:10.0p1-7",
    "sudo": "1.9.16p2-3",
    "systemd": "257.8-1~deb13u2",
    "udev": "257.8-1~deb13u2",
}
_LIBVIRT = "11.3.0-3+deb13u1"
_QEMU = "1:10.0.13+ds-0+deb13u1"
_NDCTL = "81-1"
NETWORK = """\
<network>
  <name>default</name>
  <uuid>75e801f2-f13b-4dc4-a7f4-c979b41ac4f4</uuid>
  <forward mode='nat'/>
  <bridge name='virbr0' stp='on' delay='0'/>
  <mac address='52:54:00:ba:62:44'/>
  <ip address='192.168.122.1' netmask='255.255.255.0'>
    <dhcp>
      <range start='192.168.122.2' end='192.168.122.254'/>
    </dhcp>
  </ip>
</network>
"""  # as the daemon has written it when it first read the one of the package
_SOCKETS = ("libvirtd-admin.socket", "libvirtd-ro.socket", "libvirtd.socket")


def create(directory: Path) -> None:
    """Make the default host and boot it once; the folder appears whole or not at all."""
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=f".{directory.name}-", dir=directory.parent, ignore_cleanup_errors=True
        ) as folder:
            draft = Path(folder) / "draft"
            draft.mkdir()
            _fill(draft)
            draft.rename(directory)
    except OSError as error:
        if directory.is_dir() and any(directory.iterdir()):
            return  # somebody else made it at the same moment, or it holds something: reading tells
        raise fail(
            "CXC401",
            f"cannot create a simulated host in {directory}",
            found=error.strerror or str(error),
            expected="a path where a folder can be created",
            hint="name another folder after `sim:`",
        ) from error


def _fill(directory: Path) -> None:
    root = directory / ROOT
    for path, text in {**_FILES, **_kernel_files()}.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    for folder in ("var/lib/dpkg/updates", "var/lib/apt/lists", "boot/grub"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "etc/shadow").chmod(0o640)
    for shell in ("bash", "sh"):
        file = root / "usr/bin" / shell
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    (root / "bin").symlink_to("usr/bin")
    host = Host(directory, _world())
    _, configuration = mkconfig(host.files)
    host.files.write(CONFIGURATION, configuration or b"", mode=0o600)
    host.boot()
    save(host.world, directory)


def _kernel_files() -> dict[str, str]:
    files = {}
    for kernel in KERNELS:
        files[f"boot/vmlinuz-{kernel}"] = ""
        files[f"boot/initrd.img-{kernel}"] = ""
        files[f"lib/modules/{kernel}/modules.dep"] = _MODULES
        files[f"lib/modules/{kernel}/modules.builtin"] = _BUILTIN
    return files


def _world() -> World:
    return World(
        cpus=[",".join(map(str, range(node, 48, 2))) for node in range(2)],
        firmware=[Region(*one) for one in _FIRMWARE],
        autoload=["ext4", "kvm_intel", "cxl_acpi", "dax_hmem", "device_dax", "kmem", "iTCO_wdt"],
        mtrr=Mtrr(firmware=[VariableRange(0, "0x80000000", "0x80000000")]),
        units={
            "apt-daily.timer": Unit(masked=True, state="enabled"),
            "cron.service": Unit("enabled"),
            "multi-user.target": Unit("static"),
            "ssh.service": Unit("enabled", type="notify", aliases=["sshd.service"]),
            "systemd-journald.service": Unit("static", type="notify"),
            "systemd-networkd.service": Unit("enabled", type="notify"),
        },
        archive=Archive(packages=_archive()),
        installed={name: Installed(version) for name, version in _BASE.items()},
    )


def _archive() -> list[Package]:
    """What the runbook installs, with what that needs, and two small packages to play with."""
    return [
        Package("libvirt0", _LIBVIRT),
        Package("libvirt-clients", _LIBVIRT, depends=["libvirt0"]),
        Package(
            "libvirt-daemon-config-network",
            _LIBVIRT,
            depends=["libvirt0"],
            architecture="all",
            brings=Brings(files={"/etc/libvirt/qemu/networks/default.xml": NETWORK}),
        ),
        Package(
            "libvirt-daemon-system",
            _LIBVIRT,
            depends=["libvirt0", "libvirt-clients", "libvirt-daemon-config-network", "qemu-kvm"],
            configuration=True,
            brings=Brings(groups=["libvirt", "libvirt-qemu"], units=_libvirt_units()),
        ),
        Package("qemu-system-x86", _QEMU, provides=["qemu-kvm", "qemu-system-x86-64"]),
        Package("qemu-utils", _QEMU),
        Package("ovmf", "2025.02-8+deb13u1", architecture="all"),
        Package("libndctl6", _NDCTL),
        Package("libdaxctl1", _NDCTL),
        Package(
            "ndctl",
            _NDCTL,
            depends=["libndctl6", "libdaxctl1"],
            brings=Brings(units={"ndctl-monitor.service": Unit("enabled")}),
        ),
        Package("daxctl", _NDCTL, depends=["libdaxctl1"]),
        Package("cxl", _NDCTL),
        Package("virtinst", "1:5.0.0-5", depends=["libvirt0"], architecture="all"),
        Package("bridge-utils", "1.7.1-4"),
        Package("hello", "2.10-5"),
        Package("tree", "2.2.1-1"),
    ]


def _libvirt_units() -> dict[str, Unit]:
    sockets = {name: Unit("enabled") for name in _SOCKETS}
    daemon = Unit("enabled", type="notify-reload", triggered_by=list(_SOCKETS))
    return {**sockets, "libvirtd.service": daemon, "virtlogd.service": Unit("enabled", type="notify")}
