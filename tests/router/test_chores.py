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


@pytest.mark.parametrize("bad", [broken, silent])
def test_a_chore_that_ends_is_told_and_the_worker_is_not_well(bad: object, caplog: pytest.LogCaptureFixture) -> None:
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

    with caplog.at_level(logging.ERROR, "infercast"):
        asyncio.run(story())
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_chores_that_are_cancelled_with_their_loop_say_nothing() -> None:
    chores = Chores()

    async def story() -> None:
        chores.begin(forever())
        await asyncio.sleep(0)

    asyncio.run(story())
    chores.check()
