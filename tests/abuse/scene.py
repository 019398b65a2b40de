"""An entry with real models behind it, served over real HTTP in this process, and what must be left of it after each abuse."""

import asyncio
import json
import os
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import psutil
import uvicorn

from infercast.policies import kernel
from infercast.policies.engine import Engine
from infercast.policies.fleet import Fleet
from infercast.policies.policy import Policy
from infercast.policies.snapshot import Snapshot
from infercast.router.api import Event
from infercast.router.conduct.ports import Carried, Lost
from infercast.router.ingress.app import Ingress
from infercast.router.ingress.guarded import Guarded, Patience
from infercast.router.ingress.http import Receive, Scope, Send
from infercast.router.keys import Holder, Keys, issue
from infercast.router.runtime.host import Answer, Host, holding
from infercast.router.signals import EXCHANGE_S
from tests.router.fakes import FakeJournal, scene
from tests.router.openai.tiny import fleet

SOON_S = 30.0
"""By when what takes an instant has come to be on a busy machine."""
TASKS_OF_ITS_OWN = 2
"""The server's, and the one that hears of other sites."""
SHORT = Patience(head_s=1.0, unread_s=4.0)
IMAGE = {"inputs": [{"name": "image", "datatype": "FP32", "shape": [1, 64], "data": [0.0] * 64}]}
CHAT = {"model": "chat", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 8}
INFER = "/fra/v2/models/digits/infer"
COMPLETE = "/fra/v1/chat/completions"


class Endless:
    """A stream that never ends by itself, and counts how many of it are open."""

    def __init__(self, runner: "SceneRunner") -> None:
        self._runner = runner
        self._open = True
        runner.open_streams += 1

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        await asyncio.sleep(self._runner.pace_s)
        self._runner.events += 1
        return b'{"puff":"%b"}' % (b"x" * self._runner.event_bytes)

    async def aclose(self) -> None:
        """End it."""
        self._runner.open_streams -= self._open
        self._open = False


@dataclass
class SceneRunner:
    """Runs calls on the real models of Frankfurt, whatever site was chosen; or, when told so, slowly or without end."""

    fleet: Fleet
    host: Host
    snapshot: Snapshot
    pause_s: float = 0.0
    """Before each call runs."""
    endless: bool = False
    """Streams never end by themselves, each event `pace_s` after the one before."""
    pace_s: float = 0.0
    event_bytes: int = 65536
    open_streams: int = 0
    events: int = 0

    async def run(self, deployment: int, call: Carried, timeout_s: float) -> Answer:
        """Run a call as a site's runner does: counted as long as it is on, its stream included."""
        place = self.fleet.deployments[deployment]
        with ExitStack() as held:
            held.enter_context(self.snapshot.running(deployment))
            async with asyncio.timeout(timeout_s):
                await asyncio.sleep(self.pause_s)
                if self.endless and call.stream:
                    answer = Answer(b"", None, place.variant, place.site, 1000, stream=Endless(self))
                elif place.variant in self.host.variants:
                    answer = await self.host.run(place.variant, place.site, call, timeout_s)
                else:
                    raise Lost(f"{place.variant} is not here")
            return holding(answer, held)


@dataclass
class Entry:
    """The running entry."""

    port: int
    secrets: dict[str, str]
    journal: FakeJournal
    runner: SceneRunner
    ingress: Ingress
    server: uvicorn.Server
    loop: asyncio.AbstractEventLoop
    snapshot: Snapshot
    kept: int = 0
    """As many connections may be kept for calls to come by who stands before it."""
    heads: list[Scope] = field(default_factory=list)
    """What the ingress was asked, as the server read it."""

    @property
    def url(self) -> str:
        """The server's address; the entry is below /fra."""
        return f"http://127.0.0.1:{self.port}"

    def bearer(self, key: str = "studio") -> dict[str, str]:
        """A key as its owner sends it, and a class that it may name."""
        return {"authorization": f"Bearer {self.secrets.get(key, key)}", "infercast-class": "gameplay"}

    def head(self, path: str = INFER, method: str = "POST", key: str = "studio", **more: str) -> bytes:
        """The head of a call as bytes, up to its empty line; more: header names with `_` for `-`."""
        named = {name.replace("_", "-"): value for name, value in more.items()}
        lines = [f"{name}: {value}" for name, value in {"host": "here", **self.bearer(key), **named}.items()]
        return "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""]).encode()

    def connect(self, timeout_s: float = SOON_S, port: int = 0) -> socket.socket:
        """A new connection, by way of `port` where one is given."""
        return socket.create_connection(("127.0.0.1", port or self.port), timeout=timeout_s)

    def normal(self, port: int = 0, *, texts: bool = True) -> None:
        """Make one ordinary call of each kind, or of tensors alone: each must be answered."""
        where = f"http://127.0.0.1:{port or self.port}"
        with httpx.Client(base_url=where, headers=self.bearer(), timeout=SOON_S) as client:
            assert client.post(INFER, json=IMAGE).status_code == 200
            if not texts:
                return
            pause_s, endless = self.runner.pause_s, self.runner.endless
            self.runner.pause_s, self.runner.endless = 0.0, False
            chat = client.post(COMPLETE, json=CHAT)
            streamed = client.post(COMPLETE, json={**CHAT, "stream": True})
            self.runner.pause_s, self.runner.endless = pause_s, endless
        assert chat.status_code == 200, chat.text
        assert streamed.text.endswith("data: [DONE]\n\n"), streamed.text

    def left(self) -> dict[str, int]:
        """What is still on: calls, streams, tasks and connections. All are zero when nothing is."""
        tasks = self.on_loop(_tasks)
        return {
            "in flight": int(self.snapshot.live[:, kernel.L_IN_FLIGHT].sum()),
            "streams": self.runner.open_streams,
            "texts": sum(text._model._scheduler.present for text in self.runner.host._texts.values()
                         if hasattr(text._model, "_scheduler")),
            "tasks": tasks - TASKS_OF_ITS_OWN,
            "connections": max(0, len(self.server.server_state.connections) - self.kept),
        }  # fmt: skip

    def quiet(self) -> None:
        """Wait until nothing is on any more."""
        until = time.monotonic() + SOON_S
        while any((left := self.left()).values()):
            assert time.monotonic() < until, left
            time.sleep(0.02)

    def on_loop(self, what: Callable[[], Awaitable[Any]]) -> Any:
        """Run something on the server's event loop."""
        return asyncio.run_coroutine_threadsafe(what(), self.loop).result(SOON_S)  # type: ignore[arg-type]


