"""Streamed answers as server-sent events (WHATWG HTML, section 9.2), in the way that OpenAI's clients read them."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from ..api import Stream
from ..conduct.ports import Lost
from ..errors import Kind, Trouble
from .http import Receive, Send
from .openai_errors import error_event

log = logging.getLogger("infercast.ingress")
DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class EventStream:
    """An answer that is sent as it comes. It has begun: its status is sent, whatever comes after.

    A caller who hangs up ends the work behind it. One who reads slowly slows it down: no event waits here.
    """

    headers: tuple[tuple[bytes, bytes], ...]
    stream: Stream
    receive: Receive

    async def send(self, send: Send) -> None:
        """Send it to its end, to its failure, or until the caller hangs up."""
        sending = asyncio.create_task(self._send(send))
        leaving = asyncio.create_task(_hung_up(self.receive))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, leaving):
                task.cancel()
            ended = await asyncio.gather(sending, leaving, return_exceptions=True)
            await self.stream.aclose()
        for error in ended:
            if isinstance(error, Exception):
                raise error

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": list(self.headers)})
        async with aclosing(_frames(self.stream)) as frames:
            async for frame in frames:
                await send({"type": "http.response.body", "body": frame, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def _frames(stream: Stream) -> AsyncGenerator[bytes, None]:
    """Frame a stream's events. One that broke off ends in an error, and so without the word that says it is whole."""
    try:
        async for event in stream:
            if isinstance(event, bytes):
                yield b"data: %b\n\n" % event
        last = DONE
    except (Trouble, Lost, TimeoutError) as error:
        last = error_event(_trouble_of(error))
    except Exception:
        # A fault in mid-stream must not end the others, and its caller is told. It is logged.
        log.exception("fault in a streamed answer")
        last = error_event(Trouble(Kind.FAULT, "this is our fault, and logged", "repeat the call"))
    yield last


def _trouble_of(error: Exception) -> Trouble:
    """Return what is told of a stream that broke off: a part has been sent, so nobody else can take it over."""
    if isinstance(error, Trouble):
        return error
    return Trouble(Kind.UNAVAILABLE, "the replica was lost in the middle of its answer", "the call may be repeated")


async def _hung_up(receive: Receive) -> None:
    """Wait until the caller hangs up; a body that is still coming is not kept."""
    while (await receive())["type"] != "http.disconnect":
        pass
