"""uvicorn's HTTP protocol with limits on who calls, for an entry that no proxy stands before.

uvicorn waits for ever for a head that does not come to its end, takes one of any size, and keeps the connection of a
caller who reads nothing until that one hangs up. Before the sites' entries stands HAProxy, with limits of its own
(`serving/front.py`); on a device nothing does.
"""

import asyncio
from dataclasses import dataclass

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

TOO_LARGE = "The head of the request is too large."


@dataclass(frozen=True, slots=True)
class Patience:
    """What a caller may take."""

    head_s: float = 10.0
    """For a whole head, from the connection's start or from the head's first byte."""
    unread_s: float = 30.0
    """For reading what was sent, once more is under way than the connection takes."""
    head_fields: int = 64
    head_bytes: int = 16 * 1024


class Guarded(HttpToolsProtocol):
    """One connection, ended when its caller takes too long."""

    patience = Patience()
    _head_timer: asyncio.TimerHandle | None = None
    _unread_timer: asyncio.TimerHandle | None = None
    _in_head = True
    _head_bytes = 0
    _too_large = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin a connection: a head is awaited."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """End it."""
        self._cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came. A head that goes on and on is cut off before it is whole."""
        self._head_bytes += len(data)
        super().data_received(data)
        if not self._in_head:
            self._head_bytes = 0
            self._end_head()
        elif self._head_bytes > self.patience.head_bytes and not self.transport.is_closing():
            self._too_large = True
            self.send_400_response(TOO_LARGE)
        elif self._head_timer is None:
            self._await_head()

    def on_message_begin(self) -> None:
        """Note that a head has begun."""
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Note that it is whole. Raises ValueError where it is too large, which ends the connection."""
        self._in_head = False
        size = sum(len(name) + len(value) + 4 for name, value in self.headers) + len(self.url)
        if len(self.headers) > self.patience.head_fields or size > self.patience.head_bytes:
            self._too_large = True
            raise ValueError(TOO_LARGE)
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse a head: 431 where it is too large, else 400."""
        if not self._too_large:
            super().send_400_response(msg)
            return
        body = b'{"error":"%b"}' % TOO_LARGE.encode()
        head = (
            b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/json\r\nconnection: close\r\n"
        )
        self.transport.write(head + b"content-length: %d\r\n\r\n" % len(body) + body)
        self.transport.close()

    def pause_writing(self) -> None:
        """Note that the caller reads more slowly than it is answered."""
        super().pause_writing()
        self._unread_timer = self.loop.call_later(self.patience.unread_s, self.transport.abort)

    def resume_writing(self) -> None:
        """Note that it has read."""
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None
        super().resume_writing()

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(self.patience.head_s, self._head_late)

    def _head_late(self) -> None:
        self._head_timer = None
        self.transport.close()

    def _end_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _cancel(self) -> None:
        self._end_head()
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None
