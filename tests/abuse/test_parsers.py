"""Whatever bytes come, the parsers of the front door answer or refuse: never a fault, never more than was asked."""

import asyncio
import gzip
import zlib
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infercast.policies.faults import BadInput, Fault
from infercast.router.api import Api
from infercast.router.authentication import authenticate
from infercast.router.errors import Kind, Trouble
from infercast.router.ingress.desk import classes_in, deadline_us
from infercast.router.ingress.http import Ask
from infercast.router.key_file import keys_of
from infercast.router.keys import Holder, Keys, issue
from infercast.router.oip import parse_infer
from infercast.router.openai.bodies import parse_chat, parse_completion, parse_embedding
from infercast.router.openai.envelope import read_envelope
from infercast.router.upstream.hops import HOPS_MAX, received
from infercast.router.upstream.sse import EVENT_BYTES_MAX, BadEvents, Events
from tests.abuse.scene import CHAT, IMAGE
from tests.router.fakes import door

MINE = frozenset({Kind.BAD_REQUEST, Kind.TOO_LARGE})
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def taken_or_refused(what: Any, *given_: Any) -> bool:
    """Whether a parser takes what it is given, or says that its caller is at fault; whatever else it raises fails the test."""
    try:
        what(*given_)
    except Trouble as trouble:
        return trouble.kind in MINE
    return True


@st.composite
def bent(draw: st.DrawFn, whole: dict[str, Any], fields: list[str]) -> bytes:
    """A good body with one or two of its fields replaced, or cut off, or with a byte changed."""
    body = dict(whole)
    for field in draw(st.lists(st.sampled_from(fields), min_size=1, max_size=2)):
        body[field] = draw(VALUES)
    try:
        text = orjson.dumps(body)
    except TypeError:  # a number beyond what it writes
        text = orjson.dumps(whole)
    at = draw(st.integers(0, len(text) - 1))
    way = draw(st.sampled_from(["whole", "cut", "changed"]))
    if way == "cut":
        return text[:at]
    return text if way == "whole" else text[:at] + bytes([draw(st.integers(0, 255))]) + text[at + 1 :]


@given(
    bent({**IMAGE, **IMAGE["inputs"][0]}, ["inputs", "outputs", "parameters", "id"]), st.none() | st.integers(-5, 2000)
)
def test_tensors(body: bytes, header_bytes: int | None) -> None:
    assert taken_or_refused(parse_infer, body, header_bytes)


@given(st.data())
def test_one_tensor(data: st.DataObject) -> None:
    part = data.draw(bent(IMAGE["inputs"][0], ["name", "datatype", "shape", "data", "parameters"]))
    assert taken_or_refused(parse_infer, b'{"inputs":[%b]}' % part, None)


WISHES = ["model", "messages", "prompt", "input", "max_tokens", "temperature", "top_p", "n", "stop", "seed", "stream",
          "stream_options", "infercast", "encoding_format", "dimensions", "logit_bias", "user"]  # fmt: skip


@given(bent({**CHAT, "prompt": "hi", "input": "hi"}, WISHES))
def test_openai(body: bytes) -> None:
    for parse in (parse_chat, parse_completion, parse_embedding):
        assert taken_or_refused(parse, body)
    for api in (Api.CHAT, Api.COMPLETION, Api.EMBEDDING):
        assert taken_or_refused(read_envelope, api, body)


@given(st.binary(max_size=300))
def test_no_json_at_all(body: bytes) -> None:
    for parse in (parse_chat, parse_completion, parse_embedding):
        assert taken_or_refused(parse, body)
    assert taken_or_refused(parse_infer, body, None)


@given(st.binary(max_size=60))
def test_headers(value: bytes) -> None:
    text = value.decode("latin-1")
    ask = Ask("POST", "/", {b"content-length": value, b"infercast-deadline-ms": value}, _nothing)
    assert taken_or_refused(ask.length)
    assert taken_or_refused(deadline_us, ask.header("infercast-deadline-ms"))
    assert all(word == word.strip() and word for word in classes_in(text))
    key, _ = issue("a", "studio")
    with pytest.raises(Trouble) as caught:
        authenticate(Keys([key]), text, Holder.TENANT, 0)
    assert caught.value.kind is Kind.UNAUTHENTICATED


