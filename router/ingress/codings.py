"""Content codings (RFC 9110, 8.4): bodies that come compressed, and answers that a client would have so.

A body's size is bounded when it is unpacked, too: 64 KiB of gzip can hold 64 MiB of zeros.
"""

import asyncio
import gzip
import zlib

from ..errors import Kind, Trouble

WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}
"""zlib's number for each coding; `deflate` is the zlib format, as the RFC has it."""
STEP_BYTES = 256 * 1024
"""So much is unpacked at a time, about a millisecond's work; then others have their turn on the event loop."""
PACKED_BYTES_MIN = 1024
"""An answer that fits into one packet anyway is sent as it is."""
INLINE_BYTES_MAX = 64 * 1024
"""Larger answers are packed on a thread."""
LEVEL = 1


class Unpacking:
    """A compressed body on its way in. `most_bytes` bounds what comes out of it."""

    def __init__(self, coding: str, most_bytes: int) -> None:
        bits = WINDOW_BITS.get(coding.lower())
        if bits is None:
            raise Trouble(
                Kind.BAD_REQUEST, f"content-encoding is {coding!r}", "send gzip, deflate, or the body as it is"
            )
        self._coding = coding
        self._most_bytes = most_bytes
        self._unpacker = zlib.decompressobj(bits)
        self._parts: list[bytes] = []
        self._size_bytes = 0

    async def add(self, part: bytes) -> None:
        """Unpack a part. Raises Trouble for one that is not so coded, and past the limit."""
        data, more = part, bool(part)
        while more:
            if self._unpacker.eof:
                raise self._bad(f"has {len(data)} bytes after its end")
            try:
                found = self._unpacker.decompress(data, STEP_BYTES)
            except zlib.error as error:
                raise self._bad(f"is broken: {error}") from error
            self._size_bytes += len(found)
            if self._size_bytes > self._most_bytes:
                told = f"the body has over {self._most_bytes} bytes when it is unpacked"
                raise Trouble(Kind.TOO_LARGE, told, f"at most {self._most_bytes}")
            self._parts.append(found)
            data = self._unpacker.unused_data or self._unpacker.unconsumed_tail
            more = bool(data) or (len(found) == STEP_BYTES and not self._unpacker.eof)
            if more:
                await asyncio.sleep(0)

    def whole(self) -> bytes:
        """Return the body. Raises Trouble where it was cut short."""
        if not self._unpacker.eof:
            raise self._bad("ends early")
        return b"".join(self._parts)

    def _bad(self, what: str) -> Trouble:
        return Trouble(Kind.BAD_REQUEST, f"the {self._coding} body {what}")


def accepted(header: str | None) -> str | None:
    """Return the coding to answer in, None for none: the best that a client's Accept-Encoding gives a weight above 0."""
    best, weight = None, 0.0
    for choice in (header or "").split(","):
        name, _, parameter = choice.partition(";")
        coding = name.strip().lower()
        if coding not in ("gzip", "deflate"):
            continue
        found = _weight(parameter)
        if found > weight:
            best, weight = coding, found
    return best


def _weight(parameter: str) -> float:
    name, _, value = parameter.partition("=")
    if name.strip().lower() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0


async def packed(body: bytes, accept: str | None) -> tuple[bytes, str | None]:
    """Return an answer's body as a client would have it, and its coding, None for none."""
    coding = accepted(accept) if len(body) >= PACKED_BYTES_MIN else None
    if coding is None:
        return body, None
    if len(body) <= INLINE_BYTES_MAX:
        return _pack(body, coding), coding
    return await asyncio.to_thread(_pack, body, coding), coding


def _pack(body: bytes, coding: str) -> bytes:
    return gzip.compress(body, LEVEL, mtime=0) if coding == "gzip" else zlib.compress(body, LEVEL)
