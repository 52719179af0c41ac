"""Cached or not, by recorded timings of memory that is cached, and by modelled ones of memory that is not.

What was recorded is in `tests/formats/loads`: of a machine that was quiet, and busy with three programs
that read memory on the same processor, or with a load of 15 and the lowest priority; of a file that stands
for a device with several places; and of a processor that QEMU emulates (TCG).
"""

import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxlstate.core.measure import Measurable, Nanoseconds
from cxlstate.engine.caching import Access, judge, problems
from cxlstate.formats import loads

HERE = Path(__file__).parents[1] / "formats" / "loads"
RECORDED = {path.stem: loads.parse(path.read_text()) for path in sorted(HERE.glob("cached-*.json"))}
EMULATED = [loads.parse(path.read_text()) for path in sorted(HERE.glob("emulated-*.json"))]
QUIET = RECORDED["cached-1"]
recorded = st.sampled_from(sorted(RECORDED)).map(RECORDED.get)
seeds = st.integers(0, 1 << 32).map(random.Random)


def uncached(one, latency, jitter):
    """The same machine, with each load of the memory past the cache: later by what the way takes.

    Repeated ones, too, since none begins before the one before has ended.
    """

    def later(rounds):
        return tuple(each + jitter.gauss(latency, latency / 20) for each in rounds)

    memory = one.ordinary
    return replace(
        one,
        memory=replace(
            memory, first=later(memory.again), again=later(memory.again), repeated=later(memory.repeated)
        ),
        elsewhere=elsewhere(one, later),
    )


def elsewhere(one, change):
    return tuple(replace(part, repeated=change(part.repeated)) for part in one.elsewhere)


def in_parts(one, latency, past, jitter):
    """A device that begins as `one`, and behind it a part for each of `past`: past the cache or not."""
    far = uncached(one, latency, jitter).memory.repeated
    parts = [far if each else one.ordinary.repeated for each in past]
    return replace(one, elsewhere=tuple(loads.Part(at << 30, each) for at, each in enumerate(parts, 1)))


def disturbed(one, share, jitter):
    """Some of the rounds are interrupted, by 2 µs to 5 ms a round, whatever they read."""

    def some(rounds):
        return tuple(
            each + (jitter.uniform(2e3, 5e6) / 16 if jitter.random() < share else 0) for each in rounds
        )

    def both(rounds):
        return replace(
            rounds, first=some(rounds.first), again=some(rounds.again), repeated=some(rounds.repeated)
        )

    return replace(one, memory=both(one.memory), ordinary=both(one.ordinary), elsewhere=elsewhere(one, some))


def slower(one, factor):
    """A processor at another frequency, or an emulated one: everything takes as much longer."""

    def all_of(rounds):
        return loads.Rounds(
            *(tuple(each * factor for each in kind) for kind in (rounds.first, rounds.again, rounds.repeated))
        )

    parts = elsewhere(one, lambda rounds: tuple(each * factor for each in rounds))
    return replace(one, memory=all_of(one.memory), ordinary=all_of(one.ordinary), elsewhere=parts)


@pytest.mark.parametrize("name", RECORDED)
def test_what_was_recorded_of_memory_that_is_cached_is_cached(name):
    verdict = judge(RECORDED[name], "kvm")
    assert verdict.access is Access.CACHED
    assert 0.5 < float(verdict.why.split()[4]) < 2  # ns


@given(recorded, st.floats(60, 2000), seeds)
def test_past_the_cache_it_is_uncached_however_near_the_memory_is(one, latency, jitter):
    assert judge(uncached(one, latency, jitter), "kvm").access is Access.UNCACHED


@given(recorded, st.floats(60, 2000), st.floats(0, 0.6), seeds)
def test_noise_does_not_make_the_one_of_the_other(one, latency, share, jitter):
    assert judge(disturbed(one, share, jitter), "kvm").access is Access.CACHED
    assert judge(disturbed(uncached(one, latency, jitter), share, jitter), "kvm").access is Access.UNCACHED


