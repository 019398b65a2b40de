"""What calls really took, learned online: quantiles of many independent series of times.

`Times` holds a histogram per series over logarithmic bins (2**(1/16), 4.4% wide, 50 us to 600 s). It starts with a
declared prior, forgets exponentially, and follows a change of level by moving the whole histogram: multiplying a time
is a shift of logarithmic bins, so the shape, and with it the p95, is kept. `docs/estimates.md` has the formulas and what
they measure to.

The same source runs compiled (numba, where it is installed) and interpreted. Integers only, no clock, no randomness:
the same bytes on every machine. Weights grow by 1/MEMORY with each call in place of decaying all bins, and everything
is halved RESCALE_BITS times when they get large. All products stay below 2**63.
"""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from math import comb, isqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from .units import LATENCY_MAX_US

Table = npt.NDArray[np.int64]

TIME_MIN_US = 50
"""Times below it are taken for it, as those above LATENCY_MAX_US are taken for that."""
BINS = 377
PRIOR_CALLS = 40
"""How many calls the declared p50 and p95 are worth."""
MEMORY = 250
"""A call's weight falls to 1/e after so many later calls of its series."""
MEMORY_FIRST = 120
"""Memory at the start and just after a change of level; it grows by one with each call, so that they soon count alone."""
TRIM = 2
"""How many of the oldest calls that seem to be from after a change are left out."""
KEEP_CALLS = 25
"""How many calls the moved histogram is worth after a change of level: its shape may have changed too."""
SHORT = 20
LONG = 64
"""The windows of latest calls that are held against the histogram, to find a change of level."""
ALARM_ODDS = 10_000_000
"""Each bound of the change test is crossed by chance in at most one window of so many."""

CHANGE_CALLS = 500
CHANGES_AT_ONCE = 3
"""A series may change level so often in a row, and again after each CHANGE_CALLS calls: what moves more often than that
is no level but noise, and belongs into the histogram."""

WEIGHT, RESCALE_BITS, RESCALE_AT = 1 << 20, 24, 1 << 44
GOLDEN = 40_503
"""2**16 over the golden ratio: its multiples fall evenly, so calls of one bin are spread evenly over the bin's ranks."""
RANKS = 4096

# Columns of the meta table, one row per series: weight of the next call, of all; calls ever, and since the last change.
M_WEIGHT, M_TOTAL, M_CALLS, M_HEARD, M_CHANGES, M_P50_US, M_P95_US, M_CREDIT = range(8)
M_SHORT, M_LONG, M_COLS = 8, 16, 24
"""Where the windows' counts per octile begin; how many columns there are."""
RECENT_COLS = 2 * LONG
"""Columns of the table of latest calls: where each fell (8 * bin + octile of the histogram), then its weight."""

_NORMAL = (
    "500000 539828 579260 617911 655422 691462 725747 758036 788145 815940 841345 864334 884930 "
    "903200 919243 933193 945201 955435 964070 971283 977250 982136 986097 989276 991802 993790 "
    "995339 996533 997445 998134 998650 999032 999313 999517 999663 999767 999841 999892 999928 "
    "999952 1000000"
)
NORMAL_PPM: Table = np.array([int(share) for share in _NORMAL.split()], dtype=np.int64)
"""Normal distribution function at 0, 0.1, ... 4.0 standard deviations, in millionths; what is beyond counts as there."""


def _edges() -> Table:
    """Return the BINS + 1 edges: the whole part of 50 * 2**(k/16) by exact integer roots, the last at the ceiling."""
    edges = [isqrt(isqrt(isqrt(isqrt(TIME_MIN_US**16 << k)))) for k in range(BINS)]
    return np.array([*edges, LATENCY_MAX_US], dtype=np.int64)


def _bounds(window: int) -> Table:
    """Return int64[2, 8]: counts below octile k, at or under the first and at or over the second of which is an alarm.

    The exact binomial tail at each bound is at most one in ALARM_ODDS.
    """
    bounds = np.zeros((2, 8), dtype=np.int64)
    for k in range(1, 8):
        ways = [comb(window, count) * k**count * (8 - k) ** (window - count) for count in range(window + 1)]
        low = max((c for c in range(-1, window) if sum(ways[: c + 1]) * ALARM_ODDS <= 8**window), default=-1)
        high = min((c for c in range(1, window + 2) if sum(ways[c:]) * ALARM_ODDS <= 8**window), default=window + 1)
        bounds[:, k] = low, high
    return bounds


EDGES = _edges()
BOUNDS_SHORT, BOUNDS_LONG = _bounds(SHORT), _bounds(LONG)


