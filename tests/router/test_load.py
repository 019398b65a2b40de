"""Calls in flight, counted exactly, and what those that ran teach of how long calls take."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infercast.policies import kernel
from infercast.policies.estimates import Estimates
from infercast.policies.snapshot import Report, Snapshot
from infercast.router.api import Asking
from infercast.router.runtime.host import Host
from infercast.router.runtime.load import Loads
from infercast.router.runtime.session import Session
from tests.router.digits import deployment_of, fleet_with, held_out, infer_body
from tests.router.fakes import Clock, estimates_at, example_fleet

FLEET = example_fleet()
SMALL, LARGE, FAR = (
    FLEET.deployment_index[name] for name in ("digits-small@fra", "digits-large@fra", "digits-small@sin")
)
OVERHEAD_US = 300


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The loads' clock; it moves by hand."""
    clock = Clock(1_000_000_000)
    monkeypatch.setattr("infercast.router.runtime.load.now_us", clock)
    return clock


def at_fra() -> tuple[Loads, Snapshot, Estimates]:
    snapshot, estimates = Snapshot.declared(FLEET), estimates_at("fra")
    return Loads(FLEET, snapshot, estimates, [SMALL, LARGE]), snapshot, estimates


def in_view(snapshot: Snapshot, index: int) -> int:
    """What a decision would see in flight."""
    view = snapshot.view("fra", "digits")
    return int(view[kernel.V_IN_FLIGHT, FLEET.tables.row_of("digits")[index]])


def test_calls_in_flight_are_seen_by_the_next_decision_at_once() -> None:
    loads, snapshot, _ = at_fra()
    before = in_view(snapshot, SMALL)
    with loads.running(SMALL, 10), loads.running(SMALL, 10):
        assert in_view(snapshot, SMALL) - before == 2
        assert loads.report(SMALL).in_flight == 2
        assert (in_view(snapshot, LARGE), loads.report(LARGE).in_flight) == (before, 0)
    assert (in_view(snapshot, SMALL), loads.report(SMALL).in_flight) == (before, 0)


@pytest.mark.parametrize("end", [ValueError, asyncio.CancelledError, TimeoutError])
def test_a_call_that_raises_is_no_longer_in_flight_and_teaches_nothing(end: type[BaseException]) -> None:
    loads, snapshot, estimates = at_fra()
    with suppress(end), loads.running(SMALL, 10):
        raise end
    assert (in_view(snapshot, SMALL), loads.report(SMALL).in_flight) == (0, 0)
    assert loads.report(SMALL) == estimates_at("fra").report(SMALL, 0)
    assert estimates.sizes_us(SMALL) == estimates_at("fra").sizes_us(SMALL)


def test_a_cancelled_call_is_no_longer_in_flight() -> None:
    loads, snapshot, _ = at_fra()

    async def waits() -> None:
        with loads.running(SMALL, 10):
            await asyncio.sleep(3600)

    async def cancelled() -> int:
        task = asyncio.create_task(waits())
        await asyncio.sleep(0)
        during = in_view(snapshot, SMALL)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        return during

    assert asyncio.run(cancelled()) == 1
    assert (in_view(snapshot, SMALL), loads.report(SMALL).in_flight) == (0, 0)


@given(st.lists(st.sampled_from(["begin", "end", "fail", "believe"]), max_size=30))
def test_whatever_happens_in_whatever_order_the_count_is_exact(steps: list[str]) -> None:
    loads, snapshot, _ = at_fra()
    open_calls = []
    for at_us, step in enumerate(steps):
        if step == "begin":
            open_calls.append(loads.running(SMALL, 10))
            open_calls[-1].__enter__()
        elif step == "believe":
            snapshot.hear(SMALL, loads.report(SMALL), at_us)
            snapshot.believe(at_us)
        elif open_calls and step == "end":
            open_calls.pop().__exit__(None, None, None)
        elif open_calls:
            error = ValueError()
            with suppress(ValueError):
                open_calls.pop().__exit__(ValueError, error, None)
        assert in_view(snapshot, SMALL) == loads.report(SMALL).in_flight == len(open_calls)
    for call in open_calls:
        call.__exit__(None, None, None)


