"""How times are spread, and which value a call draws. Whole numbers only leave this file: the same on every machine.

A shape is 4,096 equally likely values: the mean of the distribution between its k/4096 and (k+1)/4096 quantiles, so the
mean of the shape is that of the distribution. A call's luck picks one of them for each purpose.
"""

import math
from decimal import Context, Decimal
from functools import lru_cache
from itertools import pairwise
from statistics import NormalDist

import numpy as np

from infercast.policies.network import Path
from infercast.policies.units import LATENCY_MAX_US

from .model import SHAPE_POINTS, Ints, Truth

ONE_BITS = 20
ONE = 1 << ONE_BITS
"""A shape's unit: the p50 of what it stands for (the mean of exponential and constant times)."""
POINT_MAX = (1 << 33) - 1
"""Most of a lognormal shape: 8,192 times the p50. With no p50 above ten minutes, all products stay below 2**63."""
Z_P95 = NormalDist().inv_cdf(0.95)
LUCK_BITS = 60
PURPOSES_APART = 5
"""How many purposes have bits of a call's luck to themselves; further ones take the same bits, STRIDE points on."""
STRIDE = 1237
TRIP_STEPS = 64
POINT_BITS = 12


def luck_of(seed: int, n: int) -> Ints:
    """Return the luck of n calls, int64[n] below 2**60: the same for a call whatever else happens in the run."""
    return np.random.Generator(np.random.Philox(seed)).integers(0, 1 << LUCK_BITS, n, dtype=np.int64)


def point(luck: int, purpose: int) -> int:
    """Return which of a shape's points a call with this luck draws for a purpose."""
    bits = luck >> POINT_BITS * (purpose % PURPOSES_APART)
    return (bits + STRIDE * (purpose // PURPOSES_APART)) % SHAPE_POINTS


def service_purpose(attempt: int) -> int:
    """Return the purpose of a try's service time; tries count from 0."""
    return 2 * attempt


def trip_purpose(attempt: int) -> int:
    """Return the purpose of a try's round trip; tries count from 0."""
    return 2 * attempt + 1


def shape_of(truth: Truth) -> Ints:
    """Return the shape of a deployment's service times, int64[SHAPE_POINTS] in 2**20ths of its `p50_us`, rising."""
    if truth.shape == "lognormal":
        return _lognormal(max(truth.p95_us, truth.p50_us) / truth.p50_us)
    if truth.shape == "exponential":
        return _exponential()
    if truth.shape == "constant":
        return _constant()
    return _empirical(truth.p50_us, tuple(sorted(truth.values_us)))


def shape_of_trip(path: Path) -> Ints:
    """Return the shape of a way's round trips, int64[SHAPE_POINTS] in 2**20ths of its declared median.

    The ratio of p95 to p50 is rounded to 64ths: a fleet has as many ways as pairs of sites, and they share few shapes.
    """
    p50_us = max(1, path.rtt_us)
    return _lognormal((TRIP_STEPS * (p50_us + path.spread_us) + p50_us // 2) // p50_us / TRIP_STEPS)


def _frozen(points: list[int]) -> Ints:
    shape = np.array(points, dtype=np.int64)
    shape.setflags(write=False)
    return shape


@lru_cache(maxsize=1)
def _constant() -> Ints:
    return _frozen([ONE] * SHAPE_POINTS)


@lru_cache(maxsize=1024)
def _lognormal(ratio: float) -> Ints:
    """Return the lognormal shape whose p95 is `ratio` times its p50.

    The mean of exp(sigma Z) over a < Z < b is exp(sigma**2 / 2) (Phi(b - sigma) - Phi(a - sigma)) over the slice's share:
    its partial expectation (Johnson, Kotz, Balakrishnan, Continuous Univariate Distributions 1, ch. 14).
    """
    sigma = math.log(ratio) / Z_P95
    if sigma == 0:
        return _constant()
    normal = NormalDist()
    inner = [normal.inv_cdf(k / SHAPE_POINTS) - sigma for k in range(1, SHAPE_POINTS)]
    scale = ONE * SHAPE_POINTS * math.exp(sigma * sigma / 2)
    means = (round(scale * _between(a, b)) for a, b in pairwise((-math.inf, *inner, math.inf)))
    return _frozen([min(mean, POINT_MAX) for mean in means])


def _between(a: float, b: float) -> float:
    """Return the share of a normal distribution between two deviations, from the tail that they are in."""
    if a > 0:
        return _above(a) - _above(b)
    return _above(-b) - _above(-a)


def _above(z: float) -> float:
    return math.erfc(z / math.sqrt(2)) / 2


@lru_cache(maxsize=1)
def _exponential() -> Ints:
    """Return the shape of mean 1: the integral of -ln v over [j, j + 1] / 4096, from j ln j - j at both ends."""
    context = Context(prec=40)
    whole = Decimal(SHAPE_POINTS)

    def weighed(j: int) -> Decimal:
        return context.multiply(Decimal(j), context.ln(context.divide(Decimal(j), whole))) if j else Decimal(0)

    points = []
    for j in range(SHAPE_POINTS, 0, -1):
        mean = 1 - context.subtract(weighed(j), weighed(j - 1))
        points.append(int((mean * ONE).to_integral_value()))
    return _frozen(points)


@lru_cache(maxsize=256)
def _empirical(p50_us: int, values_us: tuple[int, ...]) -> Ints:
    """Return the shape of observed times: each of the n sorted values holds an equal share of the quantiles.

    Values above LATENCY_MAX_US are taken for it.
    """
    n = len(values_us)
    values_us = tuple(min(value, LATENCY_MAX_US) for value in values_us)
    before = [0]
    for value in values_us:
        before.append(before[-1] + value)

    def area(k: int) -> int:
        whole, part = divmod(k * n, SHAPE_POINTS)
        return before[whole] * SHAPE_POINTS + (part * values_us[whole] if part else 0)

    areas = [area(k) for k in range(SHAPE_POINTS + 1)]
    return _frozen([(2 * (b - a) * ONE + n * p50_us) // (2 * n * p50_us) for a, b in pairwise(areas)])
