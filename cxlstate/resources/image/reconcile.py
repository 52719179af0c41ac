"""The kind `image`: differences and actions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import ClassVar, Final

from cxlstate.core.action import Action, Risk, undoing
from cxlstate.core.address import AllOf
from cxlstate.core.answers import Answers
from cxlstate.core.assessment import Assessment, Later
from cxlstate.core.change import Change
from cxlstate.core.diagnostic import Diagnostic
from cxlstate.core.exports import DiskImage, Inputs
from cxlstate.core.image import FetchFile, GrowImage, MakeImage, PermitImage, RemoveImage
from cxlstate.core.observation import Observation, Present, Unknown
from cxlstate.core.read import Read
from cxlstate.core.reconciler import How, Need, Reconciler, Resource
from cxlstate.core.units import format_size
from cxlstate.resources.image import ImageKind, probe
from cxlstate.resources.image.check import before_it_is_seen, diagnose, exposed
from cxlstate.resources.image.probe import Live, Missing, Seen
from cxlstate.resources.image.spec import ImageName, ImageSource, ImageSpec

SIZE: Final = ("size",)
OWNER: Final = ("owner",)
GROUP: Final = ("group",)
MODE: Final = ("mode",)
SOURCE: Final = ("source",)


class ImageReconciler(ImageKind, Reconciler[ImageSpec, Seen]):
    """Made once. What is in it is its guest's from then on: it is grown, and never written over."""

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

    def assess(self, resource: Resource[ImageSpec], seen: Observation[Seen], inputs: Inputs) -> Assessment:
        """That it is there; then how large, whose, and whether its backing file is.

        What is there and is not what the spec says is left as it is.
        """
        spec = resource.spec
        live = seen.live if isinstance(seen, Present) else None
        partly = seen.partly if isinstance(seen, Unknown) and isinstance(seen.partly, Missing) else None
        there = None if live is None and partly is None else isinstance(live, Live)
        image = DiskImage(spec.path, spec.format, _size_to_be(spec, live), there, probe.base_path(spec))
        exports = (image,) if spec.wanted else ()
        if isinstance(seen, Unknown):
            problems = tuple(before_it_is_seen(spec, partly)) if partly and spec.wanted else ()
            return Assessment(exports, problems, later=(_later(spec, seen),))
        changes = tuple(_changes(spec, live))
        actions = tuple(_actions(spec, live, changes)) if changes else ()
        problems = tuple(_problems(spec, live, changes)) if live else ()
        found = Assessment(exports, problems, changes, actions, _facts(spec, live))
        if found.refused or SIZE not in {change.path for change in changes}:
            return found
        return replace(found, exports=(replace(image, grows_from=_size_now(live)),))


reconciler = ImageReconciler()


def _later(spec: ImageSpec, seen: Unknown) -> Later:
    return Later(f"format, size and source of {spec.path}", seen.cured_by)


def _facts(spec: ImageSpec, live: Seen | None) -> tuple[tuple[str, str], ...]:
    """Path, format, both sizes, backing file, whose it is, and whether a guest has it open."""
    if not isinstance(live, Live):
        return (("image", f"{spec.path} is not there"),)
    facts = [("path", spec.path)]
    if live.info:
        facts += [("format", live.info.format), ("size", format_size(live.info.size))]
        facts += [("on disk", format_size(live.info.actual))]
        facts += [("backing", live.info.backing)] if live.info.backing else []
    whose = f"{live.stat.owner}:{live.stat.group} {live.stat.permissions}"
    return (*facts, ("owner", whose), ("in use", "yes" if live.in_use else "no"))


def _problems(spec: ImageSpec, live: Seen, changes: Sequence[Change]) -> Iterator[Diagnostic]:
    yield from diagnose(spec, live)
    if changes:
        yield from exposed(live)


def _changes(spec: ImageSpec, live: Seen | None) -> Iterator[Change]:
    if not isinstance(live, Live):
        if spec.wanted:
            yield Change((), None, _said(spec))
        return
    if not spec.wanted:
        yield Change((), _found(live), None)
        return
    if live.base and not live.base.there and spec.source:
        yield Change(SOURCE, None, _origin(spec.source))
    stat = live.stat
    for path, old, new in ((OWNER, stat.owner, spec.owner), (GROUP, stat.group, spec.group)):
        if new not in (None, old) and not (live.in_use or live.is_read):  # libvirt lends it to QEMU
            yield Change(path, old, new)
    if spec.mode not in (None, stat.permissions):
        yield Change(MODE, stat.permissions, spec.mode)
    if live.info and spec.size is not None and live.info.size < spec.size:
        yield Change(SIZE, format_size(live.info.size), format_size(spec.size))


def _actions(spec: ImageSpec, live: Seen | None, changes: Sequence[Change]) -> Iterator[Action]:
    """A draft beside its place, which it takes when it is whole; of one that is there, what differs."""
    differs = {change.path for change in changes}
    if not isinstance(live, Live):
        base = live.base if live else None
        yield from (*_fetch(spec, base), _make(spec, base))
    elif not spec.wanted:
        yield _remove(spec, live)
    else:
        yield from _fetch(spec, live.base) if SOURCE in differs else ()
        yield from _give(spec, live) if differs & {OWNER, GROUP} else ()
        yield from _open_up(spec, live) if MODE in differs else ()
        yield from _grow(spec, live) if SIZE in differs else ()


def _fetch(spec: ImageSpec, base: probe.Base | None) -> tuple[Action, ...]:
    """Nothing where the cache has it."""
    source, path = spec.source, probe.base_path(spec)
    if source is None or source.url is None or source.sha256 is None or path is None or (base and base.there):
        return ()
    effect = FetchFile(source.url, source.sha256, path)
    why = f"{format_size(base.part)} of it are there from an earlier time" if base and base.part else ""
    return (Action(f"fetch {effect.redacted_url}", effect, why=why),)


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
    return (Action(f"give {spec.path} to {new}", after, undo=undoing(before)),)


def _open_up(spec: ImageSpec, live: Live) -> tuple[Action, ...]:
    mode, before = str(spec.mode), live.stat.permissions
    after, undo = (PermitImage(spec.path, mode=int(one, 8)) for one in (mode, before))
    return (Action(f"set the mode of {spec.path} to {mode}", after, undo=undoing(undo)),)


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
    known = [size for size in (spec.size, _size_now(live)) if size is not None]
    return max(known, default=None)


def _size_now(live: Seen | None) -> int | None:
    """Of what is there, or of what it will be made from."""
    info = live.info if isinstance(live, Live) else None
    if isinstance(live, Missing) and live.base:
        info = live.base.info
    return info.size if info else None


def _said(spec: ImageSpec) -> str:
    """`qcow2 of 20GiB, a copy of /srv/images/base.qcow2`."""
    size = f" of {format_size(spec.size)}" if spec.size else ""
    if spec.source is None:
        return f"{spec.format}{size}, empty"
    return f"{spec.format}{size}, {'over' if spec.overlay else 'a copy of'} {_origin(spec.source)}"


def _origin(source: ImageSource) -> str:
    if source.url and source.sha256:
        return FetchFile(source.url, source.sha256, "").redacted_url
    return str(source.path)


def _found(live: Live) -> str:
    return f"{live.info.format} of {format_size(live.info.size)}" if live.info else "no file"
