"""A streamed answer of an OpenAI upstream: its events as they come, what was used at the end."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Self

import httpx

from ..api import Event, Usage
from ..conduct.ports import Lost
from .bodies import BadAnswer, object_in, under_our_name, usage_in
from .sse import BadEvents, Events
from .statuses import Broken

DONE = b"[DONE]"
END_S = 0.05
"""How long the last bytes of an answer may come behind its last event; later ones cost the connection."""


def _parts_of(body: Any) -> AsyncIterator[bytes]:
    parts: AsyncIterator[bytes] = aiter(body)
    return parts


class Streamed:
    """The events of one answer, which say that `variant` made them, or whoever they say if that is None.

    Closing it closes the connection, so that the upstream stops its work.
    """

    def __init__(
        self, site: str, response: httpx.Response, stall_s: float, variant: str | None, *, usage_asked: bool
    ) -> None:
        self._site = site
        self._variant = variant
        self._body: Any = response.stream
        self._parts: AsyncIterator[bytes] = _parts_of(self._body)
        self._stall_s = stall_s
        self._usage_asked = usage_asked
        self._events = Events()
        self._ready: list[bytes] = []
        self._usage: Usage | None = None
        self._finished = self._over = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        """Return the next event; the usage comes last. Raises Lost where the upstream broke off."""
        try:
            while not self._over:
                if not self._ready:
                    await self._more()
                elif (event := self._passed_on(self._ready.pop(0))) is not None:
                    return event
        except Lost:
            await self.aclose()
            raise
        await self._rest()
        usage, self._usage = self._usage, None
        if usage is None:
            raise StopAsyncIteration
        return usage

    async def _rest(self) -> None:
        """Wait a moment for the end of the answer that the end of its events announces: the connection is good again then."""
        try:
            async with asyncio.timeout(END_S):
                await anext(self._parts, b"")
        except (TimeoutError, httpx.TransportError):
            pass
        await self.aclose()

    async def _more(self) -> None:
        """Wait for the next bytes."""
        try:
            async with asyncio.timeout(self._stall_s):
                part = await anext(self._parts, b"")
            if part:
                self._ready = self._events.feed(part)
                return
        except TimeoutError:
            raise self._lost(f"nothing came for {self._stall_s} s") from None
        except (httpx.TransportError, BadEvents) as error:
            raise self._lost(str(error)) from error
        if not self._finished or self._events.unfinished:
            raise self._lost("its stream ended before its end")
        self._over = True

    def _passed_on(self, data: bytes) -> bytes | None:
        """Return an event as it goes on; None for the end, and for one that only we had asked for."""
        if data == DONE:
            self._over = True
            return None
        try:
            value = object_in(data)
        except BadAnswer as error:
            raise self._lost("an event that is no JSON object") from error
        if "error" in value and "choices" not in value:
            raise self._lost("it reports an error of its own")
        choices = value.get("choices")
        usage = usage_in(value)
        if usage is not None:
            self._usage = usage
            if not choices and not self._usage_asked:
                return None
        if isinstance(choices, list) and any(isinstance(c, dict) and c.get("finish_reason") for c in choices):
            self._finished = True
        if self._variant is None:
            return data
        try:
            return under_our_name(data, value, self._variant)
        except BadAnswer as error:
            raise self._lost(str(error)) from error

    def _lost(self, why: str) -> Lost:
        return Broken(f"{self._site}: {why}")

    async def aclose(self) -> None:
        """End it. May be called at any time and more than once."""
        self._over = True
        self._ready.clear()
        await self._body.aclose()
