"""Calls go to the fleet and nowhere else: nothing that a caller says makes this process connect to an address."""

import socket
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.abuse.scene import CHAT, COMPLETE, IMAGE, INFER, SOON_S, Entry

ELSEWHERE = "http://127.0.0.1:{port}/"


@pytest.fixture
def watched() -> Iterator[tuple[int, list[Any]]]:
    """A port of somebody else's, and every address that this process connects to or looks up from now on."""
    seen: list[Any] = []
    on = True

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if on and event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "subprocess.Popen"):
            seen.append(args[1] if event == "socket.connect" else args[0])

    sys.addaudithook(hook)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1], seen
        listening.settimeout(0.2)
        with pytest.raises(TimeoutError):
            listening.accept()
    on = False


HEADERS = ("host", "x-forwarded-host", "x-forwarded-for", "forwarded", "referer", "origin", "location", "x-original-url",
           "infercast-site", "infercast-target", "infercast-upstream", "x-http-method-override", "via", "proxy")  # fmt: skip


def test_no_word_of_a_callers_becomes_an_address(at: Entry, watched: tuple[int, list[Any]]) -> None:
    port, seen = watched
    there = ELSEWHERE.format(port=port)
    named: list[tuple[str, Any]] = [
        (INFER, {**IMAGE, "parameters": {"url": there, "uri": there}}),
        (INFER, {"inputs": [{**IMAGE["inputs"][0], "parameters": {"shared_memory_region": there}}]}),
        (
            COMPLETE,
            {**CHAT, "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": there}}]}]},
        ),
        (COMPLETE, {**CHAT, "messages": [{"role": "user", "content": there}]}),
        (COMPLETE, {**CHAT, "model": there}),
        (COMPLETE, {**CHAT, "base_url": there, "api_base": there}),
        (COMPLETE, {**CHAT, "infercast": {"site": there, "upstream": there}}),
        (COMPLETE, {**CHAT, "tools": [{"type": "mcp", "server_url": there}]}),
        ("/fra/v1/embeddings", {"model": "embedding", "input": there}),
        ("/fra/v1/decide", {"model": there}),
        (f"/fra/v2/models/{there.replace('/', '%2F')}/infer", IMAGE),
    ]
    with httpx.Client(base_url=at.url, headers=at.bearer(), timeout=SOON_S, follow_redirects=False) as client:
        for path, body in named:
            assert client.post(path, json=body).status_code in (200, 400, 404)
        for header in HEADERS:
            value = f"127.0.0.1:{port}" if header in ("host", "x-forwarded-host") else there
            assert client.post(INFER, json=IMAGE, headers={header: value}).status_code == 200
        assert client.get(f"//127.0.0.1:{port}/").status_code in (400, 404)
    assert ("127.0.0.1", at.port) in seen, "connections are seen"
    own = {("127.0.0.1", at.port), "127.0.0.1", b"127.0.0.1"}
    assert [address for address in seen if address not in own] == []


def test_an_address_in_the_first_line_is_only_a_path(at: Entry, watched: tuple[int, list[Any]]) -> None:
    port, seen = watched
    with at.connect() as wire:
        wire.sendall(at.head(f"http://127.0.0.1:{port}/fra/v2/health/live", "GET"))
        assert wire.recv(100).startswith(b"HTTP/1.1 ")
    assert all(address in (("127.0.0.1", at.port), "127.0.0.1") for address in seen)
