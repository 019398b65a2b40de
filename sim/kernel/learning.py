"""What places learn from calls that end, as `policies.estimates.Estimates` does, over the same compiled arithmetic.

An entry that learns has taken in its last tick before: what is learned after it counts from the next one on.
"""

from infercast.policies import calibration, estimator, kernel
from infercast.policies.estimates import SIZE_TRIP_MAX_BYTES, TIMED_OUT_FACTOR

from .belief import follow_entry
from .compiling import inlined
from .layout import (
    C_NEW,
    D_SITE,
    D_TAUGHT,
    NONE,
    S_ENTRY,
    W_HEARD_US,
    W_NEW,
    State,
)

SIZES, TIME_MIN_US, LATENCY_MAX_US = kernel.SIZES, estimator.TIME_MIN_US, kernel.LATENCY_MAX_US
U_MAX_MILLI = calibration.U_MAX_MILLI
observe = estimator.observe
track, step_back = calibration.track, calibration.step_back


@inlined
def served(w: State, d: int, payload_bytes: int, service_us: int) -> None:
    """A site learns what a call that did not wait took at a deployment of its own."""
    series = SIZES * d + kernel.size_of(payload_bytes)
    took_us = min(max(service_us, TIME_MIN_US), LATENCY_MAX_US)
    if observe(w.service_bins, w.service_meta, w.service_recent, series, took_us):
        site = w.dep[d, D_SITE]
        entry = w.site[site, S_ENTRY]
        if entry != NONE:
            follow_entry(w, entry, site)
            step_back(w.surprise, entry * w.dep.shape[0] + d)
    w.dep[d, D_TAUGHT] = 1


@inlined
def travelled(w: State, entry: int, site: int, payload_bytes: int, trip_us: int, now_us: int) -> None:
    """An entry learns what the way to a site and back took."""
    if payload_bytes <= SIZE_TRIP_MAX_BYTES:
        took_us = min(max(trip_us, TIME_MIN_US), LATENCY_MAX_US)
        observe(w.trip_bins, w.trip_meta, w.trip_recent, entry * w.site.shape[0] + site, took_us)
        w.way[entry, site, W_NEW] = 1
        w.way[entry, site, W_HEARD_US] = now_us


@inlined
def carried(w: State, entry: int, d: int, took_us: int, median_us: int, spread_us: int) -> None:
    """An entry learns how a call's time stood against what was expected of it."""
    u_milli = 1000 * (took_us - median_us) // max(1, spread_us)
    track(w.surprise, entry * w.dep.shape[0] + d, min(max(u_milli, -U_MAX_MILLI), U_MAX_MILLI))
    if not w.cell[entry, d, C_NEW]:
        w.cell[entry, d, C_NEW] = 1
        w.fresh[entry, 0] += 1
        w.fresh[entry, w.fresh[entry, 0]] = d


@inlined
def gave_up(w: State, entry: int, d: int, patience_us: int, median_us: int, spread_us: int) -> None:
    """An entry learns from a call that gave no answer while it was waited for."""
    carried(w, entry, d, TIMED_OUT_FACTOR * patience_us, median_us, spread_us)
