"""Time in use and time ready, by the bins of a run."""

from typing import Any

from .compiling import inlined
from .layout import N_BIN, N_BIN_US, N_BINS, N_NOW_US, State


@inlined
def add(w: State, series: Any, d: int, from_us: int, until_us: int, servers: int) -> None:
    """Count so many servers of a deployment over a time, in the bins that it lies in; the last holds whatever is later."""
    at = min(from_us // w.clock[N_BIN_US], w.clock[N_BINS] - 1)
    _add_from(w, series, d, at, from_us, until_us, servers)


@inlined
def add_from_now(w: State, series: Any, d: int, until_us: int, servers: int) -> None:
    """Count so many servers of a deployment from now on."""
    _add_from(w, series, d, w.clock[N_BIN], w.clock[N_NOW_US], until_us, servers)


@inlined
def _add_from(w: State, series: Any, d: int, at: int, from_us: int, until_us: int, servers: int) -> None:
    bin_us, last = w.clock[N_BIN_US], w.clock[N_BINS] - 1
    while at < last and (at + 1) * bin_us < until_us:
        series[d, at] += servers * ((at + 1) * bin_us - from_us)
        from_us = (at + 1) * bin_us
        at += 1
    series[d, at] += servers * (until_us - from_us)
