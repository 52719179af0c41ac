"""Arguments of one name: which of them Linux keeps, handler by handler."""

from __future__ import annotations

import pytest

from cxlstate.formats import hugetlb
from cxlstate.formats.kernel_cmdline import holds, parse
from cxlstate.formats.kernel_rules import in_force, rule


def kept(line: str) -> list[str]:
    """The arguments of which something is in force."""
    arguments = parse(line)
    return [str(arguments[by]) for by in sorted({one.by for one in in_force(arguments)})]


@pytest.mark.parametrize(
    ("line", "left"),
    [
        # The last one
        ("mitigations=off mitigations=auto", "mitigations=auto"),
        ("spectre_v2=on spectre_v2=off", "spectre_v2=off"),
        ("nvme_core.io_timeout=1 nvme-core.io_timeout=2", "nvme-core.io_timeout=2"),
        ("transparent_hugepage=always transparent_hugepage=never", "transparent_hugepage=never"),
        ("module_blacklist=kmem module_blacklist=nouveau", "module_blacklist=nouveau"),
        ("memhp_default_state=online memhp_default_state=offline", "memhp_default_state=offline"),
        ("rcu_nocbs=1-3 rcu_nocbs=2", "rcu_nocbs=2"),
        ("ro rw", "rw"),
        ("disable_mtrr_cleanup enable_mtrr_cleanup", "enable_mtrr_cleanup"),
        ("kernelcore=2G kernelcore=25%", "kernelcore=25%"),
        ("swiotlb=65536,force swiotlb=131072", "swiotlb=65536,force swiotlb=131072"),
        ("swiotlb=65536 swiotlb=131072,2", "swiotlb=131072,2"),
        # Two names of one setting
        ("iommu=pt iommu.passthrough=0", "iommu.passthrough=0"),
        ("iommu.passthrough=1 iommu=nopt,merge", "iommu=nopt,merge"),
        ("pti=on nopti", "nopti"),
        ("noefi efi=runtime", "efi=runtime"),
        ("intremap=on nointremap", "nointremap"),
        # A stronger one
        ("iommu=off intel_iommu=on", "iommu=off"),
        ("intel_iommu=off iommu=off", "intel_iommu=off iommu=off"),
        ("amd_iommu=on iommu=soft,off", "iommu=soft,off"),
        ("iommu=off iommu=pt", "iommu=off"),
        ("amd_iommu=off amd_iommu=on", "amd_iommu=off"),
        ("mitigations=off mds=full,nosmt spectre_v2=on", "mitigations=off"),
        ("mitigations=off mitigations=auto mds=full", "mitigations=auto mds=full"),
        ("mitigations=off retbleed=off mds=off", "mitigations=off retbleed=off mds=off"),
        ("nospectre_v2 spectre_v2=retpoline", "nospectre_v2"),
        ("nospec_store_bypass_disable spec_store_bypass_disable=on", "nospec_store_bypass_disable"),
        ("spectre_v2=off spectre_v2_user=on", "spectre_v2=off"),
        ("lsm=lockdown,yama security=apparmor", "lsm=lockdown,yama"),
        ("lsm=lockdown,apparmor security=apparmor", "lsm=lockdown,apparmor security=apparmor"),
        ("nmi_watchdog=1 nowatchdog", "nowatchdog"),
        ("movablecore=50% movable_node", "movable_node"),
        ("movable_node kernelcore=mirror", "movable_node"),
        ("kernelcore=mirror movablecore=2G", "kernelcore=mirror"),
        # The first one
        ("isolcpus=1-3 isolcpus=2", "isolcpus=1-3"),
        ("nohz_full=1-3 nohz_full=2", "nohz_full=1-3"),
        ("earlycon=uart8250,io,0x3f8 earlycon=efifb", "earlycon=uart8250,io,0x3f8"),
        ("earlyprintk=ttyS0 earlyprintk=vga", "earlyprintk=ttyS0"),
        ("ima_hash=sha256 ima_hash=sha1", "ima_hash=sha256"),
        # The least
        ("mem=8G mem=4096M mem=6G", "mem=4096M"),
        ("nr_cpus=4 nr_cpus=8", "nr_cpus=4"),
        # All of them
        ("isolcpus=managed_irq,2 isolcpus=domain,3", "isolcpus=managed_irq,2 isolcpus=domain,3"),
        ("isolcpus=2-7 nohz_full=2-7 rcu_nocbs=2-7", "isolcpus=2-7 nohz_full=2-7 rcu_nocbs=2-7"),
        ("modprobe.blacklist=kmem modprobe.blacklist=b,c", "modprobe.blacklist=kmem modprobe.blacklist=b,c"),
        ("console=tty0 console=ttyS0,115200", "console=tty0 console=ttyS0,115200"),
        ("memmap=2G$320G memmap=4K$1G", "memmap=2G$320G memmap=4K$1G"),
        ("sev=debug sev=nosnp", "sev=debug sev=nosnp"),
        ("kernelcore=4G movablecore=50%", "kernelcore=4G movablecore=50%"),
        ("acpi_osi=! acpi_osi=Linux", "acpi_osi=! acpi_osi=Linux"),
        ("initcall_blacklist=a initcall_blacklist=b", "initcall_blacklist=a initcall_blacklist=b"),
        ("kvm.dyndbg=+p kvm.dyndbg=+m", "kvm.dyndbg=+p kvm.dyndbg=+m"),
        ("rd.lvm.lv=a/b rd.lvm.lv=a/c", "rd.lvm.lv=a/b rd.lvm.lv=a/c"),
        ("systemd.mask=a systemd.mask=b", "systemd.mask=a systemd.mask=b"),
        ("ima_policy=tcb ima_policy=secure_boot", "ima_policy=tcb ima_policy=secure_boot"),
        ("lockdown=confidentiality lockdown=integrity", "lockdown=confidentiality lockdown=integrity"),
        # Three names of one level; quiet and debug say more than that
        ("loglevel=7 loglevel=3", "loglevel=3"),
        ("loglevel=7 quiet", "quiet"),
        ("quiet loglevel=7", "quiet loglevel=7"),
        ("debug quiet", "debug quiet"),
        # By switch: only of words for the same one the last
        ("iommu=pt iommu=1", "iommu=pt iommu=1"),
        ("iommu=pt iommu=nopt", "iommu=nopt"),
        ("intel_iommu=on intel_iommu=sm_on", "intel_iommu=on intel_iommu=sm_on"),
        ("intel_iommu=on,sm_on intel_iommu=off", "intel_iommu=on,sm_on intel_iommu=off"),
        ("intel_iommu=on intel_iommu=off", "intel_iommu=off"),
        ("amd_iommu=on amd_iommu=pgtbl_v2", "amd_iommu=on amd_iommu=pgtbl_v2"),
        ("pci=nomsi pci=realloc=off", "pci=nomsi pci=realloc=off"),
        ("pci=realloc pci=realloc=off", "pci=realloc=off"),
        ("pci=pcie_bus_safe pci=pcie_bus_perf", "pci=pcie_bus_perf"),
        ("efi=debug efi=nosoftreserve", "efi=debug efi=nosoftreserve"),
        ("efi=runtime efi=noruntime", "efi=noruntime"),
        ("cgroup_disable=memory cgroup_enable=memory", "cgroup_enable=memory"),
        ("cgroup_disable=memory cgroup_disable=io", "cgroup_disable=memory cgroup_disable=io"),
        ("numa=off numa=fake=4", "numa=off numa=fake=4"),
        ("nosmt=force nosmt", "nosmt=force nosmt"),
        ("intel_pstate=passive intel_pstate=no_hwp", "intel_pstate=passive intel_pstate=no_hwp"),
        ("intel_pstate=passive intel_pstate=active", "intel_pstate=active"),
        ("video=HDMI-A-1:e video=DP-1:d video=DP-1:e", "video=HDMI-A-1:e video=DP-1:e"),
        ("hugetlb_cma=0:1G hugetlb_cma=1:2G", "hugetlb_cma=0:1G hugetlb_cma=1:2G"),
        ("reboot=pci reboot=warm reboot=acpi", "reboot=warm reboot=acpi"),
        # By suffix; a plain one turns the others off
        ("crashkernel=512M,high crashkernel=128M,low", "crashkernel=512M,high crashkernel=128M,low"),
        ("crashkernel=512M,high crashkernel=256M,high", "crashkernel=256M,high"),
        ("crashkernel=512M,high crashkernel=1G-:256M", "crashkernel=1G-:256M"),
        ("crashkernel=1G-4G:192M,4G-:256M@16M crashkernel=128M", "crashkernel=128M"),
        # Not known: nothing is said to be replaced
        ("ds=nocloud ds=none", "ds=nocloud ds=none"),
    ],
)
def test_what_is_left_of_a_line(line: str, left: str) -> None:
    assert kept(line) == left.split()


