"""Patches and trees: the verdict, what is written, what is taken back; GNU patch agrees where it is there."""

import difflib
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxlstate.formats.patching import Standing, judge
from cxlstate.formats.unified_diff import Patch, lines_of, parse, write

IN, APPLIES, PARTLY, FAILS = Standing.IN, Standing.APPLIES, Standing.PARTLY, Standing.FAILS

OLD = "".join(f"line {n}\n" for n in range(1, 31))
NEW = OLD.replace("line 5\n", "five\n").replace("line 20\n", "line 20\nmore\n")
PATH = "x.c"


def diff(old, new, path=PATH, context=3):
    lines = difflib.unified_diff(lines_of(old), lines_of(new), f"a/{path}", f"b/{path}", n=context)
    text = "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines
    )
    return parse(text)


PATCH = diff(OLD, NEW)


def places(verdict):
    return [(place.standing, place.line, place.offset) for place in verdict.places]


@pytest.mark.parametrize(
    ("tree", "standing", "found"),
    {
        "pristine": (OLD, APPLIES, [(APPLIES, 2, 0), (APPLIES, 18, 0)]),
        "patched": (NEW, IN, [(IN, 2, 0), (IN, 18, 0)]),
        "half": (OLD.replace("line 5\n", "five\n"), PARTLY, [(IN, 2, 0), (APPLIES, 18, 0)]),
        "the other half": (NEW.replace("five\n", "line 5\n"), PARTLY, [(APPLIES, 2, 0), (IN, 18, 0)]),
        "edited elsewhere": ("top\ntop\n" + OLD + "end\n", APPLIES, [(APPLIES, 4, 2), (APPLIES, 20, 0)]),
        "edited between": (OLD.replace("line 12\n", ""), APPLIES, [(APPLIES, 2, 0), (APPLIES, 17, -1)]),
        "patched and edited": ("top\n" + NEW, IN, [(IN, 3, 1), (IN, 19, 0)]),
    }.values(),
)
def test_verdict(tree, standing, found):
    verdict = judge(PATCH, {PATH: tree})
    assert (verdict.standing, places(verdict)) == (standing, found)
    after = verdict.patched[PATH]
    assert judge(PATCH, {PATH: after}).standing is IN
    assert judge(PATCH, {PATH: after}).patched == {PATH: after}
    assert judge(PATCH, {PATH: verdict.taken_back[PATH]}).standing is APPLIES


FAILURES = {
    "differently patched": (OLD.replace("line 5\n", "fuenf\n"), 1, 5, "fuenf", "line 5", ""),
    "context changed": (OLD.replace("line 22\n", "other\n"), 2, 22, "other", "line 22", ""),
    "moved and changed": ("a\nb\n" + OLD.replace("line 5\n", "fuenf\n"), 1, 7, "fuenf", "line 5", ""),
    "cut off": ("".join(lines_of(OLD)[:20]), 2, 21, "end of file", "line 21", ""),
    "no newline": (
        "".join(lines_of(OLD)[:21]) + "line 22",
        2,
        22,
        "line 22 (no newline)",
        "line 22",
        "",
    ),
    "CR LF": (
        OLD.replace("line 5\n", "line 5\r\n"),
        1,
        5,
        "line 5 (CR LF)",
        "line 5",
        "",
    ),
    "another file": ("nothing of it\n", 1, 0, None, None, "none of its lines stands there"),
    "out of order": (
        OLD[OLD.index("line 10\n") :] + OLD[: OLD.index("line 10\n")],
        2,
        9,
        None,
        None,
        "above",
    ),
    "twice, nowhere near": ("x\n" * 50 + OLD + OLD, 1, 0, None, None, "several places: lines 52, 82"),
    "in and not in": ("x\n" * 50 + OLD + NEW, 1, 0, None, None, "several places: lines 52, 82"),
    "no such file": (None, 1, 0, None, None, "no such file"),
}


@pytest.mark.parametrize(
    ("tree", "hunk", "line", "found", "expected", "reason"), FAILURES.values(), ids=FAILURES
)
def test_why_it_does_not_apply(tree, hunk, line, found, expected, reason):
    verdict = judge(PATCH, {PATH: tree})
    assert verdict.standing is FAILS
    place = next(one for one in verdict.failures if one.hunk == hunk)
    assert (place.line, place.found, place.expected) == (line, found, expected)
    assert reason in place.reason
    assert place.path == PATH


def test_of_several_places_the_one_of_the_header_counts():
    tree = OLD + OLD
    assert judge(PATCH, {PATH: tree}).patched == {PATH: NEW + OLD}
    assert judge(PATCH, {PATH: OLD + NEW}).standing is APPLIES
    assert judge(PATCH, {PATH: NEW + OLD}).standing is IN


def test_a_newline_is_taken_from_the_last_line_alone():
    patch = diff("a\nb\n", "a\nb")
    assert judge(patch, {PATH: "a\nb\na\nb\n"}).patched == {PATH: "a\nb\na\nb"}
    inside = judge(patch, {PATH: "a\nb\nc\n"})
    assert (inside.standing, inside.failures[0].reason) == (
        FAILS,
        "it stands there, and not at the end of the file",
    )


