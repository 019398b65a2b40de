"""What one call to an upstream costs this process, by the way it is sent: httpx as it comes, less and less of it, and ours.

python bench/upstream.py [--calls 4000]
"""

import argparse
import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpcore
import httpx

from infercast.policies.upstream import Upstream
from infercast.router.serving.cluster import free_ports
from infercast.router.upstream.client import Client
from infercast.router.upstream.transport import Address

BODY = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hello"}]}).encode()
ANSWER = json.dumps({"id": "c", "choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 1}}).encode()
TIMEOUT = {"connect": 5.0, "read": 5.0, "write": 5.0, "pool": 5.0}
START_S = 30.0
Call = Callable[[], Awaitable[Any]]


class Noop(asyncio.Protocol):
    """Answers everything alike, as fast as Python can."""

    def connection_made(self, transport: Any) -> None:
        """Begin."""
        self._transport, self._text = transport, b""

    def data_received(self, data: bytes) -> None:
        """Answer each request that is whole."""
        self._text += data
        while (end := self._text.find(b"\r\n\r\n")) >= 0:
            head = self._text[:end].lower()
            at = head.find(b"content-length:")
            whole = end + 4 + (int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0)
            if len(self._text) < whole:
                return
            self._text = self._text[whole:]
            length = b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(ANSWER)
            self._transport.write(b"HTTP/1.1 200 OK\r\n" + length + ANSWER)


async def serve(port: int) -> None:
    """Be the upstream."""
    server = await asyncio.get_running_loop().create_server(Noop, "127.0.0.1", port)
    await server.serve_forever()


async def ways(port: int) -> dict[str, Call]:
    """Return the ways to send a call."""
    base = f"http://127.0.0.1:{port}/v1"
    where = f"{base}/chat/completions"
    url, whole = httpx.URL(where), httpx.AsyncClient(trust_env=False)
    headers = httpx.Headers({"host": f"127.0.0.1:{port}", "content-type": "application/json"})
    pool = httpcore.AsyncConnectionPool(max_connections=100, max_keepalive_connections=100, keepalive_expiry=5)
    raw = [(b"host", b"127.0.0.1"), (b"content-length", str(len(BODY)).encode())]
    upstream = Upstream(url=base, api="openai", private=True)
    ours = Client(Address("127.0.0.1", port, None, private=True), upstream, f"127.0.0.1:{port}", lambda: "key")

    async def post() -> Any:
        return (await whole.post(where, content=BODY)).content

    async def send() -> Any:
        request = httpx.Request("POST", url, headers=headers, content=BODY, extensions={"timeout": TIMEOUT})
        return (await whole.send(request)).content

    async def transport() -> Any:
        request = httpx.Request("POST", url, headers=headers, content=BODY, extensions={"timeout": TIMEOUT})
        answer = await whole._transport.handle_async_request(request)  # noqa: SLF001 - what is measured
        body = await answer.aread()
        await answer.aclose()
        return body

    async def core() -> Any:
        request = httpcore.Request("POST", where, headers=raw, content=BODY, extensions={"timeout": TIMEOUT})
        answer = await pool.handle_async_request(request)
        body = await answer.aread()
        await answer.aclose()
        return body

    async def mine() -> Any:
        return await ours.read(await ours.send("POST", url, BODY, [], 5.0))

    return {
        "httpx, post": post,
        "httpx, a ready request": send,
        "httpx's transport alone": transport,
        "httpcore under it": core,
        "our transport, httpx's interface": mine,
    }


async def timed(call: Call, calls: int, connections: int) -> tuple[float, float]:
    """Return CPU and wall time of a call in microseconds."""

    async def several(count: int) -> None:
        for _ in range(count):
            await call()

    await asyncio.gather(*(several(20) for _ in range(connections)))
    began, used = time.perf_counter(), time.process_time()
    await asyncio.gather(*(several(calls // connections) for _ in range(connections)))
    return (time.process_time() - used) / calls * 1e6, (time.perf_counter() - began) / calls * 1e6


async def run(port: int, calls: int) -> None:
    """Time each way at one connection and at sixteen, three times each in turn; print the medians."""
    print("| sent by | CPU, 1 connection | wall | CPU, 16 connections | wall, per call |\n|---|---|---|---|---|")
    for name, call in (await ways(port)).items():
        cells = []
        for connections in (1, 16):
            found = sorted([await timed(call, calls, connections) for _ in range(3)])[1]
            cells += [f"{found[0]:.0f} us", f"{found[1]:.0f} us"]
        print(f"| {name} | {' | '.join(cells)} |")


def wait_for(port: int) -> None:
    """Wait until somebody listens."""
    until = time.monotonic() + START_S
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if time.monotonic() > until:
            raise TimeoutError("the upstream did not start")
        time.sleep(0.05)


def main() -> None:
    """Start the upstream in a process of its own, and time."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--calls", type=int, default=4000)
    words.add_argument("--serve", type=int, default=0, help=argparse.SUPPRESS)
    given = words.parse_args()
    if given.serve:
        asyncio.run(serve(given.serve))
        return
    port = free_ports(1)[0]
    with subprocess.Popen([sys.executable, __file__, "--serve", str(port)]) as upstream:
        try:
            wait_for(port)
            asyncio.run(run(port, given.calls))
        finally:
            upstream.terminate()


if __name__ == "__main__":
    main()
