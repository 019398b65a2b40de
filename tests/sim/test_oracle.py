"""Tiny runs of the oracle, every number worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

from infercast.sim.model import Disturbance, Ended, Kind, LimitedBy, Run, Scaling, Truth, World
from infercast.sim.oracle import simulate
from infercast.sim.shapes import ONE, shape_of
from tests.sim.tiny import ACCESS_US, BACK_US, PLAIN, tiny, tiny_fleet
from tests.sim.worlds import ARRAYS, sim_worlds

S = 1_000_000
EDGE, CLOUD, FAR = 0, 1, 2
TO_CLOUD_US = 10_008
FROM_CLOUD_US = 10_009
SERVICE_US = 4_000
ALONE_US = ACCESS_US + SERVICE_US + BACK_US


def ends(run: Run) -> list[str]:
    return [Ended(code).name for code in run.ended]


def test_a_call_alone_takes_its_way_in_its_service_and_its_way_back() -> None:
    run = simulate(tiny(1_000))
    assert ends(run) == ["ANSWERED"]
    assert run.latency_us.tolist() == [ALONE_US] == [14_017]
    assert (run.wait_us[0], run.attempts[0], run.entry[0], run.deployment[0]) == (0, 1, EDGE, 0)
    assert run.cost_nusd.tolist() == [400]  # 4 ms at 100,000 nUSD a second
    assert run.egress_nusd.tolist() == [0]
    assert run.span_us == 15_017


def test_a_second_call_waits_for_the_one_server() -> None:
    run = simulate(tiny(1_000, 2_000, 2_500))
    assert run.wait_us.tolist() == [0, 3_000, 6_500]
    assert run.latency_us.tolist() == [ALONE_US, ALONE_US + 3_000, ALONE_US + 6_500]


def test_two_servers_take_two_calls() -> None:
    run = simulate(tiny(1_000, 2_000, 2_500, fleet=tiny_fleet({"concurrency": 2})))
    assert run.wait_us.tolist() == [0, 0, 2_500]


def test_the_more_urgent_call_is_served_before_those_that_wait_longer() -> None:
    kinds = (replace(PLAIN, priority=3), replace(PLAIN, priority=0))
    run = simulate(tiny(0, 100, 200, 300, kinds=kinds, columns={"kind": [0, 0, 0, 1]}))
    assert run.wait_us.tolist() == [0, 7_900, 11_800, 3_700]


def test_what_waits_is_taken_up_as_a_batch() -> None:
    fleet = tiny_fleet({"batch_max": 3})
    run = simulate(tiny(0, 100, 200, 300, 400, fleet=fleet, batch_marginal={"v": 0.25}))
    # The first alone; then three for 4 ms * 1.5; then the last alone.
    assert run.wait_us.tolist() == [0, 3_900, 3_800, 3_700, 9_600]
    assert run.latency_us.tolist() == [ALONE_US + extra for extra in (0, 5_900, 5_800, 5_700, 9_600)]
    assert run.cost_nusd.tolist() == [400, 200, 200, 200, 400]  # three share 6 ms


def test_a_batch_takes_as_long_as_its_longest_call_and_gains_nothing_by_default() -> None:
    work = {"work_ppm": [S, S, 3 * S]}
    run = simulate(tiny(0, 100, 200, fleet=tiny_fleet({"batch_max": 8}), columns=work))
    assert run.latency_us.tolist() == [ALONE_US, ALONE_US - 100 + 24_000, ALONE_US - 200 + 24_000]


def test_a_call_for_another_site_travels_there_and_back_and_pays_for_it() -> None:
    run = simulate(tiny(0, fleet=tiny_fleet({"site": "cloud"})))
    assert run.latency_us.tolist() == [ALONE_US + TO_CLOUD_US + FROM_CLOUD_US]
    # 1,000 bytes at 0.1 USD/GB there, 1,024 at 0.2 back: 100 + 200 + 4.8
    assert (run.egress_nusd[0], run.cost_nusd[0]) == (304, 704)


def test_round_trips_and_service_vary_as_the_calls_luck_says() -> None:
    luck = 100 | 4000 << 12
    world = tiny(0, fleet=tiny_fleet({"site": "cloud"}), jitter=True, columns={"luck": luck})
    world = replace(world, truth={"v@cloud": Truth(4_000, 8_000, "empirical", (1_000, 9_000))})
    run = simulate(world)
    trip_us = int(shape_of(Truth(20_000, 25_000))[4000]) * 20_000 // ONE
    back_us = trip_us - trip_us // 2
    assert trip_us > 25_000
    assert run.latency_us[0] == ACCESS_US + BACK_US + trip_us // 2 + 8 + 1_000 + back_us + 9


def test_a_slow_site_and_a_slow_link_take_longer() -> None:
    fleet = tiny_fleet({"site": "cloud"})
    slow = (
        Disturbance("site_slow", "cloud", 0, S, 2.0),
        Disturbance("link_slow", "cloud~edge", 0, S, 1.5),
        Disturbance("link_slow", "edge~zone", 0, S, 3.0),
    )
    run = simulate(tiny(0, 2 * S, fleet=fleet, disturbances=slow))
    assert (run.latency_us[0] - run.latency_us[1]) == 4_000 + 10_000 + 20_000


def test_a_call_whose_deployment_is_gone_is_tried_elsewhere_when_patience_ends() -> None:
    fleet = tiny_fleet({}, {"site": "cloud"})
    run = simulate(tiny(0, fleet=fleet, disturbances=(Disturbance("deployment_down", "v@edge", 1, S),)))
    # Nothing is known of it before the edge's next exchange at 250 ms: patience is the floor of 150 ms.
    assert ends(run) == ["ANSWERED"]
    assert run.latency_us[0] == ACCESS_US + 150_000 + TO_CLOUD_US + SERVICE_US + FROM_CLOUD_US + BACK_US
    assert (run.attempts[0], run.deployment[0]) == (2, 1)
    assert run.cost_nusd[0] == 400 + 304  # what was lost before it began costs nothing


def test_without_a_fallback_the_call_is_late_when_its_deadline_passes() -> None:
    run = simulate(
        tiny(0, policy={"always": {"deadline_ms": 100.0}}, disturbances=(Disturbance("site_down", "cloud", 0, 1),))
    )
    assert ends(run) == ["ANSWERED"]
    world = tiny(0, disturbances=(Disturbance("deployment_down", "v@edge", 1, S),))
    run = simulate(replace(world, calls=replace(world.calls, kinds=(replace(PLAIN, deadline_us=100_000),))))
    assert ends(run) == ["LATE"]
    assert run.latency_us[0] == ACCESS_US + 100_000 + 5_000  # no answer to carry back
    assert (run.rule[0], run.deployment[0], run.attempts[0], run.cost_nusd[0]) == (0, -1, 1, 0)


def test_a_lost_call_costs_its_service_as_far_as_it_ran() -> None:
    world = tiny(0, disturbances=(Disturbance("deployment_down", "v@edge", ACCESS_US + 1_500, S),))
    run = simulate(replace(world, watts={"edge": 10.0}))
    assert ends(run) == ["LATE"]
    assert run.latency_us[0] == ACCESS_US + 30_000_000 + 5_000  # the default deadline
    assert run.cost_nusd[0] == 150
    assert int(run.busy_us.sum()) == 1_500
    assert run.joules == pytest.approx(0.015)


def test_calls_that_had_entered_are_lost_with_their_entry_and_those_to_come_enter_elsewhere() -> None:
    kinds = (replace(PLAIN, entries=("edge", "cloud")), PLAIN)
    down = Disturbance("site_down", "edge", ACCESS_US + 1_000, S)
    run = simulate(
        tiny(
            0,
            2_000,
            10_000,
            20_000,
            kinds=kinds,
            columns={"kind": [0, 0, 0, 1]},
            fleet=tiny_fleet({}, {"site": "cloud"}, links=LINKS_TO_BOTH),
            disturbances=(down,),
        )
    )
    # In service; on its way in; turned to the cloud; no entry left.
    assert ends(run) == ["LOST", "LOST", "ANSWERED", "LOST"]
    assert run.latency_us.tolist() == [ACCESS_US + 1_000, ACCESS_US, 20_008 + SERVICE_US + 20_009, 0]
    assert run.entry.tolist() == [EDGE, EDGE, CLOUD, -1]
    assert run.cost_nusd[0] == 100


LINKS_TO_BOTH = [
    {"from": "zone", "to": "edge", "rtt_ms": 10, "bandwidth_mbps": 1000, "countries": ["DE"]},
    {"from": "zone", "to": "cloud", "rtt_ms": 40, "bandwidth_mbps": 1000, "countries": ["DE"]},
]


def test_no_call_crosses_a_link_that_is_down_and_answers_on_their_way_arrive() -> None:
    down = Disturbance("link_down", "edge~cloud", ACCESS_US + 15_000, 60_000)
    fleet = tiny_fleet({"site": "cloud"})
    kinds = (replace(PLAIN, deadline_us=200_000),)
    run = simulate(tiny(0, 30_000, 70_000, fleet=fleet, disturbances=(down,), kinds=kinds))
    assert ends(run) == ["ANSWERED", "LATE", "ANSWERED"]
    assert run.attempts.tolist() == [1, 1, 1]


def test_an_entry_whose_way_in_is_cut_takes_no_calls() -> None:
    run = simulate(tiny(0, disturbances=(Disturbance("link_down", "zone~edge", 0, S),)))
    assert (ends(run), run.entry.tolist()) == (["LOST"], [-1])


def test_a_distrusted_site_is_heard_of_again_at_the_exchange_after_it_is_back() -> None:
    # Sites exchange every 300 ms: the edge at 0, the cloud at 100, far at 200 ms.
    fleet = tiny_fleet({"site": "cloud"})
    down = Disturbance("site_down", "cloud", 50_000, 350_000)
    kinds = (replace(PLAIN, deadline_us=200_000),)
    at_us = (60_000, 300_000, 420_000, 610_000)
    run = simulate(tiny(*at_us, fleet=fleet, disturbances=(down,), kinds=kinds, exchange_us=300_000))
    # Sent in good faith; distrusted since 265 ms; the cloud spoke at 400 ms, the edge hears it at 600 ms.
    assert ends(run) == ["LATE", "UNAVAILABLE", "UNAVAILABLE", "ANSWERED"]


def test_an_entry_sees_its_own_load_at_once_and_anothers_as_of_the_last_exchange() -> None:
    # Two entries send to the cloud, which has room for one: each counts what it has sent itself at once.
    links = [*LINKS_TO_BOTH, {"from": "edge", "to": "cloud", "rtt_ms": 1, "bandwidth_mbps": 1000, "countries": ["DE"]}]
    fleet = tiny_fleet({"site": "cloud", "queue_max": 1}, service_ms=400.0, links=links)
    kinds = (PLAIN, Kind("t", "m", "zone", ("cloud",), ("plain",)))
    run = simulate(tiny(0, 0, 100_000, 100_000, 300_000, kinds=kinds, columns={"kind": [0, 0, 1, 0, 0]}, fleet=fleet))
    # The edge has sent one and knows it, the cloud has it and knows it; no one else would, before an exchange.
    assert ends(run) == ["ANSWERED", "SATURATED", "SATURATED", "SATURATED", "SATURATED"]
    kinds = (Kind("t", "m", "zone", ("cloud",), ("plain",)), PLAIN)
    run = simulate(tiny(0, 50_000, 300_000, kinds=kinds, columns={"kind": [0, 1, 1]}, fleet=fleet))
    # The edge hears at 250 ms what the cloud told at 83 ms; at 55 ms it does not know of the cloud's own call.
    assert ends(run) == ["ANSWERED", "ANSWERED", "SATURATED"]


def test_answers_are_kept_for_the_same_question() -> None:
    cache = {"behaviour": {"cache": {"ttl_s": 1, "scope": "tenant"}}}
    contents = {"content": [7, 7, 7, 8, -1, 7]}
    run = simulate(tiny(0, 3_000, 20_000, 30_000, 40_000, 1_100_000, policy=cache, columns=contents))
    # The second comes before there is an answer; the last when it is too old.
    assert ends(run) == ["ANSWERED", "ANSWERED", "CACHED", "ANSWERED", "ANSWERED", "ANSWERED"]
    assert run.latency_us[2] == ACCESS_US + BACK_US
    assert (run.cost_nusd[2], run.deployment[2], run.attempts[2]) == (0, -1, 0)


def test_answers_of_one_kind_of_call_are_not_anothers_where_keys_keep_their_own() -> None:
    kinds = (PLAIN, replace(PLAIN, priority=1))
    columns = {"content": 7, "kind": [0, 1, 0, 1]}
    for scope, ended in (("key", "ANSWERED"), ("tenant", "CACHED")):
        cache = {"behaviour": {"cache": {"ttl_s": 60, "scope": scope}}}
        run = simulate(tiny(0, 20_000, 40_000, 60_000, policy=cache, columns=columns, kinds=kinds))
        assert ends(run) == ["ANSWERED", ended, "CACHED", "CACHED"]


def test_limits_count_calls_and_money() -> None:
    minute = simulate(tiny(0, 1, 2, 60 * S, policy={"limits": {"requests_per_minute": 2}}, starts_at_s=1_200))
    assert ends(minute) == ["ANSWERED", "ANSWERED", "LIMITED", "ANSWERED"]
    assert minute.rule[2] == LimitedBy.REQUESTS_PER_MINUTE
    assert minute.latency_us[2] == ACCESS_US + 5_000
    once = simulate(tiny(0, 1, 20_000, policy={"limits": {"concurrent_max": 1}}))
    assert ends(once) == ["ANSWERED", "LIMITED", "ANSWERED"]
    # A call costs 400 nUSD: the second is stopped by what is set aside, the third by what is spent.
    day = simulate(
        tiny(0, 1, 20_000, 86_390 * S, policy={"limits": {"budget_usd_per_day": 4e-7}}, starts_at_s=86_400 + 20)
    )
    assert ends(day) == ["ANSWERED", "LIMITED", "LIMITED", "ANSWERED"]
    assert day.rule[1:3].tolist() == [LimitedBy.BUDGET_PER_DAY] * 2
    month = simulate(tiny(0, 20_000, 86_390 * S, policy={"limits": {"budget_usd_per_month": 4e-7}}, starts_at_s=86_420))
    assert ends(month) == ["ANSWERED", "LIMITED", "LIMITED"]


def test_the_last_try_that_a_policy_allows_is_waited_for_to_the_end() -> None:
    fleet = tiny_fleet({}, {"site": "cloud"}, {"site": "far"})
    slow = {"v@cloud": Truth(900_000, 900_000)}
    gone = (Disturbance("deployment_down", "v@edge", 1, S),)
    for fallbacks, deployment, attempts in ((1, 1, 2), (2, 2, 3)):
        policy = {"behaviour": {"fallbacks_max": fallbacks}}
        run = simulate(tiny(0, fleet=fleet, truth=slow, disturbances=gone, policy=policy))
        assert ends(run) == ["ANSWERED"]
        assert (run.deployment[0], run.attempts[0]) == (deployment, attempts)


HEDGED = {"behaviour": {"hedge": {"after_quantile": "p95", "budget_share": 1.0}}}


def test_a_call_that_takes_long_gets_a_second_try_beside_it() -> None:
    fleet = tiny_fleet({}, {"site": "cloud"})
    run = simulate(tiny(0, fleet=fleet, policy=HEDGED, truth={"v@edge": Truth(100_000, 100_000)}))
    # Foretold are 4.001 ms (the engine counts 1 us for bytes that stay); then the cloud is asked, too, and is faster.
    assert run.latency_us[0] == ACCESS_US + 4_001 + TO_CLOUD_US + SERVICE_US + FROM_CLOUD_US + BACK_US
    assert (bool(run.hedged[0]), run.attempts[0], run.deployment[0]) == (True, 2, 1)
    assert run.cost_nusd[0] == 400 + 304 + 10_000  # the first runs to its end, for nothing
    assert int(run.busy_us.sum()) == 104_000


def test_hedges_keep_to_their_share_of_the_calls() -> None:
    hedged = {"behaviour": {"hedge": {"after_quantile": "p95", "budget_share": 0.5}}}
    fleet = tiny_fleet({}, {"site": "cloud"})
    run = simulate(tiny(0, S, 2 * S, 3 * S, fleet=fleet, policy=hedged, truth={"v@edge": Truth(100_000, 100_000)}))
    assert run.hedged.tolist() == [False, True, False, True]


def test_replicas_follow_the_load_and_come_after_their_cold_start() -> None:
    scaling = Scaling(
        0, 2, target_ongoing=1.0, look_back_us=S, upscale_delay_us=S, downscale_delay_us=S, cold_start_us=S
    )
    slow = {"v@edge": Truth(10 * S, 10 * S)}
    at_us = (0, 100_000, 200_000)
    run = simulate(tiny(*at_us, scaling={"v@edge": scaling}, truth=slow, bins=30))
    # Two are wished for from the tick at 1 s on, granted at 2 s, ready at 3 s; the third waits for a server.
    assert run.wait_us.tolist() == [0, 3 * S - 100_000 - ACCESS_US, 10 * S - 200_000]
    assert run.bin_us == -(-(200_000 + ACCESS_US + 1) // 30)
    # Wanted down again from 14 s on (one call left), granted at 15 s.
    assert int(run.replica_us.sum()) == run.span_us + 12 * S


def test_calls_wait_for_the_first_replica_where_none_stands() -> None:
    scaling = Scaling(0, 1, 1.0, look_back_us=S, upscale_delay_us=0, downscale_delay_us=0, cold_start_us=S // 2)
    run = simulate(tiny(1_100_000, scaling={"v@edge": scaling}))
    # Idle at 1 s: the replica goes. The call makes itself seen at 2 s; a replica is ready at 2.5 s.
    assert run.wait_us.tolist() == [2_500_000 - 1_100_000 - ACCESS_US]


def test_time_in_use_and_time_that_stood_ready_by_interval() -> None:
    run = simulate(tiny(0, 10_000 - ACCESS_US, fleet=tiny_fleet({"concurrency": 2}), bins=2, watts={"edge": 100.0}))
    assert run.bin_us == 5_001  # the second enters at 10,000
    # In use 5,008 to 9,008 and 10,000 to 14,000: all in the second and last interval.
    assert run.busy_us[0].tolist() == [0, 8_000]
    assert run.replica_us[0].tolist() == [2 * 5_001, 2 * (run.span_us - 5_001)]
    assert run.joules == pytest.approx(100 * 0.008 / 2)


def test_what_was_learned_is_told_and_heard() -> None:
    fleet = tiny_fleet({}, {"site": "cloud"}, {"site": "far"})
    world = tiny(*range(0, 10 * S, 20_000), fleet=fleet, truth={"v@edge": Truth(40_000, 40_000)})
    taught, untaught = simulate(replace(world, estimates="learned")), simulate(world)
    assert set(untaught.deployment[-100:].tolist()) == {0, 1}  # it goes elsewhere only when the queue is long
    assert set(taught.deployment[-100:].tolist()) == {1}


def test_a_run_that_is_stopped_lets_what_is_under_way_end() -> None:
    world = tiny(*range(0, 1_000_000, 1_000))
    asked = []

    def stop() -> bool:
        asked.append(True)
        return len(asked) == 2

    run = simulate(world, stop=stop)
    whole = simulate(world)
    assert run.stopped_early
    assert not whole.stopped_early
    assert 0 < len(run) < len(world.calls) == len(whole)
    assert Ended.RUNNING not in run.ended


def test_progress_is_told() -> None:
    told: list[tuple[int, int]] = []
    simulate(tiny(*range(0, 1_000_000, 1_000)), progress=lambda done, total: told.append((done, total)))
    assert told == sorted(told)
    assert told[-1] == (1_000, 1_000)
    assert len(told) > 5


def columns(run: Run) -> dict[str, bytes]:
    return {
        name: np.asarray(getattr(run, name)).tobytes()
        for name in (*ARRAYS, "span_us", "bin_us", "joules", "stopped_early")
    }


@settings(max_examples=40, deadline=None)
@given(sim_worlds())
def test_every_call_ends_once_and_equal_worlds_give_equal_runs(world: World) -> None:
    run = simulate(world)  # conservation is asserted inside
    assert len(run) == len(world.calls)
    assert columns(simulate(world)) == columns(run)
    answered = run.ended == Ended.ANSWERED
    assert (run.attempts[answered] >= 1).all()
    assert (run.latency_us >= run.wait_us).all() or run.hedged.any()
    unable = np.isin(run.ended, [Ended.REFUSED, Ended.SATURATED, Ended.UNAVAILABLE, Ended.LIMITED, Ended.CACHED])
    assert (run.cost_nusd[unable] == 0).all()
    assert (run.attempts[unable] == 0).all()
