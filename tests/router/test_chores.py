"""What a worker does beside its calls: one that ends is told, and speaks against the worker."""

import asyncio
import logging

import pytest

from infercast.router.serving.chores import Chores


async def forever() -> None:
    await asyncio.Event().wait()


async def broken() -> None:
    raise KeyError("a signal of a deployment that nobody knows")


async def silent() -> None:
    """End, though nothing is wrong."""


async def forsaken() -> None:
    """Wait for something that is cancelled: that cancels whoever waits."""
    waited: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    waited.cancel()
    await waited


@pytest.mark.parametrize(("bad", "level"), [(broken, "ERROR"), (silent, "ERROR"), (forsaken, "WARNING")])
def test_a_chore_that_ends_is_told_and_the_worker_is_not_well(
    bad: object, level: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        chores = Chores()
        chores.begin(forever(), forever())
        await asyncio.sleep(0)
        chores.check()
        chores.begin(bad())  # type: ignore[operator]
        await asyncio.sleep(0.01)
        with pytest.raises(RuntimeError, match=bad.__name__):  # type: ignore[attr-defined]
            chores.check()
        assert len(chores) == 2
        assert [record.levelname for record in caplog.records] == [level]

    with caplog.at_level(logging.WARNING, "infercast"):
        asyncio.run(story())


def test_chores_that_are_cancelled_with_their_loop_are_no_fault(caplog: pytest.LogCaptureFixture) -> None:
    chores = Chores()

    async def story() -> None:
        chores.begin(forever())
        await asyncio.sleep(0)

    asyncio.run(story())
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
