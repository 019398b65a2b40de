"""Queues whose mean waiting times are known in closed form, and the worlds that are such queues.

Loads are shares of the servers' time; means are in microseconds, second moments in square microseconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from infercast.sim.model import NEVER_EQUAL, WORK_USUAL_PPM, Calls, Kind, Truth, World
from infercast.sim.shapes import ONE, luck_of, shape_of
from tests.sim.tiny import tiny_fleet, tiny_policy
from tests.support import fleet_of

BATCHES = 31
"""Means of so many stretches of a run are taken for independent (method of batch means: Law, Simulation Modeling and
Analysis, ch. 9)."""
STUDENT_99_9 = 3.646
"""Two-sided 99.9 % of Student's t with 30 degrees of freedom."""
WARM_UP_SHARE = 0.05
"""The queue is empty at first; so much of the run is left out."""
DEPLOYMENT = "v@edge"


@dataclass(frozen=True)
class Estimate:
    """A mean, and half the width of its 99.9 % interval."""

    mean: float
    margin: float

    @property
    def relative_margin(self) -> float:
        """The margin as a share of the mean."""
        return self.margin / self.mean

    def error(self, expected: float) -> float:
        """Return how far the mean is off, as a share of what was expected."""
        return self.mean / expected - 1

    def holds(self, expected: float) -> bool:
        """Say whether the interval holds what was expected."""
        return abs(self.mean - expected) <= self.margin


def estimate(values: npt.NDArray[np.int64], batches: int = BATCHES) -> Estimate:
    """Return the mean of a run's values in order of time, from the means of batches after the warm-up."""
    settled = values[int(len(values) * WARM_UP_SHARE) :]
    means = np.array([batch.mean() for batch in np.array_split(settled, batches)])
    return Estimate(float(means.mean()), STUDENT_99_9 * float(means.std(ddof=1)) / batches**0.5)


def erlang_c(servers: int, load: float) -> float:
    """Return the share of calls that wait in M/M/c (A. K. Erlang 1917), by the recursion of Erlang's B formula."""
    offered, blocked = servers * load, 1.0
    for count in range(1, servers + 1):
        blocked = offered * blocked / (count + offered * blocked)
    return blocked / (1 - load * (1 - blocked))


def wait_mmc_us(servers: int, load: float, mean_us: float) -> float:
    """Return the mean wait in M/M/c (Kleinrock, Queueing Systems 1, 3.5)."""
    return erlang_c(servers, load) * mean_us / (servers * (1 - load))


def wait_mg1_us(load: float, mean_us: float, second_us2: float) -> float:
    """Return the mean wait in M/G/1 (Pollaczek 1930, Khinchine 1932; Kleinrock, Queueing Systems 1, 5.6)."""
    return load * second_us2 / (2 * mean_us * (1 - load))


def waits_cobham_us(loads: Sequence[float], means_us: Sequence[float], seconds_us2: Sequence[float]) -> list[float]:
    """Return the mean wait of each class, first served first, in M/G/1 that breaks nothing off (Cobham 1954)."""
    residual_us = sum(
        load * second / (2 * mean) for load, mean, second in zip(loads, means_us, seconds_us2, strict=True)
    )
    above = [sum(loads[:at]) for at in range(len(loads) + 1)]
    return [residual_us / ((1 - above[at]) * (1 - above[at + 1])) for at in range(len(loads))]


def waits_mmc_priority_us(servers: int, loads: Sequence[float], mean_us: float) -> list[float]:
    """Return the mean wait of each class in M/M/c where all take equally long and nothing is broken off (Cobham 1954)."""
    base_us = erlang_c(servers, sum(loads)) * mean_us / servers
    above = [sum(loads[:at]) for at in range(len(loads) + 1)]
    return [base_us / ((1 - above[at]) * (1 - above[at + 1])) for at in range(len(loads))]


def moments_us(truth: Truth) -> tuple[float, float]:
    """Return the mean and the second moment of the service times that a truth's calls draw from."""
    times_us = truth.p50_us * (shape_of(truth).astype(np.float64) / ONE)
    return float(times_us.mean()), float((times_us**2).mean())


@dataclass(frozen=True)
class Class:
    """Calls of one priority: their share of all, and their work beside the usual."""

    priority: int = 0
    share: float = 1.0
    work: float = 1.0


def queue(
    truth: Truth, servers: int, load: float, calls: int, seed: int = 1, classes: Sequence[Class] = (Class(),)
) -> World:
    """Return a world of Poisson arrivals at one deployment that has room for all, and a policy that refuses none.

    Calls of `classes[k]` are those of kind k.
    """
    rng = np.random.default_rng(seed)
    mean_us, _ = moments_us(truth)
    usual_us = mean_us * sum(each.share * each.work for each in classes)
    at_us = np.cumsum(rng.exponential(usual_us / servers / load, calls)).astype(np.int64)
    kind = rng.choice(len(classes), calls, p=[each.share for each in classes]).astype(np.int32)
    work_ppm = np.array([round(each.work * WORK_USUAL_PPM) for each in classes], dtype=np.int64)[kind]
    made = Calls(
        kinds=tuple(Kind("t", "m", "zone", ("edge",), ("plain",), priority=each.priority) for each in classes),
        at_us=at_us,
        kind=kind,
        payload_bytes=np.full(calls, 1000, dtype=np.int64),
        work_ppm=work_ppm,
        content=np.full(calls, NEVER_EQUAL, dtype=np.int64),
        luck=luck_of(seed, calls),
    )
    fleet = fleet_of(tiny_fleet({"concurrency": servers, "queue_max": 1_000_000}))
    return World(fleet, {"t": tiny_policy()}, made, truth={DEPLOYMENT: truth}, estimates="declared", jitter=False)
