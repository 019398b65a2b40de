"""HTTP/1.1 to one address, as an httpx transport: a pool of connections, and nothing that leads anywhere else.

The address is the upstream's own, from the fleet file. What a request's URL or headers say of a host is not looked at, no
redirect is followed, no proxy is asked: so a call cannot choose where it is sent.
"""

import asyncio
import socket
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Self

import httpx

from infercast.policies.upstream import is_private

from .connection import Connection

CONNECT_S = 3.0
"""A connection that is not there by then is none."""
IDLE_S = 4.0
"""Connections that stood idle for longer are not used again: uvicorn, behind most upstreams, closes them after 5 s."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where an upstream answers. `private` says whether that may be a private address or this machine."""

    host: str
    port: int
    tls: ssl.SSLContext | None
    private: bool


async def hosts_of(address: Address) -> list[str]:
    """Return where a name leads, without what it may not lead to. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    hosts = [str(where[0]) for *_, where in found]
    return [host for host in hosts if address.private or not is_private(host)]


class Body(httpx.AsyncByteStream, AsyncIterator[bytes]):
    """An answer's body as it comes. Closing it before its end closes the connection."""

    def __init__(self, pool: "Http1Transport", connection: Connection) -> None:
        self._pool = pool
        self._connection: Connection | None = connection

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        part = await self._connection.part() if self._connection is not None else b""
        if not part:
            self._release()
            raise StopAsyncIteration
        return part

    def whole(self) -> bytes | None:
        """Return all of it, where it is all there; the connection is free again then."""
        if self._connection is None:
            return b""
        whole = self._connection.whole()
        if whole is not None:
            self._release()
        return whole

    def _release(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._pool.release(connection)

    async def aclose(self) -> None:
        """End it."""
        self._release()


class Http1Transport(httpx.AsyncBaseTransport):
    """A pool of at most so many connections to one address."""

    def __init__(self, address: Address, connections_max: int) -> None:
        self._address = address
        self._free = connections_max
        """Room for so many more; what has been promised to one who waits is not among it."""
        self._idle: list[Connection] = []
        self._waiting: deque[asyncio.Future[Connection | None]] = deque()
        self._closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, and return the answer once its headers are there. Raises httpx.TransportError."""
        return await self.send(request.method, request.url, request.headers.raw, await request.aread())

    async def send(
        self, method: str, url: httpx.URL, headers: Iterable[tuple[bytes, bytes]], body: bytes
    ) -> httpx.Response:
        """Do the same without a request made for it, which takes longer than sending one. Of the URL, the path counts."""
        lines = [b"%s %s HTTP/1.1\r\n" % (method.encode(), url.raw_path)]
        lines += [b"%s: %s\r\n" % header for header in headers]
        lines.append(b"\r\n")
        connection = await self._take()
        try:
            await connection.ask(b"".join(lines), body)
        except BaseException:
            connection.abort()
            self.release(connection)
            raise
        return httpx.Response(connection.status, headers=connection.headers, stream=Body(self, connection))

    async def _take(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and time.monotonic() - connection.idle_since_s < IDLE_S:
                return connection
            connection.abort()
            self._free += 1
        if self._free > 0:
            self._free -= 1
            return await self._open()
        waiting: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        try:
            given = await waiting
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled():
                self._hand_on(waiting.result())
            raise
        if given is None:
            return await self._open()
        return given

    async def _open(self) -> Connection:
        """Connect, into room that the caller has taken or was given; where that fails, it goes to the next."""
        try:
            async with asyncio.timeout(CONNECT_S):
                return await self._connect()
        except BaseException as error:
            self._hand_on(None)
            if isinstance(error, TimeoutError):
                raise httpx.ConnectTimeout(f"no connection within {CONNECT_S} s") from error
            if isinstance(error, OSError):  # what the machine says, TLS included
                raise httpx.ConnectError(f"no connection: {type(error).__name__}") from error
            raise

    async def _connect(self) -> Connection:
        loop, address = asyncio.get_running_loop(), self._address
        failure: OSError = OSError("the name leads to no address that it may lead to")
        for host in await hosts_of(address):
            name = address.host if address.tls is not None else None
            try:
                _, connection = await loop.create_connection(
                    Connection, host, address.port, ssl=address.tls, server_hostname=name
                )
            except OSError as error:
                failure = error
            else:
                return connection
        raise failure

    def release(self, connection: Connection) -> None:
        """Take a connection back, for the next who waits."""
        if connection.done() and not self._closed:
            connection.idle_since_s = time.monotonic()
            self._hand_on(connection)
        else:
            connection.abort()
            self._hand_on(None)

    def _hand_on(self, connection: Connection | None) -> None:
        """Give a connection, or the room for one, to who waits longest."""
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(connection)
                return
        if connection is None:
            self._free += 1
        else:
            self._idle.append(connection)

    def trim(self) -> None:
        """Close what has been idle for too long."""
        until_s = time.monotonic() - IDLE_S
        while self._idle and (self._idle[0].idle_since_s < until_s or not self._idle[0].usable):
            self._idle.pop(0).abort()
            self._free += 1

    async def aclose(self) -> None:
        """Close all connections; those in use when they are given back."""
        self._closed = True
        while self._idle:
            self._idle.pop().abort()
            self._free += 1
