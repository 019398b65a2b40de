"""What is there at once is there without a turn of the event loop; what is not is awaited as if nothing had been begun."""

import asyncio
from contextlib import suppress

import pytest

from infercast.router.conduct.prompt import Begun


async def after(turns: int, seen: list[int]) -> str:
    try:
        for turn in range(turns):
            await asyncio.sleep(0)
            seen.append(turn)
    except asyncio.CancelledError:
        seen.append(-1)
        raise
    return f"after {turns}"


def test_what_needs_no_turn_is_done_at_once() -> None:
    begun = Begun(after(0, []))
    assert begun.done
    assert begun.value == "after 0"


@pytest.mark.parametrize("turns", [1, 2, 7])
def test_what_needs_turns_takes_them(turns: int) -> None:
    async def run() -> str:
        seen: list[int] = []
        begun = Begun(after(turns, seen))
        assert not begun.done
        assert not seen
        value = await begun
        assert seen == list(range(turns))
        return value

    assert asyncio.run(run()) == f"after {turns}"


def test_a_fault_at_the_first_step_and_later() -> None:
    async def faulty(turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        raise KeyError(turns)

    with pytest.raises(KeyError):
        Begun(faulty(0))

    async def run() -> None:
        await Begun(faulty(2))

    with pytest.raises(KeyError):
        asyncio.run(run())


def test_cancelling_reaches_what_waits() -> None:
    async def run() -> list[int]:
        seen: list[int] = []

        async def wait() -> None:
            await Begun(after(1000, seen))

        task = asyncio.create_task(wait())
        for _ in range(3):
            await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert task.cancelled()
        return seen

    assert asyncio.run(run())[-1] == -1


def test_a_time_limit_holds() -> None:
    async def run() -> None:
        async with asyncio.timeout(0.01):
            await Begun(asyncio.Event().wait())

    with pytest.raises(TimeoutError):
        asyncio.run(run())
