"""How much of the servers' time was in use, and how much stood ready, by intervals of a run."""

from collections.abc import Iterable

import numpy as np

from ..model import Ints


def bin_us_of(last_enter_us: int, bins: int) -> int:
    """Return the length of an interval: the last call that enters does so in the last one."""
    return max(1, -(-(last_enter_us + 1) // bins))


def spread_over(pieces: Iterable[tuple[int, int, int]], bins: int, bin_us: int) -> Ints:
    """Return how much time of pieces (from_us, until_us, how many at once) falls into each interval, int64[bins].

    What comes after the last interval counts in it.
    """
    series = np.zeros(bins, dtype=np.int64)
    for from_us, until_us, count in pieces:
        for k in range(min(from_us // bin_us, bins - 1), bins):
            ends_us = (k + 1) * bin_us if k < bins - 1 else until_us
            inside_us = min(until_us, ends_us) - max(from_us, k * bin_us)
            if inside_us <= 0:
                break
            series[k] += inside_us * count
    return series


def stretches(changes: Iterable[tuple[int, int]], until_us: int) -> list[tuple[int, int, int]]:
    """Return the pieces between changes (at_us, how many from then on), up to an end."""
    changes = list(changes)
    ends = [at_us for at_us, _ in changes[1:]] + [until_us]
    pieces = [(at_us, min(end_us, until_us), count) for (at_us, count), end_us in zip(changes, ends, strict=True)]
    return [piece for piece in pieces if piece[0] < piece[1]]
