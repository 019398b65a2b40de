"""Calls that are let through long after they came: their body was slow, or a clock was stepped. No period gives twice what it has."""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from infercast.router.conduct.ports import Hold
from infercast.router.errors import Kind, Trouble
from infercast.router.ledger.ports import Measure, Quota
from infercast.router.ledger.store import SqlStore
from infercast.router.quota.accounts import Ledgered
from tests.router.fakes import WALL_S, Clock
from tests.router.quota.support import (
    HOLDER,
    accounts_on,
    call_of,
    carrying_of,
    entry_of,
    ledger,
    policies_of,
    reserved,
)

DAY_S = 86_400
MIDNIGHT_S = WALL_S - WALL_S % DAY_S + DAY_S
BUDGET_USD, BUDGET = 1e-6, 1_000


@dataclass
class Ingress:
    """One ingress whose clocks and rounds the test moves."""

    accounts: Ledgered
    store: SqlStore
    clock: Clock
    wall_s: float

    async def pass_s(self, seconds: float, rounds: int = 1) -> None:
        """Let time pass, and the keeper have its turns meanwhile."""
        for _ in range(rounds):
            self.clock.now_us += int(seconds * 1_000_000 / rounds)
            self.wall_s += seconds / rounds
            await self.accounts.keeper.round()

    async def call(self, at_s: float, aside: int = 0) -> Hold:
        """Let a call through that came at an instant. Raises Trouble."""
        return await self._asking(self._begun(int(at_s), aside))

    async def _begun(self, at_s: int, aside: int) -> Hold:
        call = call_of()
        call.request = type(call.request)(**{**_parts(call.request), "at_s": at_s})
        found = self.accounts.open(call, carrying_of(call))
        hold: Hold = await found if asyncio.iscoroutine(found) else found  # type: ignore[assignment]
        try:
            await reserved(hold, aside)
        except Trouble:
            hold.end(0, 0)
            raise
        return hold

    async def _asking(self, work: Coroutine[Any, Any, Hold]) -> Hold:
        going = asyncio.create_task(work)
        for _ in range(8):
            for _ in range(4):
                await asyncio.sleep(0)
            if going.done():
                break
            await self.pass_s(0.3)
        return await going

    async def spend(self, at_s: float, cost: int, at: int) -> None:
        """Make a call, end it, and have it taken over into the ledger."""
        (await self.call(at_s, cost)).end(cost, 0)
        self.store.settle(HOLDER, at, at + 1, [entry_of(f"{HOLDER}{at}", cost, at_s=at_s)])


def _parts(request: Any) -> dict[str, Any]:
    names = ("id", "tenant", "model", "entry", "origin", "classes", "payload_bytes")
    return {name: getattr(request, name) for name in names}


@contextmanager
def ingress(limits: dict[str, Any], wall_s: float) -> Iterator[Ingress]:
    with ledger() as store, Clock().rules() as clock:
        clock.now_us = 1_000_000_000
        one = Ingress(accounts_on(store, limits, wall_s=lambda: one.wall_s), store, clock, wall_s)
        yield one


async def let_through(one: Ingress, at_s: float, aside: int = 0, most: int = 200) -> int:
    """Make calls until one is refused; return how many were let through."""
    for count in range(most):
        try:
            await one.call(at_s, aside)
        except Trouble as trouble:
            if trouble.kind not in (Kind.LIMITED, Kind.OVER_BUDGET):
                raise
            return count
    return most


@pytest.mark.parametrize("back_s", [0, 1200])
def test_a_call_that_comes_late_finds_of_its_day_what_is_left(back_s: int) -> None:
    """After midnight nobody wants anything of yesterday, until a slow body is there, or the clock is back where it was."""

    async def story() -> None:
        with ingress({"budget_usd_per_day": BUDGET_USD}, MIDNIGHT_S - 10) as one:
            for at in range(6):
                await one.spend(MIDNIGHT_S - 10, 100, at)
            await one.pass_s(600, 60)
            one.wall_s -= back_s
            await one.call(MIDNIGHT_S - 10, 100)
            await one.pass_s(8, 4)  # what it has is renewed
            assert await let_through(one, MIDNIGHT_S - 10, 100) <= 3

    asyncio.run(story())


def test_bodies_that_were_slow_do_not_give_their_minute_twice() -> None:
    """All came in one minute, with a limit of 10: what is let through in a later one counts there."""

    async def story() -> None:
        minute_s = WALL_S - WALL_S % 60
        with ingress({"requests_per_minute": 10}, minute_s + 5) as one:
            through = [await let_through(one, minute_s + 5)]
            for _ in range(6):
                await one.pass_s(60, 30)
                through.append(await let_through(one, minute_s + 5))
            assert through[0] == 10
            assert max(through) <= 10
            now = Quota("studio", "", Measure.CALLS, _minute(one.wall_s))
            assert [one.accounts.keeper.books[now].spent, await let_through(one, one.wall_s)] == [10, 0]

    asyncio.run(story())


def test_just_after_its_minute_a_call_still_counts_there() -> None:
    async def story() -> None:
        minute_s = WALL_S - WALL_S % 60
        with ingress({"requests_per_minute": 10}, minute_s + 59) as one:
            assert await let_through(one, minute_s + 59) == 10
            await one.pass_s(9, 9)
            assert await let_through(one, minute_s + 59) == 0
            assert await let_through(one, minute_s + 65) == 10

    asyncio.run(story())


def test_what_was_leased_by_a_higher_limit_is_not_used_once_it_is_lower() -> None:
    async def story() -> None:
        with ingress({"requests_per_minute": 6400}, WALL_S) as one:
            await one.call(WALL_S)
            assert one.accounts.keeper.books[Quota("studio", "", Measure.CALLS, _minute(WALL_S))].free > 20
            one.accounts.install(policies_of({"requests_per_minute": 6}))
            await one.pass_s(1.5)
            assert await let_through(one, WALL_S) == 5
            one.accounts.install(policies_of({"requests_per_minute": 0}))
            assert await let_through(one, WALL_S) == 0

    asyncio.run(story())


def _minute(at_s: float) -> str:
    from infercast.router.ledger.periods import minute_of

    return minute_of(at_s)
