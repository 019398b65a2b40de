"""Decides worlds in a process of its own: `python replay.py IN OUT`. The tests compare its bytes with their own."""

import json
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[2]))

from infercast.policies.record import as_json, summary
from tests.laws import arrays
from tests.laws.worlds import World, world_from


def said(world: World) -> list[Any]:
    """All that a world's decision says, fast and explained."""
    choice, names = world.choose()
    decision = world.decide()
    return [as_json(decision), summary(decision), str(choice), list(names)]


def main(source: str, target: str) -> None:
    """Answer a file `{"worlds": [...], "seeds": n}`."""
    asked = json.loads(Path(source).read_text(encoding="utf-8"))
    answer = {
        "worlds": [said(world_from(raw)) for raw in asked["worlds"]],
        "kernel": [arrays.said(arrays.arrays_from(seed), arrays.compiled()) for seed in range(asked["seeds"])],
    }
    Path(target).write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
