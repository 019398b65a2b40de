"""Snapshots: what is believed of a report at its age, and of a deployment that nobody heard of."""

import json
from typing import Any

import numpy as np
import pytest

from infercast.policies import kernel
from infercast.policies.fleet import Fleet
from infercast.policies.snapshot import DEAD_US, FRESH_US, NEVER_US, P50, SPREAD, Report, Snapshot
from infercast.policies.tables import Table, prior_us
from infercast.policies.units import LATENCY_MAX_US
from tests.support import fleet_of, raw_fleet

NOW_US = 50_000_000


def heard(report: Report, age_us: int = 0) -> Snapshot:
    snapshot = Snapshot(fleet_of())
    snapshot.hear(1, report, NOW_US - age_us)
    snapshot.believe(NOW_US)
    return snapshot


def seen(snapshot: Snapshot, entry: str, model: str) -> Table:
    """What decisions depend on."""
    return snapshot.view(entry, model)[: kernel.V_IDLE_FLOOR]


def row(snapshot: Snapshot, index: int = 1) -> dict[str, Any]:
    names = ("in_flight", "concurrency", "queue_max", "healthy", "nusd_per_s")
    live = snapshot.live[index].tolist()
    assert len(set(live[P50])) == len(set(live[SPREAD])) == 1, "one pair stands for all payload sizes"
    times = {"p50_us": live[kernel.L_P50_US], "spread_us": live[kernel.L_SPREAD_US]}
    return {**dict(zip(names, live[: kernel.L_P50_US], strict=True)), **times}


def test_what_nobody_heard_of_is_not_healthy_and_slow() -> None:
    snapshot = Snapshot(fleet_of())
    assert row(snapshot) == {
        "in_flight": 0,
        "concurrency": 1,
        "queue_max": 64,
        "p50_us": 2_300,
        "spread_us": 1_000,
        "healthy": 0,
        "nusd_per_s": 100_000,
    }
    assert set(snapshot.age_us.tolist()) == {NEVER_US}
    snapshot.believe(NOW_US)
    assert not snapshot.live[:, kernel.L_HEALTHY].any()


def test_the_declared_snapshot_is_healthy_idle_and_as_the_cards_say() -> None:
    declared = row(Snapshot.declared(fleet_of()))
    assert (declared["healthy"], declared["in_flight"], declared["p50_us"]) == (1, 0, 1_300)


def test_a_fresh_report_is_taken_as_it_is() -> None:
    found = row(heard(Report(5, 700, 900), FRESH_US))
    assert (found["in_flight"], found["p50_us"], found["spread_us"], found["healthy"]) == (5, 700, 200, 1)


def test_a_stale_report_counts_as_busy_and_no_faster_than_declared() -> None:
    found = row(heard(Report(0, 700, 900), FRESH_US + 1))
    assert (found["in_flight"], found["p50_us"], found["healthy"]) == (1, 2_300, 1)
    worse = row(heard(Report(9, 50_000, 90_000), FRESH_US + 1))
    assert (worse["in_flight"], worse["p50_us"], worse["spread_us"]) == (9, 50_000, 40_000)


def test_a_report_past_its_time_is_not_healthy() -> None:
    assert row(heard(Report(0, 700, 900), DEAD_US))["healthy"] == 1
    assert row(heard(Report(0, 700, 900), DEAD_US + 1))["healthy"] == 0
    assert row(heard(Report(0, 700, 900, healthy=False)))["healthy"] == 0


def test_nonsense_is_brought_within_bounds() -> None:
    found = row(heard(Report(-3, -1, -1)))
    assert (found["in_flight"], found["p50_us"], found["spread_us"]) == (0, 1, 0)
    found = row(heard(Report(0, 10**15, 0)))
    assert (found["p50_us"], found["spread_us"]) == (LATENCY_MAX_US, 0)
    found = row(heard(Report(0, 0, 10**15)))
    assert (found["p50_us"], found["spread_us"]) == (1, LATENCY_MAX_US - 1)


def test_an_older_report_changes_nothing() -> None:
    snapshot = heard(Report(5, 700, 900))
    snapshot.hear(1, Report(0, 1, 1), NOW_US - 1)
    snapshot.believe(NOW_US)
    assert row(snapshot)["in_flight"] == 5


def test_a_clock_that_goes_back_makes_nothing_younger_than_new() -> None:
    snapshot = heard(Report(5, 700, 900))
    snapshot.believe(NOW_US - 1_000)
    assert snapshot.age_us[1] == 0


