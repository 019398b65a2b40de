"""Made-up calls: when they come and what they are like. Bounds are those of inequalities, so chance never breaks them."""

from datetime import UTC, datetime
from math import log
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infercast.sim import synthetic
from infercast.sim.attributes import _lognormal, _popularity
from infercast.sim.intensity import bursts, day_curve
from infercast.sim.model import NEVER_EQUAL
from infercast.sim.streams import stream
from infercast.sim.workload_parts import Bursty
from tests.sim.workloads import (
    NOON_S,
    calls,
    furthest,
    origins,
    poisson_margin,
    rows,
    share_margin,
    source,
)

SEEDS = st.integers(0, 2**63)
HOUR_US = 3_600_000_000


def curve(**weights: float) -> list[float]:
    """24 weights, 0 but for those of `hN`."""
    return [float(weights.get(f"h{hour}", 0)) for hour in range(24)]


@settings(max_examples=20)
@given(SEEDS, st.floats(0.5, 500))
def test_poisson_calls_come_as_often_as_is_said_and_independently(seed: int, per_s: float) -> None:
    found = calls(source(rate={"poisson_per_s": per_s}), seed=seed)
    assert abs(len(found) - per_s * 100) < poisson_margin(per_s * 100)
    if len(found) > 1:
        assert furthest(found.at_us, lambda at: at / 100e6) < share_margin(len(found))
        gaps = np.diff(found.at_us) / 1e6 * per_s
        assert furthest(gaps, lambda gap: 1 - np.exp(-gap)) < share_margin(len(gaps)) + 2e-6 * per_s


def test_long_processes_are_drawn_in_blocks_that_nobody_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = calls(source())
    monkeypatch.setattr(synthetic, "BLOCK_MAX", 7)
    assert calls(source()).at_us.tobytes() == whole.at_us.tobytes()


def test_even_calls_stand_in_the_middle_of_equal_parts() -> None:
    assert calls(source(rate={"even_per_s": 2}), duration="2s").at_us.tolist() == [
        250_000,
        750_000,
        1_250_000,
        1_750_000,
    ]


def test_even_calls_of_equal_origins_take_turns() -> None:
    found = calls(source(rate={"even_per_s": 2}, origins=["berlin", "tokyo"]), duration="2s")
    assert found.at_us.tolist() == [250_000, 750_000, 1_250_000, 1_750_000]
    assert origins(found) == ["berlin", "tokyo", "berlin", "tokyo"]


def test_a_source_sends_from_its_beginning_to_its_end_only() -> None:
    found = calls(source(rate={"poisson_per_s": 1000}, until="30s", **{"from": "20s"}))
    assert 20_000_000 <= found.at_us[0] < 20_100_000
    assert 29_900_000 < found.at_us[-1] < 30_000_000


@settings(max_examples=20)
@given(SEEDS)
def test_origins_send_in_proportion_to_their_weights(seed: int) -> None:
    weights = {"berlin": 6, "tokyo": 3, "newyork": 1, "isle": 0}
    found = origins(calls(source(rate={"poisson_per_s": 100}, origins=weights), seed=seed))
    for origin, weight in weights.items():
        assert abs(found.count(origin) - 1000 * weight) <= (poisson_margin(1000 * weight) if weight else 0)


def test_calls_of_one_origin_do_not_depend_on_other_sources_nor_on_how_long_it_lasts() -> None:
    alone = rows(calls(source(), duration="50s"))
    longer = rows(calls(source(name="a", rate={"even_per_s": 3}), source(), source(name="z"), duration="100s"))
    assert {luck: row for luck, row in longer.items() if row[1] < 50_000_000 and luck in alone} == alone


def test_one_seed_gives_the_same_bytes_and_another_other_calls() -> None:
    parts = {"payload_bytes": {"lognormal": {"p50": 100, "p95": 900}}, "repeated": {"share": 0.5, "questions": 9}}
    one, same, other = (calls(source(**parts), seed=seed) for seed in (1, 1, 2))
    for name in ("at_us", "kind", "payload_bytes", "work_ppm", "content", "luck"):
        assert getattr(one, name).tobytes() == getattr(same, name).tobytes()
    assert not set(one.luck.tolist()) & set(other.luck.tolist())


