"""Time in use and time ready, by the bins of a run."""

from typing import Any

from .compiling import inlined
from .layout import N_BIN_US, N_BINS, State


@inlined
def add(w: State, series: Any, d: int, from_us: int, until_us: int, servers: int) -> None:
    """Count so many servers of a deployment over a time, in the bins that it lies in; the last holds whatever is later."""
    bin_us, last = w.clock[N_BIN_US], w.clock[N_BINS] - 1
    at = min(from_us // bin_us, last)
    while at < last and (at + 1) * bin_us < until_us:
        series[d, at] += servers * ((at + 1) * bin_us - from_us)
        from_us = (at + 1) * bin_us
        at += 1
    series[d, at] += servers * (until_us - from_us)
