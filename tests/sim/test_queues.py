"""Kernel and oracle against queueing theory: each known mean lies within what a run leaves open."""

import numpy as np
import pytest

from infercast.sim.model import Ended, Run, Truth
from infercast.sim.oracle import simulate as oracle
from infercast.sim.simulate import simulate
from tests.sim.queueing import (
    Class,
    erlang_c,
    estimate,
    moments_us,
    queue,
    wait_mg1_us,
    wait_mmc_us,
    waits_cobham_us,
    waits_mmc_priority_us,
)

MEAN_US = 4_000
EXPONENTIAL = Truth(MEAN_US, MEAN_US, "exponential")
CONSTANT = Truth(MEAN_US, MEAN_US, "constant")
LOGNORMAL = Truth(3_000, 9_000)
TWO_PEAKS = Truth(2_000, 20_000, "empirical", (1_000, 2_000, 2_000, 3_000, 20_000))
CALLS = 400_000
NARROW = 0.1
"""An interval wider than that share of its mean would say little."""


def answered(run: Run) -> Run:
    """The run, none of whose calls was refused, given up or lost."""
    assert (run.ended == Ended.ANSWERED).all()
    assert (run.attempts == 1).all()
    return run


@pytest.mark.parametrize(("servers", "load"), [(1, 0.3), (1, 0.6), (1, 0.8), (2, 0.7), (5, 0.8), (16, 0.8), (32, 0.8)])
def test_mmc_waits_as_erlang_says(servers: int, load: float) -> None:
    run = answered(simulate(queue(EXPONENTIAL, servers, load, CALLS)))
    waits = estimate(run.wait_us)
    assert waits.holds(wait_mmc_us(servers, load, MEAN_US))
    assert waits.relative_margin < 3 * NARROW
    waiting = estimate((run.wait_us > 0).astype(np.int64))
    assert waiting.holds(erlang_c(servers, load))
    assert waiting.relative_margin < 2 * NARROW


@pytest.mark.parametrize("servers", [1, 4])
def test_the_tail_of_waits_in_mmc_is_exponential(servers: int) -> None:
    load, times = 0.7, np.array([2_000, 8_000, 20_000]) // servers
    run = answered(simulate(queue(EXPONENTIAL, servers, load, CALLS)))
    for waited_us in times.tolist():
        longer = estimate((run.wait_us > waited_us).astype(np.int64))
        decay = np.exp(-servers * (1 - load) * waited_us / MEAN_US)  # Kleinrock, Queueing Systems 1, 5.12
        assert longer.holds(erlang_c(servers, load) * float(decay))
        assert longer.relative_margin < 2 * NARROW


@pytest.mark.parametrize("truth", [CONSTANT, LOGNORMAL, TWO_PEAKS, EXPONENTIAL], ids=lambda truth: truth.shape)
@pytest.mark.parametrize("load", [0.4, 0.7])
def test_mg1_waits_as_pollaczek_and_khinchine_say(truth: Truth, load: float) -> None:
    run = answered(simulate(queue(truth, 1, load, CALLS, seed=2)))
    waits = estimate(run.wait_us)
    assert waits.holds(wait_mg1_us(load, *moments_us(truth)))
    assert waits.relative_margin < NARROW


def test_waits_with_constant_times_are_half_of_those_with_exponential_ones() -> None:
    constant, exponential = (simulate(queue(truth, 1, 0.7, CALLS)).wait_us.mean() for truth in (CONSTANT, EXPONENTIAL))
    assert constant / exponential == pytest.approx(0.5, rel=0.05)


