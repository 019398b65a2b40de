"""Decides worlds in a process of its own: `python replay.py IN OUT`. The tests compare its bytes with their own."""

import json
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[2]))

from infercast.policies.engine import Engine
from infercast.policies.fleet import Fleet
from infercast.policies.policy import Policy
from infercast.policies.record import as_json, summary
from infercast.policies.snapshot import Snapshot
from tests.laws import arrays
from tests.laws.worlds import World, world_from

Calls = list[tuple[int, int]]


def said(world: World) -> list[Any]:
    """All that a world's decision says, fast and explained."""
    choice, names = world.choose()
    decision = world.decide()
    return [as_json(decision), summary(decision), str(choice), list(names)]


def kept(world: World, calls: Calls) -> dict[str, Any]:
    """All that deciding a world again needs, beside its files, once calls of this process have come and gone."""
    snapshot = world.snapshot(Fleet.model_validate(world.fleet))
    for index, change in calls:
        snapshot.count(index, change)
    return {"state": snapshot.state(), "patch": snapshot.patch()}


def decided(world: World, snapshot: Snapshot) -> list[Any]:
    """What a world's policy decides on a snapshot, fast and explained."""
    engine = Engine(snapshot.fleet, {"t": Policy.model_validate(world.policy)})
    tried = world.tried_on(snapshot.fleet)
    choice = engine.choose(world.request(), snapshot, tried)
    return [str(choice), as_json(engine.explain(world.request(), snapshot, tried))]


def decided_again(world: World, kept_: dict[str, Any]) -> list[Any]:
    """What the same policy decides on what was kept."""
    snapshot = Snapshot.restored(Fleet.model_validate(world.fleet), kept_["state"])
    snapshot.apply(kept_["patch"])
    return decided(world, snapshot)


def main(source: str, target: str) -> None:
    """Answer a file `{"worlds": [...], "kept": [[world, what was kept of it], ...], "seeds": n}`."""
    asked = json.loads(Path(source).read_text(encoding="utf-8"))
    answer = {
        "worlds": [said(world_from(raw)) for raw in asked["worlds"]],
        "again": [decided_again(world_from(raw), kept_) for raw, kept_ in asked["kept"]],
        "kernel": [arrays.said(arrays.arrays_from(seed), arrays.compiled()) for seed in range(asked["seeds"])],
    }
    Path(target).write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
