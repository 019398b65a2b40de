"""What a site tells of its deployments' service times, as `Estimates.report` and `Snapshot.hear` have it."""

from infercast.policies import estimator, kernel

from .compiling import inlined
from .layout import (
    D_PRIOR_P50_US,
    D_PRIOR_P95_US,
    D_TAUGHT,
    D_TOLD_P50,
    D_TOLD_P95,
    State,
)

SIZES, LATENCY_MAX_US = kernel.SIZES, kernel.LATENCY_MAX_US
CALLS = estimator.M_CALLS
quantiles = estimator.quantiles


@inlined
def told_times(w: State, d: int) -> None:
    """Put down what a site tells of a deployment's service times: p50 and p95 per payload size."""
    row = w.dep[d]
    for column in range(SIZES):
        row[D_TOLD_P50 + SIZES + column] = row[D_TOLD_P50 + column]
        row[D_TOLD_P95 + SIZES + column] = row[D_TOLD_P95 + column]
    if not row[D_TAUGHT]:
        return
    row[D_TAUGHT] = 0
    for size in range(SIZES):
        lender = _lender(w, d, size)
        p50_us, _, p95_us, _ = quantiles(w.service_bins, w.service_meta, SIZES * d + lender)
        if lender != size:
            p50_us, p95_us = max(p50_us, row[D_PRIOR_P50_US]), max(p95_us, row[D_PRIOR_P95_US])
        row[D_TOLD_P50 + size] = min(max(1, p50_us), LATENCY_MAX_US)
        row[D_TOLD_P95 + size] = min(max(1, p50_us, p95_us), LATENCY_MAX_US)


@inlined
def _lender(w: State, d: int, size: int) -> int:
    """Return the size whose times stand for a size: its own, the next larger that was heard, or the next smaller."""
    for other in range(size, SIZES):
        if w.service_meta[SIZES * d + other, CALLS]:
            return other
    for back in range(size):
        if w.service_meta[SIZES * d + size - 1 - back, CALLS]:
            return size - 1 - back
    return size
