"""Where the microseconds of a call go inside a site's worker: `python bench/call_path.py [--calls 4000] [--profile]`.

Everything that a worker is made of, as `router/serving/worker.py` puts it together, without Serve and without a network: calls
are handed to the ingress as uvicorn would. Each stage is then run by itself on the same objects. Stages overlap where one
calls another (`whole call` holds all of them), and what a stage costs alone, with warm caches, is the least that it costs.
"""

import argparse
import asyncio
import cProfile
import pstats
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from bench.serve_world import ENTRY, TENANT, Body, binary_body, json_body, write_world  # noqa: E402 - the root had to come first
from infercast.policies.engine import Engine  # noqa: E402
from infercast.policies.estimates import Estimates  # noqa: E402
from infercast.policies.fleet_file import load_fleet  # noqa: E402
from infercast.policies.model import Choice, Outcome, Request  # noqa: E402
from infercast.policies.policy_file import load_policies  # noqa: E402
from infercast.policies.snapshot import Snapshot  # noqa: E402
from infercast.router.conduct.caller import Caller  # noqa: E402
from infercast.router.conduct.endings import Answered, Carrying, Stake  # noqa: E402
from infercast.router.conduct.ports import Carried  # noqa: E402
from infercast.router.conduct.recorder import Recorder  # noqa: E402
from infercast.router.conduct.tries import Try  # noqa: E402
from infercast.router.ingress.app import Ingress  # noqa: E402
from infercast.router.ingress.http import Ask  # noqa: E402
from infercast.router.keys import Keys, issue  # noqa: E402
from infercast.router.oip import parse_infer, render_infer  # noqa: E402
from infercast.router.runtime.host import Answer, Host  # noqa: E402
from infercast.router.serving.runner import ClusterRunner  # noqa: E402
from infercast.router.sight.seeing import Seeing  # noqa: E402
from infercast.router.telemetry.checkpoints import SigningKey  # noqa: E402
from infercast.router.telemetry.decision_log import DecisionLog  # noqa: E402
from infercast.router.telemetry.journal import FileJournal  # noqa: E402
from infercast.router.telemetry.log_files import KEY  # noqa: E402
from infercast.router.upstream.runner import Upstreams  # noqa: E402

MODEL, VARIANT = "near", "near-small"
ROUNDS = 9


class Worker:
    """What a worker of the entry is made of."""

    def __init__(self, folder: Path) -> None:
        world = write_world(folder / "world")
        self.fleet = fleet = load_fleet(world.fleet)
        self.engine = Engine(fleet, load_policies(world.policies, fleet))
        self.snapshot = Snapshot.declared(fleet)
        key, self.secret = issue("bench", TENANT)
        self.estimates = Estimates(fleet, ENTRY, [0])
        self.journal = FileJournal(folder / "journal", ENTRY)
        self.log = DecisionLog(folder / "decisions", ENTRY, SigningKey.of(folder / KEY))
        self.recorder = Recorder(ENTRY, fleet, self.snapshot, self.log, self.journal)
        self.host = Host(fleet, [fleet.deployments[0]])
        upstreams = Upstreams(fleet, "0" * 16)
        parts: Any = (self.snapshot, self.estimates, self.host, {}, False, upstreams)
        self.runner = ClusterRunner(ENTRY, fleet, *parts)
        self.seeing = Seeing(ENTRY, fleet)
        facts: Any = (self.snapshot, self.estimates, self.runner, self.recorder, self.journal)
        self.caller = Caller(ENTRY, self.engine, *facts, sight=self.seeing)
        self.ingress = Ingress(self.caller, Keys([key]), self.journal, list, emulated=False)
        self.engine.warm(ENTRY, [ENTRY], int(time.time()))

    def close(self) -> None:
        """End the log's thread, and close the files."""
        self.log.close()
        self.journal.close()


def scope_of(body: Body, secret: str) -> dict[str, Any]:
    """Return a call as uvicorn hands it over, behind HAProxy."""
    headers = [
        (b"host", b"127.0.0.1"),
        (b"content-type", b"application/json"),
        (b"authorization", f"Bearer {secret}".encode()),
        (b"content-length", str(len(body.content)).encode()),
        (b"x-request-id", b"7f3c1b1e-0b06-4a6e-8df3-5d1df0a3b2c1"),
        (b"x-request-disconnect-disabled", b"?1"),
    ]
    if body.header_bytes is not None:
        headers.append((b"inference-header-content-length", str(body.header_bytes).encode()))
    path = f"/{ENTRY}/v2/models/{MODEL}/infer"
    return {"type": "http", "method": "POST", "path": path, "root_path": f"/{ENTRY}", "headers": headers}


async def answered(worker: Worker, scope: dict[str, Any], body: bytes) -> bytes:
    """Make one call, and return the answer's body. Raises RuntimeError for another status than 200."""
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await worker.ingress(scope, receive, send)
    if sent[0]["status"] != 200:
        raise RuntimeError(f"{sent[0]['status']}: {sent[1]['body']!r}")
    answer: bytes = sent[1]["body"]
    return answer


