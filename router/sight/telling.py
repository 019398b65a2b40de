"""Metrics on their way out: through Ray's own agents, or as text.

Ray's agent of each node serves what the processes there record, for Prometheus, on a port of its own. A counter is one of
Ray's. A histogram is told as the series that Prometheus keeps of one, cumulative `_bucket{le}`, `_sum` and `_count`, each
exact. Ray's own Histogram is not used: on the way to the agent it forgets the values, so that the sum which is served is
made of the buckets' middles (a thousand times 0.3 s came out as 550 s), and the agent takes each observation in anew, in Python.
"""

from collections.abc import Iterable
from typing import Any

from .buckets import Labels, Sample
from .table import METRICS, Metric, Shape

SUFFIXES = {"_bucket": ("le",), "_sum": (), "_count": ()}


def series_of(metric: Metric) -> dict[str, Labels]:
    """Return the names that a metric's series go by, and their labels."""
    if metric.shape is not Shape.HISTOGRAM:
        return {metric.name: metric.labels}
    return {metric.name + suffix: (*metric.labels, *more) for suffix, more in SUFFIXES.items()}


AGAIN = 5
"""Every so many tellings all gauges are recorded, changed or not: Ray forgets those that were not within its report interval
(10 s), and its agents what they have not heard for twice that."""


class ThroughRay:
    """Records samples with Ray: what has changed, and now and then all of it."""

    def __init__(self) -> None:
        from ray.util import metrics as ray_metrics

        self._series: dict[str, tuple[Any, Labels]] = {}
        for metric in METRICS.values():
            kind = ray_metrics.Counter if metric.shape is Shape.COUNTER else ray_metrics.Gauge
            for name, labels in series_of(metric).items():
                # Ray ends the names of counters with `_total` itself.
                self._series[name] = (kind(name.removesuffix("_total"), metric.meaning, labels), labels)
        self._told: dict[tuple[str, Labels], float] = {}
        self._turn = 0

    def tell(self, samples: Iterable[Sample]) -> None:
        """Record samples. Two microseconds for each that is recorded."""
        told = self._told
        self._turn += 1
        again = self._turn % AGAIN == 0
        for name, shape, labels, value in samples:
            before = told.get((name, labels))
            if before == value and (shape is Shape.COUNTER or not again):
                continue
            told[name, labels] = value
            series, keys = self._series[name]
            tags = dict(zip(keys, labels, strict=True))
            if shape is not Shape.COUNTER:
                series.set(value, tags)
            elif value > (before or 0):
                series.inc(value - (before or 0), tags)


def text_of(samples: Iterable[Sample]) -> str:
    """Return samples in Prometheus' text format, version 0.0.4."""
    by_name: dict[str, list[Sample]] = {}
    for sample in samples:
        by_name.setdefault(sample.metric, []).append(sample)
    lines: list[str] = []
    for metric in METRICS.values():
        series = series_of(metric)
        if not any(name in by_name for name in series):
            continue
        lines += [f"# HELP {metric.name} {metric.meaning}", f"# TYPE {metric.name} {metric.shape}"]
        if metric.shape is Shape.HISTOGRAM:
            lines += _grouped(by_name, series)
        else:
            lines += [_line(sample, metric.labels) for sample in by_name.get(metric.name, ())]
    return "\n".join([*lines, ""])


def _grouped(by_name: dict[str, list[Sample]], series: dict[str, Labels]) -> list[str]:
    """Return a histogram's lines, each label set's together, as parsers expect them."""
    groups: dict[Labels, list[str]] = {}
    for name, keys in series.items():
        for sample in by_name.get(name, ()):
            labels = sample.labels[:-1] if keys[-1:] == ("le",) else sample.labels
            groups.setdefault(labels, []).append(_line(sample, keys))
    return [line for group in groups.values() for line in group]


def _line(sample: Sample, keys: Labels) -> str:
    pairs = ",".join(f'{key}="{_escaped(value)}"' for key, value in zip(keys, sample.labels, strict=True))
    value = int(sample.value) if sample.value == int(sample.value) else sample.value
    return f"{sample.metric}{{{pairs}}} {value!r}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
