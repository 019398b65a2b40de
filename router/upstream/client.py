"""The HTTP client of one upstream site: its pool, its credential, bounded answers.

Both versions of HTTP stand behind httpx's own transport interface; HTTP/2 is httpx's, HTTP/1.1 is ours (see `transport`).
The transport is called directly: no redirects, no cookies, no proxies, no retries can come in between.
"""

import time
from collections.abc import Callable
from importlib.util import find_spec

import httpx

from infercast.policies.upstream import Upstream

from .bodies import BadAnswer
from .transport import CONNECT_S, IDLE_S, Address, Body, Http1Transport, hosts_of

LOOK_S = 5.0
Key = Callable[[], str | None]


class Client:
    """Sends to one address. `key` returns the credential, anew whenever it may have changed."""

    def __init__(self, address: Address, upstream: Upstream, netloc: str, key: Key) -> None:
        self._upstream = upstream
        self._address = address
        self._looked_until_s = 0.0
        self._host = netloc
        self._key = key
        self._transport = _transport(address, upstream)
        self._fixed: list[tuple[bytes, bytes]] = []
        self.renew()

    def renew(self) -> None:
        """Read the credential again. Raises BadInput."""
        key = self._key()
        self._fixed = [
            (b"host", self._host.encode()),
            (b"accept-encoding", b"identity"),
            (b"user-agent", b"infercast"),
        ]
        if key is not None:
            self._fixed.append((b"authorization", b"Bearer " + key.encode()))

    async def send(
        self, method: str, url: httpx.URL, body: bytes, more: list[tuple[bytes, bytes]], timeout_s: float
    ) -> httpx.Response:
        """Return the answer once its headers are there; whoever gets it reads or closes it. Raises httpx.TransportError."""
        fields = [*self._fixed, *more, (b"content-length", b"%d" % len(body))]
        if isinstance(self._transport, Http1Transport):
            return await self._transport.send(method, url, fields, body)
        timeout = {"connect": min(CONNECT_S, timeout_s), "pool": timeout_s, "write": timeout_s}
        timeout["read"] = max(timeout_s, self._upstream.stall_s)
        request = httpx.Request(method, url, headers=httpx.Headers(fields), stream=httpx.ByteStream(body))
        request.extensions["timeout"] = timeout
        await self._look_where()
        return await self._transport.handle_async_request(request)

    async def _look_where(self) -> None:
        """Look, now and then, that the name does not lead to a private address: httpx connects without asking."""
        if time.monotonic() < self._looked_until_s:
            return
        try:
            hosts = await hosts_of(self._address)
        except OSError as error:
            raise httpx.ConnectError("the name has no address") from error
        if not hosts:
            raise httpx.ConnectError("the name leads to a private address")
        self._looked_until_s = time.monotonic() + LOOK_S

    async def read(self, response: httpx.Response) -> bytes:
        """Return an answer's whole body, as it came, and free its connection. Raises httpx.TransportError, BadAnswer."""
        stream = response.stream
        if isinstance(stream, Body):
            whole = stream.whole()
            if whole is not None:
                return self._bounded(whole)
        try:
            return await self._read(response)
        finally:
            await stream.aclose()  # type: ignore[union-attr]

    async def _read(self, response: httpx.Response) -> bytes:
        parts: list[bytes] = []
        size = 0
        async for part in response.stream:  # type: ignore[union-attr]
            size += len(part)
            parts.append(self._bounded(part, size))
        return b"".join(parts)

    def _bounded(self, part: bytes, size: int = 0) -> bytes:
        if max(size, len(part)) > self._upstream.answer_bytes_max:
            raise BadAnswer(f"its answer has more than {self._upstream.answer_bytes_max} bytes")
        return part

    def trim(self) -> None:
        """Close connections that have been idle for too long."""
        if isinstance(self._transport, Http1Transport):
            self._transport.trim()

    async def aclose(self) -> None:
        """Close them all."""
        await self._transport.aclose()


def _transport(address: Address, upstream: Upstream) -> httpx.AsyncBaseTransport:
    if not upstream.http2 or address.tls is None or find_spec("h2") is None:
        return Http1Transport(address, upstream.connections)
    limits = httpx.Limits(
        max_connections=upstream.connections, max_keepalive_connections=upstream.connections, keepalive_expiry=IDLE_S
    )
    return httpx.AsyncHTTPTransport(verify=address.tls, http2=True, limits=limits, trust_env=False, retries=0)
