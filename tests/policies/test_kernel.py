"""The kernel: the arithmetic of one call, by hand."""

from math import isqrt

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from infercast.policies import kernel
from infercast.policies.snapshot import Snapshot
from tests.support import engine_of, fleet_of, link, raw_fleet, request_of


@given(st.integers(0, 2**62))
def test_the_square_root_is_whole_and_exact(square: int) -> None:
    assert kernel._isqrt(square) == isqrt(square)


@given(st.integers(0, 10**10), st.integers(0, kernel.LATENCY_MAX_US))
def test_a_rate_times_a_time_is_exact(rate: int, time_us: int) -> None:
    assert kernel._at_rate(rate, time_us) == rate * time_us // 1_000_000


@given(st.integers(0, kernel.FIELD - 1), st.integers(0, kernel.FIELD - 1))
def test_the_mix_stays_in_its_field(draw: int, tie: int) -> None:
    assert 0 <= kernel._mix(draw, tie) < kernel.FIELD


def test_a_call_is_estimated_as_a_whole() -> None:
    """Median: 8 ms of access, 12 ms to Paris, transfer on both ways, queue and service; spreads as roots of squares."""
    links = [
        link("berlin", "ber", 8, "DE", rtt_p95_ms=11),
        link("ber", "par", 12, "FR", rtt_p95_ms=16, egress_usd_per_gb=0.1, egress_back_usd_per_gb=0.2),
    ]
    engine = engine_of(fleet=fleet_of(raw_fleet(links=links)), deadline_quantile="p95")
    snapshot = Snapshot.declared(engine.fleet)
    snapshot.live[2, kernel.L_CONCURRENCY] = 2
    snapshot.live[2, kernel.L_IN_FLIGHT] = 4
    snapshot.refresh()
    verdict = engine.explain(request_of(payload_bytes=1_000_000 - 1024), snapshot).verdict_of("large@par")
    service_us, spread_us, ahead = 4_300, 4_000, 3
    median_us = 8_000 + 12_000 + 2 * 8_000 + service_us + service_us * ahead // 2
    whole_us = isqrt(3_000**2 + 4_000**2 + spread_us**2 + spread_us**2 * ahead // 4)
    assert verdict.latency_us == median_us
    assert verdict.deadline_latency_us == median_us + whole_us
    compute = round(0.36e9 / 3600) * service_us // 1_000_000
    assert verdict.price_nusd == compute + (998_976 * 100_000_000 + 1024 * 200_000_000) // 10**9


def test_the_quantiles_are_those_of_a_normal_distribution() -> None:
    thousandths = [round(1000 * z / 1.6449) for z in (0, 1.2816, 1.6449, 2.3263)]
    assert thousandths == [kernel.Z_P50, kernel.Z_P90, kernel.Z_P95, kernel.Z_P99]


def test_the_order_is_cut_where_it_is_full() -> None:
    scores = [5, 3, 9, 1, 7]
    static = np.zeros((5, kernel.S_COLS), dtype=np.int64)
    out = np.zeros((5, kernel.O_COLS), dtype=np.int64)
    out[:, kernel.O_PRIMARY] = scores
    params = np.zeros(kernel.P_COLS, dtype=np.int64)
    for places, expected in ((1, [3]), (3, [3, 1, 0]), (7, [3, 1, 0, 4, 2])):
        order = np.zeros(places, dtype=np.int64)
        found = kernel.rank(static, params, out, order)
        assert order[:found].tolist() == expected
    out[3, kernel.O_RULE] = kernel.CAPACITY
    assert kernel.rank(static, params, out, order) == 4


def test_ties_go_to_the_faster_and_then_to_the_smaller_digest() -> None:
    static = np.zeros((3, kernel.S_COLS), dtype=np.int64)
    static[:, kernel.S_TIE] = [30, 20, 10]
    out = np.zeros((3, kernel.O_COLS), dtype=np.int64)
    out[:, kernel.O_SECONDARY] = [1, 2, 2]
    order = np.zeros(3, dtype=np.int64)
    assert kernel.rank(static, np.zeros(kernel.P_COLS, dtype=np.int64), out, order) == 3
    assert order.tolist() == [0, 2, 1]
