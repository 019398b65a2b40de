"""Summaries of runs that were written by hand, against sums made by hand; and the laws that every summary keeps."""

import json
from dataclasses import asdict, replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infercast.policies.model import Rule
from infercast.sim import tally
from infercast.sim.model import Ended, Kind, LimitedBy, Run
from infercast.sim.results import summarise
from infercast.sim.summary import Busy, Flow, Group, Stopped, Summary
from tests.sim.runs import STOPPED, Call, run_of
from tests.support import card, fleet_of, policy_of, raw_fleet

DAY_US = 86_400_000_000
KINDS = (
    Kind("bank", "digits", "berlin", ("ber",)),
    Kind("bank", "digits", "phone", ("ber", "par"), deadline_us=25_000),
    Kind("shop", "digits", "berlin", ("ber",), classes=("plain",)),
)


def small() -> Summary:
    """Nine calls over a tenth of a day, every way to end that there is but one, 20 ms the bank's deadline."""
    calls = [
        Call(0, latency_us=10_000, wait_us=500, cost_nusd=2_000_000, egress_nusd=500_000),
        Call(0, latency_us=20_000, deployment="large@par", cost_nusd=1_000_000, attempts=3, hedged=True),
        Call(0, latency_us=20_001),
        Call(1, latency_us=5, ended=Ended.CACHED, **STOPPED),
        Call(1, ended=Ended.REFUSED, rule=Rule.RESIDENCY_TRANSIT, **STOPPED),
        Call(1, ended=Ended.LIMITED, rule=LimitedBy.REQUESTS_PER_MINUTE, **STOPPED),
        Call(2, latency_us=30_000, deployment="large@iad", entry="par"),
        Call(2, ended=Ended.LATE, deployment="large@iad", cost_nusd=7, wait_us=1_300),
        Call(2, ended=Ended.LOST, entry="", **STOPPED),
    ]
    policies = {"bank": policy_of({"deadline_ms": 20}, tenant="bank")}
    return summarise(run_of(calls, KINDS, policies, span_us=DAY_US // 10))


def test_all_calls_are_counted_by_how_they_ended() -> None:
    whole = small().overall
    assert (whole.calls, whole.answered) == (9, 5)
    assert whole.ended == {
        "answered": 4, "cached": 1, "refused": 1, "saturated": 0, "unavailable": 0, "limited": 1, "late": 1, "lost": 1,
    }  # fmt: skip
    assert set(whole.stopped) == {
        Stopped("refused", "residency.transit", 1),
        Stopped("limited", "limits.requests per minute", 1),
        Stopped("late", "none", 1),
        Stopped("lost", "none", 1),
    }
    assert whole.stopped_by() == {"residency.transit": 1}
    assert (whole.attempts, whole.hedged) == (7, 1)


def test_latency_is_that_of_answered_calls_at_nearest_ranks() -> None:
    latency = small().overall.latency
    assert latency is not None
    assert (latency.p50_ms, latency.p90_ms, latency.max_ms) == (20.0, 30.0, 30.0)
    assert latency.mean_ms == pytest.approx((10 + 20 + 20.001 + 0.005 + 30) / 5)
    hundred = summarise(run_of([Call(latency_us=1000 * n) for n in range(1, 101)])).overall.latency
    assert hundred is not None
    assert (hundred.p50_ms, hundred.p90_ms, hundred.p95_ms, hundred.p99_ms) == (50.0, 90.0, 95.0, 99.0)


def test_money_is_per_call_and_per_day() -> None:
    bank = small().tenants["bank"]
    assert bank.cost_usd == pytest.approx(0.003)
    assert bank.cost_usd_per_1000_calls == pytest.approx(0.5)
    assert bank.cost_usd_per_1000_answered == pytest.approx(0.75)
    assert bank.cost_usd_per_day == pytest.approx(0.03)
    assert (bank.egress_usd, bank.egress_usd_per_day) == pytest.approx((0.0005, 0.005))


def test_deadlines_are_the_stricter_of_policy_and_caller_and_kept_only_by_answers() -> None:
    summary = small()
    bank, shop = summary.tenants["bank"], summary.tenants["shop"]
    assert (bank.with_deadline, bank.in_time) == (
        6,
        3,
    )  # 20.001 ms is late; so is the refused call; the cached one is not
    assert bank.in_time_share == 0.5
    assert (shop.with_deadline, shop.in_time_share) == (0, None)
    assert summary.overall.in_time_share == 0.5


def test_a_deadline_holds_in_its_window_only() -> None:
    midnight = int(datetime(2026, 3, 2, tzinfo=UTC).timestamp())
    override = {"when": {"hours": "01:00-02:00"}, "constraints": {"deadline_ms": 15}}
    policies = {"t": policy_of({"deadline_ms": 50}, overrides=[override])}
    hour_us = 3_600_000_000
    kinds = (Kind("t", "digits", "berlin", ("ber",)),)
    outside = [0, hour_us - 1, 2 * hour_us, 25 * hour_us - 1, 50 * hour_us]
    inside = [hour_us, 2 * hour_us - 1, 25 * hour_us, 49 * hour_us + 1, 50 * hour_us - 1]
    for at, kept in ((outside, 5), ([0, *inside], 1), (inside, 0)):
        calls = [Call(at_us=at_us, latency_us=20_000) for at_us in at]
        found = summarise(run_of(calls, kinds, policies, starts_at_s=midnight)).overall
        assert (found.with_deadline, found.in_time) == (len(at), kept)


def test_a_callers_own_deadline_counts_where_the_policy_has_none_or_a_later_one() -> None:
    hasty = (Kind("t", "digits", "berlin", ("ber",), deadline_us=9_999),)
    for always in ({}, {"deadline_ms": 20}):
        calls = [Call(latency_us=9_999), Call(latency_us=10_000), Call(latency_us=30_000)]
        found = summarise(run_of(calls, hasty, {"t": policy_of(always)})).overall
        assert (found.with_deadline, found.in_time) == (3, 1)


def test_a_call_belongs_to_the_site_where_it_ended() -> None:
    summary = small()
    assert {name: group.calls for name, group in summary.sites.items()} == {"phone": 0, "ber": 5, "par": 1, "iad": 2}
    assert summary.entered == {"phone": 0, "ber": 7, "par": 1, "iad": 0}
    assert summary.served == {
        "bank": {"phone": 0, "ber": 3, "par": 1, "iad": 0},
        "shop": {"phone": 0, "ber": 0, "par": 0, "iad": 1},
    }
    assert set(summary.flows) == {
        Flow("berlin", "ber", 2),
        Flow("berlin", "par", 1),
        Flow("berlin", "iad", 1),
        Flow("berlin", "", 2),
        Flow("phone", "ber", 1),
        Flow("phone", "", 2),
    }
    assert summary.variants == {"digits": {"small": 2, "large": 2}}
    assert (summary.sites["iad"].wait_mean_ms, summary.sites["phone"].latency) == (0.65, None)


def test_accuracy_is_the_mean_of_what_was_measured() -> None:
    assert small().overall.accuracy == pytest.approx((0.90 * 2 + 0.98 * 2) / 4)
    cards = {"small": card("small", None, 1.0), "large": card("large", 0.98, 4.0)}
    unmeasured = fleet_of(raw_fleet(cards=cards))
    calls = [Call(), Call(deployment="large@par")]
    assert summarise(run_of(calls, fleet=unmeasured)).overall.accuracy == 0.98
    assert summarise(run_of(calls[:1], fleet=unmeasured)).overall.accuracy is None


def test_utilisation_is_busy_over_ready() -> None:
    run = run_of([Call()], busy={"small@ber": [1_000_000, 250_000]}, ready_us=1_000_000, span_us=2_000_000)
    summary = summarise(run)
    assert summary.busy["ber"] == Busy(1.25, 2.0, 0.625, (1.0, 0.25))
    assert summary.deployments["small@ber"] == Busy(1.25, 2.0, 0.625)
    assert summary.interval_s == 1.0
    none = summarise(run_of([Call()], span_us=2_000_000))
    assert none.busy["ber"] == Busy(0.0, 0.0, None, (None, None))


def test_power_is_none_where_nobody_says_what_is_drawn() -> None:
    assert summarise(run_of([Call()], joules=0.0)).joules is None
    assert summarise(run_of([Call()], joules=12.5, watts={"ber": 10.0})).joules == 12.5


def test_an_empty_run_has_no_numbers_but_is_no_fault() -> None:
    summary = summarise(run_of([]))
    assert summary.overall.calls == 0
    assert summary.overall.latency is None
    assert summary.overall.cost_usd_per_1000_calls is None
    assert summary.curves == {"t": ()}
    json.dumps(summary.as_json(), allow_nan=False)


def test_a_run_that_was_stopped_early_counts_what_came() -> None:
    run = run_of([Call(latency_us=n, at_us=n) for n in range(1, 11)])
    part = {name: getattr(run, name)[:4] for name in PER_CALL}
    found = summarise(replace(run, **part, stopped_early=True))
    assert (found.overall.calls, found.stopped_early) == (4, True)
    assert found.curves["t"] == ((0.001, 0.25), (0.002, 0.5), (0.003, 0.75), (0.004, 1.0))


def test_a_run_that_is_not_over_is_refused() -> None:
    with pytest.raises(ValueError, match="not over"):
        summarise(run_of([Call(ended=Ended.RUNNING)]))


PER_CALL = (
    "ended", "rule", "deployment", "entry", "latency_us", "wait_us", "cost_nusd", "egress_nusd", "attempts", "hedged",
)  # fmt: skip
NEVER = (Ended.REFUSED, Ended.SATURATED, Ended.UNAVAILABLE, Ended.LATE, Ended.LOST, Ended.CACHED)
DEPLOYMENTS = ("small@phone", "small@ber", "large@par", "large@iad")


@st.composite
def ended_calls(draw: st.DrawFn) -> Call:
    """A call that ran somewhere, or one that ran nowhere."""
    kind, at_us = draw(st.integers(0, 2)), draw(st.integers(0, DAY_US))
    if draw(st.booleans()):
        ended, rule = draw(st.sampled_from(NEVER)), draw(st.sampled_from(list(Rule)))
        entry, latency_us = draw(st.sampled_from(["ber", "par", ""])), draw(st.integers(0, 10**6))
        return Call(kind, ended, entry=entry, rule=rule, latency_us=latency_us, at_us=at_us, **STOPPED)
    return Call(
        kind,
        draw(st.sampled_from([Ended.ANSWERED, Ended.LATE])),
        deployment=draw(st.sampled_from(DEPLOYMENTS)),
        entry=draw(st.sampled_from(["ber", "par"])),
        latency_us=draw(st.one_of(st.integers(0, 200_000), st.integers(0, 600_000_000))),
        at_us=at_us,
        wait_us=draw(st.integers(0, 10**6)),
        cost_nusd=draw(st.integers(0, 10**12)),
        egress_nusd=draw(st.integers(0, 10**6)),
        attempts=draw(st.integers(1, 8)),
        hedged=draw(st.booleans()),
    )


POLICIES = {"shop": policy_of({"deadline_ms": 100}, tenant="shop")}
RUNS = st.lists(ended_calls(), max_size=40).map(lambda calls: run_of(calls, KINDS, POLICIES))


def whole(group: Group) -> None:
    """What every group keeps within itself."""
    assert sum(group.ended.values()) == group.calls
    assert group.ended["answered"] + group.ended["cached"] == group.answered
    assert sum(each.calls for each in group.stopped) == group.calls - group.answered
    assert 0 <= group.in_time <= min(group.with_deadline, group.answered)
    if group.latency:
        quantiles = (group.latency.p50_ms, group.latency.p90_ms, group.latency.p95_ms, group.latency.p99_ms)
        assert sorted(quantiles) == list(quantiles)
        assert group.latency.mean_ms <= group.latency.max_ms * (1 + 1e-12)


@given(RUNS)
def test_nothing_is_lost_or_counted_twice(run: Run) -> None:
    summary = summarise(run)
    for part in (summary.tenants, summary.models, summary.sites):
        for group in part.values():
            whole(group)
    whole(summary.overall)
    nowhere = int(((run.deployment < 0) & (run.entry < 0)).sum())
    for part, missing in ((summary.tenants, 0), (summary.models, 0), (summary.sites, nowhere)):
        assert sum(group.calls for group in part.values()) == summary.overall.calls - missing
    for field in ("cost_usd", "egress_usd", "attempts", "hedged"):
        of_sites = sum(getattr(group, field) for group in summary.sites.values())
        assert of_sites == pytest.approx(getattr(summary.overall, field))  # what ran nowhere costs nothing
    assert sum(flow.calls for flow in summary.flows) == summary.overall.calls
    answered_nowhere = int(((run.deployment < 0) & (run.entry < 0) & (run.ended == Ended.CACHED)).sum())
    served = sum(calls for of_tenant in summary.served.values() for calls in of_tenant.values())
    assert served == summary.overall.answered - answered_nowhere
    for name, curve in summary.curves.items():
        assert len(curve) <= 200
        assert list(curve) == sorted(set(curve))
        assert bool(curve) == (summary.tenants[name].answered > 0)
        assert not curve or curve[-1][1] == 1.0


@given(RUNS, st.randoms(use_true_random=False))
def test_the_order_of_calls_does_not_matter(run: Run, random: object) -> None:
    order = np.arange(len(run))
    random.shuffle(order)  # type: ignore[attr-defined]
    calls = run.world.calls
    # Only calls of one moment may change places in a workload: all are of one here.
    columns = ("kind", "payload_bytes", "work_ppm", "content", "luck")
    at_once = replace(calls, at_us=np.zeros_like(calls.at_us))
    mixed = replace(at_once, **{name: getattr(calls, name)[order] for name in columns})
    one = replace(run, world=replace(run.world, calls=at_once))
    parts = {name: getattr(run, name)[order] for name in PER_CALL}
    other = replace(run, world=replace(run.world, calls=mixed), **parts)
    assert asdict(summarise(one)) == asdict(summarise(other))


@given(RUNS)
def test_a_table_of_the_cells_in_use_says_the_same(run: Run) -> None:
    dense = summarise(run)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tally, "BINS_MIN", 0)
        patch.setattr(tally, "BINS_PER_CALL", 0)
        assert summarise(run) == dense


def test_an_answer_that_came_from_nowhere_is_no_sites() -> None:
    summary = summarise(run_of([Call(), Call(ended=Ended.CACHED, entry="", **STOPPED)]))
    assert sum(summary.served["t"].values()) == 1
    assert summary.flows == (Flow("berlin", "", 1), Flow("berlin", "ber", 1))
    assert summary.overall.answered == 2


def test_a_long_curve_keeps_its_ends_and_few_points_between() -> None:
    curve = summarise(run_of([Call(latency_us=1000 * n) for n in range(1, 1001)])).curves["t"]
    assert len(curve) == 200
    assert (curve[0], curve[1], curve[-1]) == ((1.0, 0.001), (10.0, 0.01), (1000.0, 1.0))


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=1000))
def test_a_curve_passes_through_what_was_measured(latencies: list[int]) -> None:
    curve = summarise(run_of([Call(latency_us=each) for each in latencies])).curves["t"]
    assert curve[0][0] == min(latencies) / 1000
    assert curve[-1] == (max(latencies) / 1000, 1.0)
    for at_ms, share in curve:
        assert share == sum(each / 1000 <= at_ms for each in latencies) / len(latencies)
