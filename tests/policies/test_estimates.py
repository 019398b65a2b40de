"""What one place learns of its own deployments, of the ways to the others, and of how wrong it was."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infercast.policies import kernel
from infercast.policies.estimates import SIZE_TRIP_MAX_BYTES, Estimates
from infercast.policies.snapshot import RTT_FRESH_US, Snapshot
from tests.support import fleet_of

FLEET = fleet_of()
PHONE, BER, PAR, IAD = range(4)
BYTES = (100, 10_000, 100_000, 10_000_000)
"""A payload of each size."""
DECLARED = tuple(FLEET.tables.priors_us[BER].tolist())
SITES = FLEET.tables.site_index


def estimates(*mine: int) -> Estimates:
    return Estimates(FLEET, "ber", mine or (BER,))


def ran(learned: Estimates, size: int, took_us: int, calls: int = 400, index: int = BER) -> Estimates:
    """Calls of one size that found room and took so long, all of it in the replica."""
    for _ in range(calls):
        learned.served(index, BYTES[size], took_us, took_us, waited=False)
    return learned


def near(pair: tuple[int, int], took_us: int) -> bool:
    return all(value == pytest.approx(took_us, rel=0.06) for value in pair)


def test_before_any_call_all_is_as_declared() -> None:
    learned = estimates(BER, PAR)
    assert learned.sizes_us(BER) == (DECLARED,) * kernel.SIZES
    report = learned.report(BER, 3, healthy=False)
    assert (report.in_flight, report.p50_us, report.p95_us, report.healthy) == (3, *DECLARED, False)
    assert report.sizes == (DECLARED,) * kernel.SIZES
    assert learned.report(PAR, 0).p50_us == FLEET.tables.priors_us[PAR, 0]


@pytest.mark.parametrize(
    ("payload_bytes", "size"),
    [(0, 0), (4_096, 0), (4_097, 1), (65_536, 1), (65_537, 2), (1_048_576, 2), (1_048_577, 3), (10**10, 3)],
)
def test_a_payloads_size_decides_which_times_it_teaches(payload_bytes: int, size: int) -> None:
    learned = estimates()
    for _ in range(400):
        learned.served(BER, payload_bytes, 50, 50, waited=False)
    better = [at for at, pair in enumerate(learned.sizes_us(BER)) if pair[0] < DECLARED[0]]
    assert better == [size], "what is borrowed is never better than declared"


def test_deployments_learn_apart() -> None:
    learned = ran(estimates(BER, PAR), 0, 40_000)
    assert near(learned.sizes_us(BER)[0], 40_000)
    assert learned.sizes_us(PAR)[0] == tuple(FLEET.tables.priors_us[PAR].tolist())


@pytest.mark.parametrize(
    ("heard", "lenders"),
    [
        ((0,), (0, 0, 0, 0)),
        ((3,), (3, 3, 3, 3)),
        ((1,), (1, 1, 1, 1)),
        ((0, 2), (0, 2, 2, 2)),
        ((0, 3), (0, 3, 3, 3)),
        ((1, 2), (1, 1, 2, 2)),
        ((0, 1, 2, 3), (0, 1, 2, 3)),
    ],
)
def test_a_size_borrows_from_the_next_larger_that_was_heard_or_else_the_next_smaller(
    heard: tuple[int, ...], lenders: tuple[int, ...]
) -> None:
    took_us = (20_000, 60_000, 200_000, 900_000)
    learned = estimates()
    for size in heard:
        ran(learned, size, took_us[size])
    found = learned.sizes_us(BER)
    for size, lender in enumerate(lenders):
        assert near(found[size], took_us[lender]), (size, found)


sizes = st.integers(0, kernel.SIZES - 1)
served = st.lists(st.tuples(sizes, st.integers(0, 2_000_000), st.integers(0, 2_000_000), st.booleans()), max_size=60)


@given(served)
def test_what_is_borrowed_is_never_better_than_declared_and_a_p95_never_below_its_p50(
    calls: list[tuple[int, int, int, bool]],
) -> None:
    learned = estimates()
    for size, took_us, service_us, waited in calls:
        learned.served(BER, BYTES[size], took_us, service_us, waited)
    heard = {size for size, *_ in calls}
    found = learned.sizes_us(BER)
    for size, (p50_us, p95_us) in enumerate(found):
        assert 1 <= p50_us <= p95_us
        if size not in heard:
            assert p50_us >= DECLARED[0]
            assert p95_us >= DECLARED[1]
    report = learned.report(BER, 0)
    assert report.sizes == found
    assert (report.p50_us, report.p95_us) in found


def test_the_one_pair_for_all_is_that_of_the_size_most_called() -> None:
    learned = ran(ran(estimates(), 2, 300_000, calls=300), 0, 40_000, calls=200)
    report = learned.report(BER, 0)
    assert near((report.p50_us, report.p95_us), 300_000)
    ran(learned, 0, 40_000, calls=101)
    report = learned.report(BER, 0)
    assert near((report.p50_us, report.p95_us), 40_000)


def test_a_call_that_waited_counts_with_its_replicas_time_and_the_usual_overhead() -> None:
    learned = estimates()
    for _ in range(200):
        learned.served(BER, 100, 12_000, 10_000, waited=False)
    for _ in range(400):
        learned.served(BER, 100, 900_000, 10_000, waited=True)
    assert near(learned.sizes_us(BER)[0], 12_000), "2 ms of overhead, and nothing of the wait"


def test_a_wait_is_no_overhead() -> None:
    learned = estimates()
    for _ in range(400):
        learned.served(BER, 100, 900_000, 10_000, waited=True)
    assert near(learned.sizes_us(BER)[0], 10_000 + int(FLEET.call_overhead_ms * 1000))


def test_one_odd_overhead_is_no_habit() -> None:
    learned = estimates()
    learned.served(BER, 100, 8_010_000, 10_000, waited=False)
    for _ in range(400):
        learned.served(BER, 100, 20_000, 20_000, waited=False)
    for _ in range(400):
        learned.served(BER, 100, 900_000, 20_000, waited=True)
    assert near(learned.sizes_us(BER)[0], 20_000)


def views(snapshot: Snapshot) -> list[list[int]]:
    """What decisions depend on: a view's floors and its version are no two views' the same."""
    rows: list[list[int]] = snapshot.view("ber", "digits")[: kernel.V_IDLE_FLOOR].tolist()
    return rows


def travels(learned: Estimates) -> None:
    for _ in range(400):
        learned.travelled(SITES["par"], 1_000, 90_000, 0)


def surprises(learned: Estimates) -> None:
    for _ in range(400):
        learned.carried(PAR, 90_000, 10_000, 1_000)


@pytest.mark.parametrize("learn", [travels, surprises])
def test_what_was_learned_moves_decisions_from_the_next_epoch_on(learn: Callable[[Estimates], None]) -> None:
    learned, snapshot = estimates(), Snapshot.declared(FLEET)
    before = views(snapshot)
    learn(learned)
    assert views(snapshot) == before
    learned.tell(snapshot)
    assert views(snapshot) == before, "inside an epoch nothing but calls in flight changes"
    epoch = snapshot.epoch
    snapshot.believe(0)
    assert snapshot.epoch > epoch
    untaught = Snapshot.declared(FLEET)
    untaught.believe(0)
    assert views(snapshot) != views(untaught)


def test_what_was_told_once_is_not_told_again() -> None:
    learned, snapshot = estimates(), Snapshot.declared(FLEET)
    travels(learned)
    surprises(learned)
    learned.tell(snapshot)
    other = Snapshot.declared(FLEET)
    learned.tell(other)
    other.believe(0)
    fresh = Snapshot.declared(FLEET)
    fresh.believe(0)
    assert views(other) == views(fresh)


def test_a_round_trip_is_learned_from_small_payloads_only() -> None:
    learned, snapshot = estimates(), Snapshot.declared(FLEET)
    declared = snapshot.rtt("ber").copy()
    for _ in range(400):
        learned.travelled(SITES["par"], SIZE_TRIP_MAX_BYTES + 1, 90_000, 0)
        learned.travelled(SITES["iad"], SIZE_TRIP_MAX_BYTES, 200_000, 0)
    learned.tell(snapshot)
    snapshot.believe(0)
    found = snapshot.rtt("ber")
    assert found[SITES["par"]].tolist() == declared[SITES["par"]].tolist()
    assert near((int(found[SITES["iad"], 0]), int(found[SITES["iad"]].sum())), 200_000)


def test_a_round_trip_may_be_better_than_declared_while_it_is_fresh() -> None:
    learned, snapshot = estimates(), Snapshot.declared(FLEET)
    declared_us = int(snapshot.rtt("ber")[SITES["iad"], 0])
    for _ in range(400):
        learned.travelled(SITES["iad"], 0, 20_000, 1_000)
    learned.tell(snapshot)
    snapshot.believe(1_000 + RTT_FRESH_US)
    assert snapshot.rtt("ber")[SITES["iad"], 0] == pytest.approx(20_000, rel=0.06)
    snapshot.believe(1_001 + RTT_FRESH_US)
    assert snapshot.rtt("ber")[SITES["iad"], 0] >= declared_us


def test_a_trip_of_no_time_or_less_is_a_trip() -> None:
    """Clocks are read at different places of the code: a difference of theirs may come out below 0."""
    learned, snapshot = estimates(), Snapshot.declared(FLEET)
    for _ in range(400):
        learned.travelled(SITES["par"], 0, -500, 0)
    learned.tell(snapshot)
    snapshot.believe(0)
    assert 0 < snapshot.rtt("ber")[SITES["par"], 0] < 100


def z_of(learned: Estimates, index: int) -> list[int]:
    snapshot = Snapshot.declared(FLEET)
    learned.tell(snapshot)
    snapshot.believe(0)
    rows: list[list[int]] = snapshot.z("ber").tolist()
    return rows[index]


def test_surprises_are_learned_per_deployment() -> None:
    learned = estimates()
    for _ in range(400):
        learned.carried(PAR, 14_000, 10_000, 1_000)
        learned.carried(IAD, 9_000, 10_000, 1_000)
    late, snapshot = z_of(learned, PAR), Snapshot.declared(FLEET)
    assert late[0] == pytest.approx(4_000, rel=0.2), "four spreads later than the median was expected"
    for _ in range(1):
        learned.carried(IAD, 9_000, 10_000, 1_000)
    learned.tell(snapshot)
    snapshot.believe(0)
    assert snapshot.z("ber")[IAD, 0] == 0, "nothing is taken for better than the median"
    assert snapshot.z("ber")[PHONE].tolist() == list(kernel.Z_NORMAL)


def test_as_expected_is_no_surprise() -> None:
    learned = estimates()
    for _ in range(100):
        for took_us in range(9_000, 11_001, 100):
            learned.carried(PAR, took_us, 10_000, 1_000)
    assert abs(z_of(learned, PAR)[0]) < 150


def test_a_call_that_was_given_up_counts_as_late() -> None:
    """It took longer than its patience, for all we know twice as long; never as long as was waited for."""
    learned, waited_for = estimates(), estimates()
    for _ in range(400):
        learned.gave_up(PAR, 30_000, 10_000, 10_000)
        waited_for.carried(PAR, 30_000, 10_000, 10_000)
    assert min(z_of(learned, PAR)) > max(z_of(waited_for, PAR)) > kernel.Z_NORMAL[-1]


def test_no_spread_is_no_division_by_nothing() -> None:
    learned = estimates()
    learned.carried(PAR, 11_000, 10_000, 0)
    assert all(abs(z) < 10**9 for z in z_of(learned, PAR))


def test_a_deployment_that_was_given_up_is_slow_until_it_has_been_seen_well_often_enough() -> None:
    learned = estimates()
    assert not learned.slow(PAR)
    for _ in range(40):
        learned.gave_up(PAR, 200_000, 10_000, 10_000)
    late = z_of(learned, PAR)
    assert learned.slow(PAR)
    learned.reassured(IAD)
    assert z_of(learned, PAR) == list(kernel.Z_NORMAL), "nothing new is told of it"
    for _ in range(45):
        learned.reassured(PAR)
    assert not learned.slow(PAR)
    assert z_of(learned, PAR)[2] < late[2] / 5


def test_an_own_deployment_is_slow_by_its_times_too() -> None:
    learned = ran(estimates(), 1, 4 * DECLARED[1])
    assert learned.slow(BER)
    assert not ran(estimates(), 1, 2 * DECLARED[1]).slow(BER)


def test_the_p95_asked_for_is_that_of_the_payloads_size() -> None:
    learned = ran(ran(estimates(), 0, 40_000), 2, 300_000)
    assert [learned.p95_us(BER, BYTES[size]) for size in (0, 2)] == [pair[1] for pair in learned.sizes_us(BER)[::2]]
