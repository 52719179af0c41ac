"""Two hosts as they answer what `show` asks of their memory: the emulated one, and that of the runbook."""

from __future__ import annotations

from cxlstate.core.answers import Answer, Answers
from cxlstate.engine.memory_map import BLOCK_SIZE, BLOCKS, COMMAND_LINE, IOMEM, LINKS, MTRR, READS
from cxlstate.formats import dax

LAB = {
    # As it was told by Linux 6.12 on q35 with TCG; two nodes of 4 GiB, 1 GiB Soft Reserved by memmap=.
    IOMEM: """\
00000000-00000fff : Reserved
00001000-0009fbff : System RAM
0009fc00-0009ffff : Reserved
000a0000-000bffff : PCI Bus 0000:00
000c0000-000c9bff : Video ROM
000f0000-000fffff : Reserved
  000f0000-000fffff : System ROM
00100000-7ffdcfff : System RAM
  16e00000-17dfffff : Kernel code
  17e00000-1898ffff : Kernel rodata
  18a00000-18c70d7f : Kernel data
  1953c000-199fffff : Kernel bss
7ffdd000-7fffffff : Reserved
80000000-afffffff : PCI Bus 0000:00
b0000000-bfffffff : PCI ECAM 0000 [bus 00-ff]
  b0000000-bfffffff : Reserved
    b0000000-bfffffff : pnp 00:02
c0000000-febfffff : PCI Bus 0000:00
  fd000000-fdffffff : 0000:00:01.0
  febf0000-febf0fff : 0000:00:01.0
  febf1000-febf1fff : 0000:00:02.0
  febf2000-febf2fff : 0000:00:03.0
fec00000-fec003ff : IOAPIC 0
fed00000-fed003ff : HPET 0
  fed00000-fed003ff : PNP0103:00
fed1c000-fed1ffff : Reserved
fffc0000-ffffffff : Reserved
100000000-13fffffff : Soft Reserved
  100000000-13fffffff : dax0.0
140000000-27fffffff : System RAM
c000000000-c7ffffffff : PCI Bus 0000:00
  c000000000-c000003fff : 0000:00:02.0
    c000000000-c000003fff : virtio-pci-modern
  c000004000-c000007fff : 0000:00:03.0
    c000004000-c000007fff : virtio-pci-modern
fd00000000-ffffffffff : Reserved
""",
    MTRR: """\
reg00: base=0x0c0000000 ( 3072MB), size= 1024MB, count=1: uncachable
reg01: base=0x100000000 ( 4096MB), size= 1024MB, count=1: uncachable
""",
    COMMAND_LINE: "BOOT_IMAGE=/boot/vmlinuz-6.12.118 ro memmap=1G%4G-1+0xefffffff quiet nomodeset\n",
    BLOCK_SIZE: "8000000\n",
    BLOCKS: [
        "/sys/devices/system/node/node0/memory_failure",
        "/sys/devices/system/node/node1/memory_failure",
        *(f"/sys/devices/system/node/node0/memory{number}" for number in (*range(16), *range(40, 48))),
        *(f"/sys/devices/system/node/node1/memory{number}" for number in range(48, 80)),
    ],
    LINKS: {"/dev/cxlstate/cxl0": "../dax0.0"},
    dax.PAT: """\
PAT memtype list:
PAT: [mem 0x00000000b0000000-0x00000000c0000000] uncached-minus
PAT: [mem 0x0000000100000000-0x0000000140000000] uncached-minus
PAT: [mem 0x000000c000000000-0x000000c000001000] uncached-minus
""",
    dax.DRIVER: {f"{dax.DEVICES}/dax0.0/driver": "../../../../bus/dax/drivers/device_dax"},
    "devices": {"dax0.0": (0x100000000, 1 << 30, 0)},
}

