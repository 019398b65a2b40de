"""Streams on their way: begun, watched to their one end, and held back by emulated distance."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infercast.router.api import Event, Usage
from infercast.router.conduct.ports import Lost
from infercast.router.streams import EVENTS_UNDER_WAY, Delayed, Watched, begun


class Source:
    """A stream that plays a script of events and errors, and remembers that it was closed."""

    def __init__(self, *script: Event | Exception, pause_s: float = 0.0) -> None:
        self.script = list(script)
        self.pause_s = pause_s
        self.closed = 0
        self.given = 0

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        await asyncio.sleep(self.pause_s)
        if not self.script:
            raise StopAsyncIteration
        event = self.script.pop(0)
        if isinstance(event, Exception):
            raise event
        self.given += 1
        return event

    async def aclose(self) -> None:
        self.closed += 1


async def read(stream: Any) -> list[Event]:
    return [event async for event in stream]


def watched(source: Source) -> tuple[Watched, list[BaseException | None]]:
    ends: list[BaseException | None] = []
    return Watched(source, ends.append), ends


def test_a_stream_that_ends_by_itself_ended_well_and_once() -> None:
    async def play() -> None:
        stream, ends = watched(Source(b"a", b"b", Usage(3, 2)))
        assert await read(stream) == [b"a", b"b", Usage(3, 2)]
        assert ends == [None]
        await stream.aclose()
        assert ends == [None]
        assert stream.usage == Usage(3, 2)

    asyncio.run(play())


def test_a_stream_that_is_cut_short_says_by_what() -> None:
    async def play() -> None:
        lost = Lost("gone")
        stream, ends = watched(Source(b"a", lost))
        with pytest.raises(Lost):
            await read(stream)
        await stream.aclose()
        assert ends == [lost]

    asyncio.run(play())


@pytest.mark.parametrize("taken", [0, 1])
def test_a_stream_that_is_closed_early_ends_too_even_unread(taken: int) -> None:
    async def play() -> None:
        source = Source(b"a", b"b")
        stream, ends = watched(source)
        for _ in range(taken):
            await anext(stream)
        await stream.aclose()
        await stream.aclose()
        assert [type(end) for end in ends] == [GeneratorExit]
        assert source.closed

    asyncio.run(play())


def test_a_reader_that_is_cancelled_ends_it() -> None:
    async def play() -> None:
        stream, ends = watched(Source(b"a", pause_s=60))
        task = asyncio.create_task(read(stream))
        await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert [type(end) for end in ends] == [asyncio.CancelledError]

    asyncio.run(play())


def test_what_has_begun_gives_all_events_and_what_has_not_is_closed() -> None:
    async def play() -> None:
        assert await read(await begun(Source(b"a", b"b"))) == [b"a", b"b"]
        source = Source(Lost("gone"))
        with pytest.raises(Lost):
            await begun(source)
        assert source.closed

    asyncio.run(play())


@given(st.lists(st.binary(max_size=4), max_size=30))
def test_distance_changes_neither_events_nor_their_order(events: list[bytes]) -> None:
    async def play() -> None:
        stream = Delayed(Source(*events, Usage(1)), 0.0005)
        assert await read(stream) == [*events, Usage(1)]
        await stream.aclose()

    asyncio.run(play())


def test_distance_holds_each_event_back_and_not_the_sum_of_them() -> None:
    async def play() -> float:
        loop = asyncio.get_running_loop()
        began = loop.time()
        assert len(await read(Delayed(Source(*[b"x"] * 20), 0.2))) == 20
        return loop.time() - began

    took_s = asyncio.run(play())
    assert took_s >= 0.2
    assert took_s < 20 * 0.2


def test_an_error_comes_over_the_distance_and_closing_ends_the_source() -> None:
    async def play() -> None:
        with pytest.raises(Lost, match="gone"):
            await read(Delayed(Source(b"a", Lost("gone")), 0.001))
        source = Source(*[b"x"] * (EVENTS_UNDER_WAY + 50))
        stream = Delayed(source, 30.0)
        await asyncio.sleep(0.2)
        assert source.given <= EVENTS_UNDER_WAY + 1
        await stream.aclose()
        assert source.closed

    asyncio.run(play())
