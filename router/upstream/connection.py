"""One HTTP/1.1 connection to an upstream: one exchange at a time, its answer read as it comes.

httpx's own connection costs 0.4 ms of this process for each exchange (anyio, h11 and httpcore's locks), which is more than
the rest of a call. This one stands on asyncio's transports and on httptools, uvicorn's parser, and costs a tenth.
"""

import asyncio
from collections import deque
from typing import Any

import httptools
import httpx

HEAD_BYTES_MAX = 64 * 1024
"""An answer's status line and headers may be so long."""
HEADERS_MAX = 128
HELD_BYTES_MAX = 256 * 1024
"""So much of an answer waits for its reader; then the upstream has to wait, too."""


class Connection(asyncio.Protocol):
    """A connection. Failures are httpx's TransportErrors, so that HTTP/1.1 and HTTP/2 fail alike."""

    def __init__(self) -> None:
        self.idle_since_s = 0.0
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self._transport: Any = None
        self._parser: Any = None
        self._parts: deque[bytes] = deque()
        self._held_bytes = self._head_bytes = 0
        self._headed = self._complete = self._reusable = self._to_the_end = False
        self._paused = self._full = self._sent = False
        self._failure: Exception | None = None
        self._waiting: asyncio.Future[None] | None = None

    @property
    def usable(self) -> bool:
        """Whether another exchange may begin on it."""
        return self._failure is None and not self._transport.is_closing()

    async def ask(self, head: bytes, body: bytes) -> None:
        """Send a request; returns once the headers of the answer are there. Raises httpx.TransportError."""
        self.status, self.headers = 0, []
        self._parser = httptools.HttpResponseParser(self)
        self._parts.clear()
        self._held_bytes = self._head_bytes = 0
        self._headed = self._complete = self._reusable = self._to_the_end = self._sent = False
        self._transport.write(head + body if len(body) <= HELD_BYTES_MAX else head)
        self._sent = len(body) <= HELD_BYTES_MAX or await self._send_long(memoryview(body))
        while not self._headed:
            self._raise_failure()
            await self._wait()

    async def _send_long(self, body: memoryview) -> bool:
        """Send a long body as fast as it is taken; returns whether all of it was sent: an answer before its end is the answer."""
        for start in range(0, len(body), HELD_BYTES_MAX):
            while self._full and not self._headed:
                self._raise_failure()
                await self._wait()
            # Where the other side reads as fast as we write, nothing else ever waits: an early answer would not be seen.
            await asyncio.sleep(0)
            if self._headed:
                return False
            self._raise_failure()
            self._transport.write(body[start : start + HELD_BYTES_MAX])
        return True

    async def part(self) -> bytes:
        """Return the next part of the answer's body, b"" at its end. Raises httpx.TransportError."""
        while not self._parts:
            if self._complete:
                return b""
            self._raise_failure()
            await self._wait()
        part = self._parts.popleft()
        self._held_bytes -= len(part)
        if self._paused and self._held_bytes < HELD_BYTES_MAX // 2:
            self._paused = False
            self._transport.resume_reading()
        return part

    def whole(self) -> bytes | None:
        """Return all of the body, where all of it is there already; else None, and nothing is taken."""
        if not self._complete:
            return None
        whole = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        self._held_bytes = 0
        return whole

    def done(self) -> bool:
        """End the exchange: whether the connection can be used again. What has not come by now is not waited for.

        Nor is a request of which a part was never sent: the upstream would read the next one as the rest of its body.
        """
        came = self._complete and self._reusable and not self._parts
        self._parser = None
        if came and self._sent and not self._full and self.usable:
            return True
        self.abort()
        return False

    def abort(self) -> None:
        """Close it at once; the upstream sees that nobody waits any more."""
        if self._transport is not None:
            self._transport.abort()

    async def _wait(self) -> None:
        self._waiting = asyncio.get_running_loop().create_future()
        try:
            await self._waiting
        finally:
            self._waiting = None

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _fail(self, failure: Exception) -> None:
        self._failure = self._failure or failure
        self.abort()
        self._wake()

    # asyncio calls these.

    def connection_made(self, transport: Any) -> None:
        """Begin."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Take in what came."""
        if self._parser is None or self._complete:
            self._fail(httpx.RemoteProtocolError("bytes came that nobody had asked for"))
            return
        if not self._headed:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail(httpx.RemoteProtocolError("the upstream wants another protocol"))
        except httptools.HttpParserError as error:
            if not self._complete:
                self._fail(httpx.RemoteProtocolError(f"not HTTP: {error}"))
        if not self._headed and self._head_bytes > HEAD_BYTES_MAX:
            self._fail(httpx.RemoteProtocolError(f"more than {HEAD_BYTES_MAX} bytes of headers"))
        if self._held_bytes > HELD_BYTES_MAX and not self._paused and not self._complete:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        """End; an answer without a length ends with its connection."""
        self._reusable = False
        if error is None and self._headed and self._to_the_end:
            self._complete = True
        elif not self._complete:
            self._failure = self._failure or httpx.ReadError("the connection ended")
        self._failure = self._failure or httpx.ReadError("the connection has ended")
        self._wake()

    def pause_writing(self) -> None:
        """Wait with the rest of a body."""
        self._full = True

    def resume_writing(self) -> None:
        """Go on with it."""
        self._full = False
        self._wake()

    # httptools calls these.

    def on_message_begin(self) -> None:
        """Stop at a second answer, which nobody had asked for: the first is the answer, and the connection is not used again."""
        if self._complete:
            self._reusable = False
            raise httptools.HttpParserError("an answer too many")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        if len(self.headers) >= HEADERS_MAX:
            raise httptools.HttpParserError("too many headers")
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Take the status; those below 200 only come before the answer."""
        self.status = self._parser.get_status_code()
        if self.status < 200:
            return
        self._reusable = self._parser.should_keep_alive()
        framed = any(name in (b"content-length", b"transfer-encoding") for name, _ in self.headers)
        self._to_the_end = not framed and self.status not in (204, 304)
        self._headed = True

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body."""
        self._parts.append(body)
        self._held_bytes += len(body)

    def on_message_complete(self) -> None:
        """Know the end."""
        if self.status < 200:
            self.headers = []
            return
        self._complete = True