@given(st.binary(max_size=200), st.sampled_from(["gzip", "deflate", "identity", "br", "x", ""]))
def test_bodies_that_say_they_are_packed(body: bytes, coding: str) -> None:
    assert taken_or_refused(lambda: asyncio.run(_ask(body, coding).body(1000)))


@given(st.sampled_from(["gzip", "deflate"]), st.integers(1001, 3_000_000))
def test_a_body_that_unpacks_to_more_than_is_taken_is_refused(coding: str, size: int) -> None:
    packed = gzip.compress(bytes(size)) if coding == "gzip" else zlib.compress(bytes(size))
    with pytest.raises(Trouble) as caught:
        asyncio.run(_ask(packed, coding).body(max(1000, len(packed))))
    assert caught.value.kind is Kind.TOO_LARGE


@given(VALUES | st.lists(st.dictionaries(st.sampled_from(["id", "tenant", "sha256", "classes", "holder"]), VALUES)))
def test_a_file_of_keys(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    faults: tuple[Fault, ...] = ()
    try:
        keys_of(tmp_path_factory.getbasetemp() / "keys.json", value)
    except BadInput as bad:
        faults = bad.faults
    assert all(fault.file.endswith("keys.json") and fault.message for fault in faults)


LINES = st.sampled_from(
    [b"data: a", b"data:", b"data", b": x", b"event: y", b"", b"\xef\xbb\xbf", b"da", b"ta: \xff", b"id: 1"]
)


@given(
    st.lists(st.tuples(LINES, st.sampled_from([b"\n", b"\r\n", b"\r", b""])), max_size=30), st.lists(st.integers(1, 9))
)
def test_events_of_upstreams_are_the_same_however_they_are_cut(
    lines: list[tuple[bytes, bytes]], cuts: list[int]
) -> None:
    text = b"".join(line + end for line, end in lines) + b"\n\n\n"
    whole = Events().feed(text)
    reader, found = Events(), []
    for size in cuts:
        found += reader.feed(text[:size])
        text = text[size:]
    assert found + reader.feed(text) == whole


@pytest.mark.parametrize("line", [b"data:\n", b"data: x\n", b"x", b": x\n" + b"y" * 2_000_000])
def test_an_upstream_that_never_ends_an_event_is_given_up(line: bytes) -> None:
    part = line * (65536 // len(line) + 1)
    with pytest.raises(BadEvents):
        feed_all(Events(), part, EVENT_BYTES_MAX * 8 // len(part))


def feed_all(reader: Events, part: bytes, times: int) -> None:
    for _ in range(times):
        reader.feed(part)


@given(st.text(alphabet="0123456789abcdef/-_., x", max_size=120) | st.binary(max_size=40).map(lambda b: b.decode("latin-1")),
       st.booleans())  # fmt: skip
def test_hop_records(value: str, peer: bool) -> None:
    kind = None
    try:
        hops = received(value, peer=peer, here="0" * 16)
        assert peer
        assert 0 < len(hops) <= HOPS_MAX
    except Trouble as trouble:
        kind = trouble.kind
    assert kind in (None, Kind.BAD_HOPS, Kind.LOOP)


@given(
    st.lists(st.tuples(st.binary(min_size=1, max_size=20), st.binary(max_size=40)), max_size=6), st.text(max_size=30)
)
def test_whole_calls(headers: list[tuple[bytes, bytes]], path: str) -> None:
    """No head makes a fault, and none of what was sent becomes a header of the answer's."""
    lowered = [(name.lower(), value) for name, value in headers]
    found = DOOR.say("POST", f"/{path}", b"{}", raw=[*lowered, (b"infercast-class", b"gameplay")])
    assert 400 <= found.status < 500
    assert all("\r" not in value and "\n" not in value for value in found.headers.values())


DOOR = door()


async def _nothing() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


def _ask(body: bytes, coding: str) -> Ask:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    return Ask("POST", "/", {b"content-encoding": coding.encode()} if coding else {}, receive)
