"""Two coroutines side by side: the first good result counts, the other ends, and whoever cancels is heard."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infercast.router.conduct.race import Ending, Race
from tests.router.timeless import left_behind, timeless

Ends = list[str]


def raced(
    first_ms: float,
    second_ms: float,
    *,
    first: str = "first",
    second: str = "second",
    after_ms: float = 10,
    cancel_ms: float | None = None,
    outer_ms: float | None = None,
) -> tuple[object, Ends]:
    """Race two that each take so long; a result with a `!` is raised, one with a `-` does not win. How it ended, and what was seen."""
    seen: Ends = []

    async def one(name: str, takes_ms: float) -> str:
        try:
            await asyncio.sleep(takes_ms / 1000)
        except asyncio.CancelledError:
            seen.append(f"{name} cancelled")
            raise
        seen.append(f"{name} done")
        if name.endswith("!"):
            raise ValueError(name)
        return name

    async def closed(result: str) -> None:
        seen.append(f"{result} closed")

    with timeless() as loop:
        ending: Ending[str] = Ending(closed)
        race: Race[str] = Race(
            lambda: one(second, second_ms), lambda name: "-" not in name, lambda: seen.append("outrun"), ending
        )

        async def whole() -> list[str]:
            if outer_ms is None:
                return await race.run(one(first, first_ms), after_ms / 1000)
            async with asyncio.timeout(outer_ms / 1000):
                return await race.run(one(first, first_ms), after_ms / 1000)

        async def main() -> object:
            task = asyncio.create_task(whole())
            if cancel_ms is not None:
                asyncio.get_running_loop().call_later(cancel_ms / 1000, task.cancel)
            (met,) = await asyncio.gather(task, return_exceptions=True)
            assert cancel_ms is not None or task.cancelling() == 0, "a cancellation of ours is taken back"
            return met

        met = loop.run_until_complete(main())
        assert left_behind(loop) == set()
        assert ending.tasks == set()
    return met, seen


def test_what_is_there_in_time_gets_nothing_beside_it() -> None:
    assert raced(5, 1) == (["first"], ["first done"])


def test_the_first_answer_counts_and_the_other_ends() -> None:
    assert raced(100, 20) == (["second"], ["second done", "outrun", "first cancelled"])
    assert raced(25, 100) == (["first"], ["first done", "second cancelled"])


def test_who_fails_leaves_it_to_the_other() -> None:
    assert raced(20, 30, first="first-")[0] == ["second"]
    assert raced(50, 5, second="second-")[0] == ["first"]
    assert raced(50, 5, first="first-", second="second-")[0] == ["first-", "second-"]
    assert raced(20, 50, first="first-", second="second-")[0] == ["first-", "second-"]
    assert raced(5, 50, first="first-")[0] == ["first-"], "what failed before is no reason for a second beside it"


def test_what_is_raised_ends_the_other() -> None:
    met, seen = raced(20, 50, first="first!")
    assert isinstance(met, ValueError)
    assert seen == ["first! done", "second cancelled"]
    assert raced(50, 5, second="second!")[0] == ["first"], "and where the first still runs, it may answer"
    assert isinstance(raced(50, 5, first="first-", second="second!")[0], ValueError)


@pytest.mark.parametrize("cancel_ms", [0, 5, 15])
def test_who_is_cancelled_leaves_nothing_running(cancel_ms: float) -> None:
    met, seen = raced(100, 100, cancel_ms=cancel_ms)
    assert isinstance(met, asyncio.CancelledError)
    assert all("done" not in each for each in seen)


def test_a_deadline_around_it_is_a_deadline() -> None:
    met, seen = raced(100, 100, outer_ms=15)
    assert isinstance(met, TimeoutError)
    assert sorted(seen) == ["first cancelled", "second cancelled"]


def test_whoever_cancels_in_the_very_moment_of_the_second_answer_is_heard_and_the_answer_is_closed() -> None:
    """The second has answered and cancels the first: somebody else cancels the whole before the first has noticed."""
    seen: Ends = []
    tasks: list[asyncio.Task[object]] = []

    async def first() -> str:
        await asyncio.sleep(100)
        return "first"

    async def second() -> str:
        return "second"

    async def closed(result: str) -> None:
        seen.append(f"{result} closed")

    def outrun() -> None:
        tasks[0].cancel()

    with timeless() as loop:

        async def main() -> None:
            ending: Ending[str] = Ending(closed)
            race: Race[str] = Race(second, lambda _: True, outrun, ending)
            tasks.append(asyncio.create_task(race.run(first(), 0.01)))
            with pytest.raises(asyncio.CancelledError):
                await tasks[0]
            await asyncio.sleep(0.001)

        loop.run_until_complete(main())
        assert left_behind(loop) == set()
    assert seen == ["second closed"]


async def _stubborn(seen: Ends) -> str:
    try:
        await asyncio.sleep(100)
    except asyncio.CancelledError:
        seen.append("asked")
    return "all the same"


def test_an_answer_of_one_that_does_not_let_itself_be_cancelled_is_closed() -> None:
    seen: Ends = []

    async def closed(result: str) -> None:
        seen.append(f"{result}: closed")

    async def first() -> str:
        await asyncio.sleep(0.02)
        return "first"

    with timeless() as loop:
        race: Race[str] = Race(lambda: _stubborn(seen), lambda _: True, lambda: None, Ending(closed))
        assert loop.run_until_complete(race.run(first(), 0.01)) == ["first"]
        assert left_behind(loop) == set()
    assert seen == ["asked", "all the same: closed"]


TAKES = st.sampled_from([0.0, 5.0, 10.0, 11.0, 20.0, 21.0])
NAMES = st.sampled_from(["", "-", "!"])


@given(TAKES, TAKES, NAMES, NAMES, st.none() | TAKES, st.none() | TAKES)
def test_in_every_order_it_ends_in_one_way_and_nothing_is_left(
    first_ms: float, second_ms: float, first: str, second: str, cancel_ms: float | None, outer_ms: float | None
) -> None:
    met, seen = raced(
        first_ms, second_ms, first=f"first{first}", second=f"second{second}", cancel_ms=cancel_ms, outer_ms=outer_ms
    )
    if isinstance(met, list):
        good = [name for name in met if "-" not in name]
        assert len(good) <= 1
        assert not good or len(met) == 1
    else:
        assert isinstance(met, asyncio.CancelledError | TimeoutError | ValueError)
    assert len([each for each in seen if each.startswith("second")]) <= 2
