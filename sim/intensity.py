"""How often calls come over time: rates that are constant between knots, and the times at which so many calls have come."""

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from infercast.policies.units import US_PER_S

from .model import Ints
from .workload_parts import Bursty

Floats = npt.NDArray[np.float64]
CLOCK_STEP_S = 900
"""Clocks are looked at this often: offsets from UTC are multiples of 15 minutes wherever clocks are set today."""


@dataclass(frozen=True, slots=True)
class Intensity:
    """Calls a second, `per_s[i]` between `knots_us[i]` and `knots_us[i + 1]`; float64[k] and float64[k + 1], rising."""

    knots_us: Floats
    per_s: Floats

    def times(self, other: "Intensity") -> "Intensity":
        """Return the product with another intensity over the same span, at the knots of both."""
        knots = np.union1d(self.knots_us, other.knots_us)
        starts = knots[:-1]
        mine = self.per_s[np.searchsorted(self.knots_us, starts, side="right") - 1]
        return Intensity(knots, mine * other.per_s[np.searchsorted(other.knots_us, starts, side="right") - 1])

    def scaled(self, factor: float) -> "Intensity":
        """Return so many times the intensity."""
        return Intensity(self.knots_us, self.per_s * factor)

    def expected(self) -> Floats:
        """Return how many calls are expected up to each knot, float64[k + 1] from 0."""
        return np.concatenate(([0.0], np.cumsum(self.per_s * np.diff(self.knots_us) / US_PER_S)))

    def moments(self, positions: Floats, expected: Floats) -> Ints:
        """Return when so many calls are expected to have come, in microseconds; `positions` rise and end below the last."""
        if len(self.per_s) == 1:
            found: Floats = positions * (US_PER_S / self.per_s[0]) + self.knots_us[0]
        else:
            found = np.interp(positions, expected, self.knots_us)
        whole: Ints = found.astype(np.int64)
        np.clip(whole, int(self.knots_us[0]), int(self.knots_us[-1]) - 1, out=whole)
        return whole


def steady(per_s: float, from_us: int, until_us: int) -> Intensity:
    """Return one rate all the time."""
    return Intensity(np.array([from_us, until_us], dtype=np.float64), np.array([per_s], dtype=np.float64))


def day_curve(weights: tuple[float, ...], zone: str, starts_at_s: int, from_us: int, until_us: int) -> Intensity:
    """Return the weights of the local hours as factors whose mean over a day of 24 hours is 1."""
    mean = sum(weights) / len(weights)
    first_s, last_s = starts_at_s + from_us // US_PER_S, starts_at_s - (-until_us // US_PER_S)
    edges_s, hours = _hours(zone, first_s // CLOCK_STEP_S, -(-last_s // CLOCK_STEP_S))
    edges_us = (np.array(edges_s, dtype=np.int64) - starts_at_s) * US_PER_S
    inside = (edges_us > from_us) & (edges_us < until_us)
    knots = np.concatenate(([from_us], edges_us[inside], [until_us])).astype(np.float64)
    at = np.searchsorted(edges_us, knots[:-1], side="right") - 1
    return Intensity(knots, np.array([weights[hour] / mean for hour in hours])[at])


@lru_cache(maxsize=512)
def _hours(zone: str, first: int, last: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return when the local hour changes (s since 1970) between two steps of CLOCK_STEP_S, and to which hour."""
    clock = ZoneInfo(zone)
    edges: list[int] = []
    hours: list[int] = []
    for step in range(first, last + 1):
        hour = datetime.fromtimestamp(step * CLOCK_STEP_S, clock).hour
        if not hours or hours[-1] != hour:
            edges.append(step * CLOCK_STEP_S)
            hours.append(hour)
    return tuple(edges), tuple(hours)


def bursts(bursty: Bursty, luck: np.random.Generator, from_us: int, until_us: int) -> Intensity:
    """Return calm and bursts in turn. It begins in either with the share of time that it has in the long run."""
    means = np.array([bursty.calm_mean, bursty.burst_mean], dtype=np.float64)
    rates = np.array([bursty.calm_per_s, bursty.burst_per_s], dtype=np.float64)
    first = int(luck.random() * means.sum() >= means[0])
    changes = np.zeros(0)
    turns = 2 * (int((until_us - from_us) / means.sum()) + 16)
    while not len(changes) or changes[-1] < until_us:
        lasts = luck.standard_exponential(turns) * means[(np.arange(turns) + first) % 2]
        changes = np.concatenate((changes, np.cumsum(lasts) + (changes[-1] if len(changes) else from_us)))
    changes = changes[: np.searchsorted(changes, until_us)]
    knots = np.concatenate(([from_us], changes, [until_us]))
    return Intensity(knots, rates[(np.arange(len(knots) - 1) + first) % 2])