@given(
    recorded,
    st.floats(60, 2000),
    st.booleans(),
    st.lists(st.booleans(), max_size=7),
    st.floats(0, 0.6),
    seeds,
)
def test_each_part_of_a_device_counts(one, latency, first, past, share, jitter):  # one of each
    near = uncached(one, latency, jitter) if first else one
    verdict = judge(disturbed(in_parts(near, latency, past, jitter), share, jitter), "kvm")
    pure = Access.UNCACHED if first else Access.CACHED
    assert verdict.access is (pure if {first} >= {*past} else Access.MIXED)


@given(recorded, st.floats(60, 2000), st.floats(0, 1), seeds)
def test_however_much_it_is_disturbed_it_is_never_told_wrongly(one, latency, share, jitter):
    assert judge(disturbed(one, share, jitter), "kvm").access is not Access.UNCACHED
    assert judge(disturbed(uncached(one, latency, jitter), share, jitter), "kvm").access is not Access.CACHED


@given(recorded, st.floats(0.2, 2.5), st.floats(100, 2000), seeds)
def test_the_speed_of_the_processor_does_not_matter(one, factor, latency, jitter):
    machine = slower(one, factor)
    assert judge(machine, "kvm").access is Access.CACHED
    assert judge(uncached(machine, latency, jitter), "kvm").access is Access.UNCACHED


@given(recorded, st.floats(60, 2000), seeds)
def test_a_clock_that_takes_long_itself_hides_nothing(one, latency, jitter):
    """A read of a clock of the chip set (acpi_pm) takes a microsecond, and each round has one in it."""

    def clocked(rounds):
        return loads.Rounds(
            *(tuple(each + 1000 / divided for each in kind) for kind, divided in
              ((rounds.first, 16), (rounds.again, 16), (rounds.repeated, 256)))
        )  # fmt: skip

    for machine, access in ((one, Access.CACHED), (uncached(one, latency, jitter), Access.UNCACHED)):
        timed = replace(
            machine,
            memory=clocked(machine.memory),
            ordinary=clocked(machine.ordinary),
            elsewhere=elsewhere(machine, lambda rounds: tuple(each + 1000 / 256 for each in rounds)),
        )
        assert judge(timed, "kvm").access is access


@pytest.mark.parametrize(
    ("change", "vm", "why"),
    [
        (
            {"model": "QEMU TCG CPU version 2.5+"},
            "qemu",
            "the processor is emulated: QEMU TCG CPU version 2.5+",
        ),
        ({"model": "QEMU TCG CPU version 2.5+", "virtual": False}, None, "the processor is emulated"),
        ({"model": "AMD EPYC"}, "qemu", "the processor is emulated: systemd-detect-virt says qemu"),
        ({"virtual": False}, "qemu", "the processor is emulated: systemd-detect-virt says qemu"),
        ({"virtual": True}, None, "in a virtual machine of an unknown kind"),
        ({"virtual": True}, "vm-other", "in a virtual machine of an unknown kind"),
    ],
)
@pytest.mark.parametrize("latency", [0, 200])
def test_of_an_emulated_processor_nothing_is_told_whatever_its_times_are(change, vm, why, latency):
    machine = replace(uncached(QUIET, latency, random.Random(1)) if latency else QUIET, **change)
    verdict = judge(machine, vm)
    assert verdict.access is Access.CANNOT_TELL
    assert why in verdict.why


@pytest.mark.parametrize("one", EMULATED)
def test_what_was_recorded_of_an_emulated_processor_tells_nothing_by_its_name_or_without_it(one):
    assert judge(one, "qemu").why == "the processor is emulated: QEMU TCG CPU version 2.5+"
    nested = judge(replace(one, model="AMD EPYC"), "kvm")
    assert nested.access is Access.CANNOT_TELL
    assert "a step of Python" in nested.why


