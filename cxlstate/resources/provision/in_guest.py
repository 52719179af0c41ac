"""After the first boot, in the guest: that it is done, and that no hash of a password is left of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cxlstate.core.action import Action, Run
from cxlstate.core.address import Address
from cxlstate.core.answers import Answers, ReadFailed, failure
from cxlstate.core.assessment import Assessment
from cxlstate.core.change import Change
from cxlstate.core.diagnostic import Diagnostic, Severity
from cxlstate.core.exit_status import NOT_FOUND, TIMED_OUT
from cxlstate.core.exports import Inputs, Seed
from cxlstate.core.first_boot import AwaitFirstBoot
from cxlstate.core.observation import Observation, Present, Unknown
from cxlstate.core.read import Asked, Command, Exists, Question
from cxlstate.core.reconciler import How, Need, Resource
from cxlstate.formats import cloud_init
from cxlstate.formats.cloud_init import Status
from cxlstate.resources.provision.spec import Provision

Me = Resource[Provision]

_SEED = Exists(cloud_init.LABEL)
_STATUS = Command(("cloud-init", "status", "--format", "json"), timeout=180)
"""Python starts for it while the guest still boots: on one whose processor is emulated, for a minute."""
_SYNC = Run(("sync",))
_OUR_MARK = "disabled-by-marker-file"


@dataclass(frozen=True, slots=True)
class BootLive:
    """Whether the guest has the seed; if so, what cloud-init says. No `status`: it has no cloud-init.

    `finished`: it has been through to the end with our instance.
    """

    seed: bool
    status: Status | None = None
    finished: bool = False

    @property
    def done(self) -> bool:
        """Also where a run before this one has ended after the mark, and before the seed was taken away."""
        if self.status is None:
            return False
        marked = self.status.state == "disabled" and self.status.why == _OUR_MARK
        return self.status.state == "done" or (marked and self.finished)


def needs(me: Me) -> tuple[Need, ...]:
    """Whether it has a seed, its host tells."""
    return (Need(Address("provision", me.vm), How.KNOWS, on_parent=True),)


def reads(me: Me) -> tuple[Question, ...]:
    """cloud-init is asked only as long as the seed is there: it takes a second."""
    return (_SEED, Asked(_STATUS, only_if=_SEED), _finished(me))


def observe(me: Me, answers: Answers) -> Observation[BootLive]:
    """Raises ReadFailed."""
    if not answers.exists(_SEED):
        return Present(BootLive(seed=False))
    answer = answers.raw(_STATUS)
    if answer.status == NOT_FOUND:
        return Present(BootLive(seed=True))
    if answer.status == TIMED_OUT:
        raise failure(_STATUS, answer)
    try:
        status = cloud_init.status(answer.text)
    except ValueError as odd:
        said = answer.stderr.strip() or str(odd)
        raise ReadFailed(_STATUS, f"what cloud-init says is not understood: {said[:200]}") from odd
    return Present(BootLive(seed=True, status=status, finished=answers.exists(_finished(me))))


def _finished(me: Me) -> Exists:
    """cloud-init writes it last of all (cc_final_message.py)."""
    return Exists(f"/var/lib/cloud/instances/{cloud_init.instance(me.vm)}/boot-finished")


def assess(me: Me, seen: Observation[BootLive], inputs: Inputs) -> Assessment:
    """As long as the host has given it a seed: the proof, and then that all of it goes."""
    seed = next((one for _, one in inputs.all(Seed)), None)
    if isinstance(seen, Unknown):
        return Assessment()
    live = seen.live if isinstance(seen, Present) else None
    if seed is None or not seed.given:
        return Assessment(facts=(("first boot", "nothing is to be done"),))
    old = live.status.state if live and live.status else None
    change = Change((), f"first boot: {old}" if old else None, "first boot done, its seed taken away")
    actions = (*_clean(seed.instance), *seed.finish)
    facts = (("cloud-init", old),) if old else ()
    return Assessment((), tuple(_problems(me, live)) if live else (), (change,), actions, facts)


def _clean(instance: str) -> Iterator[Action]:
    """cloud-init would make its cache anew, and take the guest for another, so it is kept from starting.

    It writes keys, users and configuration without waiting for the disk. A loss of power when it may not
    start again would leave a guest with empty host keys, and one behind the last step the hashes.
    """
    yield Action("wait until cloud-init is done", AwaitFirstBoot())
    yield Action("flush what cloud-init wrote to disk", _SYNC)
    yield Action(
        "keep cloud-init from starting again",
        Run(("touch", cloud_init.DISABLED)),
        why="without its seed it would take the guest for a new one",
    )
    left = cloud_init.leftovers(instance)
    typed = f"rm {len(left)} files of /var/lib/cloud/instances/{instance} and /run/cloud-init"
    yield Action("remove the hashes of passwords", Run(("rm", "--force", *left), typed=typed))
    yield Action("flush their removal to disk", _SYNC)


def _problems(me: Me, live: BootLive) -> Iterator[Diagnostic]:
    status = live.status
    if not live.seed:
        yield _failed(me, "the guest does not see the seed", "no file system with the label cidata")
    elif status is None:
        yield _failed(me, "the image has no cloud-init", "cloud-init is not installed")
    elif status.ended and not live.done:
        said = "; ".join(status.errors) or status.why
        yield _failed(me, "cloud-init has not done the first boot", f"{status.state}: {said}")
    if status and status.recoverable and live.done:
        yield Diagnostic(
            "CXP409",
            "cloud-init has met errors at the first boot",
            Severity.WARNING,
            found="; ".join(status.recoverable)[:2000],
            hint="see /var/log/cloud-init.log in the guest",
        )


def _failed(me: Me, message: str, found: str) -> Diagnostic:
    return Diagnostic(
        "CXP408",
        message,
        found=found[:2000],
        expected="status: done",
        hint="see /var/log/cloud-init.log and /var/log/cloud-init-output.log in the guest; "
        "to begin again, write `state: absent` for its image, and in place of the `guest` of "
        f"vms.{me.vm}, apply, and take that back",
    )
