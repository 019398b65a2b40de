"""How calls fell against what was foretold of them: tracked quantiles of a call's normalised surprise.

Each tracked quantile takes a step of the pinball loss's gradient per call: up by `step * share` when the call was above it,
down by `step * (1 - share)` when not. Whatever the calls are, the share of calls above it then comes near what it should be
in the long run, because the quantile would otherwise wander off (Gibbs and Candes 2021, arXiv 2106.00170, on the level;
Angelopoulos, Barber and Bates 2024, arXiv 2402.01139, on the quantile and with steps of any size). Integers only, no
clock, no randomness; compiled where numba is installed, the same source interpreted where it is not.
"""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt

Table = npt.NDArray[np.int64]

Z_MILLI = (0, 779, 1000, 1414)
"""Normal p50, p90, p95 and p99 in thousandths of the way from p50 to p95."""
PERMILLE = (500, 900, 950, 990)

# Columns of a calibration's state: calls heard, mean distance of u from its median, four quantiles; then the last five
# as they were at the last checkpoint and the one before.
C_HEARD, C_SCALE, C_Z, C_COLS = 0, 1, 2, 16
FINE = 1024
"""Tracked quantiles are kept in 1024ths of a thousandth: steps are small."""
U_MAX_MILLI = 1_000_000
Z_MAX_MILLI = 50_000
"""A quantile beyond fifty spreads is no estimate any more: tracking stops there."""
SCALE_MILLI = 485
"""Mean distance of a normal variable from its median, in thousandths of the way from p50 to p95: 0.798 / 1.645."""
TAILS = (3, 7, 12, 47)
"""One over a normal's density at the quantile, in mean distances from its median: with it all four settle alike quickly."""
REACH = 4
"""Steps are no less than so many times the way from the median, over the calls to settle: far too wide a quantile comes in
geometrically."""
QUICK_CALLS, SLOW_CALLS = 40, 100
"""Over how many calls a quantile settles, at first and in the long run."""
SCALE_CALLS = 64
"""Memory of the mean distance of u from its median."""
CHECKPOINT_CALLS = 32
"""How often what is known is put aside, to step back to."""
RELAX_SHARE = 32
RELAX_SPREADS = 8
"""A quantile that is n spreads above the normal one comes n thirty-seconds of the way back at a time, a quarter at most: what
calls that were given up left behind goes quickly, what answered calls said of an ordinary day hardly at all."""


