"""Law 5: the same request, snapshot, policy and fleet give the same bytes, on any machine, in any process."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from infercast.policies.fleet import Fleet
from infercast.policies.policy import Policy
from infercast.policies.record import as_json
from tests.laws import arrays, replay
from tests.laws.worlds import World, worlds


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
    path.write_text(json.dumps({"worlds": [world.as_raw() for world in found], "seeds": 100}), encoding="utf-8")
    answer = {
        "worlds": [replay.said(world) for world in found],
        "kernel": [arrays.said(arrays.arrays_from(seed), arrays.compiled()) for seed in range(100)],
    }
    return path, json.loads(json.dumps(answer))


@pytest.mark.parametrize("around", [{"PYTHONHASHSEED": "1"}, {"PYTHONHASHSEED": "77", "NUMBA_DISABLE_JIT": "1"}])
def test_another_process_says_the_same_bytes(asked: tuple[Path, dict[str, Any]], around: dict[str, str]) -> None:
    source, here = asked
    target = source.parent / "answer.json"
    command = [sys.executable, str(Path(replay.__file__)), str(source), str(target)]
    subprocess.run(command, check=True, env={**os.environ, **around}, timeout=60)
    there = json.loads(target.read_text(encoding="utf-8"))
    assert there["kernel"] == here["kernel"]
    assert json.dumps(there) == json.dumps(here)