def test_a_flood_of_lost_calls_begins_one_epoch() -> None:
    snapshot = heard(Report(0, 700, 900))
    before = snapshot.epoch
    for turn in range(100):
        snapshot.distrust(1, NOW_US + turn)
    assert snapshot.epoch == before + 1
    snapshot.hear(1, Report(0, 1000, 2000), NOW_US + 50)
    snapshot.believe(NOW_US + 100)
    assert not snapshot.live[1, kernel.L_HEALTHY]  # what it said before the last of them was lost


def test_distrust_lasts_until_the_next_report() -> None:
    snapshot = heard(Report(0, 700, 900))
    snapshot.distrust(1, NOW_US)
    assert row(snapshot)["healthy"] == 0
    snapshot.believe(NOW_US + 5)
    assert row(snapshot)["healthy"] == 0
    assert snapshot.age_us[1] == 5
    snapshot.hear(1, Report(0, 700, 900), NOW_US - 1)
    snapshot.believe(NOW_US + 6)
    assert row(snapshot)["healthy"] == 0, "a report from before the loss, arriving late, makes nothing healthy"
    snapshot.hear(1, Report(0, 700, 900), NOW_US + 10)
    snapshot.believe(NOW_US + 10)
    assert row(snapshot)["healthy"] == 1


def test_each_change_is_an_epoch() -> None:
    snapshot = heard(Report(0, 700, 900))
    epochs = [snapshot.epoch]
    snapshot.believe(NOW_US)
    epochs.append(snapshot.epoch)
    snapshot.distrust(1, NOW_US)
    epochs.append(snapshot.epoch)
    assert epochs == sorted(set(epochs))


def test_round_trips_are_declared_until_measured() -> None:
    snapshot = Snapshot(fleet_of())
    table = snapshot.rtt("ber")
    assert table.tolist() == [
        [LATENCY_MAX_US, 0],
        [0, 0],
        [12_000, 3_000],
        [92_000, int((3_000**2 + 20_000**2) ** 0.5)],
    ]
    table[2] = (9_000, 1)
    assert np.array_equal(snapshot.rtt("ber"), table)


def test_the_prior_is_the_cards_time_with_the_calls_overhead() -> None:
    fleet = fleet_of()
    assert prior_us(fleet, fleet.deployments[2]) == (4_300, 8_300)


def learned(fleet: Fleet) -> Snapshot:
    """Everything that a snapshot can hold."""
    snapshot = Snapshot(fleet)
    for index, age_us in enumerate((0, 2_000_000, 5_000_000)):
        sizes = tuple((100 * size, 200 * size) for size in range(1, 5)) if index else ()
        snapshot.hear(index, Report(index, 700, 900, sizes=sizes), NOW_US - age_us)
    snapshot.hear_rtt("ber", 2, 9_000, 1, NOW_US)
    snapshot.hear_rtt("phone", 1, 4_000, 7, 0)
    snapshot.hear_z("ber", 3, (1, 2, 3, 4))
    snapshot.believe(NOW_US)
    return snapshot


def test_times_are_told_apart_by_payload_size_where_they_were_learned_so() -> None:
    sizes = ((100, 150), (200, 300), (300, 200), (10**12, 10**12))
    snapshot = heard(Report(0, 700, 900, sizes=sizes))
    assert snapshot.live[1, P50].tolist() == [100, 200, 300, LATENCY_MAX_US]
    assert snapshot.live[1, SPREAD].tolist() == [50, 100, 0, 0]
    stale = heard(Report(0, 700, 900, sizes=sizes), FRESH_US + 1)
    assert stale.live[1, P50].tolist() == [2_300, 2_300, 2_300, LATENCY_MAX_US]
    assert stale.live[1, SPREAD].tolist() == [1_000, 1_000, 1_000, 1_000]


def test_sizes_that_are_not_one_per_size_are_not_taken() -> None:
    assert row(heard(Report(0, 700, 900, sizes=((1, 1),))))["p50_us"] == 700


