"""The patches that come with cxlstate, in the sources that Debian ships and in later ones."""

import shutil
import subprocess

import pytest

from cxlstate.formats.kernel_patches import BY_DRIVER, shipped
from cxlstate.formats.patch_stack import fitting, stack
from cxlstate.formats.patching import Standing
from cxlstate.formats.unified_diff import write
from tests.corpus import kernel
from tests.corpus.apt import NoCorpusError
from tests.kernel.newer import NEWER

IN, APPLIES, PARTLY, FAILS = Standing.IN, Standing.APPLIES, Standing.PARTLY, Standing.FAILS
HMEM, CXL, FAMFS = "dax-hmem-align-4k", "dax-cxl-align-4k", "famfs-nohugepage"
HMEM_C, CXL_C = "drivers/dax/hmem/hmem.c", "drivers/dax/cxl.c"
NO_FILE = dict.fromkeys(kernel.PATHS)


@pytest.fixture(params=kernel.PACKAGES)
def debian(request):
    try:
        return request.param, kernel.tree(kernel.PACKAGES[request.param])
    except NoCorpusError as error:
        pytest.skip(f"no kernel sources of {request.param}: {str(error).splitlines()[-1]}")


def test_each_has_a_header_and_does_one_thing():
    assert set(shipped()) == {HMEM, CXL, FAMFS}
    assert set(BY_DRIVER.values()) == {HMEM, CXL}
    for series in shipped().values():
        for patch in series.variants:
            (file,) = patch.files
            (hunk,) = file.hunks
            assert [line[0] for line in hunk.lines].count("-") == 1


EXPECTED = {
    "Debian 12": {HMEM: (APPLIES, 28), CXL: (FAILS, 0), FAMFS: (FAILS, 0)},
    "Debian 13": {HMEM: (APPLIES, 30), CXL: (APPLIES, 20), FAMFS: (FAILS, 0)},
}


@pytest.mark.parametrize("name", [HMEM, CXL, FAMFS])
def test_debians_kernels_as_they_are(debian, name):
    release, tree = debian
    verdict = fitting(shipped()[name], tree)
    (place,) = verdict.places
    assert (verdict.standing, place.line) == EXPECTED[release][name]
    assert place.offset == 0
    if verdict.standing is FAILS:
        assert place.reason == "the tree has no such file"


def test_applied_again_and_taken_back(debian):
    release, tree = debian
    wanted = [shipped()[name] for name, (standing, _) in EXPECTED[release].items() if standing is APPLIES]
    done = stack(wanted, (), tree)
    assert [one.standing for one in done.wanted] == [APPLIES] * len(wanted)
    assert done.tree[HMEM_C].count("PMD_SIZE") == 0
    assert len(done.tree[HMEM_C]) == len(tree[HMEM_C]) + len("PAGE_SIZE") - len("PMD_SIZE")
    again = stack(wanted, (), done.tree)
    assert ([one.standing for one in again.wanted], again.tree) == ([IN] * len(wanted), done.tree)
    edited = dict(done.tree) | {HMEM_C: "/* mine */\n" + done.tree[HMEM_C] + "/* mine, too */\n"}
    back = stack((), wanted, edited)
    assert back.tree[HMEM_C] == "/* mine */\n" + tree[HMEM_C] + "/* mine, too */\n"
    assert stack((), wanted, done.tree).tree == tree


def test_half_of_them(debian):
    release, tree = debian
    wanted = [shipped()[name] for name, (standing, _) in EXPECTED[release].items() if standing is APPLIES]
    half = stack(wanted[:1], (), tree).tree
    assert [one.standing for one in stack(wanted, (), half).wanted] == [IN, APPLIES][: len(wanted)]


@pytest.mark.parametrize(
    ("now", "then", "line", "found"),
    [
        ("PMD_SIZE", "SZ_4K", None, "SZ_4K"),
        ("PMD_SIZE", "4096", None, "4096"),
        ("PMD_SIZE", "region_align ? region_align : PMD_SIZE", None, "region_align : PMD_SIZE"),
    ],
)
def test_differently_patched(debian, now, then, line, found):
    """It is told what stands there, with file and line, and nothing is written."""
    _, tree = debian
    other = dict(tree) | {HMEM_C: tree[HMEM_C].replace(now, then)}
    done = stack([shipped()[HMEM]], (), other)
    (place,) = done.wanted[0].verdict.failures
    assert (place.path, place.line > 20, found in place.found, "PMD_SIZE" in place.expected) == (
        HMEM_C,
        True,
        True,
        True,
    )
    assert done.tree == other


@pytest.mark.parametrize(("path", "text", "name", "standing", "found"), NEWER.values(), ids=NEWER)
def test_newer_and_other_trees(path, text, name, standing, found):
    verdict = fitting(shipped()[name], NO_FILE | {path: text})
    (place,) = verdict.places
    assert (verdict.standing, place.path, place.found) == (Standing(standing), path, found)


@pytest.mark.skipif(shutil.which("patch") is None, reason="GNU patch is not installed")
@pytest.mark.parametrize("name", [HMEM, CXL])
def test_gnu_patch_makes_the_same_of_it(tmp_path, debian, name):
    """Of the text as it is shipped, and of the one that we write of it."""
    release, tree = debian
    if EXPECTED[release][name][0] is FAILS:
        return
    ours = stack([shipped()[name]], (), tree)
    for text in (write(ours.wanted[0].missing), *map(write, shipped()[name].variants)):
        for path in (HMEM_C, CXL_C):
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(tree[path] or "")
        done = subprocess.run(
            ("patch", "--strip=1", "--fuzz=0", "--force"), input=text, text=True, cwd=tmp_path, check=False
        )
        if done.returncode == 0:
            break
    assert (tmp_path / HMEM_C).read_text() == ours.tree[HMEM_C]
