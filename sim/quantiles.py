"""Quantiles of latencies by group, exact: the nearest rank, so that every quantile is a latency that some call had."""

from dataclasses import dataclass

import numpy as np

from .model import Ints

GROUP_BITS = 41
"""Room for a latency beside its group's number: 2**41 us is 25 days, and a call may take ten minutes."""
CURVE_POINTS = 200


@dataclass(frozen=True, slots=True)
class Sorted:
    """Latencies in rising order, group after group: group g has `us[start[g]:start[g + 1]]`."""

    us: Ints
    start: Ints

    def of(self, group: int) -> Ints:
        """Return one group's latencies in rising order."""
        return self.us[self.start[group] : self.start[group + 1]]


def sorted_by(label: Ints, latency_us: Ints, groups: int) -> Sorted:
    """Return latencies sorted by label, both int64[calls]; those with label -1 are left out. Raises ValueError if too long."""
    if latency_us.size and int(latency_us.max()) >= 1 << GROUP_BITS:
        raise ValueError("a latency of more than 25 days cannot be that of a call")
    keys = (label << GROUP_BITS) + latency_us
    keys.sort()
    start = np.searchsorted(keys, np.arange(groups + 1, dtype=np.int64) << GROUP_BITS)
    keys &= (1 << GROUP_BITS) - 1
    return Sorted(keys, start.astype(np.int64))


def quantile_us(rising_us: Ints, percent: int) -> int:
    """Return the least latency that `percent` of a hundred calls keep to. There must be one."""
    return int(rising_us[-(-len(rising_us) * percent // 100) - 1])


def curve(rising_us: Ints) -> tuple[tuple[int, float], ...]:
    """Return points (latency in us, share of calls that took no longer) of the distribution, at most CURVE_POINTS."""
    n = len(rising_us)
    if not n:
        return ()
    ranks = np.unique(-(-np.arange(1, CURVE_POINTS + 1) * n // CURVE_POINTS))
    ranks[0] = 1 if n > CURVE_POINTS else ranks[0]
    shares = np.searchsorted(rising_us, rising_us[ranks - 1], side="right") / n
    points = dict(zip(rising_us[ranks - 1].tolist(), shares.tolist(), strict=True))
    return tuple(points.items())
