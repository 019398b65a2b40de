import importlib.util
import sys
from collections.abc import Callable
from fractions import Fraction
from math import comb
from pathlib import Path
from statistics import NormalDist
from types import ModuleType

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infercast.policies import estimator
from infercast.policies.estimator import EDGES, LONG, SHORT, Times
from infercast.policies.units import LATENCY_MAX_US

Sample = npt.NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Sample]
PRIOR_US = (5_000, 10_000)
any_time = st.integers(-10, 2 * LATENCY_MAX_US)
usual_time = st.integers(1_000, 100_000)


def hear(times: Times, sample: Sample, series: int = 0) -> int:
    return sum(times.hear(series, round(time_us)) for time_us in sample.tolist())


def state(times: Times) -> bytes:
    return times.bins.tobytes() + times.meta.tobytes() + times.recent.tobytes()


def interpreted() -> ModuleType:
    """The same source, loaded as where numba is not installed."""
    spec = importlib.util.spec_from_file_location("infercast.policies.estimator_interpreted", estimator.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    source = Path(estimator.__file__).read_text()
    exec(
        compile(source.replace('find_spec("numba") is not None', "False"), estimator.__file__, "exec"), module.__dict__
    )
    assert not module.COMPILED
    return module


def lognormal(sigma: float) -> Draw:
    return lambda rng, count: 5_000 * np.exp(sigma * rng.standard_normal(count))


def hit_or_miss(hits: float, ratio: float) -> Draw:
    return lambda rng, count: lognormal(0.15)(rng, count) * np.where(rng.random(count) < hits, 1, ratio)


def tailed(rng: np.random.Generator, count: int) -> Sample:
    return lognormal(0.2)(rng, count) * np.where(rng.random(count) < 0.02, rng.uniform(3, 5, count), 1)


DRAWS: dict[str, Draw] = {
    "lognormal 0.1": lognormal(0.1),
    "lognormal 0.3": lognormal(0.3),
    "lognormal 0.5": lognormal(0.5),
    "gamma": lambda rng, count: rng.gamma(4, 1_250, count),
    "cache": hit_or_miss(0.8, 8),
    "tailed": tailed,
}

CHANGES: dict[str, Callable[[Draw], Draw]] = {
    "3x slower": lambda draw: lambda rng, count: 3 * draw(rng, count),
    "3x quicker": lambda draw: lambda rng, count: draw(rng, count) / 3,
    "sum of three": lambda draw: lambda rng, count: draw(rng, 3 * count).reshape(3, count).sum(axis=0),
}


def test_bins_are_logarithmic_and_cover_all_times() -> None:
    assert EDGES[0] == 50
    assert EDGES[-1] == LATENCY_MAX_US
    assert (np.diff(EDGES) > 0).all()
    assert EDGES[16 * 10] == 50 * 2**10
    assert (np.diff(EDGES) / EDGES[:-1]).max() < 0.055


def test_normal_table_is_the_normal_distribution() -> None:
    exact = [NormalDist().cdf(tenth / 10) * 1e6 for tenth in range(40)]
    assert [round(share) for share in exact] == estimator.NORMAL_PPM[:-1].tolist()


@pytest.mark.parametrize(("window", "bounds"), [(SHORT, estimator.BOUNDS_SHORT), (LONG, estimator.BOUNDS_LONG)])
def test_bounds_are_the_tightest_within_the_stated_odds(window: int, bounds: estimator.Table) -> None:
    odds = Fraction(1, estimator.ALARM_ODDS)
    for k in range(1, 8):
        share = Fraction(k, 8)
        chance = [comb(window, n) * share**n * (1 - share) ** (window - n) for n in range(window + 1)]
        low, high = bounds[:, k].tolist()
        assert sum(chance[: low + 1]) <= odds < sum(chance[: low + 2])
        assert sum(chance[high:]) <= odds < sum(chance[high - 1 :])


def test_the_prior_holds_until_a_call_is_heard() -> None:
    times = Times([PRIOR_US, (700, 700)])
    p50_us, p90_us, p95_us, p99_us = times.quantiles_us(0)
    assert (p50_us, p95_us) == PRIOR_US
    assert p90_us == pytest.approx(5_000 * 2**0.779, rel=0.01)
    assert p99_us == pytest.approx(5_000 * 2**1.414, rel=0.01)
    assert times.quantiles_us(1) == (700, 700, 700, 700)
    assert times.calls(0) == 0


def test_a_first_call_hardly_moves_a_prior() -> None:
    times = Times([PRIOR_US])
    times.hear(0, 5_000)
    assert times.quantiles_us(0) == pytest.approx((5_000, 8_580, 10_000, 13_320), rel=0.06)
    assert times.calls(0) == 1


def test_a_prior_is_worth_its_calls() -> None:
    """40 pseudo-calls at 5 ms outweigh fewer calls at 6 ms (near enough to raise no alarm), and not more."""
    times = Times([(5_000, 6_500)])
    hear(times, np.full(15, 6_000.0))
    assert times.quantiles_us(0)[0] < 5_700
    hear(times, np.full(200, 6_000.0))
    assert times.quantiles_us(0)[0] == pytest.approx(6_000, rel=0.03)


@pytest.mark.parametrize("ratio", [10, 0.1])
def test_a_wrong_prior_is_found_out_soon(ratio: float) -> None:
    times = Times([PRIOR_US])
    changes = hear(times, ratio * lognormal(0.42)(np.random.default_rng(3), 40))
    p50_us, _, p95_us, _ = times.quantiles_us(0)
    assert changes == 1
    assert p50_us == pytest.approx(5_000 * ratio, rel=0.25)
    assert p95_us == pytest.approx(10_000 * ratio, rel=0.35)


@settings(deadline=None, max_examples=60)
@given(st.tuples(any_time, any_time), st.lists(any_time, max_size=120))
def test_quantiles_are_in_order_and_in_range(prior_us: tuple[int, int], heard_us: list[int]) -> None:
    times = Times([prior_us])
    for time_us in heard_us:
        times.hear(0, time_us)
        found = times.quantiles_us(0)
        assert list(found) == sorted(found)
        assert found[0] >= EDGES[0]
        assert found[-1] <= LATENCY_MAX_US
    assert times.meta[0, estimator.M_TOTAL] == times.bins[0].sum()
    assert (times.bins >= 0).all()


@settings(deadline=None, max_examples=20)
@given(st.tuples(usual_time, usual_time), st.lists(usual_time, min_size=1, max_size=20), st.integers(0, 99))
def test_nothing_is_foretold_that_was_not_heard_once_the_prior_is_worn_out(
    prior_us: tuple[int, int], heard_us: list[int], seed: int
) -> None:
    times = Times([prior_us])
    hear(times, np.random.default_rng(seed).choice(np.array(heard_us, dtype=float), 2_500))
    found = times.quantiles_us(0)
    assert found[0] >= EDGES[np.searchsorted(EDGES, min(heard_us), side="right") - 1]
    assert found[-1] <= EDGES[np.searchsorted(EDGES, max(heard_us), side="right")]


@settings(deadline=None, max_examples=20)
@given(st.lists(st.tuples(st.integers(0, 2), usual_time), max_size=200))
def test_series_know_nothing_of_each_other(heard: list[tuple[int, int]]) -> None:
    mixed, apart = Times([PRIOR_US] * 3), Times([PRIOR_US] * 3)
    for series, time_us in heard:
        mixed.hear(series, time_us)
    for series, time_us in sorted(heard, key=lambda call: call[0]):
        apart.hear(series, time_us)
    assert state(mixed) == state(apart)


@pytest.mark.parametrize(("beyond_us", "limit_us"), [(0, 50), (-1, 50), (10**30, LATENCY_MAX_US)])
def test_times_out_of_range_count_as_the_nearest_in_range(beyond_us: int, limit_us: int) -> None:
    beyond, limit = Times([PRIOR_US]), Times([PRIOR_US])
    for _ in range(30):
        assert beyond.hear(0, beyond_us) == limit.hear(0, limit_us)
    assert state(beyond) == state(limit)
    assert beyond.calls(0) == 30


@pytest.mark.parametrize("series", [-1, 2])
def test_an_unknown_series_is_refused(series: int) -> None:
    times = Times([PRIOR_US] * 2)
    before = state(times)
    for act in (lambda: times.hear(series, 1), lambda: times.quantiles_us(series), lambda: times.calls(series)):
        with pytest.raises(IndexError, match="of 2"):
            act()
    assert state(times) == before


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_stationary_calls_are_under_their_quantiles_as_often_as_foretold(draw: Draw) -> None:
    times = Times([PRIOR_US])
    under = np.zeros(4)
    for time_us in np.rint(draw(np.random.default_rng(11), 10_000)).astype(int).tolist():
        under += np.array([time_us <= quantile_us for quantile_us in times.quantiles_us(0)])
        times.hear(0, time_us)
    assert under / 100 == pytest.approx((50, 90, 95, 99), abs=1)


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_no_change_of_level_is_seen_where_there_is_none(draw: Draw) -> None:
    assert hear(Times([PRIOR_US]), draw(np.random.default_rng(12), 10_000)) == 0


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_level_is_known_within_200_calls(draw: str, change: str) -> None:
    near, runs = 0, 20
    changed = CHANGES[change](DRAWS[draw])
    truth_us = float(np.quantile(changed(np.random.default_rng(99), 100_000), 0.95))
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        times = Times([PRIOR_US])
        hear(times, DRAWS[draw](rng, 1_000))
        assert hear(times, changed(rng, 200)) >= 1
        near += abs(times.quantiles_us(0)[2] / truth_us - 1) <= 0.15
    # The p95 of three tailed calls lies on the step between sums with and without a long one: 200 calls cannot tell.
    least = 0.5 if (draw, change) == ("tailed", "sum of three") else 0.9
    assert near >= least * runs


@pytest.mark.parametrize("ratio", [3, 1 / 3])
def test_a_change_of_level_keeps_the_shape(ratio: float) -> None:
    """Long before there are calls enough for a p95 of their own."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        times = Times([PRIOR_US])
        hear(times, hit_or_miss(0.8, 8)(rng, 1_000))
        before_us = times.quantiles_us(0)[2]
        changed = [times.hear(0, round(ratio * time_us)) for time_us in hit_or_miss(0.8, 8)(rng, 40).tolist()]
        assert changed.index(True) < 30
        assert times.quantiles_us(0)[2] == pytest.approx(ratio * before_us, rel=0.25)


def test_what_moves_all_the_time_is_noise_and_not_a_level() -> None:
    times = Times([PRIOR_US])
    levels = np.tile(np.repeat([2_000.0, 20_000.0], 40), 50)
    changes = hear(times, levels)
    assert 3 <= changes <= estimator.CHANGES_AT_ONCE + len(levels) // estimator.CHANGE_CALLS
    p90_us = times.quantiles_us(0)[1]
    assert p90_us == pytest.approx(20_000, rel=0.05)


def test_rescaling_of_weights_changes_no_quantile() -> None:
    times = Times([PRIOR_US])
    rng = np.random.default_rng(5)
    hear(times, lognormal(0.3)(rng, 3_000))
    weight = times.meta[0, estimator.M_WEIGHT]
    while times.meta[0, estimator.M_WEIGHT] >= weight:
        weight, before_us = times.meta[0, estimator.M_WEIGHT], times.quantiles_us(0)
        hear(times, lognormal(0.3)(rng, 1))
    assert times.quantiles_us(0) == pytest.approx(before_us, rel=0.02)
    assert times.recent[0, LONG:].max() <= times.meta[0, estimator.M_WEIGHT]
    assert times.meta[0, estimator.M_TOTAL] == times.bins[0].sum()


def test_compiled_and_interpreted_tables_are_the_same_byte_for_byte() -> None:
    pytest.importorskip("numba")
    plain = interpreted()
    priors_us = [PRIOR_US, (50, 50), (1, 10**9), (20_000, 10_000), (80, 600_000_000)]
    here, there = Times(priors_us), plain.Times(priors_us)
    assert state(here) == state(there)
    rng = np.random.default_rng(8)
    for series in range(len(priors_us)):
        level_us = rng.integers(1_000, 50_000, 40).repeat(50) * np.exp(0.3 * rng.standard_normal(2_000))
        for time_us in level_us.astype(int).tolist():
            assert here.hear(series, time_us) == there.hear(series, time_us)
        assert here.quantiles_us(series) == there.quantiles_us(series)
    assert here.meta[:, estimator.M_CHANGES].min() > 3
    assert state(here) == state(there)


def test_a_series_takes_little_room() -> None:
    times = Times([PRIOR_US] * 10)
    assert (times.bins.nbytes + times.meta.nbytes + times.recent.nbytes) / 10 < 4_300


def test_numba_is_not_needed() -> None:
    assert "numba" not in interpreted().__dict__
    assert "njit" not in interpreted().__dict__
    assert sys.modules["infercast.policies.estimator"] is estimator
