"""Histograms in plain integers: how many values fell between which bounds, and their exact sum."""

from array import array
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from .table import Metric, Shape

Labels = tuple[str, ...]


class Sample(NamedTuple):
    """One value of a series, as Prometheus names it: `metric` is the series' own name, `_bucket` and `le` included."""

    metric: str
    shape: Shape
    labels: Labels
    value: float


class Buckets:
    """One histogram's series. Values are integers in the unit that its bounds are in."""

    __slots__ = ("_bounds", "_noted", "count", "counts", "metric", "note", "sum")

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self._noted = array("q")
        self.note = self._noted.append
        """Takes in one value in a tenth of a microsecond; it counts from the next `fold` on."""
        self._bounds = np.array(metric.bounds, np.int64)
        self.counts = np.zeros(len(metric.bounds) + 1, np.int64)
        self.count = 0
        self.sum = 0

    def fold(self) -> None:
        """Count what was noted. A value that is equal to a bound counts below it, as Prometheus' `le` says."""
        if not self._noted:
            return
        values = np.array(self._noted, np.int64)
        del self._noted[:]
        self.counts += np.bincount(np.searchsorted(self._bounds, values), minlength=len(self.counts))
        self.count += len(values)
        self.sum += int(values.sum())

    def samples(self, labels: Labels) -> Iterator[Sample]:
        """Yield the series of a classic histogram: cumulative buckets, sum and count."""
        self.fold()
        name, shape = self.metric.name, self.metric.shape
        below = np.cumsum(self.counts).tolist()
        for bound, count in zip((*self.metric.bounds, None), below, strict=True):
            yield Sample(f"{name}_bucket", shape, (*labels, _le(bound, self.metric.scale)), count)
        yield Sample(f"{name}_sum", shape, labels, self.sum / self.metric.scale)
        yield Sample(f"{name}_count", shape, labels, self.count)


def _le(bound: int | None, scale: int) -> str:
    """Return a bound as Prometheus' own clients write it."""
    return "+Inf" if bound is None else repr(bound / scale)
