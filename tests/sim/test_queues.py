"""Queues whose mean waiting times are known: the formulas lie within what the oracle's runs leave open."""

from math import factorial

import numpy as np
import pytest

from infercast.sim.model import Truth, World
from infercast.sim.oracle import simulate
from infercast.sim.shapes import luck_of
from tests.sim.tiny import tiny, tiny_fleet

SERVICE_US = 4_000
BATCHES = 20
STUDENT_99_9 = 3.88
"""Two-sided 99.9% of Student's t with 19 degrees of freedom: all these tests together fail by chance once in hundreds."""


def queue(shape: str, servers: int, load: float, calls: int = 16_000, seed: int = 1) -> World:
    """Poisson arrivals at one deployment, `load` of its servers' time."""
    gaps_us = np.random.default_rng(seed).exponential(SERVICE_US / servers / load, calls)
    fleet = tiny_fleet({"concurrency": servers, "queue_max": 1_000_000})
    truth = {"v@edge": Truth(SERVICE_US, SERVICE_US, shape)}  # type: ignore[arg-type]
    luck = luck_of(seed, calls).tolist()
    return tiny(*np.cumsum(gaps_us).astype(np.int64).tolist(), fleet=fleet, truth=truth, columns={"luck": luck})


def erlang_c(servers: int, load: float) -> float:
    """The share of calls that wait (Erlang 1917)."""
    offered = servers * load
    waiting = offered**servers / factorial(servers) / (1 - load)
    return waiting / (sum(offered**k / factorial(k) for k in range(servers)) + waiting)


def mean_and_margin(wait_us: np.ndarray) -> tuple[float, float]:
    """Return the mean after the first tenth, and half the width of its interval, from the means of batches in order."""
    means = [batch.mean() for batch in np.array_split(wait_us[len(wait_us) // 10 :], BATCHES)]
    return float(np.mean(means)), STUDENT_99_9 * float(np.std(means, ddof=1)) / BATCHES**0.5


@pytest.mark.parametrize(
    ("shape", "servers", "load", "expected_us"),
    [
        ("exponential", 1, 0.5, SERVICE_US * 0.5 / (1 - 0.5)),
        ("exponential", 1, 0.7, SERVICE_US * 0.7 / (1 - 0.7)),
        ("exponential", 3, 0.7, SERVICE_US * erlang_c(3, 0.7) / (3 * (1 - 0.7))),
        ("exponential", 8, 0.7, SERVICE_US * erlang_c(8, 0.7) / (8 * (1 - 0.7))),
        ("constant", 1, 0.5, SERVICE_US * 0.5 / (2 * (1 - 0.5))),
        ("constant", 1, 0.7, SERVICE_US * 0.7 / (2 * (1 - 0.7))),
    ],
)
def test_the_mean_wait_is_what_queueing_theory_says(shape: str, servers: int, load: float, expected_us: float) -> None:
    run = simulate(queue(shape, servers, load))
    mean_us, margin_us = mean_and_margin(run.wait_us)
    assert abs(mean_us - expected_us) < margin_us
    assert margin_us < 0.4 * expected_us  # else it would say nothing
    in_use = run.busy_us.sum() / run.replica_us.sum()
    assert in_use == pytest.approx(load, rel=0.05)
    assert run.latency_us.mean() == pytest.approx(run.wait_us.mean() + SERVICE_US + 10_017, rel=0.01)


def test_the_share_that_waits_is_erlangs() -> None:
    run = simulate(queue("exponential", 3, 0.7))
    assert (run.wait_us > 0).mean() == pytest.approx(erlang_c(3, 0.7), rel=0.06)
