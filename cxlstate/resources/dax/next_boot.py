"""What keeps the next boot from making a device that is there, or from binding it.

Sources: Linux 6.12 `drivers/firmware/efi/efi.c` (`nosoftreserve`), `drivers/dax/hmem/device.c`
(`device_hmem.disable`), `drivers/dax/Kconfig` and `drivers/cxl` (which modules make a device),
`drivers/nvdimm/pmem.c` (`nd_pmem_probe` finds the namespaces of `dax_pmem`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final

from cxlstate.core.diagnostic import Diagnostic, Severity
from cxlstate.core.exports import Inputs, NextBoot
from cxlstate.formats import dax, kernel_cmdline, memmap, modprobe
from cxlstate.formats.iomem import Range
from cxlstate.formats.kernel_cmdline import Argument
from cxlstate.resources.dax.probe import Live

_MAKERS: Final = {
    dax.HMEM: ("dax_hmem",),
    dax.CXL: ("dax_cxl", "cxl_acpi", "cxl_pci", "cxl_port", "cxl_mem"),
    "pmem": ("dax_pmem", "nd_pmem"),
}
"""By region. One that is built in is not loaded, and nothing keeps it out."""


def diagnose(live: Live, inputs: Inputs) -> Iterator[Diagnostic]:
    """A warning: until the boot all is well. An error where the driver is needed now and cannot be loaded."""
    if not live.bound and not live.drivable and (why := modprobe.refused(dax.DEVDAX, "", live.modprobe_d)):
        yield Diagnostic(
            "CXD326",
            f"cannot bind {live.device.name}: device_dax is kept from being loaded",
            found=why,
            expected="device_dax, which maps the device for programs",
            hint=f"remove {why}",
        )
        return
    lines = [line for _, one in inputs.all(NextBoot) for line in one.lines]
    found = next(filter(None, (_lost_by(live, line) for line in lines or [()])), None)
    if found:
        what, why, cure = found
        yield Diagnostic(
            "CXD325",
            f"the next boot {what} {live.device.name}",
            Severity.WARNING,
            found=why,
            expected="the device, as this boot has it",
            hint=cure,
        )


def _lost_by(live: Live, line: Sequence[str]) -> tuple[str, str, str] | None:
    """What a boot with this command line does, by what, and the cure. What this boot has did no harm."""
    region, text, running = live.device.region, " ".join(line), live.command_line.split()
    made_by = next(filter(partial(_marks, live), kernel_cmdline.parse(live.command_line)), None)
    if line and made_by and made_by.text not in line:
        return "does not make", f"no {made_by} on its kernel command line", "write it in /etc/default/grub"
    for one in (kernel_cmdline.read(each) for each in line if each not in running):
        off = one.name == "device_hmem.disable" and (one.value or "y")[:1] in "1yY"
        ram = one.name == "efi" and "nosoftreserve" in (one.value or "").split(",")
        if region == dax.HMEM and (off or (ram and made_by is None)):
            what = "makes System RAM of" if ram else "does not make"
            return what, f"{one.text} on its kernel command line", f"add to host.grub.absent: {one.text}"
    now = modprobe.by_command_line(modprobe.KMEM, live.command_line)
    if line and now and region != "pmem" and not live.kmem.built_in and _comes(text, live):
        return "gives kmem", f"no {now} on its kernel command line", "add to host.modules: kmem: absent"
    for module in (name for name in _MAKERS.get(region, ()) if name in live.loaded):
        if (by := modprobe.by_command_line(module, text)) and by not in running:
            return "does not make", f"{by} on its kernel command line", f"add to host.grub.absent: {by}"
        fate = modprobe.fate(module, "", live.modprobe_d)
        if fate.kept_out_by:
            return "does not make", f"{fate.kept_out_by}, whose module makes it", f"remove {fate.kept_out_by}"
    if by := modprobe.refused(dax.DEVDAX, text, live.modprobe_d) if dax.DEVDAX in live.loaded else None:
        cure = f"add to host.grub.absent: {by}" if by in line else f"remove {by}"
        return "does not bind", by, cure
    return None


def _comes(command_line: str, live: Live) -> bool:
    """Whether kmem takes the device at a boot with this command line."""
    fate = modprobe.fate(modprobe.KMEM, command_line, live.modprobe_d)
    return fate.kept_out_by is None


def _marks(live: Live, argument: Argument) -> bool:
    """Whether an argument makes Soft Reserved memory of RAM that the device is then made of."""
    value = argument.value or ""
    found = memmap.faked(value) if argument.name == "efi_fake_mem" else memmap.items((argument,))
    regions = (one for one in found if isinstance(one, memmap.Region) and one.sign == "%")
    return any(live.device.overlaps(Range(one.start, one.start + one.size)) for one in regions)
