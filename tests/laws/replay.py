"""Decides worlds in a process of its own: `python replay.py IN OUT`. The tests compare its bytes with their own."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[2]))

from infercast.policies import kernel
from infercast.policies.record import as_json, summary
from tests.laws.worlds import World, world_from

KINDS = ("static", "live", "rtt", "params")


def said(world: World) -> list[Any]:
    """All that a world's decision says, fast and explained."""
    choice, names = world.choose()
    decision = world.decide()
    return [as_json(decision), summary(decision), str(choice), list(names)]


def arrays_from(seed: int) -> dict[str, Any]:
    """Random arrays within the engine's bounds, with many ties."""
    dice = np.random.default_rng(seed)
    n, deployments, sites = (int(dice.integers(1, 12)) for _ in range(3))

    def table(rows: int, limits: list[int]) -> Any:
        columns = [dice.choice([0, 1, limit // 2, limit, int(dice.integers(0, limit + 1))], rows) for limit in limits]
        return np.ascontiguousarray(np.stack(columns, axis=1), dtype=np.int64)

    static = table(n, [0, 0, 14, 10**7, 10**8, 10**8, 10**9, 3, 10**6, kernel.FIELD - 1])
    static[:, kernel.S_DEPLOYMENT] = dice.integers(0, deployments, n)
    static[:, kernel.S_SITE] = dice.integers(0, sites, n)
    static[:, kernel.S_RULE] *= dice.random(n) < 0.3
    static[:, kernel.S_KBPS] += 1
    live = table(deployments, [100, 9, 64, 10**7, 10**7, 1, 10**9, 1])
    live[:, kernel.L_CONCURRENCY] += 1
    live[:, kernel.L_QUEUE_MAX] += 1
    live[:, kernel.L_TRIED] *= dice.random(deployments) < 0.6
    limits = {
        kernel.P_PAYLOAD_BYTES: 10**6,
        kernel.P_RESPONSE_BYTES: 10**6,
        kernel.P_DEADLINE_US: 10**7,
        kernel.P_DEADLINE_Z: 1414,
        kernel.P_WAIT_Z: 1414,
        kernel.P_PRICE_MAX: 10**9,
        kernel.P_NUSD_PER_S: 10**10,
        kernel.P_NUSD_PER_ERROR: 10**12,
        kernel.P_PREFERENCE: 4,
        kernel.P_MARGIN: 10**9,
        kernel.P_DRAW: 2**31 - 2,
    }
    params = table(1, [limits.get(column, 10**5) for column in range(kernel.P_COLS)])[0]
    params[kernel.P_ACCESS_KBPS] += 1
    params[kernel.P_PRICE_MAX] -= 1
    params[kernel.P_MARGIN] *= int(dice.integers(0, 2))
    return {"static": static, "live": live, "rtt": table(sites, [10**6, 10**6]), "params": params}


def kernel_bytes(seed: int, decide: Callable[..., int] = kernel.decide) -> str:
    """What the kernel writes for random arrays, as hexadecimal bytes."""
    arrays = arrays_from(seed)
    rows = arrays["static"].shape[0]
    out = np.zeros((rows, kernel.O_COLS), dtype=np.int64)
    order = np.zeros(1 + seed % (rows + 1), dtype=np.int64)
    found = decide(*(arrays[kind] for kind in KINDS), out, order)
    return f"{int(found)} {out.tobytes().hex()} {order[:found].tobytes().hex()}"


def main(source: str, target: str) -> None:
    """Answer a file `{"worlds": [...], "seeds": n}`."""
    asked = json.loads(Path(source).read_text(encoding="utf-8"))
    answer = {
        "worlds": [said(world_from(raw)) for raw in asked["worlds"]],
        "kernel": [kernel_bytes(seed) for seed in range(asked["seeds"])],
    }
    Path(target).write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
