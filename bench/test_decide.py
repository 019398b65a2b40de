"""What one decision takes, in the live router's own call path; run by `make bench-decide`, never by the test suite.

Every round is one decision, timed by itself. Between two rounds, outside the timing, the next request is taken and one
deployment's load changes: so nothing that is remembered of a request or of a snapshot can answer for the engine.
"""

import asyncio
import gc
import sys
import tracemalloc
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any, cast
from unittest.mock import Mock

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.peer import MODEL, STRATEGIES, peer_router
from bench.worlds import ENTRY, FlatWorld, flat_world
from infercast.policies import kernel
from infercast.policies.engine import Engine
from infercast.policies.model import Outcome, Request
from infercast.policies.snapshot import Snapshot
from infercast.router.conduct.caller import Caller

CANDIDATES = (30, 300, 1000)
ROUNDS = 20_000
TENANTS = 10
Decide = Callable[[Request, Snapshot], Any]


def _ready(world: FlatWorld) -> Engine:
    """Return an engine to which every kind of request has come before, as `warm` sees to at an ingress."""
    engine = Engine(world.fleet, world.policies)
    outcomes = [engine.choose(request, world.snapshot).outcome for request in world.requests]
    assert outcomes.count(Outcome.CHOSEN) > len(outcomes) // 2
    return engine


def _timed(benchmark: BenchmarkFixture, world: FlatWorld, decide: Decide, rounds: int = ROUNDS) -> Any:
    """Time single decisions over requests in turn, each on a snapshot that has changed since the last; return the last one."""
    requests, snapshot = cycle(world.requests), world.snapshot
    rows, loads = cycle(range(len(snapshot.live))), cycle([0, 3, 1, 7, 2])

    def next_round() -> tuple[tuple[Request, Snapshot], dict[str, Any]]:
        snapshot.apply([(next(rows), next(loads))])
        return (next(requests), snapshot), {}

    return benchmark.pedantic(decide, setup=next_round, rounds=rounds, warmup_rounds=min(500, rounds))


def _named(benchmark: BenchmarkFixture, what: str, candidates: int, tenants: int = TENANTS, **more: Any) -> None:
    benchmark.extra_info.update({"what": what, "candidates": candidates, "tenants": tenants, **more})


def test_nothing(benchmark: BenchmarkFixture) -> None:
    """The harness itself: what is in every figure below and is no decision."""
    world = flat_world(30, TENANTS)
    assert _timed(benchmark, world, lambda request, snapshot: None) is None
    _named(benchmark, "nothing", 0)


@pytest.mark.parametrize("candidates", CANDIDATES)
def test_choose(benchmark: BenchmarkFixture, candidates: int) -> None:
    """From a request object to the choice and its first four fallbacks."""
    world = flat_world(candidates, TENANTS)
    assert _timed(benchmark, world, _ready(world).choose).outcome is Outcome.CHOSEN
    _named(benchmark, "choose", candidates)


@pytest.mark.parametrize("candidates", CANDIDATES)
def test_admit(benchmark: BenchmarkFixture, candidates: int) -> None:
    """The same as the ingress asks it: `Caller.admit`, before a body is read."""
    world = flat_world(candidates, TENANTS)
    engine = _ready(world)
    # Deciding touches neither: what runs a call and what writes it down come later.
    unused = cast("Any", Mock())
    caller = Caller(ENTRY, engine, world.snapshot, unused, unused, unused, unused)
    assert _timed(benchmark, world, lambda request, snapshot: caller.admit(request)) is not None
    _named(benchmark, "admit", candidates)


@pytest.mark.parametrize("tenants", [1, 100, 1000])
def test_choose_with_tenants(benchmark: BenchmarkFixture, tenants: int) -> None:
    """Cost of a decision while the number of tenants grows, each call another tenant's."""
    world = flat_world(30, tenants, requests=max(4096, 8 * tenants))
    assert _timed(benchmark, world, _ready(world).choose).outcome is Outcome.CHOSEN
    _named(benchmark, "choose, by tenants", 30, tenants)


