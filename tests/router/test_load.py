"""Loads: what a process knows exactly of its own deployments: calls in flight, idle times, what to tell the others."""

import pytest

from infercast.policies import kernel
from infercast.policies.estimates import Estimates
from infercast.policies.snapshot import Report, Snapshot
from infercast.router.runtime.load import Loads
from tests.router.fakes import Clock, example_fleet

FRA = example_fleet().deployment_index["digits-small@fra"]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock(1_000_000)
    monkeypatch.setattr("infercast.router.runtime.load.now_us", clock)
    return clock


def loads() -> tuple[Loads, Snapshot]:
    fleet = example_fleet()
    snapshot = Snapshot.declared(fleet)
    return Loads(fleet, snapshot, Estimates(fleet, "fra", [FRA]), [FRA]), snapshot


def test_a_call_counts_for_as_long_as_it_runs(clock: Clock) -> None:
    own, snapshot = loads()
    with own.running(FRA, 100), own.running(FRA, 100):
        assert own.report(FRA).in_flight == 2
        assert snapshot.live[FRA, kernel.L_IN_FLIGHT] == 2
        assert own.idle_us(FRA) == 0
    assert own.report(FRA).in_flight == 0
    assert snapshot.live[FRA, kernel.L_IN_FLIGHT] == 0


def test_a_call_that_fails_is_counted_out_and_teaches_nothing(clock: Clock) -> None:
    own, snapshot = loads()
    before = own.report(FRA)

    def fail() -> None:
        with own.running(FRA, 100):
            clock.now_us += 5_000_000
            raise RuntimeError

    for _ in range(50):
        with pytest.raises(RuntimeError):
            fail()
    assert own.report(FRA) == before
    assert snapshot.live[FRA, kernel.L_IN_FLIGHT] == 0


def test_calls_teach_how_long_they_take(clock: Clock) -> None:
    own, _ = loads()
    for _ in range(200):
        with own.running(FRA, 100) as ran:
            clock.now_us += 90_000
            ran(89_000)
    report = own.report(FRA)
    assert 80_000 < report.p50_us < 100_000
    assert own.idle_us(FRA) == 0
    clock.now_us += 7
    assert own.idle_us(FRA) == 7


def test_the_others_are_told_of_each_deployment_and_its_health(clock: Clock) -> None:
    own, _ = loads()
    told = own.reports(healthy=lambda index: index != FRA)
    assert list(told) == ["digits-small@fra"]
    assert isinstance(told["digits-small@fra"], Report)
    assert not told["digits-small@fra"].healthy