def test_attributes_do_not_depend_on_each_other_s_being_drawn() -> None:
    plain = calls(source())
    rich = calls(source(payload_bytes={"empirical": [1, 2]}, work={"lognormal": {"p95": 2}}))
    assert plain.at_us.tobytes() == rich.at_us.tobytes()
    assert plain.luck.tobytes() == rich.luck.tobytes()


def test_a_day_goes_by_the_clock_of_each_origin() -> None:
    at_nine = source(rate={"poisson_per_s": 1}, origins=["berlin", "tokyo", "newyork"], day_curve=curve(h9=5))
    found = calls(at_nine, duration="3d")
    clocks = {"berlin": "Europe/Berlin", "tokyo": "Asia/Tokyo", "newyork": "America/New_York"}
    hours = {
        datetime.fromtimestamp(NOON_S + at_us / 1e6, ZoneInfo(clocks[origin])).hour
        for origin, at_us in zip(origins(found), found.at_us.tolist(), strict=True)
    }
    assert hours == {9}
    assert abs(len(found) - 3 * 86_400) < poisson_margin(3 * 86_400)  # the mean of a day stays as it was


def test_a_clock_that_is_named_takes_the_place_of_the_country_s() -> None:
    there = source(origins=["berlin"], day_curve=curve(h13=1), rate={"poisson_per_s": 1})
    assert calls(there, duration="30m").at_us.size  # it is 13:00 in Berlin
    assert not calls({**there, "time_zones": {"berlin": "Asia/Kolkata"}}, duration="30m").at_us.size  # and 17:30 there


def test_weights_of_hours_are_scaled_so_that_a_day_keeps_its_mean() -> None:
    weights = tuple(float(hour) for hour in range(24))
    for start in ("2025-11-25T00:00", "2026-06-01T07:20"):
        at_s = int(datetime.fromisoformat(start).replace(tzinfo=UTC).timestamp())
        assert day_curve(weights, "Asia/Kathmandu", at_s, 0, 24 * HOUR_US).expected()[-1] == pytest.approx(86_400)


def test_the_day_on_which_clocks_are_set_back_has_its_hour_twice() -> None:
    at_s = int(datetime(2025, 10, 25, 22, tzinfo=UTC).timestamp())  # midnight in Berlin, of a day of 25 hours
    found = day_curve(tuple(curve(h2=24)), "Europe/Berlin", at_s, 0, 25 * HOUR_US)
    assert found.expected()[-1] == pytest.approx(2 * 24 * 3600)
    assert found.knots_us.tolist()[:3] == [0, HOUR_US, 2 * HOUR_US]


def test_a_curve_begins_in_the_middle_of_an_hour() -> None:
    found = day_curve(tuple(curve(h12=1, h13=3)), "UTC", NOON_S + 1801, 0, HOUR_US)
    assert found.knots_us.tolist() == [0, 1799e6, HOUR_US]
    assert found.per_s.tolist() == [6, 18]


@settings(max_examples=20)
@given(SEEDS)
def test_calm_and_bursts_last_as_long_as_is_said(seed: int) -> None:
    said = Bursty.model_validate({"calm_per_s": 1, "burst_per_s": 9, "calm_mean": "3s", "burst_mean": "1s"})
    found = bursts(said, stream(seed, "b"), 0, 8_000_000_000)
    lasts = np.diff(found.knots_us)[1:-1]
    for per_s, mean_us in ((1, 3e6), (9, 1e6)):
        mine = lasts[found.per_s[1:-1] == per_s]
        assert len(mine) > 1000
        assert furthest(mine, lambda last, mean_us=mean_us: 1 - np.exp(-last / mean_us)) < share_margin(len(mine))
    assert (np.diff(found.per_s) != 0).all()


def test_it_begins_calm_as_often_as_it_is_calm() -> None:
    said = Bursty.model_validate({"calm_per_s": 1, "burst_per_s": 9, "calm_mean": "3s", "burst_mean": "1s"})
    calm = [bursts(said, stream(seed, "b"), 0, 1000).per_s[0] == 1 for seed in range(2000)]
    assert abs(np.mean(calm) - 0.75) < share_margin(2000)


