"""Streams of events on their way: begun before they are handed on, ended exactly once, held back by emulated distance."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import Self

from .api import Event, Stream, Usage

End = Callable[[BaseException | None], None]
"""What is done when a stream has ended: None at its end, else what ended it (GeneratorExit when it was closed early)."""
EVENTS_UNDER_WAY = 4096
"""As many events as may be on an emulated way at once; then the sender waits, as it would for a full window."""


class Watched:
    """A stream, and what is done at its end: once, however it ends, also where nobody ever read from it."""

    def __init__(self, stream: Stream, end: End) -> None:
        self._stream = stream
        self._end: End | None = end
        self.usage: Usage | None = None
        self.events = 0
        """How many have come, what was used aside."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        try:
            event = await anext(self._stream)
        except StopAsyncIteration:
            self._ended(None)
            raise
        except BaseException as error:
            self._ended(error)
            raise
        if isinstance(event, Usage):
            self.usage = event
        else:
            self.events += 1
        return event

    async def aclose(self) -> None:
        """Close it; what had not ended by itself has been closed early."""
        try:
            await self._stream.aclose()
        finally:
            self._ended(GeneratorExit())

    def _ended(self, error: BaseException | None) -> None:
        end, self._end = self._end, None
        if end is not None:
            end(error)


class Begun:
    """A stream whose first event is there: what is lost before it can still be tried elsewhere."""

    def __init__(self, first: Event, rest: Stream) -> None:
        self._first: Event | None = first
        self._rest = rest

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        first, self._first = self._first, None
        return first if first is not None else await anext(self._rest)

    async def aclose(self) -> None:
        """End it."""
        self._first = None
        await self._rest.aclose()


async def begun(stream: Stream) -> Stream:
    """Wait for a stream's first event. Whatever comes instead is raised, with the stream closed."""
    try:
        return Begun(await anext(stream), stream)
    except BaseException:
        await stream.aclose()
        raise


class Delayed:
    """A stream as it comes in over an emulated distance: each event so much later than it was sent, however it is read."""

    def __init__(self, stream: Stream, delay_s: float) -> None:
        self._stream = stream
        self._delay_s = delay_s
        self._sent: asyncio.Queue[tuple[float, Event | BaseException | None]] = asyncio.Queue(maxsize=EVENTS_UNDER_WAY)
        self._pump = asyncio.create_task(self._send())

    async def _send(self) -> None:
        now = asyncio.get_running_loop().time
        try:
            async with aclosing(self._stream) as events:
                async for event in events:
                    await self._sent.put((now() + self._delay_s, event))
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - handed to the reader, who raises it
            await self._sent.put((now() + self._delay_s, error))
        else:
            await self._sent.put((now() + self._delay_s, None))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        due, event = await self._sent.get()
        await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
        if event is None:
            raise StopAsyncIteration
        if isinstance(event, BaseException):
            raise event
        return event

    async def aclose(self) -> None:
        """End it."""
        self._pump.cancel()
        await asyncio.gather(self._pump, return_exceptions=True)
        await self._stream.aclose()
