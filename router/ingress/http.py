"""The little of HTTP that the ingress needs, over ASGI: headers, bounded bodies, answers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

import orjson

from ..errors import Gone, Kind, Trouble
from .codings import Unpacking

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = tuple[tuple[bytes, bytes], ...]
BODY_BYTES_MAX = 64 * 1024 * 1024
_NAMES = lru_cache(maxsize=64)(str.encode)
"""Names of headers as they come: a few words of our own, asked for on every call."""
SMALL_BODY_S = 10.0
"""By when a body must be here that no call's deadline waits for."""


class Sendable(Protocol):
    """An answer of any kind."""

    async def send(self, send: Send) -> None:
        """Send it."""
        ...


@dataclass(slots=True)
class Ask:
    """A request as far as its headers; the body is read when asked for."""

    method: str
    path: str
    headers: dict[bytes, bytes]
    receive: Receive
    read_bytes: int = field(default=0)
    names: dict[str, str] = field(default_factory=dict)
    """What the path names: the model of `/v2/models/{model}`."""
    hops: tuple[str, ...] = ()
    """Which clusters the call has come through (see `upstream.hops`)."""
    root: str = ""
    """The path below which the entry answers, which `path` is without."""
    unread: bool = True
    """Whether more of the body may be on its way."""
    call_id: str = ""
    """The call's id, once it has one: from its headers, from its body, or given here."""
    arrived_us: int = 0
    """When its headers were here, by the clock of `conduct`."""
    holder: str = ""
    """A digest of the key, once that is known."""

    def header(self, name: str) -> str | None:
        """Return a header's value, None where it is missing."""
        value = self.headers.get(_NAMES(name))
        return None if value is None else value.decode("latin-1").strip()

    def length(self, header: str = "content-length") -> int | None:
        """Return a byte count from a header, None where it is missing. Raises Trouble for what is no count."""
        text = self.header(header)
        if text is None:
            return None
        if not text.isascii() or not text.isdigit() or len(text) > 15:
            raise Trouble(Kind.BAD_REQUEST, f"{header} is {text!r}", "send a byte count")
        return int(text)

    def leaves_a_body(self) -> bool:
        """Return whether an answer now would leave a part of the body unread, and with it the connection spoilt.

        A body that has come whole is no such part, though nobody reads it: uvicorn drops it with the call. To open a connection
        anew costs as much as to refuse a call, and of a flood most are refused.
        """
        return (
            self.unread
            and (b"transfer-encoding" in self.headers or self.headers.get(b"content-length", b"0") != b"0")
            and getattr(getattr(self.receive, "__self__", None), "more_body", True)
        )

    async def small_body(self, most_bytes: int) -> bytes:
        """Return a body that is soon here. Raises Trouble(SLOW) where it is not, and what `body` raises."""
        try:
            async with asyncio.timeout(SMALL_BODY_S):
                return await self.body(most_bytes)
        except TimeoutError:
            said = f"the body was not here within {SMALL_BODY_S:.0f} s"
            raise Trouble(Kind.SLOW, said, "send it at once") from None

    async def body(self, most_bytes: int = BODY_BYTES_MAX) -> bytes:
        """Return the body, unpacked. Raises Trouble(TOO_LARGE) past the limit, Gone when the caller hangs up in between."""
        declared = self.length()
        if declared is not None and declared > most_bytes:
            raise Trouble(Kind.TOO_LARGE, f"the body has {declared} bytes", f"at most {most_bytes}")
        coding = self.header("content-encoding")
        if coding and coding.lower() != "identity":
            return await self._unpacked(Unpacking(coding, most_bytes), most_bytes)
        part, more = self._part(await self.receive(), most_bytes)
        if not more:
            return part
        parts = [part, *[part async for part in self._parts(most_bytes)]]
        return b"".join(parts)

    async def _unpacked(self, unpacking: Unpacking, most_bytes: int) -> bytes:
        async for part in self._parts(most_bytes):
            await unpacking.add(part)
        return unpacking.whole()

    async def _parts(self, most_bytes: int) -> AsyncIterator[bytes]:
        more = True
        while more:
            part, more = self._part(await self.receive(), most_bytes)
            yield part

    def _part(self, message: Message, most_bytes: int) -> tuple[bytes, bool]:
        """Return what a message brings of the body, and whether more comes."""
        if message["type"] == "http.disconnect":
            raise Gone
        part: bytes = message.get("body", b"")
        self.read_bytes += len(part)
        if self.read_bytes > most_bytes:
            raise Trouble(Kind.TOO_LARGE, f"the body has over {most_bytes} bytes", f"at most {most_bytes}")
        more: bool = message.get("more_body", False)
        self.unread = more
        return part, more


@dataclass(slots=True)
class Reply:
    """An answer, ready to send."""

    status: int
    body: bytes = b""
    headers: Headers = ()

    @classmethod
    def json(cls, value: Any, status: int = 200, **headers: str) -> "Reply":
        """Return a JSON answer; header names are written with `_` for `-`."""
        extra = tuple((name.replace("_", "-").encode(), text.encode()) for name, text in headers.items())
        return cls(status, orjson.dumps(value), ((b"content-type", b"application/json"), *extra))

    async def send(self, send: Send) -> None:
        """Send it."""
        length = (b"content-length", b"%d" % len(self.body))
        await send({"type": "http.response.start", "status": self.status, "headers": [*self.headers, length]})
        await send({"type": "http.response.body", "body": self.body})
