"""What calls are like: their payload, their work, and which of them ask the same. Drawn from tables of whole numbers."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from infercast.policies.model import PAYLOAD_BYTES_MAX
from infercast.policies.units import ppm

from .intensity import Floats
from .model import NEVER_EQUAL, SHAPE_POINTS, WORK_MAX_PPM, WORK_USUAL_PPM, Ints, Truth
from .shapes import LUCK_BITS, ONE_BITS, shape_of
from .streams import number_of
from .workload_parts import Payload, Repeated, Work

RANK_BITS = 24
"""Bits of a content that tell questions of one source apart."""
CONTENT_BITS = 62
HALF = 1 << ONE_BITS - 1


def payloads(spread: Payload | None, n: int, luck: np.random.Generator) -> Ints:
    """Return the payloads of n calls, int64[n] in bytes; 0 where nothing is said."""
    if spread is None:
        return np.zeros(n, dtype=np.int64)
    if spread.lognormal is not None:
        table = _lognormal(spread.lognormal.p50, spread.lognormal.p95, PAYLOAD_BYTES_MAX)
        return table[luck.integers(0, SHAPE_POINTS, n, dtype=np.uint16)]
    return _one_of(spread.empirical or (spread.constant or 0,), n, luck)


def works(spread: Work | None, n: int, luck: np.random.Generator) -> Ints:
    """Return the work of n calls, int64[n] in ppm of the usual, from 1; the usual where nothing is said."""
    if spread is None:
        return np.full(n, WORK_USUAL_PPM, dtype=np.int64)
    if spread.lognormal is not None:
        table = _lognormal(ppm(spread.lognormal.p50), ppm(spread.lognormal.p95), WORK_MAX_PPM)
        return table[luck.integers(0, SHAPE_POINTS, n, dtype=np.uint16)]
    shares = spread.empirical or (1.0 if spread.constant is None else spread.constant,)
    return _one_of([ppm(share) for share in shares], n, luck)


def _one_of(values: Sequence[int], n: int, luck: np.random.Generator) -> Ints:
    if len(values) == 1:
        return np.full(n, values[0], dtype=np.int64)
    return np.array(values, dtype=np.int64)[luck.integers(0, len(values), n, dtype=np.uint16)]


@lru_cache(maxsize=256)
def _lognormal(p50: int, p95: int, most: int) -> Ints:
    """Return SHAPE_POINTS equally likely values of a lognormal through two quantiles, from 1 to `most`."""
    points = shape_of(Truth(p50, p95)).tolist()
    return np.array([min(max(1, p50 * point + HALF >> ONE_BITS), most) for point in points], dtype=np.int64)


def contents(repeated: Repeated | None, names: tuple[str, ...], n: int, luck: np.random.Generator) -> Ints:
    """Return what n calls ask, int64[n]: a known question of those that `names` stand for, or NEVER_EQUAL."""
    if repeated is None or repeated.share == 0:
        return np.full(n, NEVER_EQUAL, dtype=np.int64)
    known = luck.random(n) < repeated.share
    asked = np.searchsorted(_popularity(repeated.questions, repeated.zipf), luck.random(n), side="right")
    base = number_of(CONTENT_BITS - RANK_BITS, "content", *names) << RANK_BITS
    return np.where(known, base + np.minimum(asked, repeated.questions - 1), NEVER_EQUAL)


@lru_cache(maxsize=4)
def _popularity(questions: int, zipf: float) -> Floats:
    """Return the share of calls that ask each question or one before it, float64[questions]."""
    weights = np.arange(1, questions + 1, dtype=np.float64) ** -zipf
    found: Floats = np.cumsum(weights) / weights.sum()
    return found


def lucks(n: int, luck: np.random.Generator) -> Ints:
    """Return the luck of n calls, int64[n]."""
    return luck.integers(0, 1 << LUCK_BITS, n, dtype=np.int64)