def test_calls_of_all_origins_come_in_the_bursts_of_their_source() -> None:
    rate = {"bursty": {"calm_per_s": 0, "burst_per_s": 200, "calm_mean": "9s", "burst_mean": "1s"}}
    found = calls(source(rate=rate, origins=["berlin", "tokyo"]), duration="10m")
    said = bursts(Bursty.model_validate(rate["bursty"]), stream(1, "s", "bursts"), 0, 600_000_000)
    assert (said.per_s[np.searchsorted(said.knots_us, found.at_us, side="right") - 1] == 200).all()
    expected = float(said.expected()[-1])
    assert abs(len(found) - expected) < poisson_margin(expected)
    assert set(origins(found)) == {"berlin", "tokyo"}


def test_plain_numbers_are_the_same_for_all_calls() -> None:
    found = calls(source(payload_bytes=256, work=1.5))
    assert set(found.payload_bytes.tolist()) == {256}
    assert set(found.work_ppm.tolist()) == {1_500_000}
    plain = calls(source())
    assert set(plain.payload_bytes.tolist()) == {0}
    assert set(plain.work_ppm.tolist()) == {1_000_000}
    assert set(plain.content.tolist()) == {NEVER_EQUAL}


def test_a_spread_goes_through_its_quantiles() -> None:
    spread = {"lognormal": {"p50": 1000, "p95": 5000}}
    found = calls(source(rate={"poisson_per_s": 1000}, payload_bytes=spread, work={"lognormal": {"p50": 2, "p95": 3}}))
    n, sigma = len(found), log(5) / 1.6448536269514722
    for values, p50, p95 in ((found.payload_bytes, 1000, 5000), (found.work_ppm, 2_000_000, 3_000_000)):
        assert abs(np.mean(values <= p50) - 0.50) < share_margin(n) + 1 / 4096
        assert abs(np.mean(values <= p95) - 0.95) < share_margin(n) + 1 / 4096
    mean = 1000 * np.exp(sigma**2 / 2)
    assert found.payload_bytes.mean() == pytest.approx(mean, rel=0.03)


def test_a_spread_of_small_whole_numbers_keeps_its_mean() -> None:
    sigma = log(4) / 1.6448536269514722
    assert _lognormal(10, 40, 10**10).mean() == pytest.approx(10 * np.exp(sigma**2 / 2), abs=0.05)
    assert set(_lognormal(3, 3, 10**10).tolist()) == {3}
    assert _lognormal(100, 10_000, 500).max() == 500
    assert _lognormal(1, 1000, 10**10).min() == 1


def test_observed_values_are_equally_likely() -> None:
    found = calls(
        source(rate={"poisson_per_s": 100}, payload_bytes={"empirical": [1, 1, 5, 9]}, work={"empirical": [1, 4]})
    )
    assert abs(np.mean(found.payload_bytes == 1) - 0.5) < share_margin(len(found))
    assert set(found.payload_bytes.tolist()) == {1, 5, 9}
    assert abs(np.mean(found.work_ppm == 4_000_000) - 0.5) < share_margin(len(found))


def test_a_share_of_the_calls_asks_known_questions_the_first_ones_most() -> None:
    found = calls(source(rate={"poisson_per_s": 500}, repeated={"share": 0.4, "questions": 3, "zipf": 1}))
    n = len(found)
    known = found.content[found.content != NEVER_EQUAL]
    assert abs(len(known) / n - 0.4) < share_margin(n)
    words, counts = np.unique(known, return_counts=True)
    assert len(words) == 3
    for share, count in zip((6 / 11, 3 / 11, 2 / 11), counts, strict=True):  # 1, 1/2, 1/3 of their sum
        assert abs(count / len(known) - share) < share_margin(len(known))


def test_popularity_by_hand() -> None:
    assert _popularity(4, 0.0).tolist() == [0.25, 0.5, 0.75, 1]
    assert _popularity(2, 1.0).tolist() == pytest.approx([2 / 3, 1])


def test_questions_of_two_sources_are_never_the_same() -> None:
    repeated = {"share": 1, "questions": 5}
    found = calls(source(repeated=repeated), source(name="b", model="vision", repeated=repeated))
    by_model = [
        {content for content, kind in zip(found.content.tolist(), found.kind.tolist(), strict=True) if kind == k}
        for k in (0, 1)
    ]
    assert [len(words) for words in by_model] == [5, 5]
    assert not by_model[0] & by_model[1]


def test_luck_is_even() -> None:
    found = calls(source(rate={"poisson_per_s": 200}))
    assert furthest(found.luck, lambda luck: luck / 2**60) < share_margin(len(found))
