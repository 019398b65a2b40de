"""Calls that are wrong in one way each: the right status, in the right API's words, and nothing is run."""

import struct
from typing import Any

import httpx
import pytest

from infercast.router.ingress.http import BODY_BYTES_MAX
from tests.abuse.scene import CHAT, COMPLETE, IMAGE, INFER, SOON_S, Entry, answer, as_json, until_has

DECIDE = "/fra/v1/decide"
EMBED = "/fra/v1/embeddings"
DEEP = b"[" * 60_000


def said(response: httpx.Response, path: str) -> str:
    """The message, found where the API has it."""
    error = response.json()["error"]
    return str(error["message"] if path in (COMPLETE, EMBED) else error)


def post(at: Entry, path: str, body: bytes | Any, **headers: str) -> httpx.Response:
    """Send one call."""
    content = body if isinstance(body, bytes) else as_json(body)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with httpx.Client(base_url=at.url, headers=at.bearer(), timeout=SOON_S) as client:
        return client.post(path, content=content, headers=named)


@pytest.mark.parametrize("path", [INFER, DECIDE, COMPLETE, EMBED])
@pytest.mark.parametrize(
    "body", [b"", b"{", b"null", b"[]", b"\xff\xfe", b"{}", DEEP, b'{"a":' * 1000, b'{"x":1e999}', b"\x00" * 1000]
)
def test_what_is_no_call_is_the_callers_fault(at: Entry, path: str, body: bytes) -> None:
    response = post(at, path, body)
    assert response.status_code == 400, response.text
    assert said(response, path)


def tensor(**parts: Any) -> Any:
    return {"inputs": [{**IMAGE["inputs"][0], **parts}]}


@pytest.mark.parametrize(
    "body",
    [
        tensor(datatype="FP64", data=[0.0] * 64),
        tensor(datatype="INT64", data=[0] * 64),
        tensor(datatype="BYTES"),
        tensor(datatype=7),
        tensor(shape=[1, 63]),
        tensor(shape=[64]),
        tensor(shape=[1, 8, 8]),
        tensor(shape=[-1, 64]),
        tensor(shape=[2**31, 2**31]),
        tensor(shape=[0, 64], data=[]),
        tensor(shape=[1, 64], data=[0.0] * 63),
        tensor(data=["0"] * 64),
        tensor(data=[None] * 64),
        tensor(data={"0": 0.0}),
        tensor(name="picture"),
        tensor(name=["image"]),
        tensor(parameters={"binary_data_size": 2**62}),
        tensor(parameters={"binary_data_size": -1}),
        {"inputs": [IMAGE["inputs"][0]] * 65},
        {"inputs": [IMAGE["inputs"][0]] * 2},
        {"inputs": {}},
        {**IMAGE, "outputs": [{"name": "mood"}]},
        {**IMAGE, "outputs": 7},
    ],
)
def test_a_wrong_tensor_is_refused(at: Entry, body: Any) -> None:
    response = post(at, INFER, body)
    assert response.status_code == 400, response.text


@pytest.mark.parametrize("size", ["-1", "1e3", "99999999999999999999", "7", "100000"])
def test_a_wrong_length_of_the_json_part_is_refused(at: Entry, size: str) -> None:
    assert post(at, INFER, IMAGE, inference_header_content_length=size).status_code == 400


def test_bytes_that_are_no_numbers_are_numbers_that_are_none(at: Entry) -> None:
    """NaN may come as bytes, and goes back as bytes: JSON has none."""
    blob = struct.pack("<f", float("nan")) * 64
    header = as_json(tensor(parameters={"binary_data_size": len(blob)}) | {})
    value = header.replace(b'"data": ' + as_json([0.0] * 64) + b", ", b"")
    response = post(at, INFER, value + blob, inference_header_content_length=str(len(value)))
    assert response.status_code in (200, 400)


@pytest.mark.parametrize(
    "parts",
    [
        {"messages": []},
        {"messages": "hi"},
        {"messages": [{"role": "god", "content": "x"}]},
        {"messages": [{"role": "user", "content": {"x": 1}}]},
        {"messages": [{"role": "user", "content": "x" * 100_000}]},
        {"max_tokens": -1},
        {"max_tokens": 2**70},
        {"max_tokens": "8"},
        {"n": 10_000},
        {"temperature": -1},
        {"temperature": 1e308},
        {"stop": ["x"] * 1000},
        {"stream": "yes"},
        {"seed": "x"},
        {"infercast": {"id": "a\r\nx-injected: 1"}},
        {"infercast": {"class": ["x"] * 1000}},
        {"infercast": {"deadline_ms": -1}},
        {"infercast": {"target": "http://127.0.0.1:1/"}},
    ],
)
def test_a_wrong_wish_is_refused(at: Entry, parts: Any) -> None:
    response = post(at, COMPLETE, {**CHAT, **parts})
    assert response.status_code == 400, response.text
    assert said(response, COMPLETE)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (INFER.replace("digits", "digts"), IMAGE),
        (INFER.replace("digits", "%2e%2e"), IMAGE),
        (INFER.replace("digits", "x" * 500), IMAGE),
        (COMPLETE, {**CHAT, "model": "gpt"}),
        (DECIDE, {"model": "x"}),
    ],
)
def test_a_model_that_is_not_there(at: Entry, path: str, body: Any) -> None:
    assert post(at, path, body).status_code == 404


