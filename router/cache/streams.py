"""Streamed answers: collected while they pass, and played again."""

from collections.abc import Callable
from typing import Self

from ..api import Event, Stream

End = Callable[[tuple[bytes, ...] | None, bool], None]
"""Told once, of a stream that has ended: its events where all are there and few enough; and whether it ended well."""


class Collected:
    """A stream whose events are remembered as they pass, up to a number of bytes. It waits for nobody but its reader."""

    def __init__(self, stream: Stream, most_bytes: int, end: End) -> None:
        self._stream = stream
        self._room_bytes = most_bytes
        self._end: End | None = end
        self._events: list[bytes] = []

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        try:
            event = await anext(self._stream)
        except StopAsyncIteration:
            self._ended(well=True)
            raise
        except BaseException:
            self._ended(well=False)
            raise
        if isinstance(event, bytes):
            self._room_bytes -= len(event)
            if self._room_bytes >= 0:
                self._events.append(event)
            else:
                self._events.clear()
        return event

    async def aclose(self) -> None:
        """Close it; one that has not ended by itself is not kept."""
        try:
            await self._stream.aclose()
        finally:
            self._ended(well=False)

    def _ended(self, *, well: bool) -> None:
        end, self._end = self._end, None
        if end is not None:
            end(tuple(self._events) if well and self._room_bytes >= 0 else None, well)


class Replayed:
    """The events of a kept answer, as a stream. Nothing is used for it, so it tells no usage."""

    def __init__(self, events: tuple[bytes, ...]) -> None:
        self._events = iter(events)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        for event in self._events:
            return event
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Play no more."""
        self._events = iter(())
