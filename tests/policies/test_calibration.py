import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infercast.policies import calibration
from infercast.policies.calibration import Z_MAX_MILLI, Z_MILLI, Calibration
from infercast.policies.estimator import Times

Sample = npt.NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Sample]
DRAWS: dict[str, Draw] = {
    "normal": lambda rng, count: 608 * rng.standard_normal(count),
    "skewed": lambda rng, count: 785 * (np.exp(0.5 * rng.standard_normal(count)) - 1),
    "spread far too wide": lambda rng, count: 61 * rng.standard_normal(count),
    "spread far too narrow": lambda rng, count: 6080 * rng.standard_normal(count),
    "heavy": lambda rng, count: 500 * rng.standard_t(3, count),
}


def hear(known: Calibration, sample: Sample) -> npt.NDArray[np.float64]:
    """Let the first series hear a sample; percent of it under each quantile as foretold just before."""
    under = np.zeros(4)
    for u_milli in np.rint(sample).astype(int).tolist():
        under += np.array([u_milli <= z_milli for z_milli in known.z_milli(0)])
        known.hear(0, u_milli)
    return under / len(sample) * 100


def test_it_starts_at_the_normal_quantiles() -> None:
    assert Calibration(2).z_milli(1) == Z_MILLI


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(-(10**20), 10**20), max_size=200))
def test_quantiles_are_in_order_and_bounded(heard: list[int]) -> None:
    known = Calibration(2)
    for u_milli in heard:
        known.hear(0, u_milli)
        found = known.z_milli(0)
        assert list(found) == sorted(found)
        assert found[0] >= -Z_MAX_MILLI
        assert found[-1] <= Z_MAX_MILLI
    assert known.z_milli(1) == Z_MILLI


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_stationary_calls_are_under_their_quantiles_as_often_as_foretold(draw: Draw) -> None:
    under = hear(Calibration(1), draw(np.random.default_rng(4), 10_000))
    assert under == pytest.approx((50, 90, 95, 99), abs=1)


@pytest.mark.parametrize("period_calls", [500, 3_000])
def test_calls_that_swing_are_still_under_the_p95_as_often_as_foretold(period_calls: int) -> None:
    """The long-run guarantee asks nothing of the calls; here their spread swings four-fold and their level with it."""
    swing = np.sin(2 * np.pi * np.arange(12_000) / period_calls)
    sample = 608 * 2**swing * np.random.default_rng(4).standard_normal(12_000) + 800 * swing
    under = hear(Calibration(1), sample)
    assert under[2] == pytest.approx(95, abs=1)


@pytest.mark.parametrize(("ratio", "least", "most"), [(2, 90, 97), (0.5, 94, 99.3)])
def test_a_change_is_followed_within_200_calls(ratio: float, least: float, most: float) -> None:
    shares = []
    truth = ratio * DRAWS["normal"](np.random.default_rng(1), 50_000)
    for seed in range(5):
        rng = np.random.default_rng(seed)
        known = Calibration(1)
        hear(known, DRAWS["normal"](rng, 1_000))
        hear(known, ratio * DRAWS["normal"](rng, 200))
        shares.append((truth <= known.z_milli(0)[2]).mean() * 100)
    assert least <= np.mean(shares) <= most


def test_stepping_back_forgets_the_latest_calls() -> None:
    known = Calibration(1)
    hear(known, DRAWS["normal"](np.random.default_rng(1), 1_000))
    before = known.z_milli(0)
    hear(known, np.full(25, 20_000.0))
    assert known.z_milli(0)[2] > 2 * before[2]
    known.step_back(0)
    assert known.z_milli(0) == pytest.approx(before, rel=0.4, abs=150)


def test_stepping_back_at_the_start_is_the_start() -> None:
    known = Calibration(1)
    hear(known, np.full(20, 20_000.0))
    known.step_back(0)
    assert known.z_milli(0) == Z_MILLI


