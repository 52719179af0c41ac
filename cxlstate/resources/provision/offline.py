"""Before there is a VM, on the host: its image, made by virt-customize what its first boot is to find.

Done behind the image and before the VM. That it is done is told by the file itself: by which it was, as the
host keeps it, and not by its path, where a new image may lie by now.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from cxlstate.core.action import Action
from cxlstate.core.address import Address, AllOf, NeedsOf
from cxlstate.core.answers import Answers, ReadFailed
from cxlstate.core.assessment import Assessment, Later
from cxlstate.core.change import Change
from cxlstate.core.diagnostic import Diagnostic
from cxlstate.core.exports import DiskImage, GuestToBe, Inputs, Seed
from cxlstate.core.first_boot import CustomizeImage
from cxlstate.core.observation import Observation, Present, Unknown
from cxlstate.core.read import Asked, Command, Exists, File, LibvirtDomain, Names, Question
from cxlstate.core.reconciler import How, Need, Resource
from cxlstate.formats import cloud_init, first_boot_script
from cxlstate.resources.provision import made, problems
from cxlstate.resources.provision.spec import Provision

Me = Resource[Provision]

_PROGRAMS: Final = tuple(Names(f"/usr/bin/{one}") for one in ("virt-customize", "virt-cat", "guestfish"))
_PACKAGE: Final = "libguestfs-tools"
_PROVIDERS: Final = (Address("package", _PACKAGE), AllOf("package"))
_LIBVIRT: Final = (
    Address("package", "libvirt-daemon-system"),
    Address("service", "libvirtd"),
    AllOf("package"),
)


@dataclass(frozen=True, slots=True)
class ImageLive:
    """What the image was made from, and whether the file in its place is still that one."""

    kept: str | None = None
    done: bool = False

    @property
    def made(self) -> bool:
        """Whether a guest was made by it."""
        return self.kept not in (None, made.CLAIM)


def needs(me: Me) -> tuple[Need, ...]:
    """The images of its VM, which awaits us, and what the VM tells of itself."""
    vm = Address("vm", me.vm)
    after = [Need(AllOf(kind), How.AFTER) for kind in ("package", "service")]
    return (*after, Need(vm, How.KNOWS), Need(NeedsOf(vm, "image"), How.AWAITS))


def reads(me: Me) -> tuple[Question, ...]:
    """Which file it was and is; the domain is asked for by the VM, too: once."""
    identity = File(first_boot_script.identity(me.vm))
    now = Asked(_stat(me), only_if=Exists(identity.path))
    return (File(cloud_init.made_from(me.vm)), identity, now, LibvirtDomain(me.vm), *_PROGRAMS)


def _stat(me: Me) -> Command:
    return Command(
        ("stat", "--dereference", f"--format={first_boot_script.IDENTITY}"), (first_boot_script.disk(me.vm),)
    )


def observe(me: Me, answers: Answers) -> Observation[ImageLive]:
    """Unknown, too, where there is a guest to be made, and nothing to make it with."""
    live = ImageLive(answers.text_or_none(File(cloud_init.made_from(me.vm))), _is_done(me, answers))
    try:
        defined = bool(answers.files(LibvirtDomain(me.vm)))
    except ReadFailed as failed:
        return Unknown(failed.reason, _LIBVIRT, partly=live)
    lacks = [one.pattern.rpartition("/")[2] for one in _PROGRAMS if not answers.files(one)]
    if lacks and not defined and not live.done:
        hint = f"add {_PACKAGE} to `packages`; or write method: cloud-init"
        return Unknown(f"{lacks[0]} is not installed", _PROVIDERS, hint, partly=live)
    return Present(live)


def _is_done(me: Me, answers: Answers) -> bool:
    was = answers.text_or_none(File(first_boot_script.identity(me.vm)))
    if was is None:
        return False
    answer = answers.raw(_stat(me))
    return answer.status == 0 and answer.text.strip() == was.strip()


def assess(me: Me, seen: Observation[ImageLive], inputs: Inputs) -> Assessment:
    """The image of a new guest; of any other, nothing."""
    vm = next((one for _, one in inputs.all(GuestToBe)), None)
    if vm is None:
        return Assessment()
    known = seen.live if isinstance(seen, Present) else seen.partly if isinstance(seen, Unknown) else None
    live = known if isinstance(known, ImageLive) else ImageLive()
    exports = (Seed(cloud_init.instance(me.vm), given=False),)
    told = tuple(_problems(me, vm, live))
    if isinstance(seen, Unknown):
        return Assessment(exports, told)
    facts = (("image", "provisioned" if live.made else "not provisioned"),)
    if vm.defined or (live.done and live.made) or vm.root is None:
        return Assessment(exports, told, facts=facts)
    return Assessment(
        exports,
        told,
        (Change((), None, f"{vm.root.path} customized: {made.said(me.spec)}"),),
        (_customize(me, vm, vm.root),),
        facts,
        later=tuple(_later(vm.root)),
    )


def _customize(me: Me, vm: GuestToBe, image: DiskImage) -> Action:
    log = first_boot_script.log(me.vm)
    return Action(
        f"customize {image.path}",
        CustomizeImage(
            me.vm,
            image.path,
            image.format,
            image.source or "",
            made.boot(me.vm, me.spec, vm.macs),
            made.text(me.spec, vm.macs, ()),
            log,
        ),
        why=f"takes minutes; it says how far it is in {log}",
    )


def _later(image: DiskImage) -> Iterator[Later]:
    """Of one that is there. One that is made by this plan is as its source."""
    if image.there:
        yield Later(f"that {image.path} holds what {image.source} does, and no guest has used it")


def _problems(me: Me, vm: GuestToBe, live: ImageLive) -> Iterator[Diagnostic]:
    if vm.defined:
        if not live.made:
            yield problems.was_there(me.vm)
    elif not (live.done and live.made):
        yield from problems.impossible(me, vm)
        if vm.root is None or vm.root.source is None:
            yield _no_image(me, vm.root)
    if live.kept and live.made and vm.defined:
        yield from problems.otherwise(me, vm, live.kept)


def _no_image(me: Me, root: DiskImage | None) -> Diagnostic:
    return Diagnostic(
        "CXP420",
        f"virt-customize needs an image that the spec makes for {me.vm}",
        path=("method",),
        found=f"{root.path}, without a source" if root else "a first disk that is no entry of `images`",
        expected="an entry of `images` with a `source` as the first disk",
        hint="let an entry of `images` make it from a cloud image, and write image: image.NAME in `disks`",
    )
