"""The simulator's benches time what they say they do; how fast anything is, no test says."""

from dataclasses import replace

import numpy as np
import pytest

from bench import bare
from bench.queues import Row, compared, text
from bench.sim import LARGE_GOAL_S, missed
from bench.sim_kernel import linear
from bench.sim_peers import MEAN_S, WAYS
from bench.sim_worlds import HEADLINE, OTHERS, Features, continents, many_candidates, part_of
from infercast.policies.engine import Engine
from infercast.policies.model import Request
from infercast.sim.model import ANSWERED, Ended, World
from infercast.sim.simulate import STEP_CALLS, simulate
from tests.sim.queueing import erlang_c, wait_mmc_us

CALLS = 20_000


def request(world: World, at: int) -> Request:
    kind = world.calls.kinds[at]
    return Request("r", kind.tenant, kind.model, kind.entries[0], kind.origin, kind.classes)


@pytest.mark.parametrize("candidates", [30, 300])
def test_every_kind_of_call_has_so_many_candidates(candidates: int) -> None:
    world = many_candidates(candidates, 10, HEADLINE)
    engine = Engine(world.fleet, world.policies)
    found = {len(engine.compiled(request(world, at)).deployments) for at in range(len(world.calls.kinds))}
    assert found == {candidates}


@pytest.mark.parametrize("features", [HEADLINE, *OTHERS], ids=Features.words)
def test_calls_are_answered_with_any_features(features: Features) -> None:
    run = simulate(many_candidates(30, CALLS, features))
    assert np.isin(run.ended, ANSWERED).all()
    assert (run.ended == Ended.CACHED).any() == features.behaviours == run.hedged.any()


def test_features_say_what_a_world_has() -> None:
    assert len({features.words() for features in (HEADLINE, *OTHERS)}) == 1 + len(OTHERS)
    margins = {
        features.margins: {p.behaviour.spread_margin_usd for p in many_candidates(30, 1, features).policies.values()}
        for features in OTHERS
    }
    assert margins == {False: {0.0}, True: {0.00001}}


def test_tenants_of_the_large_world_call_from_all_over_and_mostly_get_answers() -> None:
    world = continents(30, 12, CALLS)
    assert {kind.tenant for kind in world.calls.kinds} == set(world.policies)
    assert len({kind.entries for kind in world.calls.kinds}) > 3
    run = simulate(world)
    assert np.isin(run.ended, (*ANSWERED, Ended.SATURATED, Ended.LATE)).all()
    assert np.isin(run.ended, ANSWERED).mean() > 0.8


def test_a_part_of_a_world_is_its_first_calls() -> None:
    world = many_candidates(30, 100, HEADLINE)
    assert part_of(world, 7).calls.at_us.tolist() == world.calls.at_us[:7].tolist()
    assert len(part_of(world, 7).calls) == 7


@pytest.mark.parametrize(("servers", "load"), [(1, 0.5), (3, 0.7), (10, 0.8)])
def test_the_bare_kernel_is_a_queue(servers: int, load: float) -> None:
    rng, calls = np.random.default_rng(1), 200_000
    at_us = np.cumsum(rng.exponential(4_000 / servers / load, calls)).astype(np.int64)
    service_us = rng.exponential(4_000, calls).astype(np.int64)
    places = np.array([servers])
    waited = bare.run(at_us, service_us, places, bare.room(places))
    assert waited / calls == pytest.approx(erlang_c(servers, load), rel=0.05)


def test_the_bare_kernel_goes_where_fewest_calls_are() -> None:
    """Three places of one server, four calls at once: one waits, at a fourth place none."""
    at_us, service_us = np.array([0, 1, 2, 3]), np.array([100, 100, 100, 100])
    waits = [bare.run(at_us, service_us, np.ones(n, dtype=np.int64), np.zeros((9, 2), dtype=np.int64)) for n in (3, 4)]
    assert waits == [1, 0]


@pytest.mark.parametrize("name", ["infercast", "simpy"])
def test_peers_run_the_queue_that_is_asked_for(name: str) -> None:
    run, mean_wait_us = WAYS[name](4, 0.7, 30_000)
    run()
    assert mean_wait_us() == pytest.approx(wait_mmc_us(4, 0.7, MEAN_S * 1e6), rel=0.2)


def test_a_mean_outside_its_interval_is_said_to_be() -> None:
    world = many_candidates(30, CALLS, HEADLINE)
    world = replace(world, calls=replace(world.calls, kind=np.zeros_like(world.calls.kind)))
    near, far = (next(iter(compared(("q",), world, [expected]))) for expected in (simulate(world).wait_us.mean(), 1e9))
    assert (near.within, far.within) == (True, False)
    assert "outside" in text(far)
    assert "outside" not in text(near)
    assert isinstance(near, Row)


def test_goals_that_are_missed_are_told() -> None:
    slow = {"candidates": 30, "best_cpu": 2_999_999, "of_bare": 0.59}
    fast = {"candidates": 300, "best_cpu": 1_000_000, "of_bare": 0.6}
    phases = {"run": {"wall_s": LARGE_GOAL_S, "peak_mb": 3000}, "of them": {"wall_s": 0.0, "peak_mb": 4001}}
    parts = {"kernel": [slow, fast], "large": {"phases": phases}}
    assert [words.split(":")[0] for words in missed(parts)] == ["30 candidates"] * 2 + ["large run"]
    assert missed({"large": {"phases": {}}}) == ["large run: not done in time"]


def test_growth_is_told_for_each_size() -> None:
    sizes = (STEP_CALLS + 1_000, STEP_CALLS + 2_000)
    rows = linear(30, sizes, runs=1)
    assert tuple(row["calls"] for row in rows) == sizes
    assert all(row["loop_ns"] > 0 and row["whole_ns"] > 0 for row in rows)
