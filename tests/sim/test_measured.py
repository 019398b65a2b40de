"""A profile is what calls really took: worked out by hand from a few of them."""

from dataclasses import replace

from infercast.policies.fleet import Fleet
from infercast.policies.kernel import L_NUSD_PER_S
from infercast.sim.calibration_world import calls_of, fleet_as_measured, policy_as_carried, truth_of
from infercast.sim.measured import (
    Believed,
    Measured,
    Profile,
    Rerun,
    one_after_the_other,
    profile_of,
    real_costs_nusd,
    server_times_us,
)
from infercast.sim.model import Kind, Truth
from tests.sim.tiny import ACCESS_US, BACK_US, NUSD_PER_S, PLAIN, tiny_fleet
from tests.support import policy_of

EDGE = Measured(
    0, 0, 1_000, "answered", "", "edge", "v@edge", latency_us=25_000, ended_us=20_000, ran_us=12_000,
    at_site_us=12_000, service_us=11_000, told_nusd=900, attempts=1,
)  # fmt: skip
"""A call that ran at its entry, and was on its way, in HTTP and waiting for nobody the rest of 25 ms."""
CLOUD = replace(EDGE, deployment="v@cloud", ran_us=40_000, at_site_us=15_000, latency_us=60_000)
NOT_ANSWERED = Measured(0, 7, 1_000, "refused", "privacy", "edge")


def fleet() -> Fleet:
    """An edge and two clouds behind it."""
    return Fleet.model_validate(tiny_fleet({}, {"site": "cloud"}, {"site": "far"}))


def rerun(*calls: Measured, kinds: tuple[Kind, ...] = (PLAIN,)) -> Rerun:
    """Calls of one run that began at second 1000."""
    return Rerun(kinds, (5_000_000,) * len(kinds), calls, 1000)


def test_what_a_caller_waits_around_the_entry_is_neither_way_nor_work() -> None:
    profile = profile_of(fleet(), [rerun(EDGE)])
    assert profile.around_us == {"edge": (25_000 - ACCESS_US - BACK_US - 12_000,)}
    assert profile.server_us == {"v@edge": (12_000,)}
    assert profile.trip_us == {}


def test_a_way_is_the_time_away_less_the_time_there_and_the_transfers() -> None:
    profile = profile_of(fleet(), [rerun(CLOUD)])
    # 1,000 and 1,024 bytes at a gigabit take 8 and 9 us.
    assert profile.trip_us == {("edge", "cloud"): (40_000 - 15_000 - 8 - 9,)}
    assert profile.server_us == {"v@cloud": (15_000,)}


def test_calls_without_an_answer_or_with_several_tries_are_in_no_profile() -> None:
    profile = profile_of(
        fleet(), [rerun(NOT_ANSWERED, replace(EDGE, attempts=2), replace(NOT_ANSWERED, ended="failed"))]
    )
    assert profile == Profile({}, {}, {})


def test_times_are_in_order_whatever_order_they_came_in() -> None:
    slow, quick = replace(EDGE, at_site_us=30_000, ended_us=90_000), replace(EDGE, at_site_us=2_000)
    assert profile_of(fleet(), [rerun(slow), rerun(EDGE, quick)]).server_us["v@edge"] == (2_000, 12_000, 30_000)


def test_who_waited_for_another_held_a_server_for_its_own_service_only() -> None:
    """The first is at the site from 8 to 20 ms, the second from 10 to 32; its replica took 11 ms, and 1 ms is usual around it."""
    second = replace(EDGE, ended_us=32_000, ran_us=22_000, at_site_us=22_000)
    assert server_times_us(fleet(), [EDGE, second]) == [12_000, 12_000]
    after = replace(second, ended_us=42_001)
    assert server_times_us(fleet(), [EDGE, after]) == [12_000, 22_000]
    unsaid = replace(second, service_us=0)
    assert server_times_us(fleet(), [EDGE, unsaid]) == [12_000, 22_000]
    elsewhere = replace(second, deployment="v@far")
    assert server_times_us(fleet(), [EDGE, elsewhere]) == [12_000, 22_000]


def test_a_real_cost_is_the_servers_time_and_the_egress() -> None:
    by_hand = 15_000 * NUSD_PER_S // 1_000_000 + (1_000 * 100_000_000 + 1_024 * 200_000_000) // 1_000_000_000
    assert real_costs_nusd(fleet(), rerun(CLOUD, NOT_ANSWERED)) == [by_hand, 0]


