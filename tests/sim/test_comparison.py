"""Comparisons: paired differences and their intervals by hand, and the paragraph that says them."""

import json
import math
from collections.abc import Sequence
from statistics import mean, stdev
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infercast.policies.model import Rule
from infercast.sim.comparison import compare
from infercast.sim.comparison_words import in_words
from infercast.sim.frontier import Point, frontier
from infercast.sim.measures import change_written, written
from infercast.sim.model import Ended, Kind
from infercast.sim.results import summarise
from infercast.sim.student import mean_and_half_width, t_for, within
from infercast.sim.summary import Summary
from tests.sim.runs import STOPPED, Call, run_of

DAY_US = 86_400_000_000
BOTH = (Kind("bank", "digits", "berlin", ("ber",)), Kind("shop", "digits", "berlin", ("ber",)))
POINTS = st.lists(
    st.builds(Point, st.text(max_size=2), st.integers(0, 6).map(float), st.integers(0, 6).map(float)), max_size=20
)


def scenario(latencies_ms: Sequence[float], refused: int = 0, cost_usd: float = 1.0, **more: Any) -> list[Summary]:
    """One replication per latency, seeds from 1: ten calls of two tenants that all took that long, over a day."""
    found = []
    for seed, latency_ms in enumerate(latencies_ms, start=1):
        calls = [Call(n % 2, latency_us=int(latency_ms * 1000), cost_nusd=int(cost_usd * 1e8)) for n in range(10)]
        stopped = [Call(1, Ended.REFUSED, rule=Rule.RESIDENCY_TRANSIT, **STOPPED)] * refused
        found.append(summarise(run_of([*calls, *stopped], BOTH, span_us=DAY_US, **more), seed))
    return found


@pytest.mark.parametrize(
    ("freedom", "t"),
    # NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.6.7.2, column 0.975.
    [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (5, 2.571), (9, 2.262), (10, 2.228), (30, 2.042), (100, 1.984)],
)
def test_students_t_is_that_of_the_tables(freedom: int, t: float) -> None:
    assert t_for(freedom) == pytest.approx(t, abs=5e-4)


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
def test_students_t_is_scipys(confidence: float) -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy is not installed")
    for freedom in (*range(1, 40), 101, 1000):
        assert t_for(freedom, confidence) == pytest.approx(stats.t.ppf(0.5 + confidence / 2, freedom), rel=1e-9)


