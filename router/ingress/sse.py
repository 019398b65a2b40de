"""Streamed answers as server-sent events (WHATWG HTML, section 9.2), in the way that OpenAI's clients read them."""

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from ..api import Stream
from ..conduct.ports import Lost
from ..errors import Gone, Kind, Trouble, let_go
from .http import Headers, Send
from .openai_errors import error_event
from .presence import Presence

log = logging.getLogger("infercast.ingress")
STREAMED: Headers = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx in front would hold events back otherwise
)
DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class EventStream:
    """An answer that is sent as it comes. It has begun: its status is sent, whatever comes after.

    A caller who hangs up ends the work behind it. One who reads slowly slows it down: no event waits here.
    """

    headers: Headers
    stream: Stream
    caller: Presence

    async def send(self, send: Send) -> None:
        """Send it to its end, to its failure, or until the caller hangs up."""
        try:
            await self.caller.during(self._send(send))
        except Gone as gone:
            let_go(gone)
        finally:
            self.caller.end()
            await self.stream.aclose()

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [*STREAMED, *self.headers]})
        async with aclosing(_frames(self.stream)) as frames:
            async for frame in frames:
                await send({"type": "http.response.body", "body": frame, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def _frames(stream: Stream) -> AsyncGenerator[bytes, None]:
    """Frame a stream's events. One that broke off ends in an error, and so without the word that says it is whole."""
    try:
        async for event in stream:
            if isinstance(event, bytes):
                # An upstream's may have several lines, and each must say that it is data.
                yield b"data: %b\n\n" % b"\ndata: ".join(event.splitlines())
        last = DONE
    except (Trouble, Lost, TimeoutError) as error:
        last = error_event(_trouble_of(error))
        let_go(error)
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
