"""One engine: what the router's recorder wrote of its decisions, the simulator's compiled loop decides alike, one by one."""

import asyncio
from collections import Counter
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from bench.worlds import ENTRY, flat_world
from infercast.policies.engine import Engine
from infercast.policies.fleet import Fleet
from infercast.policies.model import Request
from infercast.policies.policy import Policy
from infercast.policies.snapshot import Report, Snapshot
from infercast.router.conduct.recorder import Recorder
from infercast.router.errors import Trouble
from tests.router.fakes import WALL_S, FakeJournal, FakeLog, example_engine, example_fleet, scene
from tests.sim.replaying import Raw, unlike

SITES = [site.id for site in example_fleet().sites]
ORIGINS = [*example_fleet().zone_by_id, "berlin-cam"]


def weather(snapshot: Snapshot, dice: Random, now_us: int) -> None:
    """Signals of an hour: some sites busy, some full, some slow, some not heard of for a while."""
    for index, deployment in enumerate(snapshot.fleet.deployments):
        if dice.random() < 0.8:
            p50_us = dice.choice([200, 900, 12_000, 110_000, 400_000])
            in_flight = dice.choice([0, 0, 1, 3, deployment.queue_max, 2 * deployment.queue_max])
            report = Report(in_flight, p50_us, p50_us * dice.randint(1, 4), healthy=dice.random() < 0.95)
            snapshot.hear(index, report, now_us - dice.choice([0, 0, 400_000, 2_000_000, 5_000_000]))
    for entry in SITES if snapshot.fleet is example_fleet() else [ENTRY]:
        for site in range(len(snapshot.fleet.sites)):
            if dice.random() < 0.3:
                snapshot.hear_rtt(entry, site, dice.randint(500, 300_000), dice.randint(0, 90_000), now_us)
        index = dice.randrange(len(snapshot.fleet.deployments))
        snapshot.hear_z(entry, index, sorted(dice.randint(0, 5000) for _ in range(4)))
    snapshot.believe(now_us)


def asked(dice: Random, entry: str, number: int) -> Request:
    """A call of any tenant, class and origin of the example."""
    policy = dice.choice(list(example_engine().policies.values()))
    models = policy.models or tuple(example_fleet().model_by_id)
    model = dice.choice(models)
    variants = [variant.id for variant in example_fleet().model_by_id[model].variants]
    return Request(
        f"r{number}",
        policy.tenant,
        model,
        entry,
        entry if entry == "berlin-cam" else dice.choice(ORIGINS),
        dice.choice([(), *((name,) for name in policy.classes)]),
        payload_bytes=dice.choice([0, 400, 70_000, 602_112]),
        deadline_us=dice.choice([0, 0, 40_000, 500_000]),
        at_s=WALL_S + number,
        variant=dice.choice(variants) if dice.random() < 0.1 else "",
    )


def routers_log(seed: int, calls: int) -> FakeLog:
    """What a router at one entry writes down of calls, of which many are lost at their first choice and tried elsewhere."""
    dice = Random(seed)
    entry = SITES[seed % len(SITES)]
    words = [dice.choice(["ok", "lost", "lost"]) for _ in range(8 * calls)]
    at = scene(*words, entry=entry)
    for number in range(calls):
        weather(at.snapshot, dice, (number + 10) * 1_000_000)
        try:
            asyncio.run(at.caller.call(asked(dice, entry, number), at.body))
        except Trouble:
            continue
    return at.log


def by_policy(log: FakeLog) -> dict[str, list[tuple[Raw, Raw]]]:
    """The log's records with their signals, by the policy that they were made by."""
    found: dict[str, list[tuple[Raw, Raw]]] = {}
    for record in log.records:
        found.setdefault(record["policy"], []).append((record, log.states[record["epoch"]]))
    return found


def all_unlike(log: FakeLog) -> list[str]:
    """The ids of all decisions that the simulator makes otherwise."""
    differing = []
    for digest, records in by_policy(log).items():
        fleet = Fleet.model_validate(log.documents[records[0][0]["fleet"]])
        differing += unlike(fleet, Policy.model_validate(log.documents[digest]), records)
    return differing


@pytest.mark.parametrize("seed", range(6))
def test_a_routers_log_is_decided_alike(seed: int) -> None:
    log = routers_log(seed, 180)
    assert len(log.records) >= 50
    assert all_unlike(log) == []


def test_the_logs_hold_what_they_are_to_prove() -> None:
    records = [record for seed in range(6) for record in routers_log(seed, 180).records]
    outcomes = Counter(record["outcome"] for record in records)
    assert min(outcomes[name] for name in ("chosen", "refused", "saturated", "unavailable")) >= 5, outcomes
    assert sum(bool(record["tried"]) for record in records) >= 25


def kept_in_order(candidates: int, calls: int) -> FakeLog:
    """Decisions among so many candidates that the engine and the simulator keep them in plans; signals change now and then."""
    world, dice = flat_world(candidates, tenants=3, requests=calls), Random(candidates)
    engine, snapshot, log = Engine(world.fleet, world.policies), world.snapshot, FakeLog()
    recorder = Recorder(ENTRY, world.fleet, snapshot, log, FakeJournal())
    recorder.install(engine, None)
    for number, request in enumerate(world.requests):
        if number % 40 == 0:
            weather(snapshot, dice, (number + 10) * 1_000_000)
        snapshot.count(dice.randrange(len(world.fleet.deployments)), 1)
        came = replace(request, at_s=WALL_S)
        choice = engine.choose(came, snapshot)
        recorder.decided(engine, engine.decision_id(came, snapshot), came, choice, ())
        if choice.deployments:
            tried = choice.deployments[:2]
            again = engine.choose(came, snapshot, tried)
            recorder.decided(engine, engine.decision_id(came, snapshot, tried), came, again, tried)
    return log


@pytest.mark.parametrize("candidates", [20, 60])
def test_decisions_that_are_kept_in_order_are_decided_alike(candidates: int) -> None:
    log = kept_in_order(candidates, 400)
    assert sum(bool(record["patch"]) for record in log.records) > 600
    assert all_unlike(log) == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda record: record["request"].update(payload_bytes=9_000_000_000),
        lambda record: record.update(chosen=[(record["chosen"] or [0])[0] + 1], outcome="chosen"),
        lambda record: record.update(tried=[*record["tried"], *record["chosen"][:1]]),
    ],
    ids=["payload", "chosen", "tried"],
)
def test_a_record_that_says_something_else_is_found(spoil: Any) -> None:
    log = kept_in_order(20, 30)
    record = next(record for record in log.records if record["chosen"])
    spoil(record)
    assert all_unlike(log) == [record["id"]]