@pytest.mark.parametrize("path", [INFER, DECIDE, COMPLETE, EMBED])
@pytest.mark.parametrize(
    ("key", "status"),
    [("", 401), ("nobody", 401), ("expired", 401), ("revoked", 401), ("admin", 403), ("\xe9", 401), ("x" * 4000, 401)],
)
def test_a_key_that_opens_nothing_and_the_body_is_not_waited_for(at: Entry, path: str, key: str, status: int) -> None:
    with at.connect() as wire:
        wire.sendall(at.head(path, key=key, content_length="1000").decode().encode("latin-1"))
        assert answer(wire)[0] == status


@pytest.mark.parametrize("path", [INFER, COMPLETE])
def test_a_body_that_is_too_large_is_refused_before_it_comes(at: Entry, path: str) -> None:
    with at.connect() as wire:
        wire.sendall(at.head(path, content_length=str(BODY_BYTES_MAX + 1)))
        assert answer(wire)[0] == 413


@pytest.mark.parametrize(("path", "limit"), [(INFER, BODY_BYTES_MAX), (DECIDE, 64 * 1024)])
def test_a_body_that_grows_too_large_is_refused_on_the_way(at: Entry, path: str, limit: int) -> None:
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    with at.connect() as wire:
        wire.sendall(at.head(path, transfer_encoding="chunked"))
        try:
            for _ in range(limit // 65536 + 1):
                wire.sendall(chunk)
        except ConnectionError:
            pass
        assert answer(wire)[0] == 413


@pytest.mark.parametrize(
    "text",
    [
        b"\r\n\r\n\x00\x01\x02",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /fra/v2/models/digits/infer HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"POST /fra/v2/models/digits/infer HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"POST /fra/v2/models/digits/infer HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        b"POST /fra/v2/models/digits/infer HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"GET /\xff HTTP/1.1\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET http://elsewhere/ HTTP/1.1\r\nhost: x\r\n\r\n",
        b"CONNECT elsewhere:80 HTTP/1.1\r\nhost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_what_is_no_http_is_refused(at: Entry, text: bytes) -> None:
    with at.connect() as wire:
        wire.sendall(text)
        assert 400 <= answer(wire)[0] < 500


@pytest.mark.parametrize(
    "more", [{f"x_{number}": "x" for number in range(70)}, {"x": "x" * 20_000}, {"x": "x" * 400_000}]
)
def test_a_head_that_is_too_large_is_refused(at: Entry, more: dict[str, str]) -> None:
    with at.connect() as wire:
        wire.sendall(at.head(**more))
        assert answer(wire)[0] == 431


def test_a_websocket_is_not_opened(at: Entry) -> None:
    key = {"sec_websocket_key": "dGhlIHNhbXBsZSBub25jZQ==", "sec_websocket_version": "13"}
    with at.connect() as wire:
        wire.sendall(at.head("/fra/v2", "GET", upgrade="websocket", connection="upgrade", **key))
        assert 400 <= answer(wire)[0] < 500 or at.heads[-1]["type"] == "http"


@pytest.mark.parametrize(
    "headers",
    [
        {"infercast_deadline_ms": "nan"},
        {"infercast_deadline_ms": "-1"},
        {"infercast_deadline_ms": "1e99"},
        {"infercast_deadline_ms": "x"},
        {"infercast_class": "nobody-declared-it"},
        {"infercast_class": "x," * 2000},
    ],
)
@pytest.mark.parametrize("path", [INFER, COMPLETE])
def test_a_wrong_header_is_refused(at: Entry, path: str, headers: dict[str, str]) -> None:
    body = IMAGE if path == INFER else CHAT
    assert post(at, path, body, **headers).status_code == 400


def test_a_head_comes_without_its_body_and_leaves_the_connection_good(at: Entry) -> None:
    with at.connect() as wire:
        wire.sendall(at.head("/fra/v2/health/live", "HEAD") + at.head("/fra/v2", "GET"))
        text = until_has(wire, b'"extensions"')
    first, second = text.split(b"HTTP/1.1 ")[1:]
    assert first.endswith(b"\r\n\r\n"), "a body would be taken for the next answer's head"
    assert (first[:3], second[:3]) == (b"200", b"200")
