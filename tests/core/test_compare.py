"""The law of comparing, over documents of any shape."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cxlstate.core.compare import MISSING, differences

LEAVES = st.none() | st.text(max_size=3) | st.integers(2, 5)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from("abc'[ "), inner, max_size=3)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
)
DOCUMENTS = st.dictionaries(st.sampled_from(["a", "b", "package.hello", "it's [0]"]), VALUES, max_size=4)


def at(document, path):
    for step in path:
        try:
            document = document[step]
        except (KeyError, IndexError):
            return MISSING
    return document


@given(DOCUMENTS, DOCUMENTS)
def test_equal_documents_have_no_difference_and_others_have_one(before, after):
    assert bool(differences(before, after)) == (before != after)
    assert differences(before, before) == []


@given(DOCUMENTS, DOCUMENTS)
def test_what_is_named_is_what_is_there(before, after):
    for one in differences(before, after):
        assert one.before != one.after
        assert one.before in (at(before, one.path), MISSING)
        assert one.after == MISSING or one.path[:-1] == () or at(after, one.path[:-1]) is not MISSING