RUNBOOK = {
    # Two sockets with 160 GiB each, 96 GiB of CXL memory at 322 GiB, all of the runbook done in its order:
    # the device was enabled before the registers were written.
    IOMEM: """\
00000000-00000fff : Reserved
00001000-0009ffff : System RAM
000a0000-000fffff : Reserved
  000a0000-000bffff : PCI Bus 0000:00
  000f0000-000fffff : System ROM
00100000-6a2d9fff : System RAM
6a2da000-6d2d9fff : Reserved
6d2da000-6d7fdfff : ACPI Non-volatile Storage
6d7fe000-6f7fdfff : ACPI Tables
6f7fe000-6f7fffff : System RAM
6f800000-8fffffff : Reserved
  70000000-7fffffff : PCI ECAM 0000 [bus 00-ff]
90000000-fbffffff : PCI Bus 0000:00
fd000000-fe7fffff : Reserved
fec00000-fec003ff : IOAPIC 0
fee00000-fee00fff : Local APIC
ff000000-ffffffff : Reserved
100000000-4fffffffff : System RAM
  2e1a000000-2e1b3fffff : Kernel code
  2e1b400000-2e1bffffff : Kernel rodata
5000000000-507fffffff : Reserved
5080000000-687fffffff : Soft Reserved
  5080000000-687fffffff : dax0.0
380000000000-38ffffffffff : PCI Bus 0000:00
  387ffc000000-387ffdffffff : 0000:00:02.0
390000000000-39ffffffffff : PCI Bus 0000:16
3a0000000000-3affffffffff : PCI Bus 0000:30
3b0000000000-3bffffffffff : PCI Bus 0000:4a
3c0000000000-3cffffffffff : PCI Bus 0000:64
3d0000000000-3dffffffffff : PCI Bus 0000:80
3e0000000000-3effffffffff : PCI Bus 0000:97
""",
    MTRR: """\
reg00: base=0x080000000 ( 2048MB), size= 2048MB, count=1: uncachable
reg01: base=0x5000000000 (327680MB), size=65536MB, count=1: uncachable
reg02: base=0x6000000000 (393216MB), size=65536MB, count=1: uncachable
""",
    COMMAND_LINE: "BOOT_IMAGE=/boot/vmlinuz-6.8.0 ro quiet splash modprobe.blacklist=kmem memmap=2G$320G\n",
    BLOCK_SIZE: "80000000\n",
    BLOCKS: [
        *(f"/sys/devices/system/node/node0/memory{number}" for number in (0, *range(2, 81))),
        *(f"/sys/devices/system/node/node1/memory{number}" for number in range(81, 160)),
    ],
    LINKS: {"/dev/cxlstate/cxl0": "../dax0.0"},
    dax.PAT: "PAT memtype list:\nPAT: [mem 0x0000005080000000-0x0000006880000000] write-back\n",
    dax.DRIVER: {f"{dax.DEVICES}/dax0.0/driver": "../../../../bus/dax/drivers/device_dax"},
    "devices": {"dax0.0": (0x5080000000, 96 << 30, 2)},
}

PERMISSION_DENIED = Answer(1, stderr="Permission denied")


def answers(host, **changed):
    """The answers of a host. A text, a list of names, a mapping, or an answer as it came."""
    host = {**host, **{READ_BY_NAME[name]: value for name, value in changed.items()}}
    devices = host.pop("devices")
    return Answers(
        {read: _answer(host[read] if read in host else _attributes(read, devices)) for read in READS}
    )


READ_BY_NAME = {
    "iomem": IOMEM,
    "mtrr": MTRR,
    "command_line": COMMAND_LINE,
    "block_size": BLOCK_SIZE,
    "blocks": BLOCKS,
    "links": LINKS,
    "pat": dax.PAT,
    "driver": dax.DRIVER,
    "firmware": dax.FIRMWARE,
    "starts": dax.MAPPINGS[0],
    "ends": dax.MAPPINGS[1],
    **{read.pattern.rpartition("/")[2]: read for read in dax.ATTRIBUTES},
    "devices": "devices",
}


def _attributes(read, devices):
    """Attributes of the devices: sysfs gives addresses in hex and all else as plain numbers."""
    name = read.pattern.partition("/*/")[2]
    if read in (*dax.MAPPINGS, dax.FIRMWARE, dax.PLACE):
        return {}
    return {
        f"{dax.DEVICES}/{device}/{name}": {
            "resource": f"{start:#x}",
            "size": str(size),
            "align": str(2 << 20),
            "target_node": str(node),
            "../dax_region/align": str(2 << 20),
            "../modalias": "platform:hmem",
        }[name]
        for device, (start, size, node) in devices.items()
    }


def _answer(value):
    match value:
        case str():
            return Answer(0, value.encode())
        case list():
            return Answer(0, files={name: Answer(0) for name in value})
        case dict():
            return Answer(0, files={name: Answer(0, text.encode()) for name, text in value.items()})
        case _:
            return value
