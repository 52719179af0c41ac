"""Who does what on a simulated machine: one performer for each type of effect, as on a real one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from cxlstate.core.action import Generate, Reboot, RemoveFile, Run, Step, WriteFile
from cxlstate.core.effect import Effect
from cxlstate.core.file import PermitFile, PutFile, SetPassword, Unpack
from cxlstate.core.first_boot import AwaitFirstBoot, CustomizeImage, WriteSeed
from cxlstate.core.image import FetchFile, GrowImage, MakeImage, PermitImage, RemoveImage
from cxlstate.core.libvirt import LibvirtEffect
from cxlstate.formats import cloud_init, password, seed_iso
from cxlstate.machine import generated
from cxlstate.machine.outcome import Outcome, Result
from cxlstate.machine.performing import waited_for
from cxlstate.machine.posix.effects import LOG
from cxlstate.simulator import customizing, images
from cxlstate.simulator.ended import Ended, unknown
from cxlstate.simulator.files import Files
from cxlstate.simulator.libvirt.refused import Refused
from cxlstate.simulator.mkconfig import mkconfig
from cxlstate.simulator.place import Place
from cxlstate.simulator.session import Session

Performer = Callable[[Any, Session], tuple[str, Outcome]]
"""Does an effect: the hash of what a file or definition was before (empty: there is none), and the outcome.

The journal is kept by `effects.Effects`. An OSError is a failure.
"""


def _write_file(effect: WriteFile, session: Session) -> tuple[str, Outcome]:
    before = session.keep(effect.path, effect.expected)
    if before != (effect.expected or ""):
        return before, Outcome(Result.STALE)
    session.replace(effect.path, effect.content, effect.mode)
    return before, Outcome(Result.DONE)


def _remove_file(effect: RemoveFile, session: Session) -> tuple[str, Outcome]:
    before = session.keep(effect.path, effect.expects, secret=effect.secret)
    told = "" if effect.secret else before
    if before != effect.expects:
        return told, Outcome(Result.STALE)
    session.host().files.remove(effect.path)
    session.faults.step(f"removed: {effect.path}")
    return told, Outcome(Result.DONE)


def _write_seed(effect: WriteSeed, session: Session) -> tuple[str, Outcome]:
    if not effect.replaces and session.host().files.exists(effect.path):
        return "", Outcome(Result.STALE)
    image = seed_iso.image(cloud_init.files(effect.boot, password.sha512_crypt))
    session.replace(effect.path, image, 0o600)
    return "", Outcome(Result.DONE)


def _customize(effect: CustomizeImage, session: Session) -> tuple[str, Outcome]:
    return "", customizing.customize(effect, session)


def _await_first_boot(_effect: AwaitFirstBoot, session: Session) -> tuple[str, Outcome]:
    return "", _outcome(session.host().run(("cloud-init", "status", "--wait", "--long")))


def _run(effect: Run, session: Session) -> tuple[str, Outcome]:
    host = session.host()
    if effect.unless and host.files.exists(effect.unless):
        return "", Outcome(Result.STALE)
    ended = host.run((*effect.argv, *effect.operands))
    if effect.log:
        host.files.write(effect.log, ended.output.encode()[-LOG:], mode=0o600)
    host.save()
    session.faults.step(f"run: {effect.argv[0]}")
    return "", _outcome(ended)


def _step(effect: Step, session: Session) -> tuple[str, Outcome]:
    host = session.host()
    ended = host.step(effect.fragment, effect.words)
    host.save()
    session.faults.step(f"step: {effect.words[0]}")
    return "", _outcome(ended)


def _generate(effect: Generate, session: Session) -> tuple[str, Outcome]:
    files = session.host().files
    before = session.keep(effect.path, effect.expected)
    if before != (effect.expected or ""):
        return before, Outcome(Result.STALE)
    ended, content = _program(effect.argv, files)
    if content is None:
        return before, _outcome(ended)
    session.announce(files, effect.path)
    draft = files.draft(effect.path, content, mode=0o600)
    session.faults.step(f"generated, not in place: {effect.path}")
    judged = generated.judge(effect, content)
    if judged is None:
        files.put(effect.path, draft)
        session.faults.step(f"in place: {effect.path}")
    else:
        draft.unlink()
    session.forget(files)
    return before, judged or _outcome(ended)


def _program(argv: tuple[str, ...], files: Files) -> tuple[Ended, bytes | None]:
    """The programs that write a file: grub-mkconfig."""
    if argv in (("grub-mkconfig", "-o"), ("grub-mkconfig", "--output")):
        return mkconfig(files)
    return unknown(argv), None


def _of_somebody(effect: Effect, session: Session) -> tuple[str, Outcome]:
    host = session.host()

    def step(what: str) -> None:
        """Owners stand in `machine.json`: on a machine they are there before the file is in place."""
        host.save()
        session.faults.step(what)

    place = Place(host.world, host.files, session.store, step, _drafts(host.files, session))
    before, outcome = place.perform(effect)
    host.save()
    session.faults.step(f"done: {effect.shown()}")
    return before, outcome


def _image(effect: Effect, session: Session) -> tuple[str, Outcome]:
    host = session.host()
    return "", host.image(effect, _drafts(host.files, session))


def _drafts(files: Files, session: Session) -> images.Drafts:
    return images.Drafts(partial(session.announce, files), partial(session.forget, files))


def tell_libvirt(effect: LibvirtEffect, session: Session) -> tuple[str, Outcome]:
    """What the definition was before goes into the store, as that of a file does."""
    host, digest = session.host(), ""
    try:
        before = host.libvirt.before(effect, session.ran)
    except Refused as why:
        return "", Outcome(Result.FAILED, 1, str(why))
    if before is not None:
        digest = session.store(before.encode("utf-8", "surrogateescape"))
    outcome = host.libvirt.perform(effect, session.ran)
    host.save()
    return digest, outcome


def _outcome(ended: Ended) -> Outcome:
    result = Result.FAILED if ended.status else Result.DONE
    return Outcome(result, ended.status, ended.output)


SIMULATED: dict[type[Effect], Performer] = {
    WriteFile: _write_file,
    RemoveFile: _remove_file,
    PutFile: _of_somebody,
    PermitFile: _of_somebody,
    Unpack: _of_somebody,
    SetPassword: _of_somebody,
    WriteSeed: _write_seed,
    CustomizeImage: _customize,
    AwaitFirstBoot: _await_first_boot,
    Run: _run,
    Step: _step,
    Generate: _generate,
    Reboot: waited_for,
    FetchFile: _image,
    MakeImage: _image,
    GrowImage: _image,
    RemoveImage: _image,
    PermitImage: _image,
    LibvirtEffect: tell_libvirt,  # type: ignore[type-abstract]  # the base of all that libvirt is told
}
