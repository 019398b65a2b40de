"""Streams as events: how they are framed, how they break off, and who ends whom."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest

from infercast.router.api import Event, Usage
from infercast.router.conduct.ports import Lost
from infercast.router.errors import Gone, Kind, Trouble
from infercast.router.ingress.presence import Presence
from infercast.router.ingress.sse import DONE, EventStream
from infercast.router.streams import Watched
from infercast.router.upstream.sse import Events


@dataclass
class Wire:
    """An ASGI connection: what was sent, and a caller who hangs up when told to."""

    sent: list[dict[str, Any]] = field(default_factory=list)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    on_send: Callable[[int], Awaitable[None]] | None = None

    async def receive(self) -> dict[str, Any]:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.sent.append(dict(message))
        if self.on_send is not None:
            await self.on_send(len(self.sent))

    @property
    def text(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)

    @property
    def ended(self) -> bool:
        return bool(self.sent) and not self.sent[-1].get("more_body", False) and "body" in self.sent[-1]


@dataclass
class Source:
    """A stream of events and then what a test wants; knows whether it was closed."""

    parts: tuple[bytes, ...] = (b'{"a":1}', b'{"a":2}')
    then: BaseException | None = None
    waits: bool = False
    closed: bool = False

    async def events(self) -> AsyncGenerator[Event, None]:
        try:
            for event in self.parts:
                yield event
            if self.waits:
                await asyncio.Event().wait()
            if self.then is not None:
                raise self.then
            yield Usage(3, 2)
        finally:
            self.closed = True


def send(source: Source, wire: Wire | None = None) -> Wire:
    """Send a stream to its end."""

    async def run() -> Wire:
        at = wire or Wire()
        caller = Presence(at.receive)
        caller.read()
        await EventStream(((b"infercast-site", b"fra"),), source.events(), caller).send(at.send)
        return at

    return asyncio.run(run())


def test_events_are_framed_and_end_in_done() -> None:
    wire = send(source := Source())
    assert wire.text == b'data: {"a":1}\n\ndata: {"a":2}\n\n' + DONE
    start = wire.sent[0]
    assert start["status"] == 200
    assert dict(start["headers"])[b"content-type"] == b"text/event-stream; charset=utf-8"
    assert dict(start["headers"])[b"infercast-site"] == b"fra"
    assert wire.ended
    assert source.closed


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_an_event_of_several_lines_arrives_as_one(end: bytes) -> None:
    lines = [b'{"choices":', b"", b'[{"delta": {"content": "a\xe2\x80\xa8b"}}]}']
    wire = send(Source(parts=(end.join(lines),)))
    assert Events().feed(wire.text) == [b"\n".join(lines), b"[DONE]"]


@pytest.mark.parametrize(
    ("then", "kind"),
    [
        (Trouble(Kind.SATURATED, "no room", "come back"), "saturated"),
        (Lost("the node is gone"), "unavailable"),
        (TimeoutError(), "unavailable"),
        (RuntimeError("nobody foresaw this"), "fault"),
    ],
)
def test_a_stream_that_breaks_off_says_so_and_does_not_say_done(then: Exception, kind: str) -> None:
    wire = send(source := Source(then=then))
    *_, last, nothing = wire.text.split(b"\n\n")
    assert nothing == b""
    event, data = last.split(b"\n")
    error = orjson.loads(data.removeprefix(b"data: "))["error"]
    assert event == b"event: error"
    assert (error["code"], error["infercast"]["kind"]) == (kind, kind)
    assert b"nobody foresaw" not in wire.text
    assert DONE not in wire.text
    assert wire.ended
    assert source.closed


def test_a_caller_who_hangs_up_ends_the_work() -> None:
    source, wire = Source(waits=True), Wire()

    async def leave(messages: int) -> None:
        if messages == 3:
            wire.left.set()

    wire.on_send = leave
    send(source, wire)
    assert source.closed
    assert not wire.ended


def test_a_caller_who_does_not_read_is_waited_for_and_can_still_hang_up() -> None:
    source, wire = Source(), Wire()

    async def stuck(messages: int) -> None:
        if messages == 2:
            asyncio.get_running_loop().call_soon(wire.left.set)
            await asyncio.Event().wait()

    wire.on_send = stuck
    send(source, wire)
    assert len(wire.sent) == 2
    assert source.closed


def test_the_end_of_the_server_ends_the_work() -> None:
    source = Source(waits=True)

    async def run() -> None:
        wire = Wire()
        caller = Presence(wire.receive)
        caller.read()
        sending = asyncio.create_task(EventStream((), source.events(), caller).send(wire.send))
        while len(wire.sent) < 3:  # noqa: ASYNC110 - the wire tells nobody
            await asyncio.sleep(0)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending

    asyncio.run(run())
    assert source.closed


def test_nobody_watches_before_the_body_is_read() -> None:
    """The body's own reader would miss what the watch had taken."""

    async def run() -> None:
        wire = Wire()
        wire.left.set()
        caller = Presence(wire.receive)
        await asyncio.sleep(0)
        assert await caller.during(_value()) == 7
        caller.read()
        with pytest.raises(Gone):
            await caller.during(asyncio.Event().wait())

    asyncio.run(run())


@pytest.mark.parametrize("hangs_up", [False, True])
def test_a_stream_that_comes_in_the_turn_in_which_it_is_ended_is_closed(hangs_up: bool) -> None:
    """Else its call has no line, and stays counted as under way for ever."""
    source = Source()

    async def run() -> None:
        wire = Wire()
        caller = Presence(wire.receive)
        caller.read()
        gate = asyncio.Event()

        async def work() -> Watched:
            with contextlib.suppress(asyncio.CancelledError):
                await gate.wait()
            events = source.events()
            await anext(events)
            return Watched(events, ended.append)

        async def carried() -> None:
            await EventStream((), await caller.during(work()), caller).send(wire.send)

        carrying = asyncio.create_task(carried())
        await asyncio.sleep(0.01)
        if hangs_up:
            wire.left.set()  # work that was cancelled too late has its stream all the same
        else:
            gate.set()
            await asyncio.sleep(0)
            carrying.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await carrying

    ended: list[BaseException | None] = []
    asyncio.run(run())
    assert len(ended) == 1
    assert source.closed


async def _value() -> int:
    await asyncio.sleep(0)
    return 7
