"""Which of many scenarios are worth a look: those that no other beats in both cost and latency."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Point:
    """What a scenario costs and how fast it is; less is better in both. Any quantile or mean will do, of all the same."""

    name: str
    cost_usd_per_day: float
    latency_ms: float


def frontier(points: Iterable[Point]) -> tuple[Point, ...]:
    """Return the points that no other point beats, cheapest first.

    A point is beaten by one that is no worse in both and better in one; of equal points all stay.
    """
    kept: list[Point] = []
    for point in sorted(points, key=lambda point: (point.cost_usd_per_day, point.latency_ms, point.name)):
        last = kept[-1] if kept else None
        if last is None or point.latency_ms < last.latency_ms or _equal(point, last):
            kept.append(point)
    return tuple(kept)


def _equal(one: Point, other: Point) -> bool:
    return (one.cost_usd_per_day, one.latency_ms) == (other.cost_usd_per_day, other.latency_ms)
