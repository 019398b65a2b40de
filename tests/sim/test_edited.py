"""Documents that are changed: values as before, places kept, patches as RFC 7386 has them."""

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from infercast.policies.documents import Document
from infercast.sim.edited import Edited, Part, merge_patch, part_of

KEYS = st.text(alphabet="abc", min_size=1, max_size=2)
VALUES = st.recursive(
    st.none() | st.integers(0, 9) | st.text(alphabet="xyz", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)


def part(value: Any) -> Part:
    return part_of(Document("f.yaml", yaml.safe_dump(value)))


# Examples of RFC 7386, appendix A: original, patch, result.
RFC = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("original", "patch", "result"), RFC)
def test_a_patch_does_what_the_rfc_says(original: Any, patch: Any, result: Any) -> None:
    assert merge_patch(part(original), part(patch)).plain() == result


@given(VALUES, VALUES)
def test_a_patch_said_twice_changes_nothing_more(original: Any, patch: Any) -> None:
    once = merge_patch(part(original), part(patch))
    assert merge_patch(once, part(patch)).plain() == once.plain()


@given(VALUES)
def test_a_document_made_of_its_own_parts_is_the_same(value: Any) -> None:
    document = Document("f.yaml", yaml.safe_dump(value))
    edited = Edited(part_of(document), document.faults)
    assert edited.value == document.value
    assert {at: edited.line_of(at) for at in document.lines} == document.lines
    for at in document.lines:
        assert edited.fault(at, "m") == document.fault(at, "m")


def test_each_place_is_said_with_the_file_that_it_comes_from() -> None:
    fleet = part_of(Document("fleet.yaml", "sites:\n  - id: a\n  - id: b\n"))
    other = part_of(Document("scenario.yaml", "\n\nsite:\n  id: c\n  lat: 1\n"))
    fleet.items("sites").append(other.at("site"))
    edited = Edited(fleet, [])
    assert edited.value == {"sites": [{"id": "a"}, {"id": "b"}, {"id": "c", "lat": 1}]}
    assert str(edited.fault(("sites", 1, "id"), "m")) == "fleet.yaml:3: sites[1].id: m"
    assert str(edited.fault(("sites", 2, "lat"), "m")) == "scenario.yaml:5: sites[2].lat: m"
    assert str(edited.fault(("sites", 2, "lon"), "m")) == "scenario.yaml:3: sites[2].lon: m"


def test_a_patch_over_a_plain_value_stands_where_the_patch_does() -> None:
    fleet = part_of(Document("a.yaml", "limits: 5\n"))
    patch = part_of(Document("b.yaml", "\nlimits: {most: 3}\n"))
    edited = Edited(merge_patch(fleet, patch), [])
    assert str(edited.fault(("limits",), "m")) == "b.yaml:2: limits: m"
    assert str(edited.fault((), "m")).startswith("a.yaml:1: ")