def _bin(time_us: int) -> int:
    low, high = 0, BINS
    while high - low > 1:
        middle = (low + high) // 2
        if EDGES[middle] <= time_us:
            low = middle
        else:
            high = middle
    return low


def _place(time_us: int) -> int:
    """Return the time on the logarithmic scale, in 256ths of a bin."""
    at = _bin(time_us)
    return int(256 * at + 256 * (time_us - EDGES[at]) // (EDGES[at + 1] - EDGES[at]))


def _time_us(place: int) -> int:
    """Return the time at a place, the way back from `_place`."""
    place = min(max(place, 0), 256 * BINS)
    at = min(place // 256, BINS - 1)
    return int(EDGES[at] + (EDGES[at + 1] - EDGES[at]) * (place - 256 * at) // 256)


def _normal_ppm(z_milli: int) -> int:
    """Return the share of a normal distribution below z thousandths of a standard deviation, by the table."""
    far = min(abs(z_milli), 4000)
    step = min(far // 100, 39)
    share = NORMAL_PPM[step] + (NORMAL_PPM[step + 1] - NORMAL_PPM[step]) * (far - 100 * step) // 100
    return int(share if z_milli >= 0 else 1_000_000 - share)


def declare(bins: Any, meta: Any, recent: Any, series: int, p50_us: int, p95_us: int) -> None:
    """Start a series anew: PRIOR_CALLS calls' weight of the lognormal distribution through p50 and p95."""
    p50_us = min(max(p50_us, TIME_MIN_US), LATENCY_MAX_US)
    p95_us = min(max(p95_us, p50_us), LATENCY_MAX_US)
    bins[series, :] = 0
    meta[series, :] = 0
    recent[series, :] = 0
    middle = _place(p50_us)
    spread = max(1, _place(p95_us) - middle)
    below, total = 0, 0
    for at in range(BINS):
        upper = 1_000_000
        if at < BINS - 1:
            z_milli = (256 * (at + 1) - middle) * 1645 // spread
            upper = _normal_ppm(min(max(z_milli, -4000), 4000))
        mass = (upper - below) * PRIOR_CALLS * WEIGHT // 1_000_000
        bins[series, at] = mass
        total += mass
        below = upper
    meta[series, M_WEIGHT] = WEIGHT
    meta[series, M_TOTAL] = total
    meta[series, M_CREDIT] = CHANGE_CALLS * CHANGES_AT_ONCE
    meta[series, M_P50_US] = p50_us
    meta[series, M_P95_US] = p95_us


def _rescale(bins: Any, meta: Any, recent: Any, series: int) -> None:
    total = 0
    for at in range(BINS):
        bins[series, at] >>= RESCALE_BITS
        total += bins[series, at]
    for at in range(LONG, RECENT_COLS):
        recent[series, at] >>= RESCALE_BITS
    meta[series, M_TOTAL] = total
    meta[series, M_WEIGHT] >>= RESCALE_BITS


def _octile(bins: Any, meta: Any, series: int, at: int) -> int:
    """Return which eighth of the histogram a call of bin `at` falls into; a bin's own ranks are dealt out in turn."""
    total = meta[series, M_TOTAL]
    below = bins[series, :at].sum()
    turn = (meta[series, M_CALLS] * GOLDEN) & 65_535
    return int(min(8 * (below + (bins[series, at] >> 16) * turn) // max(1, total), 7))


def _alarm(meta: Any, series: int, column: int, window: int, bounds: Any) -> tuple[int, int]:
    """Return the octile whose count is furthest out of bounds, k when too many calls are below it, -k when too few, and how far."""
    below, found, furthest = 0, 0, 0
    for k in range(1, 8):
        below += meta[series, column + k - 1]
        if below <= bounds[0, k] or below >= bounds[1, k]:
            excess = 8 * below - k * window
            if abs(excess) > furthest:
                furthest = abs(excess)
                found = k if excess > 0 else -k
    return found, furthest


def _since(meta: Any, recent: Any, series: int, window: int, octile: int, excess: int) -> int:
    """Return how many of the latest calls are from after the change: those whose excess adds up to the most.

    Each call must bring half of the window's mean excess (Page's CUSUM), and the oldest TRIM of them are left out: a
    call of the old level among the new does more harm than one of the new level lost.
    """
    heard = meta[series, M_HEARD]
    total, most, found = 0, 0, 1
    for back in range(1, window + 1):
        cell = recent[series, (heard - back) % LONG] % 8
        step = (8 if cell < abs(octile) else 0) - abs(octile)
        total += 2 * window * (step if octile > 0 else -step) - excess
        if total > most:
            most, found = total, back
    return max(1, found - TRIM)


def _shift(ranks: Any, points: Any) -> int:
    """Return by how many bins to move a histogram to fit sorted points best: the least Cramer-von Mises distance.

    `ranks` int64[BINS] is the distribution function at the bins' middles, 0 to RANKS; `points` are bins.
    """
    count = points.shape[0]
    least, found = -1, 0
    for shift in range(1 - BINS, BINS):
        distance = 0
        for index in range(count):
            at = points[index] - shift
            rank = 0 if at < 0 else RANKS if at >= BINS else ranks[at]
            gap = rank - (2 * index + 1) * RANKS // (2 * count)
            distance += gap * gap
        if least < 0 or distance < least or (distance == least and abs(shift) < abs(found)):
            least, found = distance, shift
    return found


def _move(bins: Any, meta: Any, recent: Any, series: int, since: int) -> None:
    """Take the latest calls out, move what is left to where they are, lighter, and put them back on top."""
    weight, heard = meta[series, M_WEIGHT], meta[series, M_HEARD]
    points = np.zeros(since, dtype=np.int64)
    for back in range(1, since + 1):
        slot = (heard - back) % LONG
        at = recent[series, slot] // 8
        bins[series, at] = max(0, bins[series, at] - recent[series, LONG + slot])
        points[back - 1] = at
    points = np.sort(points)
    total = bins[series].sum()
    if total > 0:
        ranks = np.zeros(BINS, dtype=np.int64)
        below = 0
        for at in range(BINS):
            ranks[at] = (below + bins[series, at] // 2) * RANKS // total
            below += bins[series, at]
        shift = _shift(ranks, points)
        moved = np.zeros(BINS, dtype=np.int64)
        kept = min(KEEP_CALLS, total // weight)
        for at in range(BINS):
            to = min(max(at + shift, 0), BINS - 1)
            moved[to] += bins[series, at] * RANKS // total * kept * weight // RANKS
        bins[series, :] = moved
    for index in range(since):
        bins[series, points[index]] += weight
    meta[series, M_TOTAL] = bins[series].sum()
    meta[series, M_HEARD] = 0
    meta[series, M_SHORT : M_LONG + 8] = 0
    meta[series, M_CHANGES] += 1


def _remember(meta: Any, recent: Any, series: int, at: int, octile: int) -> None:
    """Put a call into the ring of latest ones, and keep the windows' counts per octile."""
    heard = meta[series, M_HEARD]
    slot = heard % LONG
    if heard >= LONG:
        meta[series, M_LONG + recent[series, slot] % 8] -= 1
    if heard >= SHORT:
        meta[series, M_SHORT + recent[series, (heard - SHORT) % LONG] % 8] -= 1
    recent[series, slot] = 8 * at + octile
    recent[series, LONG + slot] = meta[series, M_WEIGHT]
    meta[series, M_SHORT + octile] += 1
    meta[series, M_LONG + octile] += 1
    meta[series, M_HEARD] = heard + 1


def observe(bins: Any, meta: Any, recent: Any, series: int, time_us: int) -> bool:
    """Take in what a call of a series took. True when its level has just been found to have changed.

    `bins` int64[series, BINS], `meta` int64[series, M_COLS], `recent` int64[series, RECENT_COLS]: the caller's arrays.
    """
    at = _bin(min(max(time_us, TIME_MIN_US), LATENCY_MAX_US))
    octile = _octile(bins, meta, series, at)
    meta[series, M_WEIGHT] += meta[series, M_WEIGHT] // min(MEMORY, MEMORY_FIRST + meta[series, M_HEARD])
    if meta[series, M_WEIGHT] > RESCALE_AT:
        _rescale(bins, meta, recent, series)
    meta[series, M_CALLS] += 1
    meta[series, M_CREDIT] = min(meta[series, M_CREDIT] + 1, CHANGE_CALLS * CHANGES_AT_ONCE)
    bins[series, at] += meta[series, M_WEIGHT]
    meta[series, M_TOTAL] += meta[series, M_WEIGHT]
    _remember(meta, recent, series, at, octile)
    heard = meta[series, M_HEARD]
    if heard < SHORT or meta[series, M_CREDIT] < CHANGE_CALLS:
        return False
    window = SHORT
    found, excess = _alarm(meta, series, M_SHORT, SHORT, BOUNDS_SHORT)
    if found == 0 and heard >= LONG:
        window = LONG
        found, excess = _alarm(meta, series, M_LONG, LONG, BOUNDS_LONG)
    if found == 0:
        return False
    meta[series, M_CREDIT] -= CHANGE_CALLS
    _move(bins, meta, recent, series, _since(meta, recent, series, window, found, excess))
    return True


def _declared(meta: Any, series: int, z_milli: int) -> int:
    middle, far = _place(meta[series, M_P50_US]), _place(meta[series, M_P95_US])
    return _time_us(middle + (far - middle) * z_milli // 1000)


def quantiles(bins: Any, meta: Any, series: int) -> tuple[int, int, int, int]:
    """Return p50, p90, p95 and p99 in microseconds, linear inside a bin; before any call those declared."""
    if meta[series, M_CALLS] == 0:
        p50_us, p95_us = meta[series, M_P50_US], meta[series, M_P95_US]
        p90_us, p99_us = _declared(meta, series, 779), _declared(meta, series, 1414)
        return p50_us, min(max(p90_us, p50_us), p95_us), p95_us, max(p99_us, p95_us)
    total = meta[series, M_TOTAL]
    found = np.zeros(4, dtype=np.int64)
    below, at = 0, 0
    for index in range(4):
        target = total // 100 * (50, 90, 95, 99)[index]
        while at < BINS - 1 and below + bins[series, at] < target:
            below += bins[series, at]
            at += 1
        inside = (target - below) * 1024 // max(1, bins[series, at])
        found[index] = EDGES[at] + (EDGES[at + 1] - EDGES[at]) * min(max(inside, 0), 1024) // 1024
    return found[0], found[1], found[2], found[3]


COMPILED = find_spec("numba") is not None
interpreted: dict[str, Callable[..., Any]] = {
    "declare": declare,
    "observe": observe,
    "quantiles": quantiles,
}
"""The functions as written, for the test that compares compiled with interpreted."""

if COMPILED:
    from numba import njit

    _bin = njit(cache=True)(_bin)
    _place = njit(cache=True)(_place)
    _time_us = njit(cache=True)(_time_us)
    _normal_ppm = njit(cache=True)(_normal_ppm)
    _rescale = njit(cache=True)(_rescale)
    _octile = njit(cache=True)(_octile)
    _alarm = njit(cache=True)(_alarm)
    _since = njit(cache=True)(_since)
    _shift = njit(cache=True)(_shift)
    _move = njit(cache=True)(_move)
    _remember = njit(cache=True)(_remember)
    _declared = njit(cache=True)(_declared)
    declare = njit(cache=True)(declare)
    observe = njit(cache=True)(observe)
    quantiles = njit(cache=True)(quantiles)


class Times:
    """Times of many independent series (service times, round trips), one per row."""

    def __init__(self, prior_us: Sequence[tuple[int, int]]) -> None:
        """Start each series with its declared (p50, p95) in microseconds."""
        count = len(prior_us)
        self.bins: Table = np.zeros((count, BINS), dtype=np.int64)
        self.meta: Table = np.zeros((count, M_COLS), dtype=np.int64)
        self.recent: Table = np.zeros((count, RECENT_COLS), dtype=np.int64)
        for series, (p50_us, p95_us) in enumerate(prior_us):
            declare(self.bins, self.meta, self.recent, series, p50_us, p95_us)

    def begin(self, series: int, p50_us: int, p95_us: int) -> None:
        """Start one series anew."""
        self._known(series)
        declare(self.bins, self.meta, self.recent, series, p50_us, p95_us)

    def hear(self, series: int, time_us: int) -> bool:
        """Take in what a call took, clipped to what the bins hold. True when the level has just been found to have changed."""
        self._known(series)
        clipped_us = min(max(time_us, TIME_MIN_US), LATENCY_MAX_US)
        return bool(observe(self.bins, self.meta, self.recent, series, clipped_us))

    def quantiles_us(self, series: int) -> tuple[int, int, int, int]:
        """Return p50, p90, p95, p99 in microseconds; before any call the prior's."""
        self._known(series)
        p50_us, p90_us, p95_us, p99_us = quantiles(self.bins, self.meta, series)
        return int(p50_us), int(p90_us), int(p95_us), int(p99_us)

    def calls(self, series: int) -> int:
        """Return how many calls of a series were heard."""
        self._known(series)
        return int(self.meta[series, M_CALLS])

    def _known(self, series: int) -> None:
        """Raise IndexError for a series that is not there: compiled code would write beside the table."""
        if not 0 <= series < len(self.meta):
            raise IndexError(f"series {series} of {len(self.meta)}")