def test_explain(benchmark: BenchmarkFixture) -> None:
    """Every candidate's verdict in words."""
    world = flat_world(1000, TENANTS)
    assert len(_timed(benchmark, world, _ready(world).explain, rounds=1000).verdicts) == 1000
    _named(benchmark, "explain", 1000)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("candidates", CANDIDATES)
def test_peer(benchmark: BenchmarkFixture, candidates: int, strategy: str) -> None:
    """LiteLLM's Router, by its synchronous call; one decision a round."""
    world = flat_world(candidates, TENANTS)
    router = peer_router(world.fleet, strategy)
    rounds = 50 if strategy == "latency-based-routing" and candidates > 100 else 1000
    chosen = _timed(
        benchmark, world, lambda request, snapshot: router.get_available_deployment(MODEL, request_kwargs={}), rounds
    )
    assert chosen is not None
    _named(benchmark, f"LiteLLM {strategy}", candidates)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("candidates", CANDIDATES)
def test_peer_async(benchmark: BenchmarkFixture, candidates: int, strategy: str) -> None:
    """LiteLLM's Router, by the call that its proxy makes; ten decisions a round, so that starting the loop counts little."""
    router = peer_router(flat_world(candidates, TENANTS).fleet, strategy)
    in_round = 10

    async def decide_some() -> list[Any]:
        return [await router.async_get_available_deployment(MODEL, request_kwargs={}) for _ in range(in_round)]

    loop = asyncio.new_event_loop()
    try:
        rounds = 10 if strategy == "latency-based-routing" and candidates > 100 else 100
        chosen = benchmark.pedantic(lambda: loop.run_until_complete(decide_some()), rounds=rounds, warmup_rounds=2)
        assert None not in chosen
        loop.run_until_complete(asyncio.sleep(0))
    finally:
        loop.close()
    _named(benchmark, f"LiteLLM {strategy}, async", candidates, in_round=in_round)


def test_growth(benchmark: BenchmarkFixture, pytestconfig: pytest.Config) -> None:
    """Nothing grows: memory and Python's own blocks before and after millions of decisions, no two of them equal."""
    decisions = int(pytestconfig.getoption("--millions") * 1_000_000)
    world = flat_world(30, TENANTS)
    engine = _ready(world)
    _decide_many(world, engine, 100_000, 0)
    blocks, rss_kb = _blocks(), _rss_kb()
    benchmark.pedantic(_decide_many, args=(world, engine, decisions, 100_000), rounds=1)
    blocks_grown, rss_kb_grown = _blocks() - blocks, _rss_kb() - rss_kb
    traced_decisions = decisions // 10
    tracemalloc.start()
    _decide_many(world, engine, 10_000, 200_000 + decisions)
    before, _ = tracemalloc.get_traced_memory()
    _decide_many(world, engine, traced_decisions, 300_000 + decisions)
    gc.collect()
    traced_bytes = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    _named(
        benchmark,
        "growth",
        30,
        decisions=decisions,
        blocks_grown=blocks_grown,
        rss_kb_grown=rss_kb_grown,
        traced_decisions=traced_decisions,
        traced_bytes_grown=traced_bytes,
    )
    # Less than one block in a thousand decisions, and a page now and then: what is kept per decision would be far more.
    assert blocks_grown < decisions // 1000
    assert rss_kb_grown < 2048 + decisions // 1000
    assert traced_bytes < 50_000


def _decide_many(world: FlatWorld, engine: Engine, count: int, start: int) -> None:
    """Decide calls that were never seen before: each with an id and a size of its own."""
    live, snapshot, kinds = world.snapshot.live, world.snapshot, len(world.requests)
    rows = len(live)
    for at in range(start, start + count):
        kind = world.requests[at % kinds]
        request = Request(
            f"g{at}", kind.tenant, kind.model, kind.entry, kind.origin, kind.classes, payload_bytes=at % 1_000_003
        )
        live[at % rows, kernel.L_IN_FLIGHT] = at % 9
        engine.choose(request, snapshot)


def _blocks() -> int:
    gc.collect()
    return sys.getallocatedblocks()


def _rss_kb() -> int:
    gc.collect()
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
