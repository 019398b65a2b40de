"""An upstream service in a process of its own, which does as it is told: it answers, late or not at all, in half, or with a refusal.

It speaks as much of OpenAI's API (chat whole and streamed, embeddings) and of the Open Inference Protocol as our system asks of
it, by hand, so that it can break off anywhere. `python -m tests.trouble.upstream PORT CONTROL` serves on PORT; on CONTROL it is
told what to do (`POST`, a `Conduct` as JSON) and tells what it saw (`GET`, a `Seen`).
"""

import asyncio
import json
import socket
import sys
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Raw = dict[str, Any]
CALLS_KEPT = 5000
WORDS = ("one ", "two ", "three ", "four ", "five ", "six ", "seven ", "eight")
RST = b"\x01\x00\x00\x00\x00\x00\x00\x00"

Does = Literal["answer", "wait", "hang", "reset", "status", "half", "half-stream"]
"""What becomes of a call: an answer; one as soon as it is told otherwise, half of the events of a stream before that; silence; a RST;
`status`; the head and half of the body, then the end of the connection; half of the events of a stream, then a RST."""


@dataclass(frozen=True)
class Conduct:
    """What it does with a call."""

    does: Does = "answer"
    after_ms: float = 0.0
    """How long it takes before the first byte."""
    every_ms: float = 0.0
    """How long between two events of a stream."""
    status: int = 500
    retry_after_s: int | None = None
    times: int = 0
    """After so many calls it answers again as if nothing had been; 0: never."""
    healthy: bool = True
    """Whether it says that it lives when it is asked."""


@dataclass
class Seen:
    """What came, and what became of it."""

    calls: int = 0
    answered: int = 0
    broken: int = 0
    """Calls that it ended otherwise, as it was told to."""
    gone: int = 0
    """Calls whose caller hung up before the end."""
    open: int = 0
    open_max: int = 0
    checks: int = 0
    marks: list[tuple[str, str]] = field(default_factory=list)
    """The last calls: what was called, and the mark in its body (`user` of OpenAI's, `id` of the other)."""


