"""Head and body of an answer leave in one write, and nothing that is written waits for something that never comes."""

import asyncio
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from infercast.router.serving.one_write import Gathering, OneWrite

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"
ASKED = b"GET /%s HTTP/1.1\r\nhost: x\r\n\r\n"


class Wire:
    """What a transport was told."""

    def __init__(self) -> None:
        self.told: list[bytes | str] = []

    def write(self, data: bytes) -> None:
        self.told.append(data)

    def close(self) -> None:
        self.told.append("closed")

    def is_closing(self) -> bool:
        return "closed" in self.told

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def get_extra_info(self, name: str) -> str:
        return f"the {name}"


def gathering(loop: asyncio.AbstractEventLoop) -> tuple[Gathering, Wire]:
    wire = Wire()
    return Gathering(wire, loop), wire  # type: ignore[arg-type]


def told(*steps: Any) -> list[bytes | str]:
    """What the wire is told when these are written one after the other; None lets the loop turn, "close" closes."""

    async def run() -> list[bytes | str]:
        gathered, wire = gathering(asyncio.get_running_loop())
        for step in steps:
            if step is None:
                await asyncio.sleep(0)
            elif step == "close":
                gathered.close()
            else:
                gathered.write(step)
        return list(wire.told)

    return asyncio.run(run())


def test_a_body_goes_with_its_head() -> None:
    assert told(HEAD, b"ok") == [HEAD + b"ok"]
    assert told(HEAD, b"ok", None, HEAD, b"no", None) == [HEAD + b"ok", HEAD + b"no"]


def test_a_head_whose_body_is_late_goes_alone_at_the_next_turn() -> None:
    assert told(HEAD) == []
    assert told(HEAD, None) == [HEAD]
    assert told(HEAD, None, b"1", b"2") == [HEAD, b"1", b"2"]


def test_an_interim_answer_does_not_wait() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\n"
    assert told(interim) == [interim]


def test_closing_writes_what_was_held_first() -> None:
    assert told(HEAD, "close") == [HEAD, "closed"]


def test_whatever_else_is_asked_the_transport_itself_answers() -> None:
    loop = asyncio.new_event_loop()
    gathered, _ = gathering(loop)
    assert gathered.get_extra_info("socket") == "the socket"
    loop.close()


async def app(scope: Any, receive: Any, send: Any) -> None:
    headers = [(b"content-type", b"text/plain")]
    if scope["path"] == "/whole":
        await send({"type": "http.response.start", "status": 200, "headers": [*headers, (b"content-length", b"5")]})
        await send({"type": "http.response.body", "body": b"whole"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await asyncio.sleep(0.01)
    for part in (b"one", b"two"):
        await send({"type": "http.response.body", "body": part, "more_body": True})
        await asyncio.sleep(0.01)
    await send({"type": "http.response.body"})


@pytest.mark.parametrize("path", [b"whole", b"parts"])
def test_uvicorn_answers_the_same_bytes_as_without(path: bytes) -> None:
    assert asyncio.run(answer_of(OneWrite, path)) == asyncio.run(answer_of(HttpToolsProtocol, path))


async def answer_of(protocol: type[asyncio.Protocol], path: bytes) -> bytes:
    """Three calls on one connection: the bytes that came back, dates aside."""
    config = uvicorn.Config(app, http=protocol, lifespan="off", log_config=None, date_header=False, port=0)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn tells nobody
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    came = b""
    end = b"whole" if path == b"whole" else b"0\r\n\r\n"
    for _ in range(3):
        writer.write(ASKED % path)
        came += await asyncio.wait_for(reader.readuntil(end), 10)
    writer.close()
    server.should_exit = True
    await serving
    return came
