"""HTTP/1.1 to one address: answers of every framing, faults of every kind, connections that come back and that do not."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infercast.policies.upstream import Upstream
from infercast.router.upstream.bodies import BadAnswer
from infercast.router.upstream.client import Client
from infercast.router.upstream.connection import Connection
from infercast.router.upstream.transport import Address, Http1Transport
from tests.router.upstreams import answer, answering, request_on, reset, run_async, scripted, served

BODY = b"0123456789" * 10


def client_on(port: int, **more: Any) -> Client:
    """A client of a server on this machine."""
    upstream = Upstream(url=f"http://127.0.0.1:{port}", api="openai", private=True, **more)
    return Client(Address("127.0.0.1", port, None, True), upstream, f"127.0.0.1:{port}", lambda: "sk-key")


async def ask(client: Client, body: bytes = b"{}", path: str = "/x") -> tuple[int, bytes]:
    """One exchange."""
    response = await client.send("POST", httpx.URL(f"http://elsewhere.example{path}"), body, [], 5.0)
    return response.status_code, await client.read(response)


def once(port: int, work: Callable[[Client], Awaitable[Any]], **more: Any) -> Any:
    """Do something with a client and close it."""

    async def whole() -> Any:
        client = client_on(port, **more)
        try:
            return await work(client)
        finally:
            await client.aclose()

    return run_async(whole())


CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    ("text", "status", "body"),
    [
        (answer(BODY), 200, BODY),
        (answer(b""), 200, b""),
        (CHUNKED, 200, b"hello world"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + answer(BODY), 200, BODY),
        (b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + answer(BODY, "404 Not Found"), 404, BODY),
        (answer(b"moved", "302 Found", "location: http://127.0.0.1:1/secret"), 302, b"moved"),
    ],
)
def test_an_answer_comes_as_it_was_sent_and_the_connection_is_used_again(text: bytes, status: int, body: bytes) -> None:
    connections: list[socket.socket] = []

    def script(connection: socket.socket) -> None:
        connections.append(connection)
        answering(text)(connection)

    async def twice(client: Client) -> list[tuple[int, bytes]]:
        return [await ask(client), await ask(client)]

    with scripted(script) as port:
        assert once(port, twice) == [(status, body)] * 2
    assert len(connections) == 1


def test_an_answer_without_a_length_ends_with_its_connection() -> None:
    text = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n" + BODY

    def script(connection: socket.socket) -> None:
        request_on(connection)
        connection.sendall(text)

    with scripted(script) as port:
        assert once(port, ask) == (200, BODY)


@settings(max_examples=25)
@given(st.lists(st.integers(1, 40), max_size=12), st.booleans())
def test_however_an_answer_is_cut_into_pieces_it_is_the_same(cuts: list[int], chunked: bool) -> None:
    text = CHUNKED if chunked else answer(b"hello world")

    def script(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        request_on(connection)
        at = 0
        for cut in cuts:
            connection.sendall(text[at : at + cut])
            at += cut
        connection.sendall(text[at:])

    with scripted(script) as port:
        assert once(port, ask) == (200, b"hello world")


def _reset_in_the_body(connection: socket.socket) -> None:
    connection.sendall(answer(BODY, length=500))
    reset(connection)


FAULTS: dict[str, Callable[[socket.socket], None]] = {
    "closed unanswered": lambda c: c.close(),
    "reset unanswered": reset,
    "cut short": lambda c: c.sendall(answer(BODY, length=len(BODY) + 1)),
    "cut short in a chunk": lambda c: c.sendall(CHUNKED[:60]),
    "reset in the body": _reset_in_the_body,
    "not HTTP": lambda c: c.sendall(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
    "a bad chunk": lambda c: c.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"),
    "two lengths": lambda c: c.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd"),
    "headers without end": lambda c: c.sendall(b"HTTP/1.1 200 OK\r\n" + (b"x: " + b"y" * 60_000) * 9),
    "too many headers": lambda c: c.sendall(b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 500 + b"\r\n"),
    "another protocol": lambda c: c.sendall(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nzzz"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_no_whole_answer_is_a_transport_error_and_costs_its_connection_only(name: str) -> None:
    asked: list[int] = []

    def script(connection: socket.socket) -> None:
        while request_on(connection):
            asked.append(1)
            if len(asked) > 1:
                connection.sendall(answer(BODY))
                continue
            FAULTS[name](connection)
            return

    async def work(client: Client) -> tuple[int, bytes]:
        with pytest.raises(httpx.TransportError):
            await ask(client)
        return await ask(client)

    with scripted(script) as port:
        assert once(port, work, connections=1) == (200, BODY)


def test_bytes_behind_an_answer_are_no_answer_to_the_next_question() -> None:
    stray = answer(b"for somebody else")

    async def work(client: Client) -> list[Any]:
        first = await ask(client)
        await asyncio.sleep(0.05)
        return [first, await ask(client)]

    with scripted(answering(answer(BODY) + stray)) as port:
        found = []
        try:
            found = once(port, work)
        except httpx.TransportError:
            return
        assert found == [(200, BODY), (200, BODY)]


def test_the_url_of_a_request_does_not_lead_elsewhere() -> None:
    seen: list[bytes] = []

    def script(connection: socket.socket) -> None:
        while text := request_on(connection):
            seen.append(text)
            connection.sendall(answer(BODY))

    with scripted(script) as port:
        once(port, ask)
        head = seen[0].split(b"\r\n\r\n")[0].decode().split("\r\n")
        assert head[0] == "POST /x HTTP/1.1"
        assert f"host: 127.0.0.1:{port}" in [line.lower() for line in head]
        assert sum(line.lower().startswith("host:") for line in head) == 1
        assert "authorization: Bearer sk-key" in head


def test_no_proxy_of_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with scripted(answering(answer(BODY))) as port:
        assert once(port, ask) == (200, BODY)


def test_an_address_that_turns_out_private_is_not_connected_to() -> None:
    with scripted(answering(answer(BODY))) as port:

        async def work() -> None:
            transport = Http1Transport(Address("localhost", port, None, private=False), 4)
            with pytest.raises(httpx.ConnectError):
                await transport.handle_async_request(httpx.Request("GET", f"http://localhost:{port}/"))

        run_async(work())


def test_a_long_body_goes_whole_and_an_early_answer_ends_it() -> None:
    sizes: list[int] = []
    long = b"x" * 3_000_000

    def patient(connection: socket.socket) -> None:
        sizes.append(len(request_on(connection).partition(b"\r\n\r\n")[2]))
        connection.sendall(answer(b"ok"))

    def hasty(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(answer(b"too much", "413 Content Too Large", "connection: close"))
        while connection.recv(65536):
            pass

    with scripted(patient) as port:
        assert once(port, lambda client: ask(client, long)) == (200, b"ok")
    assert sizes == [len(long)]
    with scripted(hasty) as port:
        assert once(port, lambda client: ask(client, long)) == (413, b"too much")


def test_a_body_that_an_early_answer_cut_short_is_not_ended_by_the_next_call() -> None:
    long, behind, first = b"A" * 32_000_000, b"B" * 1000, bytearray()
    connections: list[int] = []

    def script(connection: socket.socket) -> None:
        connections.append(1)
        if len(connections) > 1:
            answering(answer(b"ok"))(connection)
            return
        connection.recv(1000)
        connection.sendall(answer(b"", "413 Content Too Large", length=2))
        connection.settimeout(0.5)
        with contextlib.suppress(
            TimeoutError
        ):  # all that was sent is taken, so that nothing waits to be written any more
            while part := connection.recv(1_000_000):
                first.extend(part)
        connection.sendall(b"no")
        connection.settimeout(5)
        while part := connection.recv(1_000_000):
            first.extend(part)

    async def work(client: Client) -> list[Any]:
        return [await ask(client, long), await ask(client, behind)]

    with scripted(script) as port:
        assert once(port, work, connections=1) == [(413, b"no"), (200, b"ok")]
    assert 0 < len(first) < len(long)
    assert b"B" not in first


class Greedy:
    """A transport that takes all at once, as one does whose other end reads fast; the answer is there after the first bytes."""

    def __init__(self, connection: Connection) -> None:
        self.connection, self.taken_bytes = connection, 0

    def write(self, data: bytes) -> None:
        if not self.taken_bytes:
            text = answer(b"no", "413 Content Too Large")
            asyncio.get_running_loop().call_soon(self.connection.data_received, text)
        self.taken_bytes += len(data)

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None:
        pass


def test_an_early_answer_is_seen_though_the_rest_of_the_body_would_be_taken_at_once() -> None:
    async def work() -> tuple[int, bool, int]:
        connection = Connection()
        transport = Greedy(connection)
        connection.connection_made(transport)
        await connection.ask(b"POST / HTTP/1.1\r\n\r\n", b"A" * 8_000_000)
        assert connection.whole() == b"no"
        return connection.status, connection.done(), transport.taken_bytes

    status, reusable, taken_bytes = run_async(work())
    assert (status, reusable) == (413, False)
    assert taken_bytes < 1_000_000


def test_a_large_answer_is_read_up_to_the_limit_and_no_further() -> None:
    text = answer(b"y" * 300_000)
    with scripted(answering(text)) as port:
        assert once(port, ask)[1] == b"y" * 300_000
        with pytest.raises(BadAnswer, match="more than 100000 bytes"):
            once(port, ask, answer_bytes_max=100_000)


def test_an_endless_answer_that_nobody_reads_is_not_kept_in_memory() -> None:
    sent = [0]

    def script(connection: socket.socket) -> None:
        request_on(connection)
        connection.settimeout(1.0)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b"z" * 100_000)
            sent[0] += 100_000

    async def work(client: Client) -> None:
        response = await client.send("POST", httpx.URL("http://x/"), b"", [], 5.0)
        await asyncio.sleep(1.5)
        await response.stream.aclose()  # type: ignore[union-attr]

    with scripted(script) as port:
        once(port, work)
    assert sent[0] < 60_000_000  # what socket buffers hold, and no more


def test_giving_up_closes_the_connection_at_once() -> None:
    asked, gone = threading.Event(), threading.Event()

    def script(connection: socket.socket) -> None:
        request_on(connection)
        asked.set()
        with contextlib.suppress(ConnectionError):
            assert connection.recv(1) == b""
        gone.set()

    async def work(client: Client) -> None:
        asking = asyncio.create_task(ask(client))
        assert await asyncio.to_thread(asked.wait, 10)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

    with scripted(script) as port:
        once(port, work)
        assert gone.wait(10)


def test_no_more_connections_than_allowed_and_who_waits_is_served() -> None:
    now, most = [0], [0]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        now[0] += 1
        most[0] = max(most[0], now[0])
        await asyncio.sleep(0.01)
        now[0] -= 1
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    async def work(client: Client) -> list[Any]:
        tasks = [asyncio.create_task(ask(client)) for _ in range(60)]
        await asyncio.sleep(0.02)
        for task in tasks[::5]:  # some give up, waiting or under way: the others get their places
            task.cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    with served(app) as port:
        found = once(port, work, connections=4)
    assert sum(one == (200, b"ok") for one in found) >= 48
    assert most[0] <= 4 + 1  # one that was given up may not have noticed yet


def test_room_that_is_promised_to_one_who_waits_is_no_room_for_who_comes_in_between() -> None:
    now, most = [0], [0]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        now[0] += 1
        most[0] = max(most[0], now[0])
        await asyncio.sleep(0.05)
        now[0] -= 1
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"o", "more_body": True})
        if scope["path"] == "/broken":
            await receive()
            await receive()
        await send({"type": "http.response.body", "body": b"k"})

    async def work(client: Client) -> list[Any]:
        broken = await client.send("POST", httpx.URL("http://x/broken"), b"{}", [], 5.0)
        waiting = asyncio.create_task(ask(client))
        await asyncio.sleep(0)
        # Before its end: its room is promised to the one who waits.
        await broken.stream.aclose()  # type: ignore[union-attr]
        more = [asyncio.create_task(ask(client)) for _ in range(10)]
        return [await ask(client), await waiting, *await asyncio.gather(*more)]

    with served(app) as port:
        assert once(port, work, connections=1) == [(200, b"ok")] * 12
    assert most[0] == 1


def test_a_connection_that_the_server_closed_meanwhile_is_not_used() -> None:
    def script(connection: socket.socket) -> None:
        request_on(connection)
        connection.sendall(answer(BODY))

    async def work(client: Client) -> list[Any]:
        found = []
        for _ in range(3):
            found.append(await ask(client))
            await asyncio.sleep(0.1)
        return found

    with scripted(script) as port:
        assert once(port, work, connections=1) == [(200, BODY)] * 3
