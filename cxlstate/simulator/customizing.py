"""virt-customize of the simulated machine: what it does is kept behind the header of the image.

It happens when the machine on that disk boots for the first time (`first_boot.py`).
The image is one that nobody has used as long as it is as `qemu-img` makes it, header and nothing else.
"""

from __future__ import annotations

from typing import Final

from cxlstate.core.first_boot import CustomizeImage
from cxlstate.formats import cloud_init, first_boot_script, host_keys, password
from cxlstate.machine.outcome import Outcome, Result
from cxlstate.simulator import first_boot
from cxlstate.simulator.files import Files
from cxlstate.simulator.images import Disks
from cxlstate.simulator.session import Session

PROGRAMS: Final = tuple(f"/usr/bin/{one}" for one in ("virt-customize", "virt-cat", "guestfish"))


def customize(effect: CustomizeImage, session: Session) -> Outcome:
    """A draft beside the image, what is kept of it, and then the draft in its place."""
    host = session.host()
    files, disks = host.files, Disks(host.world, host.files)
    if complaint := _refused(effect, files, disks):
        return Outcome(Result.FAILED, 1, f"{complaint}\n")
    seed = {**cloud_init.files(effect.boot, password.sha512_crypt), first_boot.OFFLINE: b""}
    session.announce(files, effect.path)
    draft = files.draft(effect.path, files.read(effect.path) + first_boot.kept(seed), mode=0o600)
    session.faults.step(f"customized, not in place: {effect.path}")
    info = draft.stat()
    identity = f"{info.st_ino} {info.st_mtime_ns}\n".encode()
    for path, content in (
        (first_boot_script.identity(effect.vm), identity),
        (host_keys.path(effect.vm), b""),
        (cloud_init.made_from(effect.vm), effect.made_from.encode()),
        (effect.log, b"[   0.0] Examining the guest ...\n"),
    ):
        files.write(path, content, mode=0o600)
        session.faults.step(f"written: {path}")
    link = first_boot_script.disk(effect.vm)
    if files.link(link):
        files.remove(link)
    files.make_link(link, effect.path)
    files.put(effect.path, draft)
    session.faults.step(f"in place: {effect.path}")
    session.forget(files)
    return Outcome(Result.DONE)


def _refused(effect: CustomizeImage, files: Files, disks: Disks) -> str | None:
    missing = next((one for one in PROGRAMS if not files.exists(one)), None)
    if missing:
        return f"{missing.rpartition('/')[2]} is not installed (package libguestfs-tools)"
    if not files.is_file(effect.path):
        return f"{effect.path} is not there, or not a regular file"
    if disks.holders(effect.path):
        return 'Failed to get shared "write" lock'
    if files.read(effect.path).rstrip(b"\0") != disks.image(effect.path).header.pack().rstrip(b"\0"):
        said = "of which it was made: a guest may have used it"
        return f"{effect.path} holds something else than {effect.source}, {said}"
    return None
