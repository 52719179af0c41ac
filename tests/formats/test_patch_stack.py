"""Patches upon each other: which are in is told of each, whichever lines they share."""

from itertools import combinations

import pytest

from cxlstate.formats.patch_stack import Series, fitting, stack
from cxlstate.formats.patching import Standing
from tests.formats.test_patching import APPLIES, FAILS, IN, OLD, PARTLY, PATH, diff

# B changes the context of A, and C a line that B brought; D stands by itself.
A = OLD.replace("line 5\n", "five\n")
B = A.replace("line 6\n", "six\nand a half\n")
C = B.replace("and a half\n", "and a third\n")
D = C.replace("line 25\n", "")
TEXTS = (OLD, A, B, C, D)
SERIES = [Series(name, (diff(*pair),)) for name, *pair in zip("abcd", TEXTS, TEXTS[1:], strict=False)]


def standings(found):
    return [one.standing for one in found]


@pytest.mark.parametrize("depth", range(5))
def test_the_first_so_many_are_in(depth):
    found = stack(SERIES, (), {PATH: TEXTS[depth]})
    assert standings(found.wanted) == [IN] * depth + [APPLIES] * (4 - depth)
    assert found.tree == {PATH: D}
    back = stack(SERIES[:depth], SERIES[depth:], {PATH: D})
    assert (standings(back.unwanted), back.tree) == ([IN] * (4 - depth), {PATH: TEXTS[depth]})


def test_one_that_stands_by_itself_comes_out_from_below():
    found = stack(SERIES[:3], SERIES[3:], {PATH: D.replace("line 30\n", "edited\n")})
    assert found.tree == {PATH: C.replace("line 30\n", "edited\n")}
    other = stack([SERIES[3]], [], {PATH: OLD})
    both = stack([SERIES[0], SERIES[3]], [], other.tree)
    assert (standings(both.wanted), both.tree) == ([APPLIES, IN], {PATH: A.replace("line 25\n", "")})


def test_one_below_others_that_stay_is_not_torn_out():
    """What lies upon it does not apply without it: told, and the tree of the plan is not written."""
    found = stack(SERIES[1:], SERIES[:1], {PATH: D})
    assert standings(found.unwanted) == [IN]
    assert FAILS in standings(found.wanted)


@pytest.mark.parametrize("some", [some for count in range(4) for some in combinations("123", count)])
def test_the_form_that_is_in_counts_before_one_that_applies(some):
    forms = {str(number): f"form {number}\n" for number in (1, 2, 3)}
    variants = tuple(diff(OLD, OLD.replace("line 5\n", text)) for text in forms.values())
    for number in some:
        verdict = fitting(Series("x", variants), {PATH: OLD.replace("line 5\n", forms[number])})
        assert verdict.standing is IN
    assert fitting(Series("x", variants), {PATH: OLD}).patched == {PATH: OLD.replace("line 5\n", "form 1\n")}


def test_of_several_that_fail_the_closest_is_told():
    far = diff("nothing\nof\nit\n", "nothing\nat\nall\n")
    near = diff(OLD, A)
    verdict = fitting(Series("x", (far, near)), {PATH: OLD.replace("line 5\n", "fuenf\n")})
    assert (verdict.standing, verdict.failures[0].found) == (FAILS, "fuenf")


def test_what_is_partly_in_is_completed_or_taken_back():
    patch = Series("x", (diff(OLD, A.replace("line 25\n", "")),))
    half = {PATH: A}
    there = stack([patch], (), half)
    assert (standings(there.wanted), there.tree) == ([PARTLY], {PATH: A.replace("line 25\n", "")})
    assert stack((), [patch], half).tree == {PATH: OLD}
    assert there.wanted[0].missing is not None
    assert Standing.PARTLY in standings(stack((), [patch], half).unwanted)
