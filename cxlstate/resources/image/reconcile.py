"""The kind `image`: differences and actions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from cxlstate.core.action import Action, Risk
from cxlstate.core.address import AllOf
from cxlstate.core.change import Change
from cxlstate.core.diagnostic import Diagnostic
from cxlstate.core.exports import DiskImage, Export, Given
from cxlstate.core.image import FetchFile, GrowImage, MakeImage, PermitImage, RemoveImage
from cxlstate.core.machine import ROOT_ONLY
from cxlstate.core.observation import Observation
from cxlstate.core.read import Answers, Read
from cxlstate.core.reconciler import How, Need, Place, Reconciler, Resource, Shape
from cxlstate.core.units import format_size
from cxlstate.resources.image import probe
from cxlstate.resources.image.check import diagnose, exposed
from cxlstate.resources.image.probe import Live, Missing, Seen
from cxlstate.resources.image.spec import ImageName, ImageSource, ImageSpec

SIZE: Final = ("size",)
OWNER: Final = ("owner",)
GROUP: Final = ("group",)
MODE: Final = ("mode",)
SOURCE: Final = ("source",)


class ImageReconciler(Reconciler[ImageSpec, Seen]):
    """Made once. What is in it is its guest's from then on: it is grown, and never written over."""

    kind: ClassVar[str] = "image"
    place: ClassVar[Place] = Place("images", Shape.MAP, ROOT_ONLY)
    model: ClassVar[type[ImageSpec]] = ImageSpec
    key: ClassVar[object] = ImageName

    def needs(self, me: Resource[ImageSpec]) -> Sequence[Need]:
        """Packages bring qemu-img, and the user that QEMU runs as."""
        return (Need(AllOf("package"), How.AFTER),)

    def reads(self, me: Resource[ImageSpec]) -> Sequence[Read]:
        """The file, what qemu-img sees in it, and its source."""
        return probe.reads(me.spec)

    def observe(self, me: Resource[ImageSpec], answers: Answers) -> Observation[Seen]:
        """Its contents are not looked at."""
        return probe.observe(me.spec, answers)

    def exports(self, me: Resource[ImageSpec], live: Seen | None, given: Given) -> Sequence[Export]:
        """Where it is, or will be."""
        if not me.spec.wanted:
            return ()
        return (DiskImage(me.spec.path, me.spec.format, _size_to_be(me.spec, live)),)

    def describe(self, me: Resource[ImageSpec], live: Seen | None) -> Sequence[tuple[str, str]]:
        """Path, format, both sizes, backing file, whose it is, and whether a guest has it open."""
        if not isinstance(live, Live):
            return (("image", f"{me.spec.path} is not there"),)
        facts = [("path", me.spec.path)]
        if live.info:
            facts += [("format", live.info.format), ("size", format_size(live.info.size))]
            facts += [("on disk", format_size(live.info.actual))]
            facts += [("backing", live.info.backing)] if live.info.backing else []
        whose = f"{live.stat.owner}:{live.stat.group} {live.stat.permissions}"
        return (*facts, ("owner", whose), ("in use", "yes" if live.in_use else "no"))

    def check(self, me: Resource[ImageSpec], live: Seen | None, given: Given) -> Sequence[Diagnostic]:
        """What is there and is not what the spec says is left as it is."""
        if live is None:
            return ()
        problems = tuple(diagnose(me.spec, live))
        return (*problems, *exposed(live)) if self.diff(me, live, given) else problems

    def diff(self, me: Resource[ImageSpec], live: Seen | None, given: Given) -> Sequence[Change]:
        """That it is there; then how large, whose, and whether its backing file is."""
        spec = me.spec
        if not isinstance(live, Live):
            return (Change((), None, _said(spec)),) if spec.wanted else ()
        if not spec.wanted:
            return (Change((), _found(live), None),)
        changes = []
        if live.base and not live.base.there and spec.source:
            changes.append(Change(SOURCE, None, _origin(spec.source)))
        stat = live.stat
        for path, old, new in ((OWNER, stat.owner, spec.owner), (GROUP, stat.group, spec.group)):
            if new not in (None, old) and not live.in_use:  # libvirt lends it to QEMU while a guest runs
                changes.append(Change(path, old, new))
        if spec.mode not in (None, stat.permissions):
            changes.append(Change(MODE, stat.permissions, spec.mode))
        if live.info and spec.size is not None and live.info.size < spec.size:
            changes.append(Change(SIZE, format_size(live.info.size), format_size(spec.size)))
        return changes

    def actions(
        self, me: Resource[ImageSpec], live: Seen | None, changes: Sequence[Change], given: Given
    ) -> Sequence[Action]:
        """A draft beside its place, which it takes when it is whole; of one that is there, what differs."""
        spec = me.spec
        if not isinstance(live, Live):
            base = live.base if live else None
            return (*_fetch(spec, base), _make(spec, base))
        if not spec.wanted:
            return (_remove(spec, live),)
        differs = {change.path for change in changes}
        return (
            *(_fetch(spec, live.base) if SOURCE in differs else ()),
            *(_give(spec, live) if differs & {OWNER, GROUP} else ()),
            *(_open_up(spec, live) if MODE in differs else ()),
            *(_grow(spec, live) if SIZE in differs else ()),
        )


