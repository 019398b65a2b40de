"""The kernel: the arithmetic of one call, by hand."""

from math import isqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infercast.policies import kernel
from infercast.policies.model import Quantile, Rule
from infercast.policies.objectives import QUANTILE_COLUMN
from infercast.policies.snapshot import Snapshot
from infercast.policies.tables import Table
from tests.support import engine_of, fleet_of, link, raw_fleet, request_of


@given(st.integers(0, 2**62))
def test_the_square_root_is_whole_and_exact(square: int) -> None:
    assert kernel._isqrt(square) == isqrt(square)


@given(st.integers(0, kernel.FIELD - 1), st.integers(0, kernel.FIELD - 1))
def test_the_mix_stays_in_its_field(draw: int, tie: int) -> None:
    assert 0 <= kernel._mix(draw, tie) < kernel.FIELD


@pytest.mark.parametrize(
    ("payload_bytes", "size"),
    [(0, 0), (4096, 0), (4097, 1), (65_536, 1), (65_537, 2), (2**20, 2), (2**20 + 1, 3), (10**10, 3)],
)
def test_payloads_are_told_apart_at_4_kib_64_kib_and_1_mib(payload_bytes: int, size: int) -> None:
    assert kernel.size_of(payload_bytes) == size


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
    request = request_of(payload_bytes=1_000_000 - 1024)
    verdict = engine.explain(request, snapshot).verdict_of("large@par")
    service_us, spread_us, ahead = 4_300, 4_000, 3
    from_entry_us = 12_000 + 8_000 + service_us + service_us * ahead // 2
    median_us = 8_000 + 8_000 + from_entry_us
    squares = 4_000**2 + spread_us**2 + spread_us**2 * ahead // 4
    assert verdict.latency_us == median_us
    assert verdict.deadline_latency_us == median_us + isqrt(3_000**2 + squares)
    compute = round(0.36e9 / 3600) * service_us // 1_000_000
    assert verdict.price_nusd == compute + (998_976 * 100_000_000 + 1024 * 200_000_000) // 10**9
    choice = engine.choose(request, snapshot)
    place = choice.deployments.index(2)
    assert (choice.median_us[place], choice.spread_us[place]) == (from_entry_us, isqrt(squares))


def test_the_quantiles_are_those_of_a_normal_distribution() -> None:
    thousandths = [round(1000 * z / 1.6449) for z in (0, 1.2816, 1.6449, 2.3263)]
    assert thousandths == list(kernel.Z_NORMAL)
    assert [QUANTILE_COLUMN[quantile] for quantile in Quantile] == list(range(kernel.QUANTILES))


def test_codes_of_the_kernel_are_those_of_the_glossary() -> None:
    for name in ("PRICE", "DEADLINE", "DEADLINE_LOAD", "CAPACITY", "HEALTH", "TRIED"):
        assert getattr(kernel, name) == Rule[name]


def tables(scores: list[int], ties: list[int] | None = None) -> tuple[Table, Table]:
    """A view and an outcome table of candidates with these scores."""
    view = np.zeros((kernel.V_ROWS, len(scores)), dtype=np.int64)
    view[kernel.V_TIE] = ties or 0
    out = np.zeros((len(scores), kernel.O_COLS), dtype=np.int64)
    out[:, kernel.O_PRIMARY] = scores
    return view, out


def test_the_order_is_cut_where_it_is_full() -> None:
    view, out = tables([5, 3, 9, 1, 7])
    for places, expected in ((1, [3]), (3, [3, 1, 0]), (7, [3, 1, 0, 4, 2])):
        order = np.zeros(places, dtype=np.int64)
        found = kernel.rank(view, out, 0, 0, order)
        assert order[:found].tolist() == expected
    out[3, kernel.O_RULE] = kernel.CAPACITY
    assert kernel.rank(view, out, 0, 0, order) == 4


def test_ties_go_to_the_faster_and_then_to_the_smaller_digest() -> None:
    view, out = tables([0, 0, 0], ties=[30, 20, 10])
    out[:, kernel.O_SECONDARY] = [1, 2, 2]
    order = np.zeros(3, dtype=np.int64)
    assert kernel.rank(view, out, 0, 0, order) == 3
    assert order.tolist() == [0, 2, 1]


def test_one_drawn_from_behind_the_last_place_takes_the_first() -> None:
    view, out = tables([1, 2, 3, 4], ties=[5, 6, 7, 8])
    for draw in range(50):
        whole, cut = np.zeros(4, dtype=np.int64), np.zeros(2, dtype=np.int64)
        kernel.rank(view, out, 10, draw, whole)
        assert kernel.rank(view, out, 10, draw, cut) == 2
        assert cut.tolist() == whole[:2].tolist()
        rest = [at for at in range(4) if at != whole[0]]
        assert whole.tolist() == [int(whole[0]), *rest]