@pytest.mark.parametrize(
    ("line", "sizes"),
    [
        ("hugepages=3", {"default": "3", "2M": "3"}),
        ("hugepagesz=1G hugepages=4 hugepagesz=2M hugepages=16", {"1G": "4", "2M": "16", "default": "16"}),
        ("hugepagesz=1G hugepages=16 hugepages=3072", {"1G": "16"}),
        ("hugepages=3072 hugepagesz=1G hugepages=16", {"default": "3072", "2M": "3072", "1G": "16"}),
        ("hugepagesz=1G hugepages=16 hugepagesz=2M hugepages=5", {"1G": "16", "2M": "5", "default": "5"}),
        ("hugepagesz=1G hugepages=4 hugepagesz=1G hugepages=16", {"1G": "4"}),
        ("hugepagesz=3M hugepages=4 hugepagesz=1G hugepages=1", {"1G": "1"}),
        ("default_hugepagesz=1G hugepages=8", {"1G": "8", "default": "8"}),
        ("hugepages=8 default_hugepagesz=1G", {"1G": "8", "default": "8"}),
        ("default_hugepagesz=1G hugepagesz=1G hugepages=8", {"1G": "8", "default": "8"}),
        ("default_hugepagesz=1G hugepages=2 hugepagesz=1G hugepages=8", {"1G": "2", "default": "2"}),
        ("default_hugepagesz=1G default_hugepagesz=2M hugepages=8", {}),
        ("hugepages=8 hugepagesz=2M hugepages=9", {"default": "8", "2M": "8"}),
        ("hugepagesz=1024M hugepages=0:2,1:2", {"1G": "0:2,1:2"}),
    ],
)
def test_the_number_of_huge_pages_of_each_size(line: str, sizes: dict[str, str]) -> None:
    prefix = "number of huge pages of "
    found = {
        one.slot.removeprefix(prefix).replace("the default size", "default"): one.value
        for one in in_force(parse(line))
        if one.slot.startswith(prefix)
    }
    assert found == sizes