@given(recorded, st.floats(30, 500))
def test_times_of_an_emulated_processor_that_hides_it_tell_nothing(one, factor):
    """An emulator takes dozens of its own instructions for a load, the same for all memory."""
    verdict = judge(replace(slower(one, factor), virtual=False), "none")
    assert verdict.access is Access.CANNOT_TELL
    assert "from ordinary memory takes" in verdict.why


def test_without_a_word_of_systemd_a_machine_that_says_nothing_of_a_hypervisor_is_believed():
    assert judge(replace(QUIET, virtual=False), None).access is Access.CACHED


def with_repeated(one, *nanoseconds, number=64):
    return replace(one, repeated=nanoseconds * number)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"memory": with_repeated(QUIET.memory, 20_000.0)}, "takes 20 µs: software answers it"),
        ({"memory": with_repeated(QUIET.memory, 7.0)}, "which is neither; measure again"),
        ({"memory": with_repeated(QUIET.memory, 200.0)}, "which is neither; measure again"),
        ({"memory": with_repeated(QUIET.memory, 1.0, number=7)}, "only 7 rounds"),
        ({"ordinary": with_repeated(QUIET.ordinary, 0.0)}, "from ordinary memory takes 0 ns"),
        ({"ordinary": replace(QUIET.ordinary, again=(40.0,) * 7)}, "only 7 rounds"),
        ({"elsewhere": (loads.Part(1 << 30, (1.4,) * 7),)}, "only 7 rounds"),
        ({"elsewhere": (loads.Part(1 << 30, (7.0,) * 64),)}, "load at 1GiB takes 7 ns"),
        ({"elsewhere": (loads.Part(1 << 30, (9e9,) * 64),)}, "software answers it"),
    ],
    ids=[
        "a device in software",
        "between",
        "contradicts its single loads",
        "few rounds",
        "a clock that stands",
        "few single loads",
        "few rounds elsewhere",
        "between, elsewhere",
        "a device in software, elsewhere",
    ],
)
def test_what_is_neither_is_not_told(change, why):
    verdict = judge(replace(QUIET, **change), "kvm")
    assert verdict.access is Access.CANNOT_TELL
    assert why in verdict.why


# What follows from it ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cached", "access", "codes"),
    [
        (True, Access.CACHED, []),
        (True, Access.UNCACHED, ["CXX101"]),
        (False, Access.CACHED, ["CXX101"]),
        (False, Access.UNCACHED, []),
        (False, Access.CANNOT_TELL, []),
        (None, Access.CACHED, []),
        (False, Access.MIXED, ["CXX101"]),
        (True, Access.MIXED, ["CXX101"]),
        (None, Access.MIXED, []),
    ],
)
def test_what_is_otherwise_than_expected_is_a_problem(cached, access, codes):
    asked = Measurable("dax0.0", cached, "its MTRRs are uncachable")
    assert [one.code for one in problems(asked, access, QUIET)] == codes


def test_a_latency_is_compared_with_that_of_first_loads_where_anything_can_be_told():
    first = round(QUIET.first(QUIET.memory))
    for low, high, fits in ((first, first, True), (first + 1, 999, False), (1, first - 1, False)):
        asked = Measurable("dax0.0", latency=Nanoseconds(low, high), path=("latency",))
        assert (problems(asked, Access.CACHED, QUIET) == ()) is fits
        assert problems(asked, Access.CANNOT_TELL, QUIET) == ()


def test_a_latency_is_not_compared_with_first_loads_that_may_come_from_a_cache():
    asked = Measurable("dax0.0", latency=Nanoseconds(900, 999), path=("latency",))
    warm = replace(QUIET, cold=False)
    assert problems(asked, Access.CACHED, warm) == ()
    assert [one.code for one in problems(asked, Access.UNCACHED, warm)] == ["CXX102"]


def test_where_a_part_is_cached_each_is_told_with_its_time():
    one = in_parts(uncached(QUIET, 200, random.Random(1)), 200, [True, False, False], random.Random(2))
    why = judge(one, "kvm").why
    assert why.startswith("uncached at 0 (")
    assert "; cached at 2GiB (1." in why
