"""Shapes hold the means and quantiles of what they stand for; luck belongs to calls."""

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infercast.policies.network import Path
from infercast.sim.model import SHAPE_POINTS, Truth
from infercast.sim.shapes import ONE, luck_of, point, service_purpose, shape_of, shape_of_trip, trip_purpose

WAY = Path(("a", "b"), 20_000, 5_000, 1_000, 0, 0, frozenset())


@pytest.mark.parametrize("ratio", [1.001, 1.25, 3.0, 10.0])
def test_a_lognormal_shape_has_the_distributions_mean_and_quantiles(ratio: float) -> None:
    points = shape_of(Truth(100_000, round(100_000 * ratio)))
    sigma = math.log(ratio) / NormalDist().inv_cdf(0.95)
    assert points.mean() / ONE == pytest.approx(math.exp(sigma * sigma / 2), rel=1e-6)
    assert points[SHAPE_POINTS // 2 - 1 : SHAPE_POINTS // 2 + 1].mean() / ONE == pytest.approx(1.0, rel=1e-5)
    assert points[int(0.95 * SHAPE_POINTS)] / ONE == pytest.approx(ratio, rel=2e-3)
    assert (np.diff(points) >= 0).all()


def test_a_slice_of_a_lognormal_shape_is_the_mean_between_its_quantiles() -> None:
    points = shape_of(Truth(1_000, 3_000))
    sigma = math.log(3) / NormalDist().inv_cdf(0.95)
    for k in (1, 777, 2048, 4000, 4094):
        fine = [NormalDist().inv_cdf((k + (i + 0.5) / 500) / SHAPE_POINTS) for i in range(500)]
        assert points[k] / ONE == pytest.approx(sum(math.exp(sigma * z) for z in fine) / 500, rel=1e-5)


def test_an_exponential_shape_has_mean_one_and_its_quantiles_are_logarithms() -> None:
    points = shape_of(Truth(5_000, 5_000, "exponential"))
    assert abs(int(points.sum()) - ONE * SHAPE_POINTS) < SHAPE_POINTS
    for k in (0, 100, 2048, 4000):
        assert points[k] / ONE == pytest.approx(-math.log(1 - (k + 0.5) / SHAPE_POINTS), rel=1e-4)
    assert points[-1] / ONE == pytest.approx(1 + math.log(SHAPE_POINTS), abs=2 / ONE)  # the mean of all beyond ln 4096


def test_constant_times_do_not_vary() -> None:
    assert set(shape_of(Truth(7, 9, "constant")).tolist()) == {ONE}
    assert set(shape_of(Truth(7, 7)).tolist()) == {ONE}


def test_an_empirical_shape_repeats_what_was_observed() -> None:
    points = shape_of(Truth(100, 400, "empirical", (400, 100)))
    assert points.tolist() == [ONE] * 2048 + [4 * ONE] * 2048
    thirds = shape_of(Truth(1, 1, "empirical", (1, 2, 4)))
    assert (
        thirds[1365] == (ONE + 2 * 2 * ONE + 1) // 3
    )  # a third of slice 1,365 is the first value's, two are the second's


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=50), st.integers(1, 10**6))
def test_an_empirical_shape_has_the_mean_of_its_values(values: list[int], p50_us: int) -> None:
    points = shape_of(Truth(p50_us, p50_us, "empirical", tuple(values)))
    assert points.mean() * p50_us / ONE == pytest.approx(sum(values) / len(values), abs=p50_us / ONE + 1e-6)


def test_round_trips_spread_as_the_links_say() -> None:
    points = shape_of_trip(WAY)
    assert points.tolist() == shape_of(Truth(20_000, 25_000)).tolist()
    assert points[int(0.95 * SHAPE_POINTS)] / ONE == pytest.approx(1.25, rel=1e-3)


def test_the_longest_times_are_held_down_so_that_products_fit() -> None:
    longest = int(shape_of(Truth(1, 600_000_000)).max())
    assert longest < 2**33
    assert 600_000_000 * longest < 2**63


def test_luck_is_the_same_for_a_call_however_many_come_after_it() -> None:
    assert luck_of(3, 10).tolist() == luck_of(3, 1_000)[:10].tolist()
    assert luck_of(3, 10).tolist() != luck_of(4, 10).tolist()
    assert luck_of(1, 3).tolist() == [77017473118637283, 91095766500089079, 6660563612338592]


def test_each_purpose_draws_its_own_point() -> None:
    luck = 1 + (2 << 12) + (3 << 24) + (4 << 36) + (5 << 48)
    assert [point(luck, purpose) for purpose in range(7)] == [1, 2, 3, 4, 5, 1 + 1237, 2 + 1237]
    assert [service_purpose(k) for k in (0, 1, 2)] == [0, 2, 4]
    assert [trip_purpose(k) for k in (0, 1, 2)] == [1, 3, 5]