def test_what_was_learned_counts_from_the_next_epoch_on() -> None:
    """An epoch's state may be logged at its first decision: nothing that is heard later may change its meaning."""
    snapshot = Snapshot.declared(fleet_of())
    view = snapshot.view("ber", "digits")
    before = (json.dumps(snapshot.state()), snapshot.digest(), view[: kernel.V_IDLE_FLOOR].tobytes())
    later = Snapshot.declared(fleet_of())
    for each in (snapshot, later):
        each.hear_rtt("ber", 2, 9_000, 1, NOW_US)
        each.hear_z("ber", 2, (5, 6, 7, 8))
    assert (json.dumps(snapshot.state()), snapshot.digest(), view[: kernel.V_IDLE_FLOOR].tobytes()) == before
    assert (
        json.dumps(later.state()),
        later.digest(),
        later.view("ber", "digits")[: kernel.V_IDLE_FLOOR].tobytes(),
    ) == before
    later.believe(NOW_US)
    assert later.view("ber", "digits")[kernel.V_Z : kernel.V_Z + 4, 2].tolist() == [5, 6, 7, 8]
    assert later.rtt("ber")[2].tolist() == [9_000, 1]


def test_a_state_survives_json_and_gives_the_same_snapshot() -> None:
    snapshot = learned(fleet_of())
    again = Snapshot.restored(fleet_of(), json.loads(json.dumps(snapshot.state(), sort_keys=True)))
    assert again.state() == snapshot.state()
    assert (again.epoch, again.digest()) == (snapshot.epoch, snapshot.digest())
    for entry in ("ber", "phone", "iad"):
        assert np.array_equal(seen(again, entry, "digits"), seen(snapshot, entry, "digits"))


def test_a_state_of_another_fleet_is_refused() -> None:
    state = learned(fleet_of()).state()
    other = fleet_of(raw_fleet(deployments=raw_fleet()["deployments"][:3]))
    with pytest.raises(ValueError, match="this fleet"):
        Snapshot.restored(other, state)


def test_a_patch_says_what_this_process_changed_since_the_epoch_began() -> None:
    snapshot = learned(fleet_of())
    assert snapshot.patch() == ()
    with snapshot.running(0), snapshot.running(0), snapshot.running(1):
        assert sorted(snapshot.patch()) == [(0, 2), (1, 2)]
        again = Snapshot.restored(fleet_of(), snapshot.state())
        again.apply(json.loads(json.dumps(snapshot.patch())))
        assert np.array_equal(again.live, snapshot.live)
        assert sorted(again.patch()) == sorted(snapshot.patch())
        assert np.array_equal(seen(again, "ber", "digits"), seen(snapshot, "ber", "digits"))
    assert sorted(snapshot.patch()) == [(0, 0), (1, 1)]
    snapshot.believe(NOW_US)
    assert snapshot.patch() == ()


def test_calls_that_run_are_seen_from_every_entry() -> None:
    snapshot = learned(fleet_of())
    views = [snapshot.view(entry, "digits") for entry in ("ber", "par")]
    with snapshot.running(2):
        assert [int(view[kernel.V_IN_FLIGHT, 2]) for view in (*views, snapshot.view("iad", "digits"))] == [3] * 3
    assert [int(view[kernel.V_IN_FLIGHT, 2]) for view in views] == [2] * 2


def test_what_was_tried_is_shut_for_one_decision_even_when_it_fails() -> None:
    snapshot = learned(fleet_of())
    view = snapshot.view("ber", "digits")
    before = view[kernel.V_SHUT].tolist()

    def decide_wrongly() -> None:
        with snapshot.tried("ber", "digits", [1, 99]):
            assert [int(shut) & kernel.SHUT_TRIED for shut in view[kernel.V_SHUT]] == [0, kernel.SHUT_TRIED, 0, 0]
            raise RuntimeError

    with pytest.raises(RuntimeError):
        decide_wrongly()
    assert view[kernel.V_SHUT].tolist() == before


def test_a_call_on_its_way_to_another_site_counts_until_it_is_back() -> None:
    """Who tells of an idle site may not have seen the call arrive: without this, everybody runs to where nobody is yet."""
    snapshot = heard(Report(0, 700, 900))
    with snapshot.sending(1), snapshot.sending(1):
        assert row(snapshot)["in_flight"] == 2
        snapshot.hear(1, Report(0, 700, 900), NOW_US)
        snapshot.believe(NOW_US)
        assert row(snapshot)["in_flight"] == 2
        snapshot.hear(1, Report(5, 700, 900), NOW_US + 1)
        snapshot.believe(NOW_US + 1)
        assert row(snapshot)["in_flight"] == 5, "those that were told of may be these"
    assert row(snapshot)["in_flight"] == 3
    snapshot.hear(1, Report(0, 700, 900), NOW_US + 2)
    snapshot.believe(NOW_US + 2)
    assert row(snapshot)["in_flight"] == 0
