"""Which of many scenarios are worth a look: those that no other beats in both cost and latency."""

from collections.abc import Iterable
from dataclasses import dataclass

ANSWERED_LESS_MAX = 0.01
"""A point that answers a share of its calls smaller by more than this is no candidate: refusing is cheap and fast."""
ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Point:
    """What a scenario costs, how fast it is, and which share of its calls had an answer.

    Less is better in cost and latency. Any quantile or mean will do, of all the same.
    """

    name: str
    cost_usd_per_day: float
    latency_ms: float
    answered_share: float = 1.0


def frontier(points: Iterable[Point]) -> tuple[Point, ...]:
    """Return the points that no other point beats, cheapest first.

    A point is beaten by one that is no worse in both and better in one; of equal points all stay. Points that `answer_enough`
    leaves out neither stay nor beat others.
    """
    kept: list[Point] = []
    for point in sorted(
        answer_enough(points), key=lambda point: (point.cost_usd_per_day, point.latency_ms, point.name)
    ):
        last = kept[-1] if kept else None
        if last is None or point.latency_ms < last.latency_ms or _equal(point, last):
            kept.append(point)
    return tuple(kept)


def answer_enough(points: Iterable[Point]) -> tuple[Point, ...]:
    """Return the points that answer at most 1 point (of percent) less of their calls than the one that answers most."""
    points = tuple(points)
    most = max((point.answered_share for point in points), default=0.0)
    return tuple(point for point in points if most - point.answered_share <= ANSWERED_LESS_MAX + ROUNDING)


def _equal(one: Point, other: Point) -> bool:
    return (one.cost_usd_per_day, one.latency_ms) == (other.cost_usd_per_day, other.latency_ms)
