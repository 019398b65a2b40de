"""How sure a mean of few numbers is: Student's t, from its closed forms for whole degrees of freedom.

Source: M. Abramowitz and I. A. Stegun, Handbook of Mathematical Functions (1964), 26.7.3 (odd) and 26.7.4 (even).
"""

import math
from collections.abc import Sequence
from functools import lru_cache

CONFIDENCE = 0.95
HALVINGS = 200


def within(t: float, freedom: int) -> float:
    """Return the probability that a t of so many degrees of freedom (1 or more) lies between -t and t."""
    angle = math.atan(t / math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term, total = (cosine, cosine) if odd else (1.0, 1.0)
    if freedom == 1:
        total = 0.0
    for power in range(2 + odd, freedom, 2):
        term *= (power - 1) / power * cosine * cosine
        total += term
    return 2 / math.pi * (angle + sine * total) if odd else sine * total


@lru_cache(maxsize=256)
def t_for(freedom: int, confidence: float = CONFIDENCE) -> float:
    """Return the t that a share `confidence` of all values lies within, either way. Raises ValueError below one degree."""
    if freedom < 1:
        raise ValueError("one number says nothing of how far numbers scatter")
    low, high = 0.0, 1.0
    while within(high, freedom) < confidence:
        high *= 2
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if within(middle, freedom) < confidence else (low, middle)
    return (low + high) / 2


def mean_and_half_width(values: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean of one or more numbers, and half the width of its 95% interval; None for a single number."""
    n = len(values)
    mean = math.fsum(values) / n
    if n == 1:
        return mean, None
    variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1)
    return mean, t_for(n - 1) * math.sqrt(variance / n)
