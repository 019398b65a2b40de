"""The bench of foretold times counts what it says it counts, and draws what it was given."""

import asyncio
import time
from itertools import combinations
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from bench.busy import OWN_SITE, World, work_of, write_world
from bench.calibration import changes_of, drawn, missed, stationary_shares, streams_of
from bench.foretold import AFTER_CALLS, Call, calls_of, change_of, share_of
from bench.sending import Lateness, Stream, Target, call_id, gaps_s, send_phase
from bench.svg import Panel, figure
from infercast.policies.engine import Engine
from infercast.policies.fleet_file import load_fleet
from infercast.policies.model import Hosting, Request
from infercast.policies.policy_file import load_policies
from infercast.policies.snapshot import Snapshot
from infercast.router.runtime.session import Session

STREAM = Stream("fra", "near")


def line(
    number: int, ran_us: int | None, *, attempts: int = 1, phase: str = "stationary", **more: Any
) -> dict[str, Any]:
    """A line as a site's journal has it; without a time, of a call that found no answer."""
    return {
        "kind": "call",
        "request": call_id(phase, STREAM, number),
        "outcome": "failed" if ran_us is None else "answered",
        "attempts": ["near-busy@fra"] * attempts,
        "expected_us": None if ran_us is None else [10, 20, 30, 40],
        "ran_us": ran_us,
        **more,
    }


def test_shares_are_of_attempts_and_one_that_was_given_up_is_under_nothing() -> None:
    calls = calls_of([line(0, 10), line(1, 11), line(2, 30, attempts=2), line(3, 31), line(4, None, attempts=3)])
    share = share_of("all", calls)
    assert (share.attempts, share.given_up) == (8, 4)
    assert share.under == (12.5, 25.0, 37.5, 50.0)


def test_only_the_benchs_own_calls_count_each_stream_in_its_order() -> None:
    lines = [
        line(11, 1),
        line(2, 1),
        {"kind": "received", "request": call_id("x", STREAM, 1)},
        line(1, 1, request="7c"),
    ]
    assert [(call.stream, call.number) for call in calls_of(lines)] == [("near at fra", 2), ("near at fra", 11)]


def slowed(estimates_us: list[int], ran_us: list[int]) -> list[Call]:
    return [
        Call("slow0", "near at fra", number, True, 0, (1, 1, estimate, 1), ran)
        for number, (estimate, ran) in enumerate(zip(estimates_us, ran_us, strict=True))
    ]


def test_a_change_is_judged_by_what_was_foretold_after_200_calls() -> None:
    before = slowed([1_000] * 100, [1_000] * 100)
    late = [1_000] * AFTER_CALLS + [3_000] * 100
    change = change_of("x", before, slowed(late, [3_000] * 300))
    assert (change.near, change.off, change.before_ms, change.truth_ms) == (True, 0.0, 1.0, 3.0)
    later = [1_000] * (AFTER_CALLS + 50) + [3_000] * 50
    assert not change_of("x", before, slowed(later, [3_000] * 300)).near


def test_whoever_takes_the_p95_of_the_same_calls_is_judged_alike() -> None:
    ran = [3_000] * AFTER_CALLS + [9_000] * AFTER_CALLS
    assert change_of("x", slowed([1], [1]), slowed([9_000] * len(ran), ran)).own_off == pytest.approx(-2 / 3)


def phase(name: str, expected_us: int, ran_us: int, count: int) -> list[Call]:
    return [Call(name, "near at fra", at, True, 0, (expected_us,) * 4, ran_us) for at in range(count)]