def test_a_call_that_waited_teaches_its_replicas_time_and_not_its_wait(clock: Clock) -> None:
    """Thirty calls come at once to one replica that takes 2 ms; the last of them waits for 58 ms."""
    loads, _, _ = at_fra()
    calls = [loads.running(SMALL, 10) for _ in range(30)]
    rans: list[Callable[[int], None]] = [call.__enter__() for call in calls]
    for call, ran in zip(calls, rans, strict=True):
        clock.now_us += 2_000
        ran(2_000)
        call.__exit__(None, None, None)
    p50_us, p95_us = loads.report(SMALL).sizes[0]
    assert p95_us < 2_000 + 2 * OVERHEAD_US
    assert p50_us <= 2_000 + 2 * OVERHEAD_US


def test_calls_of_other_workers_make_a_call_wait_too(clock: Clock) -> None:
    loads, snapshot, _ = at_fra()
    snapshot.hear(SMALL, Report(1, 300, 300), 0)
    snapshot.believe(0)
    for _ in range(200):
        with loads.running(SMALL, 10) as ran:
            clock.now_us += 50_000
            ran(1_000)
    assert loads.report(SMALL).p95_us < 1_000 + 2 * OVERHEAD_US


def test_a_call_that_found_room_teaches_its_whole_time(clock: Clock) -> None:
    loads, _, _ = at_fra()
    for _ in range(300):
        with loads.running(SMALL, 10) as ran:
            clock.now_us += 5_000
            ran(1_000)
    p50_us, p95_us = loads.report(SMALL).sizes[0]
    assert p50_us == pytest.approx(5_000, rel=0.06)
    assert p95_us == pytest.approx(5_000, rel=0.06)


def test_a_burst_at_a_real_replica_does_not_inflate_what_is_learned_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Real threads and real sessions that take 10 ms; one at a time, as the deployment declares."""
    fleet = fleet_with("digits-small", p50=10.0, p95=10.0)
    host = Host(fleet, [deployment_of("digits-small")])
    run, pause = Session.run, threading.Event()

    def slowly(session: Session, *given: object) -> object:
        pause.wait(0.01)
        return run(session, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(Session, "run", slowly)
    snapshot = Snapshot.declared(fleet)
    loads = Loads(fleet, snapshot, estimates_at("fra", fleet), [SMALL])
    body, header_bytes = infer_body(held_out()[0][:1])
    service_us: list[float] = []
    took_us: list[float] = []

    async def call() -> None:
        began = asyncio.get_running_loop().time()
        with loads.running(SMALL, len(body)) as ran:
            answer = await host.run("digits-small", "fra", Asking(body, header_bytes), 30)
            service_us.append(answer.service_us)
            ran(answer.service_us)
        took_us.append((asyncio.get_running_loop().time() - began) * 1_000_000)

    async def burst() -> None:
        await asyncio.gather(*(call() for _ in range(30)))

    asyncio.run(burst())
    assert mean(took_us) > 5 * mean(service_us), "there was no queue"
    assert loads.report(SMALL).p50_us < mean(took_us) / 2


def test_a_deployment_is_idle_since_its_last_answer(clock: Clock) -> None:
    loads, _, _ = at_fra()
    assert loads.idle_us(SMALL) >= 1_000_000_000, "one that never ran has been idle for ever"
    with loads.running(SMALL, 10) as ran:
        clock.now_us += 10
        assert loads.idle_us(SMALL) == 0
        ran(5)
        assert loads.idle_us(SMALL) == 0
    clock.now_us += 700
    assert loads.idle_us(SMALL) == 700
    assert loads.idle_us(LARGE) > 700


def test_a_call_without_an_answer_leaves_a_deployment_to_be_probed(clock: Clock) -> None:
    loads, _, _ = at_fra()
    with loads.running(SMALL, 10) as ran:
        ran(5)
    clock.now_us += 700
    with suppress(TimeoutError), loads.running(SMALL, 10):
        clock.now_us += 300
        raise TimeoutError
    assert loads.idle_us(SMALL) == 1_000


def test_reports_are_of_the_own_deployments_with_their_health() -> None:
    loads, _, _ = at_fra()
    with loads.running(LARGE, 10):
        told = loads.reports(lambda index: index != LARGE)
    assert set(told) == {"digits-small@fra", "digits-large@fra"}
    assert (told["digits-large@fra"].in_flight, told["digits-large@fra"].healthy) == (1, False)
    assert (told["digits-small@fra"].in_flight, told["digits-small@fra"].healthy) == (0, True)
    assert FLEET.deployments[FAR].id not in told
