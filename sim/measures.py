"""What is measured of a group of calls, in words, and how each measure is written for people."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from .summary import Group

Unit = Literal["ms", "usd", "share", "calls"]
PLACES_MAX = 9
MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True, slots=True)
class Measure:
    """One measure. `better` says which way is better, 0 where neither is; `of` reads it, None where it cannot be said."""

    name: str
    label: str
    unit: Unit
    better: int
    of: Callable[[Group], float | None]


def _latency(name: str, label: str, field: str) -> Measure:
    return Measure(name, label, "ms", -1, lambda group: getattr(group.latency, field) if group.latency else None)


MEASURES = (
    _latency("p50_ms", "p50 latency", "p50_ms"),
    _latency("p95_ms", "p95 latency", "p95_ms"),
    _latency("p99_ms", "p99 latency", "p99_ms"),
    _latency("mean_ms", "mean latency", "mean_ms"),
    Measure("wait_mean_ms", "mean wait in queues", "ms", -1, lambda group: group.wait_mean_ms),
    Measure("in_time_share", "deadlines kept", "share", 1, lambda group: group.in_time_share),
    Measure("answered_share", "calls answered", "share", 1, lambda group: group.answered_share),
    Measure("accuracy", "measured accuracy of answers", "share", 1, lambda group: group.accuracy),
    Measure("cost_usd_per_day", "cost a day", "usd", -1, lambda group: group.cost_usd_per_day),
    Measure("cost_usd_per_1000_calls", "cost per 1,000 calls", "usd", -1, lambda group: group.cost_usd_per_1000_calls),
    Measure("egress_usd_per_day", "egress a day", "usd", -1, lambda group: group.egress_usd_per_day),
    Measure("calls", "calls", "calls", 0, lambda group: group.calls),
    Measure("hedged", "hedged calls", "calls", 0, lambda group: group.hedged),
)
MEASURE_BY_NAME = {measure.name: measure for measure in MEASURES}


def places_for(size: float, figures: int = 3) -> int:
    """Return how many decimal places show a number of this size with so many figures."""
    if size == 0:
        return 0
    return min(PLACES_MAX, max(0, figures - 1 - math.floor(math.log10(abs(size)))))


def written(value: float | None, unit: Unit) -> str:
    """Return a value for people, with its unit: `12.3 ms`, `$4.10`, `99.2%`, `1,234`. A dash for none."""
    if value is None:
        return "—"
    if unit == "share":
        rest = min(value, 1 - value)  # 99.98% must not read as 100.0%
        return f"{100 * value:.{max(1, places_for(100 * rest, 1)) if rest > 0 else 1}f}%"
    return _with_unit(value, places_for(value) if value % 1 else 0, unit)


def change_written(difference: float, half_width: float | None, unit: Unit) -> str:
    """Return a change for people: `-31.0 ± 4.2 ms`, `+$212 ± 9.1`, `+1.20 ± 0.31 points` (of percent)."""
    scale = 100.0 if unit == "share" else 1.0
    change, half = difference * scale, None if half_width is None else half_width * scale
    places = places_for(half, 2) if half else places_for(change) if change % 1 else 0
    margin = "" if half is None else f" ± {half:,.{places if half else 0}f}"
    return _with_unit(change, places, unit, "+", margin)


def _with_unit(value: float, places: int, unit: Unit, plus: str = "", margin: str = "") -> str:
    number = f"{abs(value):,.{places}f}"
    sign = "" if not number.strip("0.,") else MINUS if value < 0 else plus
    before, after = {"ms": ("", " ms"), "usd": ("$", ""), "share": ("", " points"), "calls": ("", "")}[unit]
    return f"{sign}{before}{number}{margin}{after}"