class Service:
    """The service."""

    def __init__(self) -> None:
        self.conduct = Conduct()
        self.seen = Seen()
        self._marks: deque[tuple[str, str]] = deque(maxlen=CALLS_KEPT)

    async def control(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Be told, and tell."""
        with suppress(OSError, asyncio.IncompleteReadError):
            method, _, body = await request(reader)
            if method == "POST":
                self.conduct = Conduct(**json.loads(body))
            self.seen.marks = list(self._marks)
            writer.write(head(200, json.dumps(asdict(self.seen)).encode()))
            await writer.drain()
        writer.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Have one connection."""
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            while True:
                method, path, body = await request(reader)
                if method == "GET":
                    self.seen.checks += 1
                    writer.write(head(200 if self.conduct.healthy else 503, b"{}"))
                elif not await self._call(path, json_part(body), reader, writer):
                    break
                await writer.drain()
        writer.close()

    async def _call(self, path: str, asked: Raw, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Do with one call what it is to do; False: the connection has ended."""
        conduct, seen = self.conduct, self.seen
        if conduct.times:
            rest = conduct.times - 1
            self.conduct = (
                Conduct(healthy=conduct.healthy) if not rest else Conduct(**{**asdict(conduct), "times": rest})
            )
        self._marks.append((path, str(asked.get("user") or asked.get("id") or "")))
        seen.calls += 1
        seen.open += 1
        seen.open_max = max(seen.open_max, seen.open)
        # Nobody sends a second request before the first is answered: what ends this read is the caller's leaving.
        leaving = asyncio.create_task(reader.read(1))
        doing = asyncio.create_task(self._do(conduct, path, asked, writer))
        try:
            await asyncio.wait({leaving, doing}, return_when=asyncio.FIRST_COMPLETED)
            if not doing.done():
                seen.gone += 1
                return False
            goes_on = doing.result()
            seen.answered += goes_on
            seen.broken += not goes_on
            return goes_on
        except OSError:
            seen.gone += 1
            return False
        finally:
            seen.open -= 1
            for task in (leaving, doing):
                task.cancel()
                with suppress(asyncio.CancelledError, OSError):
                    await task

    async def _do(self, conduct: Conduct, path: str, asked: Raw, writer: asyncio.StreamWriter) -> bool:
        await asyncio.sleep(conduct.after_ms / 1000)
        if conduct.does == "hang":
            await asyncio.Event().wait()
        if conduct.does == "reset":
            reset(writer)
            return False
        if conduct.does == "status":
            after = () if conduct.retry_after_s is None else (f"retry-after: {conduct.retry_after_s}",)
            said = json.dumps({"error": {"message": "told to", "type": "told", "code": None, "param": None}}).encode()
            writer.write(head(conduct.status, said, *after))
            return True
        if asked.get("stream"):
            return await self._stream(conduct, asked, writer)
        whole = json.dumps(answer(path, asked)).encode()
        if conduct.does == "wait":
            await self._told_otherwise(conduct)
        if conduct.does in ("answer", "wait"):
            writer.write(head(200, whole))
            return True
        writer.write(head(200, whole)[: -(len(whole) // 2)])
        await writer.drain()
        return False

    async def _told_otherwise(self, conduct: Conduct) -> None:
        while self.conduct is conduct:  # noqa: ASYNC110 - which it is told by whoever asks next
            await asyncio.sleep(0.02)

    async def _stream(self, conduct: Conduct, asked: Raw, writer: asyncio.StreamWriter) -> bool:
        breaks = conduct.does not in ("answer", "wait")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        events = [event async for event in texts(asked)]
        for number, event in enumerate(events[: len(events) // 2] if breaks else events):
            if conduct.does == "wait" and number == len(events) // 2:
                await self._told_otherwise(conduct)
            line = f"data: {event}\n\n".encode()
            writer.write(b"%x\r\n%s\r\n" % (len(line), line))
            await writer.drain()
            await asyncio.sleep(conduct.every_ms / 1000)
        if breaks:
            reset(writer)
            return False
        writer.write(b"0\r\n\r\n")
        return True


async def request(reader: asyncio.StreamReader) -> tuple[str, str, bytes]:
    """Read a request: method, path, body. Raises IncompleteReadError where the other side has gone."""
    top = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = top.split("\r\n")
    told = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    method, path, _ = first.split(" ", 2)
    return method, path, await reader.readexactly(int(told.get("content-length", 0)))


def json_part(body: bytes) -> Raw:
    """Read what is JSON of a body; tensors may stand behind it."""
    try:
        found, _ = json.JSONDecoder().raw_decode(body.decode("utf-8", "replace"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def head(status: int, body: bytes, *more: str) -> bytes:
    """Write an answer."""
    lines = [f"HTTP/1.1 {status} Told", "content-type: application/json", f"content-length: {len(body)}", *more]
    return "\r\n".join([*lines, "", ""]).encode() + body


def answer(path: str, asked: Raw) -> Raw:
    """Make the answer to a call that is not streamed."""
    model, usage = asked.get("model", ""), {"prompt_tokens": 20, "completion_tokens": 8, "total_tokens": 28}
    if path.endswith("/embeddings"):
        given = asked["input"] if isinstance(asked["input"], list) else [asked["input"]]
        data = [{"object": "embedding", "index": at, "embedding": [0.5, 0.5, 0.5, 0.5]} for at in range(len(given))]
        return {"object": "list", "model": model, "data": data, "usage": {"prompt_tokens": 20, "total_tokens": 20}}
    if path.endswith("/chat/completions"):
        choice = {"index": 0, "message": {"role": "assistant", "content": "".join(WORDS)}, "finish_reason": "stop"}
        return {
            "id": "c",
            "object": "chat.completion",
            "created": 1,
            "model": model,
            "choices": [choice],
            "usage": usage,
        }
    name = path.split("/")[3]
    output = {"name": "probabilities", "datatype": "FP32", "shape": [1, 2], "data": [0.25, 0.75]}
    return {"model_name": name, "id": asked.get("id", ""), "outputs": [output]}


async def texts(asked: Raw) -> AsyncIterator[str]:
    """Make the events of a streamed chat."""
    common = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": asked.get("model", "")}
    for word in WORDS:
        choice = {"index": 0, "delta": {"role": "assistant", "content": word}, "finish_reason": None}
        yield json.dumps({**common, "choices": [choice]})
    yield json.dumps({**common, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    usage = {"prompt_tokens": 20, "completion_tokens": len(WORDS), "total_tokens": 20 + len(WORDS)}
    yield json.dumps({**common, "choices": [], "usage": usage})
    yield "[DONE]"


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with a RST, and what was written but not sent with it."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
    writer.transport.abort()


async def main(port: int, control: int) -> None:
    """Serve until killed."""
    service = Service()
    await asyncio.start_server(service.control, "127.0.0.1", control)
    server = await asyncio.start_server(service.serve, "127.0.0.1", port, limit=2**24, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