def test_goals_that_were_missed_are_named() -> None:
    calls = [
        *phase("stationary", 100, 100, 300),
        *(call for turn in (0, 1) for call in phase(f"slow{turn}", 100, 300, 300)),
        *(call for turn in (0, 1) for call in phase(f"back{turn}", 100, 100, 300)),
    ]
    shares, warm = stationary_shares(calls)
    assert (warm.attempts, [share.attempts for share in shares]) == (100, [200, 200])
    slow, back = changes_of(calls, "slow"), changes_of(calls, "back")
    assert [change.near for change in (*slow, *back)] == [False, False, True, True]
    words = missed(shares, slow)
    assert [word.split(":")[0] for word in words] == ["all", "near at fra", "slower"]
    assert ET.fromstring(drawn(shares, slow)).tag.endswith("svg")


def test_a_point_out_of_range_is_drawn_at_the_edge_and_words_are_escaped() -> None:
    panel = Panel("a < b", (0, 10), (0, 1), 50, 20, 100, 200)
    # In pixels from the top left corner.
    assert [panel.at(0, 0), panel.at(10, 1), panel.at(20, -1)] == [(50, 220), (150, 20), (150, 220)]
    panel.dot(5, 0.5)
    panel.line([(0, 0), (10, 1)])
    panel.band(0.2, 0.4)
    tree = ET.fromstring(figure(200, 300, [panel], "x & y"))
    assert {child.tag.rpartition("}")[2] for child in tree} >= {"circle", "polyline", "rect", "text", "title"}
    assert any(child.text == "a < b" for child in tree)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The files of the bench."""
    return write_world(tmp_path_factory.mktemp("world"))


def test_work_is_what_the_call_brings(world: World) -> None:
    fleet = load_fleet(world.fleet)
    session = Session(fleet.cards["near-busy"], fleet.artefacts["near-busy"])
    rows = [session.run({"rounds": np.array([rounds])})["row_out"] for rounds in (0, 5, 6)]
    assert np.array_equal(rows[0], np.ones_like(rows[0]))
    assert not any(np.array_equal(one, other) for one, other in combinations(rows, 2))
    assert 0 < np.abs(rows[2]).max() < 1


def test_three_times_the_work_is_the_same_work_three_times() -> None:
    once, thrice = work_of(1_000, 500, 1), work_of(3_000, 500, 1)
    assert all(abs(3 * one - three) <= 3 for one, three in zip(once, thrice, strict=True))
    assert np.median(once) == pytest.approx(1_000, rel=0.1)


def test_the_fleet_is_the_examples_without_devices(world: World) -> None:
    fleet = load_fleet(world.fleet)
    assert [site.id for site in fleet.sites] == ["fra", "sin", "gru", "iad", "dub"] == list(world.sites)
    assert [d.id for d in fleet.deployments if d.hosted is Hosting.OWN] == [f"near-busy@{OWN_SITE}"]
    assert fleet.cards["near-busy"].service_time_ms["cpu"].p50 > 0


def test_calls_for_near_stay_and_calls_for_far_travel(world: World) -> None:
    fleet = load_fleet(world.fleet)
    engine = Engine(fleet, load_policies(world.policies, fleet))
    snapshot = Snapshot.declared(fleet)
    streams = streams_of(world)
    assert len(streams) == 8
    for stream in streams:
        choice = engine.choose(Request("r", "bench", stream.model, stream.entry, stream.entry), snapshot)
        stays = fleet.deployments[choice.deployment].site == stream.entry
        assert stays == (stream.model == "near"), stream


def test_calls_come_when_they_come_and_those_without_an_answer_are_counted() -> None:
    assert np.mean(gaps_s(4_000, 8.0, 3)) == pytest.approx(1 / 8, rel=0.1)
    bad = asyncio.run(send_phase(Target("http://127.0.0.1:9", "x"), "p", [STREAM], [[1, 1, 1]], 1_000.0, 1))
    assert bad == [3]


def test_lateness_is_measured_for_as_long_as_it_is_asked_for() -> None:
    with Lateness(0.001) as late:
        time.sleep(0.05)
    heard = len(late.late_ms)
    assert heard >= 2
    assert 0 <= late.percentile(50) <= late.percentile(100)
    time.sleep(0.01)
    assert len(late.late_ms) == heard
