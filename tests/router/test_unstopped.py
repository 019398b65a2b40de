"""Work that runs on though nobody waits for it: who waited is let go at once, and what is counted until its end ends once."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from infercast.policies import kernel
from infercast.policies.snapshot import Snapshot
from infercast.router.api import Asking
from infercast.router.runtime.host import Answer, Host
from infercast.router.runtime.load import Loads
from infercast.router.runtime.session import Session
from infercast.router.runtime.unstopped import on_thread, to_its_end, when_over
from infercast.router.serving.runner import ClusterRunner
from infercast.router.serving.wire import Came, came_from
from infercast.router.upstream.runner import Upstreams
from tests.router.digits import deployment_of, fleet_with, held_out, infer_body
from tests.router.fakes import estimates_at, example_fleet

LONG_S = 60.0
"""What nothing here takes."""
Work = asyncio.Future[str]


async def hung_up(work: Work) -> None:
    """Wait, and be cancelled."""
    asyncio.get_running_loop().call_soon(current().cancel)
    await to_its_end(work, LONG_S)


async def out_of_time(work: Work) -> None:
    """Wait for no time."""
    await to_its_end(work, 0)


async def out_of_anothers_time(work: Work) -> None:
    """Wait, with the time kept by somebody else."""
    async with asyncio.timeout(0):
        await to_its_end(work, None)


def current() -> "asyncio.Task[Any]":
    task = asyncio.current_task()
    assert task is not None
    return task


def ended(work: Work, how: str) -> None:
    """End work."""
    if how == "fails":
        work.set_exception(ValueError("nobody hears"))
    elif how == "is cancelled":
        work.cancel()
    else:
        work.set_result("done")


@pytest.mark.parametrize("how", ["is done", "fails", "is cancelled"])
@pytest.mark.parametrize("give_up", [hung_up, out_of_time, out_of_anothers_time])
def test_who_gives_up_is_let_go_at_once_and_what_goes_on_is_told_of_once(
    give_up: Callable[[Work], Awaitable[None]], how: str
) -> None:
    ends: list[str] = []

    async def story() -> None:
        work: Work = asyncio.get_running_loop().create_future()
        try:
            await give_up(work)
        except (asyncio.CancelledError, TimeoutError) as error:
            when_over(error, lambda: ends.append("end"))
        await asyncio.sleep(0)
        assert (work.done(), ends) == (False, [])
        ended(work, how)
        await asyncio.sleep(0)
        assert ends == ["end"]

    asyncio.run(story())
    assert ends == ["end"]


def test_what_has_ended_is_over_at_once() -> None:
    ends: list[str] = []

    async def story() -> None:
        work: Work = asyncio.get_running_loop().create_future()
        work.set_exception(ValueError("its own"))
        with pytest.raises(ValueError, match="its own") as caught:
            await to_its_end(work, LONG_S)
        when_over(caught.value, lambda: ends.append("end"))

    asyncio.run(story())
    assert ends == ["end"]


def test_what_waits_for_a_thread_is_stopped_and_what_runs_is_not() -> None:
    begun, may_end, ran = threading.Event(), threading.Event(), list[int]()

    def run(number: int) -> None:
        ran.append(number)
        begun.set()
        assert may_end.wait(LONG_S)

    async def story() -> None:
        runs, waits = (asyncio.create_task(on_thread(threads, LONG_S, run, number)) for number in range(2))
        assert await asyncio.to_thread(begun.wait, LONG_S)
        ends: list[int] = []
        for number, task in enumerate((runs, waits)):
            task.cancel()
            try:
                await task
            except asyncio.CancelledError as error:
                when_over(error, lambda number=number: ends.append(number))  # type: ignore[misc]
        assert ends == [1]
        may_end.set()
        while ends != [1, 0]:  # noqa: ASYNC110 - a thread's end is what is waited for
            await asyncio.sleep(0.001)

    with ThreadPoolExecutor(1) as threads:
        asyncio.run(story())
    assert ran == [0]


def test_a_call_whose_caller_hung_up_is_in_flight_until_its_run_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, may_end = threading.Event(), threading.Event()
    fleet = fleet_with("digits-small", p50=2.0, p95=2.0)
    index = fleet.deployment_index["digits-small@fra"]
    host, snapshot = Host(fleet, [deployment_of("digits-small")]), Snapshot.declared(fleet)
    loads = Loads(fleet, snapshot, estimates_at("fra", fleet), [index])
    body = Asking(*infer_body(held_out()[0][:1]))

    def slowly(*_: Any) -> None:
        begun.set()
        assert may_end.wait(LONG_S)

    monkeypatch.setattr(Session, "run", slowly)

    async def call() -> None:
        with loads.running(index, len(body.body)):
            await host.run("digits-small", "fra", body, LONG_S)

    async def story() -> None:
        task = asyncio.create_task(call())
        assert await asyncio.to_thread(begun.wait, LONG_S)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert (loads.in_flight[index], snapshot.live[index, kernel.L_IN_FLIGHT]) == (1, 1)
        may_end.set()
        while loads.in_flight[index]:  # noqa: ASYNC110 - a thread's end is what is waited for
            await asyncio.sleep(0.001)
        assert snapshot.live[index, kernel.L_IN_FLIGHT] == 0

    asyncio.run(story())


class Replica:
    """The handle of a replica that answers when the test lets it."""

    def __init__(self) -> None:
        self.called = asyncio.Event()
        self.comes: asyncio.Future[Came] = asyncio.get_running_loop().create_future()

    def options(self, **_: Any) -> "Replica":
        """Itself, whatever the method."""
        return self

    async def remote(self, *_: Any) -> Came:
        """Answer a call."""
        self.called.set()
        return await self.comes


def test_a_call_at_a_replica_of_its_own_is_in_flight_until_that_has_answered() -> None:
    async def story() -> None:
        fleet, replica = example_fleet(), Replica()
        index = fleet.deployment_index["squeezenet@fra"]
        snapshot, host = Snapshot.declared(fleet), Host(fleet, [])
        own: Any = {"squeezenet": replica}
        upstreams = Upstreams(fleet, "a" * 16)
        runner = ClusterRunner("fra", fleet, snapshot, estimates_at("fra"), host, own, False, upstreams)
        task = asyncio.create_task(runner.run_here(index, Asking(b"{}", None), LONG_S))
        await replica.called.wait()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert snapshot.live[index, kernel.L_IN_FLIGHT] == 1
        replica.comes.set_result(came_from(Answer(b"{}", None, "squeezenet", "fra", 1000)))
        for _ in range(5):
            await asyncio.sleep(0)
        assert snapshot.live[index, kernel.L_IN_FLIGHT] == 0

    asyncio.run(story())