async def _tasks() -> int:
    """Tasks other than this one."""
    return len(asyncio.all_tasks()) - 1


def files() -> int:
    """Files that this process has open."""
    return psutil.Process(os.getpid()).num_fds()


@contextmanager
def entry(patience: Patience = SHORT) -> Iterator[Entry]:
    """Serve Frankfurt on loopback, on a thread of its own; its log must say nothing of faults at the end."""
    whole = fleet()
    policy = Policy.model_validate({"version": 1, "tenant": "studio", "classes": {"gameplay": {}}})
    engine = Engine(whole, {"studio": policy})
    here = [
        deployment for deployment in whole.deployments if deployment.site == "fra" and deployment.hosted == "in_worker"
    ]
    host = Host(whole, here)
    issued = [issue(tenant, tenant, "paris") for tenant in engine.policies]
    issued += [issue("expired", "studio", "paris", expires_at_s=1), issue("admin", "", holder=Holder.ADMIN)]
    revoked, secret = issue("revoked", "studio", "paris")
    issued.append((replace(revoked, revoked_at_s=1), secret))
    at = scene(entry="fra", engine=engine)
    runner = SceneRunner(whole, host, at.snapshot)
    at.caller.attempts.runner = runner
    ingress = Ingress(at.caller, Keys(key for key, _ in issued), at.journal, list, emulated=False)
    protocol = type("Patient", (Guarded,), {"patience": patience})
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listening:
        heads: list[Scope] = []
        config = uvicorn.Config(_serving(ingress, heads), lifespan="off", log_level="critical", http=protocol)
        server = uvicorn.Server(config)
        started: list[asyncio.AbstractEventLoop] = []
        thread = threading.Thread(target=asyncio.run, args=(_serve(server, listening, started, at.snapshot),))
        thread.start()
        while not server.started:
            time.sleep(0.01)
        port = listening.getsockname()[1]
        secrets = {key.id: secret for key, secret in issued}
        try:
            yield Entry(port, secrets, at.journal, runner, ingress, server, started[0], at.snapshot, heads=heads)
        finally:
            server.should_exit = True
            server.force_exit = True
            thread.join()
            for text in host._texts.values():
                text._model.close()


async def _serve(
    server: uvicorn.Server, listening: socket.socket, started: list[asyncio.AbstractEventLoop], snapshot: Snapshot
) -> None:
    started.append(asyncio.get_running_loop())
    hearing = asyncio.create_task(_hear(snapshot))
    await server.serve(sockets=[listening])
    hearing.cancel()


async def _hear(snapshot: Snapshot) -> None:
    """Hear of every site that it is well, four times a second as an entry does: who was lost is back."""
    while True:
        snapshot._said[:] = True
        snapshot.live[:, kernel.L_HEALTHY] = 1
        snapshot.refresh()
        await asyncio.sleep(EXCHANGE_S)


def _serving(ingress: Ingress, heads: list[Scope]) -> Any:
    """The ingress as a replica of Serve's mounts it: below the site's name, health beside it."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/-/healthz":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"success"})
            return
        heads.append(scope)
        scope["root_path"] = "/fra"
        await ingress(scope, receive, send)

    return app


def answer(wire: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Read one answer whose length is told, and return status, headers and body; status 0 where the other side hung up."""
    text = b""
    while b"\r\n\r\n" not in text:
        part = wire.recv(65536)
        if not part:
            return 0, {}, text
        text += part
    head, _, body = text.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    while len(body) < int(headers.get("content-length", "0")):
        part = wire.recv(65536)
        if not part:
            break
        body += part
    return int(lines[0].split()[1]), headers, body


def until_has(wire: socket.socket, what: bytes, count: int = 1) -> bytes:
    """Read until something stands so often in what has come; return all of it."""
    text = bytearray()
    while text.count(what) < count:
        part = wire.recv(1 << 20)
        assert part, f"hung up after {bytes(text[-300:])!r}"
        text += part
    return bytes(text)


def hung_up(wire: socket.socket) -> bool:
    """Whether the other side ends the connection in the time that the socket waits."""
    try:
        while wire.recv(65536):
            pass
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True


def as_json(value: Any) -> bytes:
    """A body."""
    return json.dumps(value).encode()