def track(state: Any, series: int, u_milli: int) -> None:
    """Move a series' four tracked quantiles by one call's u: up by the quantile's share when above it, else down by the rest.

    `state` int64[series, C_COLS]. The step is a share of the mean distance of u from its median, larger in the tail
    where calls are rarer, and shrinks with the calls heard.
    """
    u = min(max(u_milli, -U_MAX_MILLI), U_MAX_MILLI) * FINE
    heard = state[series, C_HEARD]
    median = state[series, C_Z]
    far = abs(u - median)
    scale = state[series, C_SCALE]
    scale += (min(far, 8 * scale) - scale) // min(SCALE_CALLS, 8 + heard)
    state[series, C_SCALE] = max(scale, FINE)
    slow = min(SLOW_CALLS, QUICK_CALLS + heard // 2)
    for k in range(4):
        step = max(scale * TAILS[k], REACH * abs(state[series, C_Z + k] - median)) // slow + 1
        share = PERMILLE[k]
        z = state[series, C_Z + k] + (
            step * share // 1000 if u > state[series, C_Z + k] else -(step * (1000 - share) // 1000)
        )
        state[series, C_Z + k] = min(max(z, -Z_MAX_MILLI * FINE), Z_MAX_MILLI * FINE)
    state[series, C_HEARD] = heard + 1
    if (heard + 1) % CHECKPOINT_CALLS == 0:
        for column in range(C_SCALE, C_SCALE + 5):
            state[series, column + 10] = state[series, column + 5]
            state[series, column + 5] = state[series, column]


def track_censored(state: Any, series: int, u_milli: int) -> None:
    """Move a series' tracked quantiles by a call that was cancelled at u: all that is known is that it would have taken longer.

    Quantiles below u step up, as by a call above them. Of one above u it is not known on which side the call would have
    fallen, so it takes the step that it would have taken on average: of calls that are longer than the highest quantile
    below u, whose share is F, `(1 - share) / (1 - F)` are above it (Efron 1967: the self-consistent estimate). Counting
    it as a call of u instead would teach that nothing takes longer than what gets cancelled. Distances stay as they are.
    """
    u = min(max(u_milli, -U_MAX_MILLI), U_MAX_MILLI) * FINE
    median = state[series, C_Z]
    slow = min(SLOW_CALLS, QUICK_CALLS + state[series, C_HEARD] // 2)
    below = 0
    for k in range(4):
        if u > state[series, C_Z + k]:
            below = max(below, PERMILLE[k])
    for k in range(4):
        step = max(state[series, C_SCALE] * TAILS[k], REACH * abs(state[series, C_Z + k] - median)) // slow + 1
        share = PERMILLE[k]
        if u > state[series, C_Z + k]:
            state[series, C_Z + k] += step * share // 1000
        elif below < share:
            state[series, C_Z + k] += step * (1000 - share) * below // (1000 - below) // 1000
        state[series, C_Z + k] = min(max(state[series, C_Z + k], -Z_MAX_MILLI * FINE), Z_MAX_MILLI * FINE)


def step_back(state: Any, series: int) -> None:
    """Return a series to what it knew CHECKPOINT_CALLS to twice as many calls ago.

    For when its base is found to have changed: the calls in between were judged against a base that no longer held.
    Steps stay as small as they are: the base keeps its shape, so what was known of u mostly holds.
    """
    for column in range(C_SCALE, C_SCALE + 5):
        state[series, column] = state[series, column + 10]
        state[series, column + 5] = state[series, column + 10]


def relax(state: Any, series: int, normal: Any) -> bool:
    """Bring what is above `normal` int64[5] (mean distance, four quantiles) a part of the way back. True when any of it moved.

    What was put aside comes along: stepping back is no way back to what has been let go.
    """
    moved = False
    for column in range(C_SCALE, C_COLS):
        excess = state[series, column] - normal[(column - C_SCALE) % 5]
        back = excess * min(excess, RELAX_SPREADS * 1000 * FINE) // (RELAX_SHARE * 1000 * FINE)
        if excess > 0 and back > 0:
            state[series, column] -= back
            moved = True
    return moved


COMPILED = find_spec("numba") is not None
interpreted: dict[str, Callable[..., Any]] = {
    "track": track,
    "track_censored": track_censored,
    "step_back": step_back,
    "relax": relax,
}
"""The functions as written, for the test that compares compiled with interpreted."""

if COMPILED:
    from numba import njit

    track = njit(cache=True)(track)
    track_censored = njit(cache=True)(track_censored)
    step_back = njit(cache=True)(step_back)
    relax = njit(cache=True)(relax)

NORMAL: Table = np.array([SCALE_MILLI * FINE, *(z * FINE for z in Z_MILLI)], dtype=np.int64)
"""Where a series starts, and what it relaxes to."""


class Calibration:
    """How calls of many series fell against what was foretold of them, as quantiles of u.

    `u_milli = 1000 * (took_us - expected_median_us) // max(1, expected_p95_us - expected_median_us)`.
    """

    def __init__(self, count: int) -> None:
        """Start `count` series at the normal distribution's quantiles."""
        self.state: Table = np.zeros((count, C_COLS), dtype=np.int64)
        for column in range(C_SCALE, C_COLS, 5):
            self.state[:, column : column + 5] = NORMAL

    def begin(self, series: int, z_milli: Sequence[int]) -> None:
        """Start a series at four quantiles that were learned before."""
        self._known(series)
        for column in range(C_SCALE, C_COLS, 5):
            self.state[series, column + 1 : column + 5] = [z * FINE for z in z_milli]

    def hear(self, series: int, u_milli: int) -> None:
        """Take in a finished call's u; beyond U_MAX_MILLI it counts as that."""
        self._known(series)
        track(self.state, series, min(max(u_milli, -U_MAX_MILLI), U_MAX_MILLI))

    def hear_censored(self, series: int, u_milli: int) -> None:
        """Take in a call that was cancelled at u: it would have taken longer, nobody knows how much."""
        self._known(series)
        track_censored(self.state, series, min(max(u_milli, -U_MAX_MILLI), U_MAX_MILLI))

    def step_back(self, series: int) -> None:
        """Forget the latest calls, because the base that they were foretold from was found to have changed."""
        self._known(series)
        step_back(self.state, series)

    def relax(self, series: int) -> bool:
        """Bring quantiles that are above the normal ones nearer to them: nobody calls the series any more, yet all is well with it.

        True when any of them moved. It is the caller's to have evidence of that: time alone is none.
        """
        self._known(series)
        return bool(relax(self.state, series, NORMAL))

    def z_milli(self, series: int) -> tuple[int, int, int, int]:
        """Return p50, p90, p95 and p99 of u, in order of size, in thousandths of the expected spread."""
        self._known(series)
        p50, p90, p95, p99 = sorted(int(z) // FINE for z in self.state[series, C_Z : C_Z + 4])
        return p50, p90, p95, p99

    def _known(self, series: int) -> None:
        """Raise IndexError for a series that is not there: compiled code would write beside the table."""
        if not 0 <= series < len(self.state):
            raise IndexError(f"series {series} of {len(self.state)}")
