"""The comparison with reality, on a reality that is known: runs of the simulator itself, told as if they had been measured."""

from dataclasses import replace
from random import Random

import pytest

from infercast.policies.fleet import Fleet
from infercast.policies.model import Rule
from infercast.sim.calibration import compare
from infercast.sim.engine import simulate
from infercast.sim.measured import Believed, Measured, Rerun
from infercast.sim.model import Ended, Run, Truth
from infercast.sim.shapes import luck_of
from tests.sim.tiny import ACCESS_US, BACK_US, PLAIN, tiny, tiny_fleet, tiny_policy

AROUND_US = 3_000
AWAY_US = 20_000 + 8 + 9
"""To the cloud and back: the round trip, and 1,000 and 1,024 bytes at a gigabit."""
BELIEVED = Believed({}, {("edge", "cloud"): (20_000, 20_000)})
RAW = tiny_fleet({"queue_max": 2}, {"site": "cloud", "replicas": 2, "queue_max": 3}, service_ms=20.0)
"""The edge's one server is soon busy; then calls go to the cloud, and when that is full they are turned away."""
CALLS = 300


def told(seed: int) -> Rerun:
    """A simulated run as callers and journals would tell of it."""
    dice = Random(seed)
    at_us = sorted(dice.randrange(3_000_000) for _ in range(CALLS))
    truth = {name: Truth(20_000, 30_000) for name in ("v@edge", "v@cloud")}
    columns = {"luck": luck_of(seed, CALLS).tolist()}
    run = simulate(tiny(*at_us, fleet=RAW, columns=columns, truth=truth, estimates="learned"))
    return Rerun((PLAIN,), (5_000_000,), tuple(_told(run, number) for number in range(CALLS)), 1_000, BELIEVED)


def _told(run: Run, number: int) -> Measured:
    sent_us = int(run.world.calls.at_us[number])
    if run.ended[number] != Ended.ANSWERED:
        return Measured(0, sent_us, 1_000, "refused", Rule(int(run.rule[number])).word, "edge")
    name = run.world.fleet.deployments[int(run.deployment[number])].id
    latency_us = int(run.latency_us[number])
    ran_us = latency_us - ACCESS_US - BACK_US
    at_site_us = ran_us - (AWAY_US if name == "v@cloud" else 0)
    return Measured(
        0, sent_us, 1_000, "answered", "", "edge", name, latency_us=latency_us + AROUND_US,
        ended_us=sent_us + latency_us - BACK_US, ran_us=ran_us, at_site_us=at_site_us,
        service_us=at_site_us - int(run.wait_us[number]), told_nusd=int(run.cost_nusd[number]), attempts=1,
    )  # fmt: skip


@pytest.fixture(scope="module")
def reruns() -> list[Rerun]:
    """Six runs of one reality."""
    return [told(seed) for seed in range(6)]


def misses(reruns: list[Rerun]) -> set[tuple[str, str]]:
    """The figures that are not near enough, by place and measure."""
    found = compare(Fleet.model_validate(RAW), {"t": tiny_policy()}, reruns, seeds=5)
    return {(line.place, line.measure) for line in found.lines if not line.passes}


def changed(reruns: list[Rerun], **by: float) -> list[Rerun]:
    """The runs that are compared (every other one), with each answered call's fields so many times what they were."""

    def of(call: Measured) -> Measured:
        more = {name: round(getattr(call, name) * factor) for name, factor in by.items()}
        return replace(call, **more) if call.ended == "answered" else call

    return [
        replace(rerun, calls=tuple(map(of, rerun.calls))) if number % 2 else rerun
        for number, rerun in enumerate(reruns)
    ]


def test_a_reality_that_is_as_the_simulator_says_is_found_to_be_so(reruns: list[Rerun]) -> None:
    done = compare(Fleet.model_validate(RAW), {"t": tiny_policy()}, reruns, seeds=5)
    places = {(line.place, line.measure) for line in done.lines}
    assert {place for place, _ in places} == {"edge", "cloud", "capacity"}
    assert [line for line in done.lines if not line.passes] == []
    assert done.held_out
    assert done.passes


def test_one_run_is_compared_with_itself(reruns: list[Rerun]) -> None:
    done = compare(Fleet.model_validate(RAW), {"t": tiny_policy()}, reruns[:1], seeds=5)
    assert not done.held_out
    assert {line.spread for line in done.lines} == {0.0}


def test_a_slower_reality_is_found_out(reruns: list[Rerun]) -> None:
    assert {("edge", "p50_ms"), ("cloud", "p50_ms")} <= misses(changed(reruns, latency_us=1.5))


def test_servers_that_take_longer_are_found_out_in_the_cost(reruns: list[Rerun]) -> None:
    assert ("edge", "cost_usd_per_1000_calls") in misses(changed(reruns, at_site_us=1.4, service_us=1.4))


def test_calls_that_went_elsewhere_are_found_out(reruns: list[Rerun]) -> None:
    moved = []
    for number, rerun in enumerate(reruns):
        calls = [
            replace(call, deployment="v@cloud") if number % 2 and at % 3 == 0 and call.deployment else call
            for at, call in enumerate(rerun.calls)
        ]
        moved.append(replace(rerun, calls=tuple(calls)))
    assert {("edge", "share"), ("cloud", "share")} <= misses(moved)


def test_calls_that_were_turned_away_for_another_reason_are_found_out(reruns: list[Rerun]) -> None:
    other = [
        replace(rerun, calls=tuple(replace(call, rule="privacy") if call.rule else call for call in rerun.calls))
        for rerun in reruns
    ]
    assert {("capacity", "refused"), ("privacy", "refused")} <= misses(other)
