"""An upstream that does nothing: the same answer to every request, at once. Its port is its first argument.

It speaks just enough HTTP/1.1 for the proxies before it: a head, a body of Content-Length, keep-alive. The answer is a
chat completion, so that whatever reads it finds what it looks for; a request for a stream gets one of EVENTS parts, the
first at once and the others EVERY_S apart.
"""

import asyncio
import json
import re
import sys
from typing import Any, cast

END = b"\r\n\r\n"
CHAT: dict[str, Any] = {
    "id": "noop",
    "object": "chat.completion",
    "created": 0,
    "model": "noop",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "ok"}}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}
BODY = json.dumps(CHAT).encode()
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
STREAM = re.compile(rb'"stream":\s*true')
EVENTS, EVERY_S = 10, 0.2
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def event(data: bytes) -> bytes:
    """Return one event as a chunk."""
    line = b"data: " + data + b"\n\n"
    return b"%x\r\n" % len(line) + line + b"\r\n"


def part(delta: dict[str, str], finish: str | None) -> bytes:
    """Return a part of a text."""
    choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
    told = {"id": "noop", "object": "chat.completion.chunk", "created": 0, "model": "noop", "choices": choices}
    return event(json.dumps(told).encode())


FIRST, NEXT = part({"role": "assistant", "content": "ok"}, None), part({"content": " ok"}, None)
LAST = part({}, "stop") + event(b"[DONE]") + b"0\r\n\r\n"


class Noop(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it
        self._read = b""

    def data_received(self, data: bytes) -> None:
        """Answer each request that is whole."""
        self._read += data
        while (end := self._read.find(END)) >= 0:
            length = 0
            for line in self._read[:end].lower().split(b"\r\n"):
                if line.startswith(b"content-length:"):
                    length = int(line[15:])
            whole = end + len(END) + length
            if len(self._read) < whole:
                return
            streamed = STREAM.search(self._read, end, whole) is not None
            self._read = self._read[whole:]
            if streamed:
                self._transport.write(STREAM_HEAD + FIRST)
                asyncio.get_running_loop().call_later(EVERY_S, self._go_on, EVENTS - 1)
            else:
                self._transport.write(ANSWER)

    def _go_on(self, left: int) -> None:
        if self._transport.is_closing():
            return
        self._transport.write(NEXT if left > 1 else LAST)
        if left > 1:
            asyncio.get_running_loop().call_later(EVERY_S, self._go_on, left - 1)


async def serve(port: int) -> None:
    """Serve until ended."""
    server = await asyncio.get_running_loop().create_server(Noop, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    import uvloop

    uvloop.run(serve(int(sys.argv[1])))
