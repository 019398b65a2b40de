"""Random arrays for the kernel, within the bounds that files and signals keep, their extremes and ties included."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from infercast.policies import kernel
from infercast.policies.compiled import NO_PLAN, new_plan
from infercast.policies.model import PAYLOAD_BYTES_MAX, Preference, Quantile
from infercast.policies.objectives import form
from infercast.policies.parts import Objective
from infercast.policies.snapshot import IN_FLIGHT_MAX, Z_MAX
from infercast.policies.tables import CALL_NUSD_MAX, Table
from infercast.policies.units import LATENCY_MAX_US
from tests.laws.arithmetic import Asked

PS_MAX, EGRESS_MAX = kernel.PS_PER_BYTE_MAX, kernel.EGRESS_MAX_NUSD_PER_GB
NUSD_PER_S_MAX = 2_777_777_778  # 10,000 USD an hour
USD_1000 = 10**12
SERVERS_MAX = 10**9  # 100,000 replicas of 10,000 calls each

Arrays = dict[str, Any]
Kernel = Mapping[str, Callable[..., Any]]


class Dice:
    """Throws numbers: the ends of a range and its usual values as often as those between."""

    def __init__(self, seed: int) -> None:
        self.of = np.random.default_rng(seed)

    def number(self, least: int, most: int, usual: tuple[int, ...] = ()) -> int:
        """One number of a range."""
        pool = [least, most, int(self.of.integers(least, most, endpoint=True)), *usual, *usual]
        return int(pool[self.of.integers(len(pool))])

    def numbers(self, count: int, least: int, most: int, usual: tuple[int, ...] = ()) -> Table:
        """Some numbers of a range."""
        return np.array([self.number(least, most, usual) for _ in range(count)], dtype=np.int64)


def arrays_from(seed: int) -> Arrays:
    """All that the kernel reads of a call's candidates."""
    dice = Dice(seed)
    n, deployments, sites = (int(dice.of.integers(1, 14)) for _ in range(3))
    calm = bool(dice.of.integers(0, 3))  # two of three worlds are such that candidates pass
    fixed = np.zeros((kernel.F_ROWS, n), dtype=np.int64)
    fixed[kernel.F_DEPLOYMENT] = dice.of.integers(0, deployments, n)
    fixed[kernel.F_SITE] = dice.of.integers(0, sites, n)
    fixed[kernel.F_PS_PER_BYTE] = dice.numbers(n, 0, 8_000 if calm else PS_MAX, (8, 8_000))
    for column in (kernel.F_EGRESS, kernel.F_EGRESS_BACK):
        fixed[column] = dice.numbers(n, 0, 10**9 if calm else EGRESS_MAX, (0, 90_000_000))
    fixed[kernel.F_ERROR_PPM] = dice.numbers(n, 0, 10**6, (50_000,))
    fixed[kernel.F_CALL_NUSD] = dice.numbers(n, 0, 10**6 if calm else CALL_NUSD_MAX, (0, 0, 30_000))
    fixed[kernel.F_TIE] = dice.numbers(n, 0, kernel.FIELD - 1, (7,))
    live = np.zeros((deployments, kernel.L_COLS), dtype=np.int64)
    live[:, kernel.L_IN_FLIGHT] = dice.numbers(deployments, 0, 40 if calm else IN_FLIGHT_MAX, (0, 1, 3))
    live[:, kernel.L_CONCURRENCY] = dice.numbers(deployments, 1, 9 if calm else SERVERS_MAX, (1, 4))
    live[:, kernel.L_QUEUE_MAX] = dice.numbers(deployments, 1, 10**6, (64,))
    live[:, kernel.L_HEALTHY] = dice.of.random(deployments) < (0.9 if calm else 0.5)
    live[:, kernel.L_NUSD_PER_S] = dice.numbers(deployments, 0, NUSD_PER_S_MAX, (100_000,))
    for size in range(kernel.SIZES):
        longest = 10**6 if calm else LATENCY_MAX_US
        live[:, kernel.L_P50_US + size] = dice.numbers(deployments, 1, longest, (1_300, 4_300))
        live[:, kernel.L_SPREAD_US + size] = dice.numbers(deployments, 0, longest, (1_000,))
    rtt = np.zeros((sites, kernel.R_COLS), dtype=np.int64)
    rtt[:, kernel.R_P50_US] = dice.numbers(sites, 0, 10**5 if calm else LATENCY_MAX_US, (0, 12_000))
    rtt[:, kernel.R_SPREAD_US] = dice.numbers(sites, 0, 10**5 if calm else LATENCY_MAX_US, (0, 3_000))
    z = np.tile(np.array(kernel.Z_NORMAL, dtype=np.int64), (deployments, 1))
    if dice.of.random() < 0.4:
        z = dice.numbers(deployments * kernel.QUANTILES, -Z_MAX, Z_MAX, (0, 1_000, -200)).reshape(z.shape)
    rules = (dice.of.integers(1, 15, n) * (dice.of.random(n) < 0.2)).astype(np.uint8)
    exposure = dice.numbers(sites, 0, 3 * USD_1000, (0, 100_000))
    tried = np.flatnonzero(dice.of.random(n) < 0.1)
    arrays = {"fixed": fixed, "live": live, "rtt": rtt, "z": z, "rules": rules, "exposure": exposure, "tried": tried}
    return {**arrays, "params": _params(dice, calm), "asked": _call(dice, calm), "places": int(dice.of.integers(1, 9))}


