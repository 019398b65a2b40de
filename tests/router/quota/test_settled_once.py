"""However a call ends, what it cost is settled exactly once, and whatever else was set aside for it is free again."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from infercast.policies.units import nusd
from infercast.router.api import Api, Usage
from infercast.router.conduct.ports import Carried, Lost, Received
from infercast.router.errors import Trouble
from infercast.router.ledger.ports import Measure
from infercast.router.quota.accounts import Ledgered
from infercast.router.runtime.host import Answer
from tests.router.fakes import WALL_S, Scene, ask, scene
from tests.router.quota.support import accounts_on, engine_of, ledger, running
from tests.router.test_caller_streams import Events

LIMITS = {
    "requests_per_minute": 9,
    "tokens_per_minute": 900,
    "concurrent_max": 4,
    "budget_usd_per_day": 0.00002,
    "budgets": [{"per": "month", "usd": 0.00001, "models": ["chat"]}],
}
WORDS = ("ok", "lost", "trouble", "fault", "broken", "saturated", "cancelled")


class Play(NamedTuple):
    """One call: what its tries end in, and after how many turns of the loop its caller leaves (never, if it is later)."""

    script: list[str]
    leaves_after: int
    streams: bool
    reads: int
    slow_turns: int


plays = st.builds(
    Play,
    st.lists(st.sampled_from([*WORDS, "ok", "lost"]), max_size=3),
    st.integers(1, 400),
    st.booleans(),
    st.integers(0, 4),
    st.integers(0, 5),
)


async def played(at: Scene, play: Play) -> None:
    """Carry a call to its end, whichever that is."""
    events = Events(b"a", b"b", Usage(8, 2)) if play.reads != 4 else Events(b"a", Lost("cut"))
    script = iter(play.script)
    plain = at.runner.run

    async def run(deployment: int, call: Carried, timeout_s: float) -> Answer:
        at.runner.script[len(at.runner.calls) :] = [next(script, "ok")]
        answer = await plain(deployment, call, timeout_s)
        for _ in range(play.slow_turns):
            await asyncio.sleep(0)
        return replace(answer, body=b"", stream=events) if call.stream else replace(answer, usage=Usage(8, 30))

    async def receive() -> Received:
        return Received(b"x" * 40, None, Api.CHAT, play.streams, tokens_max=50)

    at.runner.run = run  # type: ignore[method-assign]
    try:
        answered = await at.caller.call(ask(model="chat", at_s=WALL_S), receive)
        if answered.answer.stream is not None:
            await _read(answered.answer.stream, play.reads)
    finally:
        at.runner.run = plain  # type: ignore[method-assign]


async def _read(stream: object, reads: int) -> None:
    try:
        for _ in range(reads):
            await anext(stream)  # type: ignore[call-overload]
    except StopAsyncIteration:
        pass
    finally:
        await stream.aclose()  # type: ignore[attr-defined]


async def left(at: Scene, play: Play) -> None:
    """Carry a call whose caller leaves after a while."""
    task = asyncio.create_task(played(at, play))
    for _ in range(play.leaves_after):
        await asyncio.sleep(0)
        if task.done():
            break
    else:
        task.cancel()
    with suppress(Trouble, Lost, RuntimeError, asyncio.CancelledError):
        await task


def balanced(accounts: Ledgered, at: Scene) -> None:
    """Nothing is set aside, and what is spent is what the journal says; the lease is either spent or free."""
    lines = at.journal.of("call")
    spent = dict.fromkeys(Measure, 0)
    spent[Measure.MONEY] = sum(cost_nusd for line in lines for _, cost_nusd in line["spent"])
    for quota, book in accounts.keeper.books.items():
        assert book.aside == 0, quota
        if quota.measure is Measure.MONEY:
            assert book.spent == spent[Measure.MONEY], quota
            assert sum(nusd(line["cost_usd"]) for line in lines) == book.spent
    calls = accounts.keeper.books
    assert all(book.spent <= 9 for quota, book in calls.items() if quota.measure is Measure.CALLS)


@settings(max_examples=40, deadline=None)
@given(st.lists(plays, min_size=1, max_size=14))
def test_every_call_is_settled_once_however_it_ends(all_plays: list[Play]) -> None:
    async def scene_() -> None:
        with ledger() as store:
            accounts = accounts_on(store, LIMITS)
            async with running(accounts):
                at = scene(engine=engine_of(LIMITS), accounts=accounts)
                # They share one runner, so one is under way at a time; those that leave do so at every await there is.
                for play in all_plays:
                    await left(at, play)
                assert len(at.journal.of("call")) == len(all_plays)
                balanced(accounts, at)

    asyncio.run(scene_())


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 300), min_size=1, max_size=30))
def test_many_at_once_never_pass_a_limit(leaves: list[int]) -> None:
    running_now, most = 0, 0

    async def scene_() -> None:
        with ledger() as store:
            accounts = accounts_on(store, LIMITS)
            async with running(accounts):
                at = scene(engine=engine_of(LIMITS), accounts=accounts)
                plain = at.runner.run

                async def run(deployment: int, call: Carried, timeout_s: float) -> Answer:
                    nonlocal running_now, most
                    running_now += 1
                    most = max(most, running_now)
                    try:
                        await asyncio.sleep(0.002)
                        return await plain(deployment, call, timeout_s)
                    finally:
                        running_now -= 1

                at.runner.run = run  # type: ignore[method-assign]
                await asyncio.gather(*(_one(at, after) for after in leaves))
                lines = at.journal.of("call")
                assert len(lines) == len(leaves)
                assert most <= 4
                assert sum(bool(line["attempts"]) for line in lines) <= 9
                assert sum(nusd(line["cost_usd"]) for line in lines) <= 20_000
                balanced(accounts, at)

    asyncio.run(scene_())


async def _one(at: Scene, leaves_after: int) -> None:
    async def receive() -> Received:
        return Received(b"{}")

    task = asyncio.create_task(at.caller.call(ask(at_s=WALL_S), receive))
    for _ in range(leaves_after):
        await asyncio.sleep(0)
    if leaves_after < 150:
        task.cancel()
    with suppress(Trouble, asyncio.CancelledError):
        await task