def _fetch(spec: ImageSpec, base: probe.Base | None) -> tuple[Action, ...]:
    """Nothing where the cache has it."""
    source, path = spec.source, probe.base_path(spec)
    if source is None or source.url is None or source.sha256 is None or path is None or (base and base.there):
        return ()
    effect = FetchFile(source.url, source.sha256, path)
    why = f"{format_size(base.part)} of it are there from an earlier time" if base and base.part else ""
    return (Action(f"fetch {effect.shown}", effect, why=why),)


def _make(spec: ImageSpec, base: probe.Base | None) -> Action:
    source, seen = spec.source, base.info if base else None
    effect = MakeImage(
        path=spec.path,
        format=spec.format,
        size=spec.size,
        source=probe.base_path(spec),
        source_format=(source.format if source else None) or (seen.format if seen else None),
        sha256=source.sha256 if source else None,
        overlay=spec.overlay,
        owner=spec.owner,
        group=spec.group,
        mode=int(spec.mode, 8) if spec.mode else None,
    )
    return Action(f"make {spec.path}", effect)


def _remove(spec: ImageSpec, live: Live) -> Action:
    return Action(
        f"remove {spec.path}",
        RemoveImage(spec.path, live.stat.identity),
        Risk.DESTROY_DATA,
        why="what is in it is lost",
    )


def _give(spec: ImageSpec, live: Live) -> tuple[Action, ...]:
    """In one step: user, group, or both."""
    stat = live.stat
    new = f"{spec.owner or ''}{f':{spec.group}' if spec.group else ''}"
    before = PermitImage(
        spec.path, owner=stat.owner if spec.owner else None, group=stat.group if spec.group else None
    )
    after = PermitImage(spec.path, owner=spec.owner, group=spec.group)
    return (Action(f"give {spec.path} to {new}", after, undo=(before,)),)


def _open_up(spec: ImageSpec, live: Live) -> tuple[Action, ...]:
    mode, before = str(spec.mode), live.stat.permissions
    after, undo = (PermitImage(spec.path, mode=int(one, 8)) for one in (mode, before))
    return (Action(f"set the mode of {spec.path} to {mode}", after, undo=(undo,)),)


def _grow(spec: ImageSpec, live: Live) -> tuple[Action, ...]:
    if spec.size is None:
        return ()
    return (
        Action(
            f"grow {spec.path} to {format_size(spec.size)}",
            GrowImage(spec.path, spec.size, spec.format),
            why="it is in use: the guest that has it open is told (virsh blockresize)" if live.in_use else "",
        ),
    )


def _size_to_be(spec: ImageSpec, live: Seen | None) -> int | None:
    info = live.info if isinstance(live, Live) else None
    if isinstance(live, Missing) and live.base:
        info = live.base.info
    known = [size for size in (spec.size, info.size if info else None) if size is not None]
    return max(known, default=None)


def _said(spec: ImageSpec) -> str:
    """`qcow2 of 20GiB, a copy of /srv/images/base.qcow2`."""
    size = f" of {format_size(spec.size)}" if spec.size else ""
    if spec.source is None:
        return f"{spec.format}{size}, empty"
    return f"{spec.format}{size}, {'over' if spec.overlay else 'a copy of'} {_origin(spec.source)}"


def _origin(source: ImageSource) -> str:
    if source.url and source.sha256:
        return FetchFile(source.url, source.sha256, "").shown
    return str(source.path)


def _found(live: Live) -> str:
    return f"{live.info.format} of {format_size(live.info.size)}" if live.info else "no file"
