"""What a device agent does beside its calls: it is begun again whatever ends it, and ends when the agent does."""

import asyncio

import pytest

from infercast.router.device import agent


async def broken() -> None:
    raise KeyError("a signal of a deployment that nobody knows")


async def silent() -> None:
    """End, though nothing is wrong."""


async def forsaken() -> None:
    """Wait for something that is cancelled: that cancels whoever waits."""
    waited: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    waited.cancel()
    await waited


@pytest.mark.parametrize("bad", [broken, silent, forsaken])
def test_a_chore_that_ends_is_begun_again_until_it_is_cancelled(bad: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "AGAIN_S", 0.0)

    async def story() -> None:
        begun, again = 0, asyncio.Event()

        async def chore() -> None:
            nonlocal begun
            begun += 1
            if begun < 3:
                await bad()  # type: ignore[operator]
                return
            again.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(agent._for_ever(chore))
        came = asyncio.create_task(again.wait())
        await asyncio.wait({task, came}, return_when=asyncio.FIRST_COMPLETED)
        assert again.is_set(), "it was not begun again"
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()
        assert begun == 3

    asyncio.run(story())