def _params(dice: Dice, calm: bool) -> Table:
    objective = Objective.model_validate(
        {
            "preference": [*Preference, *[Preference.BALANCED] * 4][dice.of.integers(4 + len(Preference))],
            "waiting": {
                "usd_per_second": float(dice.of.choice([0.0, 0.001, 10.0])),
                "quantile": list(Quantile)[dice.of.integers(len(Quantile))],
            },
            "usd_per_error": float(dice.of.choice([0.0, 0.01, 1000.0])),
        }
    )
    params = np.zeros(kernel.P_COLS, dtype=np.int64)
    params[kernel.P_RESPONSE_BYTES] = dice.number(0, 10**9, (1_024,))
    params[kernel.P_ACCESS_US] = dice.number(0, 10**5 if calm else LATENCY_MAX_US, (0, 5_000))
    params[kernel.P_ACCESS_SQUARE] = dice.number(0, 10**10 if calm else kernel.SQUARE_MAX, (0,))
    params[kernel.P_ACCESS_PS_PER_BYTE] = dice.number(0, 8_000 if calm else PS_MAX, (8,))
    params[kernel.P_ACCESS_EGRESS] = dice.number(0, EGRESS_MAX, (0,))
    params[kernel.P_ACCESS_EGRESS_BACK] = dice.number(0, EGRESS_MAX, (0,))
    params[kernel.P_DEADLINE_Z] = dice.of.integers(kernel.QUANTILES)
    params[kernel.P_PRICE_MAX] = dice.number(-1, USD_1000, (-1, -1, -1))
    for column, value in form(objective).items():
        params[column] = value
    if objective.preference is Preference.BALANCED and dice.of.random() < 0.5:
        params[kernel.P_MARGIN] = dice.number(0, USD_1000, (10**6, 10**9, 10**11))
    return params


def _call(dice: Dice, calm: bool) -> tuple[int, int, int]:
    """Payload, deadline, draw."""
    payload_bytes = dice.number(0, 10**7 if calm else PAYLOAD_BYTES_MAX, (1_000, 4_097, 65_537))
    deadline_us = dice.number(0, LATENCY_MAX_US, (0, 0, 200_000))
    return payload_bytes, deadline_us, dice.number(0, kernel.FIELD - 1)


def asked_of(arrays: Arrays) -> Asked:
    """The call, for the arithmetic."""
    payload_bytes, deadline_us, draw = arrays["asked"]
    form_of = dict(enumerate(arrays["params"].tolist()))
    return Asked(payload_bytes, deadline_us, draw, form_of[kernel.P_MARGIN], form_of)


def as_lists(arrays: Arrays) -> dict[str, Any]:
    """The arrays as Python's own numbers."""
    return {name: arrays[name].tolist() for name in ("fixed", "live", "rtt", "z", "rules", "exposure", "tried")}


def run(arrays: Arrays, functions: Kernel) -> dict[str, Any]:
    """Every array that a kernel writes: the view, the outcomes, the ranks, and the answers of both ways to decide."""
    n, places = arrays["fixed"].shape[1], arrays["places"]
    payload_bytes, deadline_us, draw = arrays["asked"]
    params, margin = arrays["params"], int(arrays["params"][kernel.P_MARGIN])
    view = np.zeros((kernel.V_ROWS, n), dtype=np.int64)
    functions["refresh"](arrays["fixed"], arrays["live"], arrays["rtt"], arrays["z"], view)
    view[kernel.V_SHUT, arrays["tried"]] |= kernel.SHUT_TRIED
    given = (view, arrays["rules"], arrays["exposure"], params)
    out = np.zeros((n, kernel.O_COLS), dtype=np.int64)
    functions["evaluate"](*given, payload_bytes, deadline_us, out)
    order = np.zeros(n, dtype=np.int64)
    ranked = int(functions["rank"](view, out, margin, draw, order))
    plain = np.zeros(n, dtype=np.int64)
    functions["rank"](view, out, 0, 0, plain)
    alone = params.copy()
    alone[kernel.P_MARGIN] = 0
    asked = (payload_bytes, deadline_us, draw)
    answer, spread_answer = (np.zeros((kernel.A_ROWS, places), dtype=np.int64) for _ in range(2))
    found = int(functions["decide"](*given[:3], alone, NO_PLAN, answer, *asked))
    spread = int(functions["decide"](*given, NO_PLAN, spread_answer, *asked))
    for terms, by_hand, count in ((alone, answer, found), (params, spread_answer, spread)):
        plan, planned = new_plan(n), np.zeros_like(by_hand)
        functions["arrange"](*given[:3], terms, plan, int(kernel.size_of(payload_bytes)))
        assert int(functions["decide"](*given[:3], terms, plan, planned, *asked)) == count
        assert planned[:5, :count].tolist() == by_hand[:5, :count].tolist()
    return {
        "view": view,
        "out": out,
        "order": order[:ranked],
        "plain": plain[:ranked],
        "answer": answer[:5, :found],
        "spread": spread_answer[:5, :spread],
    }


def compiled() -> Kernel:
    """The kernel as it runs here: compiled where numba is installed."""
    return {name: getattr(kernel, name) for name in kernel.interpreted}


def said(arrays: Arrays, functions: Kernel) -> str:
    """All that a kernel writes, as hexadecimal bytes."""
    written = run(arrays, functions).items()
    return " ".join(
        f"{name}{list(table.shape)}:{np.ascontiguousarray(table).tobytes().hex()}" for name, table in written
    )