def test_after_a_change_of_level_the_calibrated_p95_is_known_within_200_calls() -> None:
    """Both together, as the engine has them: the base moves, and the calibration does not count the move twice."""
    near, runs = 0, 20
    truth_us = float(np.quantile(15_000 * np.exp(0.3 * np.random.default_rng(1).standard_normal(100_000)), 0.95))
    for seed in range(runs):
        level_us = np.repeat([5_000, 15_000], [600, 200])
        sample = level_us * np.exp(0.3 * np.random.default_rng(seed).standard_normal(800))
        times, known = Times([(5_000, 10_000)]), Calibration(1)
        for time_us in sample.astype(int).tolist():
            p50_us, _, p95_us, _ = times.quantiles_us(0)
            known.hear(0, 1000 * (time_us - p50_us) // max(1, p95_us - p50_us))
            if times.hear(0, time_us):
                known.step_back(0)
        p50_us, _, p95_us, _ = times.quantiles_us(0)
        near += abs((p50_us + known.z_milli(0)[2] * (p95_us - p50_us) // 1000) / truth_us - 1) <= 0.15
    assert near >= 0.9 * runs


def poisoned(calls: int = 60, u_milli: int = 40_000) -> Calibration:
    """A series that was on an ordinary day until its calls were given up."""
    known = Calibration(1)
    hear(known, DRAWS["normal"](np.random.default_rng(1), 500))
    hear(known, np.full(calls, float(u_milli)))
    assert known.z_milli(0)[2] > 10_000
    return known


def test_what_was_given_up_is_relaxed_within_twenty_probes() -> None:
    known = poisoned()
    for _ in range(20):
        known.relax(0)
    assert known.z_milli(0)[2] < 3_000
    known.step_back(0)
    assert known.z_milli(0)[2] < 3_000, "stepping back is no way back to it"


def test_after_it_is_relaxed_calls_are_under_their_quantiles_as_often_as_foretold() -> None:
    known = poisoned()
    for _ in range(30):
        known.relax(0)
    hear(known, DRAWS["normal"](np.random.default_rng(3), 500))
    under = hear(known, DRAWS["normal"](np.random.default_rng(4), 10_000))
    assert under == pytest.approx((50, 90, 95, 99), abs=1)


def test_what_answered_calls_said_on_an_ordinary_day_is_hardly_relaxed() -> None:
    """A place that is called once a minute has a dozen probes in between; they are no reason to forget its tail."""
    known = Calibration(1)
    hear(known, 1.5 * DRAWS["normal"](np.random.default_rng(1), 2_000))
    before = known.z_milli(0)
    for _ in range(12):
        known.relax(0)
    assert known.z_milli(0)[2] - Z_MILLI[2] > 0.7 * (before[2] - Z_MILLI[2])


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(-60_000, 60_000), max_size=100), st.integers(1, 60))
def test_relaxing_never_makes_slower_nor_faster_than_normal(heard: list[int], times: int) -> None:
    known = Calibration(1)
    for u_milli in heard:
        known.hear(0, u_milli)
    tracked = known.state[0, calibration.C_Z : calibration.C_Z + 4]  # as they are: those that are told are put in order
    before = tracked.tolist()
    for _ in range(times):
        known.relax(0)
    for after, was, normal in zip(tracked.tolist(), before, Z_MILLI, strict=True):
        assert min(was, normal * calibration.FINE) <= after <= was


def test_a_series_as_it_began_has_nothing_to_relax() -> None:
    known = Calibration(1)
    assert not known.relax(0)
    assert known.z_milli(0) == Z_MILLI


@pytest.mark.parametrize("series", [-1, 2])
def test_an_unknown_series_is_refused(series: int) -> None:
    known = Calibration(2)
    for act in (
        lambda: known.hear(series, 1),
        lambda: known.z_milli(series),
        lambda: known.hear_censored(series, 1),
        lambda: known.step_back(series),
        lambda: known.relax(series),
    ):
        with pytest.raises(IndexError, match="of 2"):
            act()


def test_compiled_and_interpreted_states_are_the_same_byte_for_byte() -> None:
    pytest.importorskip("numba")
    here, there = Calibration(1), Calibration(1)
    spec = importlib.util.spec_from_file_location("plain", calibration.__file__)
    assert spec is not None
    plain = importlib.util.module_from_spec(spec)
    source = Path(calibration.__file__).read_text().replace('find_spec("numba") is not None', "False")
    exec(compile(source, calibration.__file__, "exec"), plain.__dict__)
    assert not plain.COMPILED
    for at, u_milli in enumerate(DRAWS["heavy"](np.random.default_rng(2), 5_000).astype(int).tolist()):
        here.hear(0, u_milli)
        plain.track(there.state, 0, u_milli)
        if at % 20 == 3:
            here.hear_censored(0, u_milli)
            plain.track_censored(there.state, 0, u_milli)
        if at % 700 == 50:
            here.step_back(0)
            plain.step_back(there.state, 0)
        if at % 300 == 70:
            assert here.relax(0) == plain.relax(there.state, 0, plain.NORMAL)
    assert here.state.tobytes() == there.state.tobytes()


def hedged(known: Calibration, censored: Callable[[int], None]) -> npt.NDArray[np.float64]:
    """Let a series hear calls that are cancelled a while after its own p95; percent of all that were under each quantile."""
    rng = np.random.default_rng(11)
    sample = DRAWS["skewed"](rng, 30_000)
    under = np.zeros(4)
    for u_milli, other in zip(sample.astype(int).tolist(), rng.integers(50, 900, len(sample)).tolist(), strict=True):
        under += np.array([u_milli <= z_milli for z_milli in known.z_milli(0)])
        cut = known.z_milli(0)[2] + other
        if u_milli <= cut:
            known.hear(0, u_milli)
        else:
            censored(cut)
    return under / len(sample) * 100


def test_calls_that_were_cancelled_still_teach_how_long_calls_take() -> None:
    known = Calibration(1)
    assert hedged(known, lambda cut: known.hear_censored(0, cut)) == pytest.approx((50, 90, 95, 99), abs=0.6)


def test_taken_for_answers_they_would_hide_the_tail_and_left_out_they_would_hide_more() -> None:
    as_answers, left_out = Calibration(1), Calibration(1)
    assert hedged(as_answers, lambda cut: as_answers.hear(0, cut))[3] < 98.4
    assert hedged(left_out, lambda _: None)[2] < 93
