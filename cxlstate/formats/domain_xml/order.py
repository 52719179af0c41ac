"""The order in which libvirt writes the children of an element (9.0 `src/conf/domain_conf.c`).

Its schema takes them in any order. What is put in stands where libvirt will write it, so that what
changes is all that moves.
"""

from __future__ import annotations

from typing import Final


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


DOMAIN: Final = _words(
    """name uuid genid hwuuid title description metadata maxMemory memory currentMemory blkiotune memtune
    memoryBacking vcpu vcpus iothreads iothreadids defaultiothread cputune numatune resource sysinfo
    bootloader bootloader_args os idmap features cpu clock on_poweroff on_reboot on_crash on_lockfailure pm
    perf devices seclabel keywrap launchSecurity"""
)
CPUTUNE: Final = _words(
    """shares global_period global_quota period quota emulator_period emulator_quota iothread_period
    iothread_quota vcpupin emulatorpin iothreadpin emulatorsched vcpusched iothreadsched cachetune
    memorytune"""
)
NUMATUNE: Final = _words("memory memnode")
MEMORY_BACKING: Final = _words("hugepages nosharepages locked source access allocation discard")
OS: Final = _words("type firmware loader nvram kernel initrd cmdline dtb shim acpi boot bootmenu smbios bios")
FEATURES: Final = _words("pae acpi apic")
CPU: Final = _words("model vendor topology cache maxphysaddr feature numa")
NUMA: Final = _words("cell interconnects")
DEVICES: Final = _words(
    """emulator disk controller lease filesystem interface smartcard serial parallel console channel input
    tpm graphics sound audio video hostdev redirdev redirfilter hub watchdog memballoon rng nvram panic
    shmem memory iommu vsock crypto pstore"""
)
DISK: Final = _words(
    """driver auth source backingStore geometry blockio mirror target iotune readonly shareable transient
    serial wwn vendor product encryption boot alias acpi address"""
)
INTERFACE: Final = _words(
    """mac source virtualport ip route script backenddomain target guest model driver backend filterref tune
    link mtu coalesce teaming port bandwidth vlan portForward boot alias acpi rom address"""
)
MEMORY: Final = _words("uuid source target alias acpi address")
MEMORY_SOURCE: Final = _words("nodemask pagesize path alignsize pmem")
MEMORY_TARGET: Final = _words("size node label block requested current readonly address")
