"""The served OpenAPI document says what is: its shapes and the parsers agree, and everything it points to is there."""

import contextlib
import json
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infercast.router.api import Api
from infercast.router.errors import Trouble
from infercast.router.ingress import oip
from infercast.router.ingress import openai as openai_api
from infercast.router.ingress.answers import STATUS
from infercast.router.ingress.openapi import WHY, document
from infercast.router.ingress.operations import OPERATIONS
from infercast.router.ingress.reference import page
from infercast.router.openai.bodies import parse_chat, parse_completion, parse_embedding
from infercast.router.openai.envelope import read_envelope
from tests.router.fakes import door
from tests.router.openai.shapes import values

DOCUMENT = document("/fra")
SHAPES = DOCUMENT["components"]["schemas"]
CALLS = {
    "ChatCall": (Api.CHAT, parse_chat),
    "CompletionCall": (Api.COMPLETION, parse_completion),
    "EmbeddingCall": (Api.EMBEDDING, parse_embedding),
}
FIELDS = sorted({name for shape in CALLS for name in SHAPES[shape]["properties"]})
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats(-3, 3)
    | st.sampled_from(["", "text", "user", "auto", "x"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["role", "content", "type", "text", "class"]), inner)
    ),
    max_leaves=6,
)


def inlined(schema: Any) -> Any:
    """A shape with what it refers to written out."""
    if isinstance(schema, list):
        return [inlined(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return inlined(SHAPES[schema["$ref"].rpartition("/")[2]])
    return {name: inlined(one) for name, one in schema.items()}


def read(shape: str, fields: Any) -> None:
    """Read a call as the ingress and then the model's host do. Raises Trouble."""
    api, parse = CALLS[shape]
    parse(read_envelope(api, json.dumps(fields).encode()).body)


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from (one for name, one in value.items() if name == "$ref")
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from references(one)


def test_every_shape_is_one_and_every_reference_leads_to_one() -> None:
    for schema in SHAPES.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    assert {name.rpartition("/")[2] for name in references(DOCUMENT)} <= set(SHAPES)


def test_every_shape_is_used() -> None:
    assert set(SHAPES) == {name.rpartition("/")[2] for name in references(DOCUMENT)}


def test_each_operation_has_a_name_of_its_own() -> None:
    names = [operation.name for operation in OPERATIONS]
    assert len(set(names)) == len(names)
    assert len({(operation.method, operation.path) for operation in OPERATIONS}) == len(names)


def test_every_kind_of_trouble_is_explained() -> None:
    assert set(WHY) == set(STATUS)


def test_kinds_that_share_a_status_are_both_told() -> None:
    said = DOCUMENT["paths"]["/v1/embeddings"]["post"]["responses"]["503"]["description"]
    assert "`saturated`" in said
    assert "`unavailable`" in said


def test_the_address_is_that_of_the_site() -> None:
    assert DOCUMENT["servers"] == [{"url": "/fra"}]
    assert document()["servers"] == [{"url": "/"}]


@pytest.mark.parametrize("shape", CALLS)
def test_what_a_shape_allows_is_taken(shape: str) -> None:
    whole = inlined(SHAPES[shape])
    validator = jsonschema.Draft202012Validator(whole)

    @given(values(whole).filter(validator.is_valid))
    def check(fields: Any) -> None:
        read(shape, fields)

    check()


@pytest.mark.parametrize("shape", CALLS)
def test_what_is_taken_the_shape_allows(shape: str) -> None:
    validator = jsonschema.Draft202012Validator(inlined(SHAPES[shape]))
    needed = {"ChatCall": ("messages", [{"role": "user", "content": "x"}]), "CompletionCall": ("prompt", "x")}
    name, value = needed.get(shape, ("input", "x"))

    @given(st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=3))
    def check(fields: dict[str, Any]) -> None:
        with contextlib.suppress(Trouble):
            whole = {"model": "m", name: value, **fields}
            read(shape, whole)
            validator.validate(whole)

    check()


class Links(HTMLParser):
    """What a page loads and where it leads."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.leads: list[str] = []
        self.names: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("href", "src"):
                self.leads.append(value or "")
            if name == "id":
                self.names.add(value or "")


def test_the_page_shows_every_call_and_loads_nothing() -> None:
    html = page(DOCUMENT)
    links = Links()
    links.feed(html)
    assert "script" not in links.tags
    assert {operation.name for operation in OPERATIONS} <= links.names
    assert all(lead == "openapi.json" or lead[1:] in links.names for lead in links.leads)
    assert all(operation.path.replace("{", "{") in html for operation in OPERATIONS)
    assert "url(" not in html


def test_every_call_that_is_served_is_described_and_the_other_way_round() -> None:
    routes = {(route.method, route.path) for route in door().ingress._routes.all} - {
        *oip.NOT_SERVED,
        *openai_api.NOT_SERVED,
    }
    assert {(method.lower(), path) for method, path in routes} == {
        (operation.method, operation.path) for operation in OPERATIONS
    }


def test_the_description_needs_no_key_and_is_rooted_where_the_site_is() -> None:
    at = door()
    found = at.say("GET", "/openapi.json", key=None, root="/fra")
    assert (found.status, found.headers["content-type"]) == (200, "application/json")
    assert found.value == DOCUMENT
    html = at.say("GET", "/docs", key=None, root="/fra")
    assert html.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in html.headers["content-security-policy"]
    assert html.body.decode() == page(DOCUMENT)
