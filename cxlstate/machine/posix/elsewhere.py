"""The machine's own part in effects that are performed elsewhere, through libvirt: journal, store, checks.

Two scripts: `begin` before, `end` after, so that the journal tells of an effect what it tells of
every other. What a definition held before is in the store before it changes. Pure.
"""

from __future__ import annotations

from base64 import encodebytes
from hashlib import sha256

from cxlstate.core.libvirt import LibvirtEffect
from cxlstate.formats.sh import quote
from cxlstate.machine.outcome import Entry, Outcome
from cxlstate.machine.posix.effects import script
from cxlstate.machine.posix.transport import Before

# QEMU makes a plain file of a path that is not there. The bus is told by sysfs: a device of another
# kind may have any name (drivers/dax/bus.c: each dax device is one of `dax_bus_type`).
_ON_DAX = r"""
on_dax() {
    target=$(readlink -e -- "$1") || fail "$1 leads nowhere: there is no such device"
    [ -c "$target" ] || fail "$1 leads to $target, which is no character device"
    set -- "$1" $(stat -c '%t %T' -- "$target")
    bus=$(readlink -e "/sys/dev/char/$((0x$2)):$((0x$3))/subsystem") || fail "$target is of no driver"
    [ "${bus##*/}" = dax ] || fail "$1 leads to $target, which is a device of ${bus##*/} and not of dax"
}
"""


def begin(state: str, effect: LibvirtEffect, entry: Entry, before: Before) -> bytes:
    """Journal it, keep what is there, look at the devices. What is refused is journalled as failed."""
    keep = "" if before.xml is None else _keep(before.xml)
    refuse = f"fail {quote(before.refused)}\n" if before.refused else ""
    checks = "".join(f"on_dax {quote(path)}\n" for path in before.devices)
    body = f"{_ON_DAX}begin\n{refuse}{keep}{checks}printf 'done 0\\n'\n"
    return script(state, entry, {"before": _hash(before)}, effect.journalled(), body)


def end(state: str, effect: LibvirtEffect, entry: Entry, before: Before, outcome: Outcome) -> bytes:
    """Journal how it ended."""
    body = f"finish {outcome.result.value} {outcome.status}\n"
    return script(state, entry, {"before": _hash(before)}, effect.journalled(), body)


def _keep(xml: str) -> str:
    """Into the store, as what a file held would be."""
    content = encodebytes(xml.encode()).decode("ascii")
    return f"""if [ ! -e "$store/$before" ]; then
base64 -d >"$tmp/old" <<'END' || fail
{content}END
sync "$tmp/old" && mv "$tmp/old" "$store/$before" && sync "$store" || fail
fi
"""


def _hash(before: Before) -> str:
    return "" if before.xml is None else sha256(before.xml.encode()).hexdigest()
