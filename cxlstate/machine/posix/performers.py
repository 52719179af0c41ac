"""Who does what on a POSIX machine: one performer for each type of effect.

A new effect gets a line here, and one in `simulator/performers.py`. What is told to libvirt is performed by
`machine/libvirt/writing.py`, which has a table of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from cxlstate.core.action import Generate, Reboot, RemoveFile, Run, Step, WriteFile
from cxlstate.core.effect import Effect
from cxlstate.core.file import PermitFile, PutFile, SetPassword, Unpack
from cxlstate.core.first_boot import AwaitFirstBoot, CustomizeImage, WriteSeed
from cxlstate.core.image import FetchFile, GrowImage, MakeImage, PermitImage, RemoveImage
from cxlstate.core.libvirt import LibvirtEffect
from cxlstate.machine import generated
from cxlstate.machine.outcome import Entry, Outcome, Result
from cxlstate.machine.performing import waited_for
from cxlstate.machine.posix import (
    customize_effects,
    effects,
    elsewhere,
    file_effects,
    first_boot_effects,
    image_effects,
)
from cxlstate.machine.posix.session import Session, text
from cxlstate.machine.posix.transport import LockLost, Lost, Unclear

E = TypeVar("E", bound=Effect)

Performer = Callable[[Any, Session], Outcome]
"""Does an effect of its type and journals it. ValueError for what no shell word can hold."""


def by_script(write: Callable[[str, E, Entry], bytes], takes: Callable[[E], int] = lambda _: 0) -> Performer:
    """By the script that `write` makes of our folder, the effect and its entry; within so many seconds."""

    def perform(effect: E, session: Session) -> Outcome:
        return session.do(write(session.state, effect, session.entry), takes(effect))

    return perform


def _generate(effect: Generate, session: Session) -> Outcome:
    """Two exchanges: the judgement on what was generated is ours."""
    output = session.run(effects.generate(session.state, effect, session.entry), effect.timeout)
    try:
        made = effects.generated(output)
        if made is None:
            return effects.report(output)
    except ValueError as cut:
        raise session.unclear(text(output)) from cut
    said, content = made
    judged = generated.judge(effect, content)
    outcome = session.do(effects.settle(session.state, effect, session.entry, content, judged))
    if judged and outcome.result is judged.result:
        return judged
    return Outcome(outcome.result, outcome.status, said + outcome.output)


def tell_libvirt(effect: LibvirtEffect, session: Session) -> Outcome:
    """Between two exchanges with the machine, over a connection of libvirt's own."""
    libvirt = session.libvirt
    try:
        before = libvirt.before(effect)
        begun = session.do(elsewhere.begin(session.state, effect, session.entry, before))
        if begun.result is not Result.DONE:
            return begun
        outcome = libvirt.perform(effect, session.fence)
    except LockLost as lost:
        raise session.lock_lost(lost) from lost
    except Lost as lost:
        raise session.lost(lost) from lost
    except Unclear as unclear:
        raise session.unclear(str(unclear)) from unclear
    ended = session.do(elsewhere.end(session.state, effect, session.entry, before, outcome))
    return outcome if ended.result is outcome.result else ended


def _of_images(_: Effect) -> int:
    return image_effects.PATIENCE


def _of_customizing(effect: CustomizeImage) -> int:
    return image_effects.PATIENCE + (1 + customize_effects.LAUNCHES) * effect.timeout


IMAGES: dict[type[Effect], Performer] = {
    FetchFile: by_script(image_effects.fetch_file, _of_images),
    MakeImage: by_script(image_effects.make_image, _of_images),
    GrowImage: by_script(image_effects.grow_image, _of_images),
    RemoveImage: by_script(image_effects.remove_image, _of_images),
    PermitImage: by_script(image_effects.permit_image, _of_images),
}

POSIX: dict[type[Effect], Performer] = {
    WriteFile: by_script(effects.write_file),
    RemoveFile: by_script(effects.remove_file),
    PutFile: by_script(file_effects.put_file),
    PermitFile: by_script(file_effects.permit_file),
    Unpack: by_script(file_effects.unpack, lambda effect: effect.timeout),
    SetPassword: by_script(file_effects.set_password),
    Run: by_script(effects.run, lambda effect: effect.timeout),
    Step: by_script(effects.step, lambda effect: effect.timeout),
    CustomizeImage: by_script(customize_effects.customize_image, _of_customizing),
    WriteSeed: by_script(first_boot_effects.write_seed),
    AwaitFirstBoot: by_script(first_boot_effects.await_first_boot, lambda effect: effect.timeout),
    Generate: _generate,
    Reboot: waited_for,
    LibvirtEffect: tell_libvirt,  # type: ignore[type-abstract]  # the base of all that libvirt is told
    **IMAGES,
}