def stages(worker: Worker, scope: dict[str, Any], body: Body) -> dict[str, Callable[[], Any]]:
    """Return what a call goes through, each on objects of its own."""
    desk, caller, engine, snapshot = worker.ingress.desk, worker.caller, worker.engine, worker.snapshot
    ask = Ask("POST", f"/v2/models/{MODEL}/infer", dict(scope["headers"]), _nothing)
    ask.names = {"model": MODEL}
    key = desk.key(ask)
    request = desk.request_of(ask, key, MODEL)
    choice = engine.choose(request, snapshot)
    carried = Carried(request, body.content, body.header_bytes)
    parsed = parse_infer(body.content, body.header_bytes)
    session = worker.host._sessions[VARIANT]  # noqa: SLF001 - what is measured
    outputs = session.run(parsed.inputs, parsed.outputs)
    answer = worker.host._run(VARIANT, ENTRY, body.content, body.header_bytes)  # noqa: SLF001
    ended = _ended_call(request, answer)
    estimates = worker.estimates
    facts = ("call", {"number": "1", "tenant": TENANT, "took_us": 100})
    name = engine.decision_id(request, snapshot, ())

    def learn() -> None:
        estimates.served(0, 600, 90, 60, False)
        estimates.carried(0, 95, 100, 50)

    def carry() -> None:
        _driven(caller.call(request, _received(carried)))

    return {
        "auth": lambda: desk.key(ask),
        "request": lambda: desk.request_of(ask, key, MODEL),
        "decide": lambda: engine.choose(request, snapshot),
        "decision id": lambda: engine.decision_id(request, snapshot, ()),
        "record": lambda: worker.recorder.decided(engine, name, request, choice, ()),
        "parse": lambda: parse_infer(body.content, body.header_bytes),
        "session": lambda: session.run(parsed.inputs, parsed.outputs),
        "render": lambda: render_infer(MODEL, VARIANT, parsed, outputs),
        "run (parse, session, render)": lambda: worker.host._run(VARIANT, ENTRY, body.content, body.header_bytes),  # noqa: SLF001
        "runner (run, load, estimates)": lambda: _driven(worker.runner.run(0, carried, 1.0)),
        "estimates": learn,
        "journal (one line)": lambda: worker.journal.write(facts[0], **facts[1]),
        "caller (decide to journal)": carry,
        "sight (count)": lambda: worker.seeing.ended(ended[0], ended[1], None),
        "answer": lambda: (answer.body, desk.emulated),
    }


def _ended_call(request: Request, answer: Answer) -> tuple[Carrying, Answered]:
    """Return a call as it is when it has ended: one attempt, answered at the entry itself."""
    carrying = Carrying(request, "1", 1_000, arrived_us=990, admitted_us=1_003, received_bytes=200)
    choice = Choice(Outcome.CHOSEN, (0,), (100,), (10,), (90,), (10,))
    carrying.won = Stake(0, f"{VARIANT}@{ENTRY}", 10, 10)
    carrying.tries.append(Try(0, choice, carrying.won, "d", [], 1000, None, False, 1_004, False, 1_006, 1_080))
    carrying.ended_us = 1_090
    return carrying, Answered(answer, f"{VARIANT}@{ENTRY}", "edge", "d", 1, 0.00001, [90, 95, 99, 100], 74)


def _received(carried: Carried) -> Any:
    from infercast.router.conduct.ports import Received

    async def receive() -> Received:
        return Received(carried.body, carried.header_bytes)

    return receive


async def _nothing() -> dict[str, Any]:
    raise AssertionError


def _driven(coroutine: Any) -> Any:
    """Run a coroutine that has nothing to wait for."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise RuntimeError("it waits for something")


def alone_us(stage: Callable[[], Any], calls: int) -> float:
    """Return what a stage takes: the median of some rounds' means, in µs of this thread's processor time."""
    found = []
    for _ in range(ROUNDS):
        began_ns = time.thread_time_ns()
        for _ in range(calls // ROUNDS):
            stage()
        found.append((time.thread_time_ns() - began_ns) / (calls // ROUNDS) / 1000)
    return median(found)


async def whole_us(call: Callable[[], Awaitable[Any]], calls: int) -> float:
    """Return the same of the whole call."""
    found = []
    for _ in range(ROUNDS):
        began_ns = time.thread_time_ns()
        for _ in range(calls // ROUNDS):
            await call()
        found.append((time.thread_time_ns() - began_ns) / (calls // ROUNDS) / 1000)
    return median(found)


async def measured(worker: Worker, calls: int, profile: bool) -> None:
    """Print the table, and the profile where it is asked for."""
    columns: dict[str, dict[str, float]] = {}
    for kind, body in (("JSON", json_body()), ("binary", binary_body())):
        scope = scope_of(body, worker.secret)
        await whole_us(lambda s=scope, b=body: answered(worker, s, b.content), calls // 4)  # type: ignore[misc]
        column = columns[kind] = {}
        column["whole call"] = await whole_us(lambda s=scope, b=body: answered(worker, s, b.content), calls)  # type: ignore[misc]
        for name, stage in stages(worker, scope, body).items():
            column[name] = alone_us(stage, calls)
        if profile:
            with cProfile.Profile() as profiler:
                await whole_us(lambda s=scope, b=body: answered(worker, s, b.content), calls)  # type: ignore[misc]
            pstats.Stats(profiler).sort_stats("tottime").print_stats(45)
    print("| µs of a call's thread | JSON | binary |\n|---|--:|--:|")
    for name in columns["JSON"]:
        print(f"| {name} | {columns['JSON'][name]:.1f} | {columns['binary'][name]:.1f} |")


def main() -> None:
    """Build a worker, and measure."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--calls", type=int, default=9000)
    words.add_argument("--profile", action="store_true", help="cProfile's table of whole calls, too")
    given = words.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        worker = Worker(Path(folder))
        try:
            asyncio.run(measured(worker, given.calls, given.profile))
        finally:
            worker.close()


if __name__ == "__main__":
    main()