def test_priorities_wait_as_cobham_says() -> None:
    """Three classes that differ in how much there is to do; the last stands first in the list of kinds."""
    classes = [Class(3, 0.3, 1.0), Class(0, 0.5, 0.3), Class(1, 0.2, 3.0)]
    load = 0.75
    run = answered(simulate(queue(LOGNORMAL, 1, load, 2 * CALLS, classes=classes)))
    mean_us, second_us2 = moments_us(LOGNORMAL)
    total = sum(each.share * each.work for each in classes)
    ranked = sorted(range(len(classes)), key=lambda kind: classes[kind].priority)
    expected = waits_cobham_us(
        [load * classes[kind].share * classes[kind].work / total for kind in ranked],
        [mean_us * classes[kind].work for kind in ranked],
        [second_us2 * classes[kind].work ** 2 for kind in ranked],
    )
    for kind, wait_us in zip(ranked, expected, strict=True):
        waits = estimate(run.wait_us[run.world.calls.kind == kind])
        assert waits.holds(wait_us), (classes[kind], waits, wait_us)
        assert waits.relative_margin < NARROW


def test_priorities_at_several_servers_wait_as_cobham_says() -> None:
    classes, load, servers = [Class(0, 0.4), Class(1, 0.3), Class(2, 0.3)], 0.8, 6
    run = answered(simulate(queue(EXPONENTIAL, servers, load, 2 * CALLS, classes=classes)))
    expected = waits_mmc_priority_us(servers, [load * each.share for each in classes], MEAN_US)
    for kind, wait_us in enumerate(expected):
        waits = estimate(run.wait_us[run.world.calls.kind == kind])
        assert waits.holds(wait_us), (classes[kind], waits, wait_us)
        assert waits.relative_margin < 2 * NARROW


def test_servers_are_in_use_as_much_as_there_is_to_do() -> None:
    servers, load = 5, 0.8
    run = answered(simulate(queue(EXPONENTIAL, servers, load, CALLS)))
    assert run.busy_us.sum() / run.replica_us.sum() == pytest.approx(load, rel=0.01)
    took_us = run.latency_us - run.wait_us  # the service, and the same way there and back for all
    assert took_us.mean() - took_us.min() == pytest.approx(MEAN_US, rel=0.01)


@pytest.mark.parametrize(
    ("truth", "servers", "load"),
    [(EXPONENTIAL, 1, 0.5), (EXPONENTIAL, 3, 0.7), (EXPONENTIAL, 8, 0.7), (CONSTANT, 1, 0.5), (LOGNORMAL, 1, 0.7)],
)
def test_the_oracle_waits_so_too(truth: Truth, servers: int, load: float) -> None:
    run = answered(oracle(queue(truth, servers, load, 16_000)))
    waits = estimate(run.wait_us)
    exact = wait_mmc_us(servers, load, MEAN_US) if truth == EXPONENTIAL else wait_mg1_us(load, *moments_us(truth))
    assert waits.holds(exact)
    assert waits.relative_margin < 4 * NARROW
    assert run.busy_us.sum() / run.replica_us.sum() == pytest.approx(load, rel=0.05)


@pytest.mark.parametrize("seed", range(20, 26))
def test_intervals_hold_for_other_seeds(seed: int) -> None:
    servers, load = 4, 0.75
    run = answered(simulate(queue(EXPONENTIAL, servers, load, CALLS // 2, seed)))
    assert estimate(run.wait_us).holds(wait_mmc_us(servers, load, MEAN_US))


def test_formulas_agree_where_they_meet() -> None:
    exact = (MEAN_US, 2 * MEAN_US**2)
    assert erlang_c(1, 0.6) == pytest.approx(0.6)
    assert erlang_c(2, 0.5) == pytest.approx(1 / 3)
    assert wait_mmc_us(1, 0.6, MEAN_US) == pytest.approx(wait_mg1_us(0.6, *exact))
    assert waits_cobham_us([0.6], [exact[0]], [exact[1]]) == pytest.approx([wait_mg1_us(0.6, *exact)])
    assert waits_mmc_priority_us(1, [0.2, 0.4], MEAN_US) == pytest.approx(
        waits_cobham_us([0.2, 0.4], [exact[0]] * 2, [exact[1]] * 2)
    )
    assert moments_us(EXPONENTIAL) == pytest.approx(exact, rel=0.001)