@given(st.integers(1, 60), st.floats(0, 50), st.floats(0, 50))
def test_more_lies_within_more(freedom: int, one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert -1e-12 <= within(low, freedom) <= within(high, freedom) + 1e-12 <= 1 + 2e-12


def test_one_number_has_no_interval_and_none_no_mean() -> None:
    assert mean_and_half_width([3.0]) == (3.0, None)
    with pytest.raises(ValueError, match="scatter"):
        t_for(0)


def test_differences_are_of_pairs_and_their_interval_is_students() -> None:
    before, after = [100, 200, 300, 400], [90, 188, 295, 389]
    found = compare(scenario(before), scenario(after)[::-1]).of("p95_ms")  # the order in which runs came is no matter
    changes = [a - b for b, a in zip(before, after, strict=True)]
    assert (found.before, found.after) == (250, mean(after))
    assert found.difference == pytest.approx(mean(changes))
    assert found.half_width == pytest.approx(3.182446 * stdev(changes) / math.sqrt(4), rel=1e-6)
    assert found.certain


def test_what_scatters_about_nothing_is_not_certain() -> None:
    found = compare(scenario([100, 200, 300]), scenario([101, 199, 300]))
    assert not found.of("p50_ms").certain
    text = in_words(found)
    assert "Over all calls, no change that could be told from chance." in text
    assert "Refusals by entry, residency or privacy rules: 0 more (0 → 0)." in text
    assert "Over all calls:" not in text


def test_one_pair_has_a_difference_and_says_that_it_may_be_chance() -> None:
    found = compare(scenario([100]), scenario([80]))
    p95 = found.of("p95_ms")
    assert (p95.difference, p95.half_width, p95.certain) == (-20.0, None, False)
    text = in_words(found)
    assert "there is no uncertainty to give" in text
    assert "p95 latency \N{MINUS SIGN}20 ms (100 ms → 80 ms)" in text
    assert "±" not in text


def test_the_paragraph_says_what_changed_and_how_sure_that_is() -> None:
    before = scenario([100, 110, 120], refused=1, cost_usd=1.0)
    after = scenario([70, 79, 88], refused=3, cost_usd=1.5)
    text = in_words(compare(before, after))
    assert text.startswith("3 pairs of runs with the same seeds; ± is the 95% interval")
    assert "p95 latency \N{MINUS SIGN}31.0 ± 2.5 ms (110 ms → 79 ms)" in text
    assert "cost a day +$0.500 ± 0 ($1 → $1.50)" in text
    assert "refused residency.transit +2 ± 0 (1 → 3)" in text
    assert "Refusals by entry, residency or privacy rules: +2 ± 0 (1 → 3)." in text
    assert "By tenant: bank: " in text
    assert "; shop: " in text


def test_refusals_that_take_each_others_place_are_told_as_such() -> None:
    before = scenario([100, 100])
    changed = [
        summarise(run_of([Call(0, Ended.REFUSED, rule=rule, **STOPPED), Call(1)], BOTH, span_us=DAY_US), seed)
        for rule in (Rule.RESIDENCY_TRANSIT, Rule.PRIVACY_TIER)
        for seed in (1, 2)
    ]
    text = in_words(compare(changed[:2], changed[2:]))
    assert "refused privacy.tier +1 ± 0 (0 → 1)" in text
    assert "refused residency.transit \N{MINUS SIGN}1 ± 0 (1 → 0)" in text
    assert "rules: 0 more (1 → 1)." in text
    assert "rules: 0 more (0 → 0)." in in_words(compare(before, before))


def test_a_tenant_or_site_of_one_side_only_is_said_without_a_difference() -> None:
    alone = [summarise(run_of([Call()], BOTH[:1], span_us=DAY_US), 1)]
    found = compare(alone, scenario([50]))
    p50 = {each.measure: each for each in found.tenants["shop"]}["p50_ms"]
    assert (p50.before, p50.after, p50.difference) == (None, 50.0, None)
    assert "shop: p95 latency — → 50 ms" in in_words(found)


def test_runs_that_are_no_pairs_are_refused() -> None:
    runs = scenario([1, 2])
    for base, other in (([], []), (runs, runs[:1]), (runs, [runs[0], runs[0]]), ([runs[0]] * 2, [runs[0]] * 2)):
        with pytest.raises(ValueError, match="compare"):
            compare(base, other)


def test_what_was_stopped_early_is_said() -> None:
    text = in_words(compare(scenario([1]), scenario([1], stopped_early=True)))
    assert "stopped before their last call" in text


def test_a_comparison_is_json() -> None:
    raw = compare(scenario([1, 2]), scenario([2, 3], refused=1)).as_json()
    assert json.loads(json.dumps(raw, allow_nan=False)) == raw
    assert raw["stopped"][0]["measure"] == "refused residency.transit"
    with pytest.raises(KeyError):
        compare(scenario([1]), scenario([1])).of("nonsense")


@given(st.lists(st.floats(0.1, 1000), min_size=2, max_size=6), st.floats(1, 100))
@settings(max_examples=25)  # four runs are summarised for each pair
def test_a_comparison_turned_round_is_its_opposite(latencies: list[float], more: float) -> None:
    other = [latency + more for latency in latencies]
    there, back = (compare(scenario(a), scenario(b)).of("mean_ms") for a, b in ((latencies, other), (other, latencies)))
    assert there.difference is not None
    assert back.difference == pytest.approx(-there.difference)
    assert back.half_width == pytest.approx(there.half_width)
    assert back.certain == there.certain


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "ms", "—"),
        (12.345, "ms", "12.3 ms"),
        (0.999987, "share", "99.999%"),
        (1.0, "share", "100.0%"),
        (0.5, "share", "50.0%"),
        (1234567, "calls", "1,234,567"),
        (0.00001234, "usd", "$0.0000123"),
        (-2.5, "usd", "\N{MINUS SIGN}$2.50"),
        (0.0, "usd", "$0"),
    ],
)
def test_values_are_written_for_people(value: float | None, unit: str, text: str) -> None:
    assert written(value, unit) == text  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "half", "unit", "text"),
    [
        (212.3, 9.14, "usd", "+$212.3 ± 9.1"),
        (0.0123, 0.00311, "share", "+1.23 ± 0.31 points"),
        (-31, None, "ms", "\N{MINUS SIGN}31 ms"),
        (0.001, 4.0, "ms", "0.0 ± 4.0 ms"),
        (3.0, 0.0, "calls", "+3 ± 0"),
    ],
)
def test_changes_are_written_for_people(change: float, half: float | None, unit: str, text: str) -> None:
    assert change_written(change, half, unit) == text  # type: ignore[arg-type]


@given(POINTS)
def test_the_frontier_is_what_nothing_beats(points: list[Point]) -> None:
    kept = frontier(points)
    for point in points:
        beaten = any(
            other.cost_usd_per_day <= point.cost_usd_per_day
            and other.latency_ms <= point.latency_ms
            and (other.cost_usd_per_day, other.latency_ms) != (point.cost_usd_per_day, point.latency_ms)
            for other in points
        )
        assert (point in kept) != beaten
    assert [each.cost_usd_per_day for each in kept] == sorted(each.cost_usd_per_day for each in kept)


def test_a_point_may_answer_one_point_less_and_no_more() -> None:
    best, near, far = Point("best", 2.0, 2.0, 0.95), Point("near", 1.0, 3.0, 0.94), Point("far", 0.5, 0.5, 0.9399)
    assert frontier([best, near, far]) == (near, best)
    assert frontier([far]) == (far,)