MADE = parse("--- /dev/null\n+++ b/new.c\n@@ -0,0 +1,2 @@\n+a\n+b\n")


def test_a_file_that_is_made_and_taken_back():
    assert judge(MADE, {"new.c": None}).standing is APPLIES
    assert judge(MADE, {"new.c": None}).patched == {"new.c": "a\nb\n"}
    there = judge(MADE, {"new.c": "a\nb\n"})
    assert (there.standing, there.taken_back) == (IN, {"new.c": None})
    other = judge(MADE, {"new.c": "a\nc\n"})
    assert (other.standing, places(other)) == (FAILS, [(FAILS, 2, 0)])
    assert judge(MADE, {"new.c": "a\nb\nc\n"}).failures[0].expected == "end of file"


def test_a_file_that_is_removed_and_taken_back():
    patch = MADE.reversed()
    assert (judge(patch, {"new.c": None}).standing, judge(patch, {"new.c": None}).taken_back) == (
        IN,
        {"new.c": "a\nb\n"},
    )
    there = judge(patch, {"new.c": "a\nb\n"})
    assert (there.standing, there.patched, there.missing) == (APPLIES, {"new.c": None}, patch)
    assert judge(patch, {"new.c": "another\n"}).standing is FAILS


def test_partly_in_over_several_files():
    patch = Patch((*PATCH.files, *MADE.files))
    assert judge(patch, {PATH: NEW, "new.c": None}).standing is PARTLY
    assert judge(patch, {PATH: NEW, "new.c": "else\n"}).standing is FAILS


def test_what_was_missing_leads_back_to_the_tree_as_it_was():
    """Also where its lines stand twice, and others edited the file elsewhere since."""
    half = OLD.replace("line 5\n", "five\n") + OLD
    verdict = judge(PATCH, {PATH: half})
    assert verdict.standing is PARTLY
    done = parse(write(verdict.missing))
    back = judge(done, {PATH: verdict.patched[PATH] + "edited since\n"})
    assert (back.standing, back.taken_back) == (IN, {PATH: half + "edited since\n"})
    assert judge(PATCH, {PATH: NEW}).missing is None


LINES = st.lists(st.sampled_from("abcd"), max_size=12)
CASES = {
    "few words": LINES,
    "many words": st.lists(st.integers(0, 500).map(str), max_size=30),
}


@st.composite
def edited(draw, lines, endings=("\n", "\n", "")):
    """A file and what became of it: runs of lines replaced."""
    old = draw(lines)
    new = list(old)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(new)))
        new[at : at + draw(st.integers(0, 2))] = draw(
            st.lists(st.sampled_from(["a", "b", "X", "Y"]), max_size=2)
        )
    ends = st.sampled_from(endings)
    return tuple("\n".join(some) + draw(ends) if some else "" for some in (old, new))


@pytest.mark.parametrize("lines", CASES.values(), ids=CASES)
@settings(max_examples=200, deadline=None)
@given(st.data())
def test_what_applies_comes_to_the_new_file_and_leads_back(lines, data):
    """Where words repeat it may not be told; what is told is right."""
    old, new = data.draw(edited(lines))
    if not old or not new or old == new:
        return
    patch = diff(old, new)
    assert parse(write(patch)) == patch
    there = judge(patch, {PATH: old})
    if there.standing is APPLIES:
        assert there.patched == {PATH: new}
    known = judge(patch, {PATH: new})
    if known.standing is IN:
        assert known.taken_back == {PATH: old}
    if all(len(set(lines_of(one))) == len(lines_of(one)) for one in (old, new)):
        assert (there.standing, known.standing) == (APPLIES, IN)


def context(hunk, step):
    return next(count for count, line in enumerate(hunk.lines[::step]) if line[0] != " ")


@pytest.mark.skipif(shutil.which("patch") is None, reason="GNU patch is not installed")
@settings(max_examples=30, deadline=None)
@given(st.data())
def test_what_applies_is_what_patch_makes_of_it(tmp_path_factory, data):
    """In a file that was edited elsewhere; patch may apply more: it guesses the nearest place."""
    old, new = data.draw(edited(st.lists(st.integers(0, 30).map(str), min_size=4, max_size=40), ("\n",)))
    more = data.draw(st.lists(st.integers(0, 60).map(str), max_size=4))
    if not old or not new or old == new:
        return
    patch = diff(old, new)
    tree = "".join(f"{line}\n" for line in more) + old
    verdict = judge(patch, {PATH: tree})
    if verdict.standing is not APPLIES:
        return
    folder = tmp_path_factory.mktemp("patch")
    (folder / PATH).write_text(tree)
    done = subprocess.run(
        ("patch", "--strip=1", "--fuzz=0", "--force", "--no-backup-if-mismatch", "--posix"),
        input=write(patch),
        text=True,
        cwd=folder,
        capture_output=True,
        check=False,
    )
    if done.returncode != 0 or (folder / PATH).read_text() != verdict.patched[PATH]:
        # It wants a hunk with less context above or below at the very beginning or end.
        short = (context(hunk, 1) < 3 or context(hunk, -1) < 3 for hunk in patch.files[0].hunks)
        assert any(short), done.stdout