def test_arrivals_are_those_that_were_sent() -> None:
    calls = calls_of(rerun(EDGE, replace(EDGE, sent_us=5, payload_bytes=7)), seed=3)
    assert calls.at_us.tolist() == [0, 5]
    assert calls.payload_bytes.tolist() == [1_000, 7]
    assert calls.luck.tolist() != calls_of(rerun(EDGE, EDGE), seed=4).luck.tolist()


def test_one_run_after_the_other_keeps_each_call_its_kind() -> None:
    other = replace(PLAIN, entries=("cloud",))
    first = rerun(EDGE, replace(EDGE, sent_us=50_000))
    second = rerun(replace(EDGE, kind=1), EDGE, kinds=(PLAIN, other))
    whole = one_after_the_other(first, second)
    assert whole.kinds == (PLAIN, other)
    assert [call.kind for call in whole.calls] == [0, 0, 1, 0]
    assert [call.sent_us for call in whole.calls] == [0, 50_000, 1_075_000, 1_075_000]


VALUES = tuple(range(1_000, 21_000, 1_000))


def test_a_fleet_as_measured_has_the_times_of_calls_else_what_was_learned_else_what_is_declared() -> None:
    believed = Believed({"v@cloud": (9_000, 11_000), "v@edge": (1, 2)})
    measured = fleet_as_measured(fleet(), Profile({"v@edge": VALUES, "v@cloud": (1_000,) * 19}, {}, {}, believed))
    assert measured.tables.priors_us.tolist() == [[10_500, 19_050], [9_000, 11_000], [4_000, 4_000]]
    assert [each.id for each in measured.deployments] == ["v@edge", "v@cloud", "v@far"]
    prices = [fleet_.tables.live[:, L_NUSD_PER_S].tolist() for fleet_ in (fleet(), measured)]
    assert prices[0] == prices[1]


def test_the_fleets_overhead_is_in_what_is_measured_and_is_not_added_again() -> None:
    raw = {**tiny_fleet({}, {"site": "cloud"}), "call_overhead_ms": 0.5}
    measured = fleet_as_measured(Fleet.model_validate(raw), Profile({"v@edge": VALUES}, {}, {}))
    assert measured.tables.priors_us.tolist() == [[10_500, 19_050], [4_500, 4_500]]


def test_ways_are_as_long_as_calls_measured_else_as_entries_had_learned_else_as_declared() -> None:
    believed = Believed(
        {}, {("edge", "cloud"): (25_000, 31_000), ("cloud", "edge"): (27_000, 33_000), ("cloud", "far"): (1, 2)}
    )
    trips = {("edge", "cloud"): (1_000,) * 19, ("far", "cloud"): VALUES[:10], ("cloud", "far"): VALUES[10:]}
    links = fleet_as_measured(fleet(), Profile({}, trips, {}, believed)).links
    assert {(link.from_, link.to): (link.rtt_ms, link.rtt_p95_ms) for link in links} == {
        ("zone", "edge"): (10, None),
        ("edge", "cloud"): (26.0, 32.0),
        ("cloud", "far"): (10.5, 19.05),
    }
    assert {link.rtt_p95_ms for link in fleet_as_measured(fleet(), Profile({}, {}, {})).links} == {None}


def test_a_truth_is_every_time_that_was_measured_here_or_of_the_same_variant_elsewhere() -> None:
    profile = Profile({"v@edge": VALUES, "v@cloud": (3_000,)}, {}, {}, Believed({"v@far": (5_000, 8_000)}))
    both = tuple(sorted((*VALUES, 3_000)))
    truth = truth_of(fleet(), profile)
    assert truth["v@edge"] == Truth(10_500, 19_050, "empirical", VALUES)
    assert truth["v@cloud"] == truth["v@far"] == Truth(10_000, 19_000, "empirical", both)


def test_a_truth_that_no_call_told_is_what_was_learned_or_left_as_declared() -> None:
    profile = Profile({"v@edge": (1_000,) * 19}, {}, {}, Believed({"v@far": (5_000, 8_000)}))
    assert truth_of(fleet(), profile) == {"v@far": Truth(5_000, 8_000)}


def test_a_policy_is_simulated_as_it_is_carried_live() -> None:
    policy = policy_of(
        behaviour={"hedge": {}, "cache": {"ttl_s": 60}, "fallbacks_max": 2}, limits={"concurrent_max": 1}
    )
    carried = policy_as_carried(policy)
    assert (carried.behaviour.hedge, carried.behaviour.cache, carried.behaviour.fallbacks_max) == (None, None, 2)
    assert carried.limits.concurrent_max is None
    assert policy.limits.concurrent_max == 1
