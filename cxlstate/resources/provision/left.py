"""On the host, what is left of `provision` that was removed before the first boot was proven: the seed.

Nothing is asked of the guest: the spec may say nothing of it, either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from cxlstate.core.action import Risk
from cxlstate.core.answers import Answers
from cxlstate.core.change import Change
from cxlstate.core.read import Asked, Exists, Glob, Names, Question
from cxlstate.core.reconciler import Leftover
from cxlstate.formats import cloud_init
from cxlstate.resources.provision import made, on_host

_ANY: Final = Exists(cloud_init.seed("*"))
_SEEDS: Final = Names(cloud_init.seed("*"))
_OURS: Final = Glob(cloud_init.made_from_all())
_VMS: Final = Names("/etc/libvirt/qemu/*.xml")
"""A file for each VM that is defined (libvirt, src/conf/domain_conf.c, virDomainConfigFile)."""


def reads() -> Sequence[Question]:
    """Whether there is a seed, and then whose it is."""
    return (_ANY, *(Asked(one, _ANY) for one in (_SEEDS, _OURS, _VMS)))


def leftovers(answers: Answers, declared: frozenset[str]) -> Sequence[Leftover]:
    """The seeds that cxlstate has written, of VMs that the spec does not provision."""
    if not answers.exists(_ANY):
        return ()
    ours, vms = answers.files(_OURS), answers.files(_VMS)
    before, _, behind = _SEEDS.pattern.partition("*")
    names = (path.removeprefix(before).removesuffix(behind) for path in answers.files(_SEEDS))
    return tuple(
        _leftover(name, kept, defined=_VMS.pattern.replace("*", name) in vms)
        for name in names
        if (kept := ours.get(cloud_init.made_from(name))) is not None and name not in declared
    )


def _leftover(vm: str, kept: str, *, defined: bool) -> Leftover:
    """Without it a guest that has not booted never gets its users, and some images become new machines.

    That it was given up is kept first: a seed that was never proven must not count as one that was, later.
    """
    change = Change(("seed",), cloud_init.seed(vm), None)
    forget = () if kept == made.CLAIM else (on_host.claimed(vm, kept),)
    if not defined:
        return Leftover(vm, (change,), (*forget, on_host.remove(vm)))
    out, remove = on_host.taken_away(vm)
    why = "the first boot of its guest is not proven; with `provision` it goes by itself once that is"
    return Leftover(vm, (change,), (*forget, replace(out, risk=Risk.DESTROY_DATA, why=why), remove))
