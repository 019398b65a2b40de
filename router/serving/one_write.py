"""uvicorn's HTTP protocol, with the head and the body of an answer in one write.

uvicorn writes the head when an application starts its answer and the body when it sends that; uvloop hands each to the
kernel at once. So the proxy before it wakes twice for each call, reads two segments and passes on two. Here the head
waits for the first of the body, at most until the event loop's next turn: a stream whose first event is still to come has
its head on the way by then.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD = b"HTTP/1.1 "
INTERIM = b"HTTP/1.1 1"


class Gathering:
    """A transport that holds back the head of an answer until the body is written with it."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._write = transport.write
        self._soon = loop.call_soon
        self._held = b""
        self.is_closing = transport.is_closing
        self.pause_reading, self.resume_reading = transport.pause_reading, transport.resume_reading

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Write, or hold back what is a head."""
        if self._held:
            held, self._held = self._held, b""
            self._write(held + data)
        elif data.startswith(HEAD) and not data.startswith(INTERIM):
            self._held = data
            self._soon(self._flush)
        else:
            self._write(data)

    def _flush(self) -> None:
        if self._held:
            held, self._held = self._held, b""
            self._write(held)

    def close(self) -> None:
        """Write what is held, then close."""
        self._flush()
        self._transport.close()


class OneWrite(HttpToolsProtocol):
    """uvicorn's protocol on a gathering transport."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin a connection."""
        super().connection_made(Gathering(transport, self.loop))  # type: ignore[arg-type]
