"""What goes first in one microsecond, and how disturbances and intervals add up."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infercast.sim.model import Disturbance, Ended, Kind, Run, Truth
from infercast.sim.oracle import simulate
from infercast.sim.oracle.agenda import Agenda, Rank
from infercast.sim.oracle.series import bin_us_of, spread_over, stretches
from infercast.sim.oracle.weather import Weather, hop_of
from tests.sim.tiny import ACCESS_US, BACK_US, PLAIN, tiny, tiny_fleet

S = 1_000_000
TO_CLOUD_US, FROM_CLOUD_US = 10_008, 10_009


def test_things_of_one_instant_go_by_rank_then_number() -> None:
    agenda, done = Agenda(), list[str]()
    for rank in reversed(Rank):
        for number in (1, 0):
            if rank is not Rank.SCHEDULED:
                agenda.put(5, rank, number, lambda name=f"{rank.name}{number}": done.append(name))  # type: ignore[misc]
    agenda.schedule(5, lambda: done.append("first"))
    agenda.schedule(5, lambda: done.append("second"))
    agenda.schedule(4, lambda: done.append("before"))
    for _ in range(15):
        agenda.step()
    assert done == [
        "before",
        "DISTURBANCE0",
        "DISTURBANCE1",
        "EXCHANGE0",
        "EXCHANGE1",
        "SCALING0",
        "SCALING1",
        "first",
        "second",
        "PATIENCE0",
        "PATIENCE1",
        "SENDING0",
        "SENDING1",
        "ENTERING0",
        "ENTERING1",
    ]


def late_by(extra_us: int) -> Run:
    """A call whose deadline is its service time and something less or more; it is a surprise to its entry."""
    kinds = (replace(PLAIN, deadline_us=100_000),)
    return simulate(tiny(0, kinds=kinds, truth={"v@edge": Truth(100_000 + extra_us, 100_000 + extra_us)}))


def test_an_answer_in_the_microsecond_in_which_patience_ends_is_in_time() -> None:
    assert late_by(0).ended.tolist() == [Ended.ANSWERED]
    assert late_by(1).ended.tolist() == [Ended.LATE]


def test_a_call_is_lost_that_enters_in_the_microsecond_in_which_its_entry_goes_down() -> None:
    run = simulate(tiny(0, disturbances=(Disturbance("site_down", "edge", ACCESS_US, S),)))
    assert (run.ended[0], run.latency_us[0]) == (Ended.LOST, ACCESS_US)
    run = simulate(
        tiny(0, disturbances=(Disturbance("site_down", "edge", 0, 1), Disturbance("site_down", "edge", 2, 3)))
    )
    assert run.ended.tolist() == [Ended.LOST]  # it was sent while nothing was up
    run = simulate(
        tiny(1, disturbances=(Disturbance("site_down", "edge", 0, 1), Disturbance("site_down", "edge", 2, 3)))
    )
    assert run.ended.tolist() == [Ended.ANSWERED]


def test_a_call_that_ends_when_its_site_goes_down_is_lost() -> None:
    down = Disturbance("site_down", "edge", ACCESS_US + 4_000, S)
    assert simulate(tiny(0, disturbances=(down,))).ended.tolist() == [Ended.LOST]
    assert simulate(tiny(0, disturbances=(replace(down, from_us=down.from_us + 1),))).ended.tolist() == [Ended.ANSWERED]


def test_calls_that_enter_at_once_enter_by_number() -> None:
    run = simulate(tiny(0, 0, 0))
    assert run.wait_us.tolist() == [0, 4_000, 8_000]


def test_disturbances_of_one_target_add_up() -> None:
    weather, agenda = (
        Weather(
            (
                Disturbance("site_down", "a", 10, 30),
                Disturbance("site_down", "a", 20, 40),
                Disturbance("site_slow", "a", 0, 50, 2.0),
                Disturbance("site_slow", "a", 10, 20, 1.5),
                Disturbance("link_down", "a~b", -5, 10),
                Disturbance("deployment_down", "v@a", 7, 7),
            )
        ),
        Agenda(),
    )
    told: list[tuple[int, bool, int, bool, bool]] = []

    def changed(_: Disturbance) -> None:
        down, slow_ppm = weather.site_down("a"), weather.site_slow_ppm("a")
        told.append((agenda.now_us, down, slow_ppm, weather.link_down(hop_of("b~a")), weather.deployment_down("v@a")))

    weather.plan(agenda, changed)
    for _ in range(10):
        agenda.step()
    assert told == [
        (0, False, 2_000_000, False, False),
        (0, False, 2_000_000, True, False),
        (10, False, 2_000_000, False, False),  # what ends goes first
        (10, True, 2_000_000, False, False),
        (10, True, 3_000_000, False, False),
        (20, True, 2_000_000, False, False),
        (20, True, 2_000_000, False, False),
        (30, True, 2_000_000, False, False),
        (40, False, 2_000_000, False, False),
        (50, False, 1_000_000, False, False),
    ]


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(0, 3)), max_size=8), st.integers(1, 9))
def test_no_time_is_lost_between_intervals(pieces: list[tuple[int, int, int]], bins: int) -> None:
    pieces = [(min(a, b), max(a, b), count) for a, b, count in pieces]
    series = spread_over(pieces, bins, 4)
    assert series.sum() == sum((until - start) * count for start, until, count in pieces)
    by_microsecond = np.zeros(bins, dtype=np.int64)
    for start, until, count in pieces:
        for at in range(start, until):
            by_microsecond[min(at // 4, bins - 1)] += count
    assert series.tolist() == by_microsecond.tolist()


def test_stretches_end_where_the_next_begins_and_with_the_run() -> None:
    assert stretches([(0, 2), (5, 0), (5, 1), (9, 4)], 7) == [(0, 5, 2), (5, 7, 1)]
    assert (bin_us_of(0, 240), bin_us_of(239, 240), bin_us_of(240, 240)) == (1, 1, 2)


def test_a_call_that_may_not_enter_is_refused_though_its_answer_is_kept() -> None:
    fleet = tiny_fleet({"site": "cloud"})
    fleet["zones"].append({"id": "abroad", "country": "US", "lat": 0.0, "lon": 0.0})
    fleet["links"].append({"from": "abroad", "to": "edge", "rtt_ms": 10, "bandwidth_mbps": 1000, "countries": ["US"]})
    kinds = (PLAIN, replace(PLAIN, origin="abroad"))
    policy = {
        "behaviour": {"cache": {"ttl_s": 60, "scope": "tenant"}},
        "always": {"residency": {"transit": {"deny": ["US"]}}},
    }
    columns = {"content": 3, "kind": [0, 1, 0]}
    run = simulate(tiny(0, 100_000, 200_000, fleet=fleet, kinds=kinds, policy=policy, columns=columns))
    assert run.ended.tolist() == [Ended.ANSWERED, Ended.REFUSED, Ended.CACHED]


def test_kept_answers_go_with_their_site() -> None:
    cache = {"behaviour": {"cache": {"ttl_s": 60, "scope": "tenant"}}}
    down = Disturbance("site_down", "edge", 50_000, 60_000)
    run = simulate(tiny(0, 40_000, 70_000, policy=cache, columns={"content": 3}, disturbances=(down,)))
    assert run.ended.tolist() == [Ended.ANSWERED, Ended.CACHED, Ended.ANSWERED]


def test_windows_go_by_the_time_at_the_entry_and_all_are_open_where_nobody_knows_it() -> None:
    closed = {"overrides": [{"when": {"hours": "00:00-00:01"}, "constraints": {"privacy": {"tiers": ["device"]}}}]}
    at_us = (59_000_000, 59_994_000, 59_995_000)  # the last two enter just before and after the minute
    known = simulate(tiny(*at_us, policy=closed, starts_at_s=86_400))
    assert known.ended.tolist() == [Ended.REFUSED, Ended.REFUSED, Ended.ANSWERED]
    assert simulate(tiny(*at_us, policy=closed)).ended.tolist() == [Ended.REFUSED] * 3


def test_a_hedge_stays_when_the_first_trys_patience_ends_and_both_are_distrusted_in_the_end() -> None:
    fleet = tiny_fleet({}, {"site": "cloud"}, {"site": "far"})
    hedged = {"behaviour": {"hedge": {"after_quantile": "p95", "budget_share": 1.0}}}
    gone = Disturbance("deployment_down", "v@edge", 1, 10 * S), Disturbance("deployment_down", "v@cloud", 1, 10 * S)
    run = simulate(tiny(0, fleet=fleet, policy=hedged, disturbances=gone))
    assert (run.ended[0], bool(run.hedged[0]), run.attempts[0], run.deployment[0]) == (Ended.ANSWERED, True, 3, 2)
    # The first is given up 150 ms on. The hedge, sent after 4.001 ms, is waited for four times its estimate at p95:
    # 10 ms in, 24 ms there, 17 us for the bytes on each, and the root of 2.5 and 5 ms squared. Then the third is asked.
    patience_us = 4 * (10_000 + 24_000 + 17 + 17 + 5_590)
    third_us = 25_000 + 8 + 4_000 + 25_000 + 9
    assert run.latency_us[0] == ACCESS_US + 4_001 + patience_us + third_us + BACK_US


def test_two_entries_with_equal_calls_do_not_share_an_answer() -> None:
    fleet = tiny_fleet({}, {"site": "cloud"})
    kinds = (PLAIN, Kind("t", "m", "edge", ("cloud",), ("plain",)))
    cache = {"behaviour": {"cache": {"ttl_s": 60, "scope": "tenant"}}}
    run = simulate(tiny(0, 100_000, fleet=fleet, kinds=kinds, policy=cache, columns={"content": 3, "kind": [0, 1]}))
    assert run.ended.tolist() == [Ended.ANSWERED, Ended.ANSWERED]


@pytest.mark.parametrize("jitter", [True, False])
def test_a_way_over_two_links_takes_what_both_take(jitter: bool) -> None:
    run = simulate(tiny(0, fleet=tiny_fleet({"site": "far"}), jitter=jitter, columns={"luck": 2_048 << 12}))
    # 50 ms; the middle of the shape is the median, but for rounding.
    expected_us = ACCESS_US + 25_000 + 8 + 4_000 + 25_000 + 9 + BACK_US
    assert run.latency_us[0] == pytest.approx(expected_us, abs=20 if jitter else 0)
