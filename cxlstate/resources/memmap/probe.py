"""What is asked of the machine, and what the answers say of its memory and its command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cxlstate.core.answers import Answers
from cxlstate.core.observation import Present, Unknown
from cxlstate.core.read import File, Read
from cxlstate.formats import dax, grub_drop_in, kernel_cmdline
from cxlstate.formats.grub_cfg import UnexpectedLine, entries
from cxlstate.formats.iomem import HiddenAddresses, Range, parse_firmware
from cxlstate.formats.kernel_cmdline import Argument
from cxlstate.formats.memmap import Item, Region, items

GRUB_CFG: Final = File("/boot/grub/grub.cfg")
RUNNING: Final = File("/proc/cmdline")
DROP_IN: Final = File(grub_drop_in.PATH)

EFI: Final = File("/sys/firmware/efi/fw_platform_size")
"""There where the machine was booted by EFI (Documentation/ABI/testing/sysfs-firmware-efi)."""

READS: Final[tuple[Read, ...]] = (GRUB_CFG, RUNNING, DROP_IN, *dax.MEMORY, EFI)


@dataclass(frozen=True, slots=True)
class Live:
    """Memory as the firmware gave it and as the kernel has it, and the arguments that change it.

    `ours` are the regions that were asked for here before: those no longer wanted are about to go.
    `kernels` are the releases that the boot entries start, `efi` is whether the machine was booted by EFI.
    """

    firmware: tuple[Range, ...]
    iomem: tuple[Range, ...]
    running: tuple[Argument, ...]
    entries: tuple[tuple[Argument, ...], ...]
    ours: frozenset[Item] = frozenset()
    kernels: tuple[str, ...] = ()
    efi: bool = False

    def runs(self, region: Region) -> bool:
        """Whether the kernel was started with a region, however it was written."""
        return region in items(self.running)

    def knows(self, region: Region) -> bool:
        """Whether a region stands on any command line."""
        return self.runs(region) or self.configured(region) > 0

    def configured(self, region: Region) -> int:
        """In how many boot entries a region stands."""
        return sum(region in items(arguments) for arguments in self.entries)


def observe(answers: Answers) -> Present[Live] | Unknown:
    """Read it all; zeros in place of addresses make it unknown."""
    try:
        memory = dax.read_memory(answers)
        firmware = parse_firmware(answers.files(dax.FIRMWARE))
        boot = entries(answers.text_or_none(GRUB_CFG) or "")
        ours = grub_drop_in.recognise(answers.text_or_none(DROP_IN) or "") or grub_drop_in.DropIn()
    except HiddenAddresses as error:
        return Unknown(str(error), hint="connect as root, or as a user with passwordless sudo")
    except UnexpectedLine as error:
        return Unknown(f"{GRUB_CFG.path}:{error.line}: {error.why}")
    except ValueError as error:
        return Unknown(str(error))
    if not firmware:
        return Unknown(
            "/sys/firmware/memmap is empty, so it cannot be told what the firmware gave as RAM",
            hint="the kernel needs CONFIG_FIRMWARE_MEMMAP",
        )
    running = kernel_cmdline.parse(answers.text(RUNNING))
    asked = items(map(kernel_cmdline.read, (*ours.add, *ours.retired)))
    kernels = (entry.fixed.split()[0].rpartition("vmlinuz-")[2] for entry in boot)
    return Present(
        Live(
            firmware,
            memory,
            running,
            tuple(entry.arguments for entry in boot),
            frozenset(asked),
            tuple(dict.fromkeys(kernels)),
            efi=answers.text_or_none(EFI) is not None,
        )
    )
