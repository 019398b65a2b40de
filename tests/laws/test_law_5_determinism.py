"""Law 5: the same request, snapshot, policy and fleet give the same bytes, on any machine, in any process."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infercast.policies.fleet import Fleet
from infercast.policies.policy import Policy
from infercast.policies.record import as_json
from infercast.policies.snapshot import Snapshot
from tests.laws import arrays, replay
from tests.laws.worlds import NOW_US, SEEDS, Dice, World, call_from, learned_from, names_of, signals_from, worlds


def as_bytes(world: World) -> str:
    return json.dumps(as_json(world.decide()))


@given(worlds())
def test_two_engines_say_the_same_bytes(world: World) -> None:
    assert as_bytes(world) == as_bytes(world)


@given(worlds(), worlds())
def test_what_an_engine_decided_before_leaves_no_trace(world: World, other: World) -> None:
    engine = world.engine()
    request, snapshot = world.request(), world.snapshot(engine.fleet)
    for call in (other.call, {**world.call, "payload_bytes": 777, "deadline_us": 1, "id": "before"}):
        entry = call["entry"] if call["entry"] in engine.fleet.site_by_id else "s0"
        origin = call["origin"] if call["origin"] in engine.fleet.site_by_id else "zone"
        before = world.asking(**{**call, "model": world.call["model"], "entry": entry, "origin": origin}).request()
        engine.explain(before, snapshot)
        engine.choose(before, snapshot)
    assert json.dumps(as_json(engine.explain(request, snapshot, world.tried_on(engine.fleet)))) == as_bytes(world)


@given(worlds())
def test_digests_are_of_the_meaning_not_of_the_order_of_keys(world: World) -> None:
    def turned(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: turned(value[key]) for key in reversed(list(value))}
        return [turned(item) for item in value] if isinstance(value, list) else value

    used = world.engine().fleet
    assert used.network.path("zone", "s0") is None or used.world is not None  # cached parts are no part of the digest
    assert Fleet.model_validate(turned(world.fleet)).digest == used.digest
    assert Policy.model_validate(turned(world.policy)).digest == Policy.model_validate(world.policy).digest
    assert as_bytes(world.but(fleet=turned(world.fleet), policy=turned(world.policy))) == as_bytes(world)


def busy(world: World, seed: int) -> replay.Calls:
    """Calls of this process that began or ended since the epoch did."""
    dice = Dice(seed)
    indices = range(len(world.fleet["deployments"]))
    return [(dice.choice(indices), dice.of(1, 1, 5, -1)) for _ in range(dice.of(0, 1, 4))]


@given(worlds(), SEEDS)
def test_what_is_kept_of_an_epoch_decides_the_same_bytes_again(world: World, seed: int) -> None:
    snapshot = world.snapshot(world.engine().fleet)
    for index, change in (calls := busy(world, seed)):
        snapshot.count(index, change)
    kept = json.loads(json.dumps(replay.kept(world, calls), sort_keys=True))
    assert json.dumps(replay.decided_again(world, kept)) == json.dumps(replay.decided(world, snapshot))


@given(worlds(), SEEDS)
def test_what_a_decision_depends_on_is_in_its_name(world: World, seed: int) -> None:
    """Two decisions of one name are equal, whatever was heard, learned, tried, or came and went between them."""
    other = world.but(
        signals=signals_from(seed, world.fleet),
        learned=learned_from(seed, world.fleet),
        tried=tuple(names_of(world.fleet)[: seed % 2]),
    )
    one, two = (replay.decided(each, each.snapshot(each.engine().fleet)) for each in (world, other))
    assert (one[1]["id"] != two[1]["id"]) or one == two


@given(worlds(), st.lists(SEEDS, min_size=1, max_size=4))
def test_a_snapshot_that_lived_decides_as_one_just_made(world: World, seeds: list[int]) -> None:
    """Views, tables and windows of time that were made for earlier calls and epochs leave no trace."""
    engine = world.engine()
    snapshot = world.snapshot(engine.fleet)
    for seed in seeds:
        for index, change in busy(world, seed):
            snapshot.count(index, change)
        for call in (call_from(seed, world.fleet), {**world.call, "at_s": 1 + seed % 2_000_000_000}):
            request = world.asking(**call).request()
            engine.choose(request, snapshot, (seed % len(world.fleet["deployments"]),))
            engine.explain(request, snapshot)
        snapshot.believe(NOW_US)
    again = Snapshot.restored(engine.fleet, snapshot.state())
    tried = world.tried_on(engine.fleet)
    decision = engine.explain(world.request(), snapshot, tried)
    assert [str(engine.choose(world.request(), snapshot, tried)), as_json(decision)] == replay.decided(world, again)


def some_worlds() -> list[World]:
    found: list[World] = []

    @settings(max_examples=40, derandomize=True, database=None)
    @given(worlds())
    def collect(world: World) -> None:
        found.append(world)

    collect()
    return found


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A file of worlds, and what this process says of them."""
    found = some_worlds()
    path = tmp_path_factory.mktemp("replay") / "asked.json"
    kept = [(world, replay.kept(world, busy(world, seed))) for seed, world in enumerate(found)]
    told = {
        "worlds": [world.as_raw() for world in found],
        "kept": [[world.as_raw(), kept_] for world, kept_ in kept],
        "seeds": 100,
    }
    path.write_text(json.dumps(told), encoding="utf-8")
    answer = {
        "worlds": [replay.said(world) for world in found],
        "again": [replay.decided_again(world, kept_) for world, kept_ in kept],
        "kernel": [arrays.said(arrays.arrays_from(seed), arrays.compiled()) for seed in range(100)],
    }
    return path, json.loads(json.dumps(answer))


@pytest.mark.parametrize("around", [{"PYTHONHASHSEED": "1"}, {"PYTHONHASHSEED": "77", "NUMBA_DISABLE_JIT": "1"}])
def test_another_process_says_the_same_bytes(asked: tuple[Path, dict[str, Any]], around: dict[str, str]) -> None:
    source, here = asked
    target = source.parent / "answer.json"
    command = [sys.executable, str(Path(replay.__file__)), str(source), str(target)]
    subprocess.run(command, check=True, env={**os.environ, **around}, timeout=200)
    there = json.loads(target.read_text(encoding="utf-8"))
    assert there["kernel"] == here["kernel"]
    assert json.dumps(there) == json.dumps(here)
