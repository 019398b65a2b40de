"""Real servers on loopback that stand for upstreams: well-behaved ones in uvicorn, and bare sockets for what no library would do."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import uvicorn

from infercast.policies.fleet import Fleet
from tests.support import TRUSTED, card, link, raw_fleet, site

Raw = dict[str, Any]
App = Callable[[Raw, Callable[[], Awaitable[Raw]], Callable[[Raw], Awaitable[None]]], Awaitable[None]]
WAIT_S = 20.0


@contextmanager
def served(app: Any, **more: Any) -> Iterator[int]:
    """Serve an ASGI application in a thread; yields its port."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off", **more))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    until_s = time.monotonic() + WAIT_S
    while not server.started:
        assert time.monotonic() < until_s, "uvicorn did not start"
        time.sleep(0.01)
    try:
        yield int(listener.getsockname()[1])
    finally:
        server.should_exit = server.force_exit = True
        thread.join(WAIT_S)
        listener.close()


@contextmanager
def scripted(script: Callable[[socket.socket], None]) -> Iterator[int]:
    """Let a script have each connection to a bare socket, in a thread of its own; yields the port."""
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def each(connection: socket.socket) -> None:
        with connection:
            connection.settimeout(WAIT_S)
            with suppress(OSError):  # the other side has gone: what the test is about is seen there
                script(connection)

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=each, args=(connection,), daemon=True))
            threads[-1].start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(WAIT_S)


def request_on(connection: socket.socket) -> bytes:
    """The next request on a connection, head and body; empty when the other side has gone."""
    text = b""
    while b"\r\n\r\n" not in text:
        part = connection.recv(65536)
        if not part:
            return b""
        text += part
    head, _, body = text.partition(b"\r\n\r\n")
    length = next(
        (int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
    )
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def answer(body: bytes, status: str = "200 OK", *headers: str, length: int | None = None) -> bytes:
    """An answer's bytes."""
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body) if length is None else length}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def answering(
    text: bytes, *, then: Callable[[socket.socket], None] = lambda _: None
) -> Callable[[socket.socket], None]:
    """A script that answers each request on a connection alike."""

    def script(connection: socket.socket) -> None:
        while request_on(connection):
            connection.sendall(text)
            then(connection)

    return script


def reset(connection: socket.socket) -> None:
    """End a connection with a RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    connection.close()


def upstream_fleet(url: str, api: str = "openai", **more: Any) -> Fleet:
    """Berlin's edge, and an upstream `far` next to it with a chat model, an embedding model and the digits."""
    upstream = {"url": url, "api": api, "private": True, **more}
    tasks = {"openai": ("chat", "embedding"), "oip": ("tensors",), "infercast": ("tensors", "chat", "embedding")}[api]
    whole = raw_fleet(
        sites=[
            site("ber", "edge", "DE", operator="acme", trust=TRUSTED),
            {**site("far", "cloud", "FR", operator="them", trust=TRUSTED), "upstream": upstream},
        ],
        links=[link("ber", "far", 1.0, "DE", "FR"), link("berlin", "ber", 1.0, "DE")],
        zones=[{"id": "berlin", "country": "DE", "lat": 0, "lon": 0}],
        models=[
            {"id": "digits", "task": "tensors", "variants": [{"id": "small", "card": "x"}]},
            {"id": "talk", "task": "chat", "variants": [{"id": "llama", "card": "x"}]},
            {"id": "vector", "task": "embedding", "variants": [{"id": "bge", "card": "x"}]},
        ],
        deployments=[
            {"site": "ber", "variant": "small", "queue_max": 64},
            *(
                {"site": "far", "variant": variant, "hosted": "upstream", "queue_max": 64, "concurrency": 32}
                for variant, task in (("small", "tensors"), ("llama", "chat"), ("bge", "embedding"))
                if task in tasks
            ),
        ],
        cards={variant: card(variant, 0.9, 5.0) for variant in ("small", "llama", "bge")},
    )
    return Fleet.model_validate(whole)


def run_async(work: Awaitable[Any]) -> Any:
    """Run to its end on a loop of its own, with a limit that only a hang can reach."""

    async def limited() -> Any:
        async with asyncio.timeout(WAIT_S):
            return await work

    return asyncio.run(limited())


def as_json(value: Any) -> bytes:
    """JSON bytes."""
    return json.dumps(value).encode()