@pytest.mark.parametrize(
    ("line", "wanted", "held"),
    [
        ("hugepagesz=1G hugepages=4 hugepagesz=2M hugepages=16", "hugepagesz=1G hugepages=16", False),
        ("hugepagesz=1G hugepages=16 hugepagesz=2M hugepages=16", "hugepagesz=1G hugepages=16", True),
        ("default_hugepagesz=1G hugepages=16", "hugepages=16", True),
        ("hugepagesz=1G hugepages=16", "hugepages=16", False),
        ("mitigations=off mitigations=auto", "mitigations=off", False),
        ("mitigations=auto mitigations=off", "mitigations=off", True),
        ("isolcpus=1 isolcpus=2", "isolcpus=2", False),
        ("iommu=pt iommu=1", "iommu=pt", True),
        ("crashkernel=512M,high crashkernel=128M,low", "crashkernel=512M,high", True),
        ("crashkernel=256M crashkernel=512M,high", "crashkernel=512M,high", False),
        ("console=ttyS0,9600 console=ttyS0", "console=ttyS0", True),
        ("console=ttyS0 console=ttyS0,9600", "console=ttyS0,9600", False),
        ("foo-bar=1 foo_bar=1", "foo-bar=1", True),
        ("mem=8G mem=4G", "mem=8G", False),
        ("log_buf_len=1M log_buf_len=1024K", "log_buf_len=1M", True),
        ("log_buf_len=1M log_buf_len=010", "log_buf_len=1M", False),
        ("crashkernel=512M,high crashkernel=0x20000000,high", "crashkernel=512M,high", True),
        ("printk.time=Y printk.time=1", "printk.time=Y", True),
        ("printk.time=Y printk.time=0", "printk.time=Y", False),
        ("loglevel=3 loglevel=3x", "loglevel=3", False),
        ("quiet -- mitigations=off", "mitigations=off", False),
        ('dyndbg="file a.c +p" dyndbg="file b.c +p"', 'dyndbg="file a.c +p"', True),
    ],
)
def test_an_argument_is_held_where_it_is_in_force(line: str, wanted: str, held: object) -> None:
    assert holds(parse(line), parse(wanted)) == held


def test_the_name_of_a_module_is_told_from_a_prefix_of_user_space() -> None:
    assert rule("processor.max_cstate")
    assert rule("kvm_intel.nested")
    assert rule("systemd.unit") is None
    assert rule("rd.break") is None


@pytest.mark.parametrize(
    ("line", "mib"),
    [
        ("hugepages=3", {0: 6}),
        ("hugepagesz=1G hugepages=2", {1: 2048}),
        ("default_hugepagesz=1G hugepages=2", {1: 2048}),
        ("hugepages=2 default_hugepagesz=1G", {0: 2048}),
        ("hugepages=0:1,1:4 hugepagesz=1G hugepages=2", {0: 10, 2: 2048}),
        ("hugepages=3 hugepages=5", {0: 6}),  # the first number of a size stays
        ("hugepagesz=3M hugepages=5", {}),
        ("hugepages=10G", {0: 20}),
        ("hugepages=0x10", {0: 0}),
        ("hugepages=many", {0: 0}),
    ],
)
def test_huge_pages_take_memory_at_boot(line: str, mib: dict[int, int]) -> None:
    words = [word.partition("=") for word in line.split()]
    taken = dict(hugetlb.reserved([(name, value) for name, _, value in words]))
    assert {index: size >> 20 for index, size in taken.items()} == mib
