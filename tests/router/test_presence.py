"""Work for a caller who may hang up."""

import asyncio
from typing import Any

import pytest

from infercast.router.errors import Gone
from infercast.router.ingress import presence
from infercast.router.ingress.presence import Presence, Waiters


class Line:
    """A connection that ends when it is told to."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        """Wait for the end."""
        await self.ended.wait()
        return {"type": "http.disconnect"}


async def _cut_off(steps: list[str]) -> None:
    steps.append("began")
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        steps.append("cancelled")
        raise


def test_a_caller_who_leaves_ends_the_work_and_nothing_else() -> None:
    async def run() -> list[str]:
        line, steps = Line(), list[str]()
        caller = Presence(line.receive)
        caller.read()
        asyncio.get_running_loop().call_later(0.01, line.ended.set)
        with pytest.raises(Gone):
            await caller.during(_cut_off(steps))
        await asyncio.sleep(0)  # the task itself goes on
        with pytest.raises(Gone):
            await caller.during(_cut_off(steps))
        return steps

    assert asyncio.run(run()) == ["began", "cancelled"]


def test_whoever_ends_the_whole_task_is_not_taken_for_a_caller_who_left() -> None:
    async def run() -> list[str]:
        line, steps = Line(), list[str]()
        caller = Presence(line.receive)
        caller.read()
        task = asyncio.create_task(caller.during(_cut_off(steps)))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        caller.end()
        return steps

    assert asyncio.run(run()) == ["began", "cancelled"]


def test_work_that_ends_gives_what_came_of_it_and_a_later_end_of_the_line_harms_nobody() -> None:
    async def run() -> int:
        line = Line()
        caller = Presence(line.receive)
        caller.read()
        came = await caller.during(asyncio.sleep(0, 7))
        line.ended.set()
        await asyncio.sleep(0.01)
        return came

    assert asyncio.run(run()) == 7


def test_only_who_has_waited_for_a_while_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "LOOK_S", 3600.0)  # looks are the test's own

    async def run() -> list[str]:
        asked: list[str] = []

        def caller(name: str) -> Presence:
            async def receive() -> dict[str, Any]:
                asked.append(name)
                await asyncio.Event().wait()
                return {}

            return Presence(receive)

        waiters, (brief, long, late) = Waiters(), (caller(name) for name in ("brief", "long", "late"))
        for one in (brief, long):
            waiters.add(one)
        waiters.drop(brief)
        waiters._look()
        waiters.add(late)
        await asyncio.sleep(0)
        assert asked == []
        waiters._look()
        await asyncio.sleep(0)
        for one in (long, late):
            waiters.drop(one)
        waiters._look()
        await asyncio.sleep(0)
        return asked

    assert asyncio.run(run()) == ["long"]
