"""What ndctl lists in another form than any that is known: refused before anything follows from it."""

from __future__ import annotations

import json

import pytest

from cxlstate.formats.ndctl import parse

REGION = {"dev": "region0", "size": 1 << 30, "align": 1 << 24, "type": "pmem"}
NAMESPACE = {"dev": "namespace0.0", "mode": "devdax", "size": 1 << 20, "align": 1 << 21}


@pytest.mark.parametrize(
    ("key", "value"),
    [("align", [1]), ("align", {}), ("align", None), ("align", float("inf")), ("size", "x"), ("dev", 7)],
)
def test_a_namespace_of_another_form_is_refused(key, value):
    listed = json.dumps({"regions": [{**REGION, "namespaces": [{**NAMESPACE, key: value}]}]})
    with pytest.raises(ValueError, match=r"."):
        parse(listed, {})


@pytest.mark.parametrize("listed", ["[" * 100_000, '{"regions": 7}', '{"regions": [[]]}', "7", "null"])
def test_what_is_no_list_is_refused(listed):
    with pytest.raises(ValueError, match=r"."):
        parse(listed, {})


def test_what_is_a_word_is_one_whatever_it_was():
    listed = json.dumps({"regions": [{**REGION, "namespaces": [{**NAMESPACE, "map": 7, "chardev": ["x"]}]}]})
    ((region,),) = [parse(listed, {})]
    assert (region.namespaces[0].map, region.namespaces[0].device) == ("7", "['x']")
