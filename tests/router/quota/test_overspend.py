"""Several ingresses, one budget, a real ledger: what is spent stays within the budget, whatever happens to whom and when.

Nothing goes wrong: never more than the budget. Processes die, wires are cut before or after the ledger did what it was asked,
clocks are stepped, calls are taken over late: never more than the budget and one lease for each ingress.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from infercast.policies.units import usd
from infercast.router.conduct.ports import Hold
from infercast.router.errors import Trouble
from infercast.router.ledger.ports import Measure, Quota
from infercast.router.ledger.store import SqlStore
from infercast.router.quota.accounts import Ledgered
from infercast.router.quota.books import LEAST_SHARE, MOST_SHARE
from tests.router.fakes import WALL_S, Clock
from tests.router.quota.support import accounts_on, call_of, entry_of, ledger, opened, reserved

BUDGET = 1_600
PRICE_MAX = 200
DAY = Quota("studio", "", Measure.MONEY, "2026-11-18")
INGRESSES = 3
Step = tuple[Any, ...]

ingress = st.integers(0, INGRESSES - 1)
GOOD = [
    st.tuples(st.just("call"), ingress, st.integers(0, PRICE_MAX)),
    st.tuples(st.just("call"), ingress, st.integers(0, 40)),
    st.tuples(st.just("call"), ingress, st.integers(100, PRICE_MAX)),
    st.tuples(st.just("end"), ingress, st.integers(0, 3), st.sampled_from([0, 30, 100, 100])),
    st.tuples(st.just("end"), ingress, st.integers(0, 3), st.just(100)),
    st.tuples(st.just("settle"), ingress),
    st.tuples(st.just("pass"), st.sampled_from([100, 1_000])),
]
BAD = [
    st.tuples(st.just("cut"), ingress, st.sampled_from(["before", "after"])),
    st.tuples(st.just("heal"), ingress),
    st.tuples(st.just("crash"), ingress),
    st.tuples(st.just("step"), ingress, st.sampled_from([-3_600, -30, 30, 3_600])),
    st.tuples(st.just("pass"), st.sampled_from([5_000, 11_000, 25_000])),
    st.tuples(st.just("freeze"), st.sampled_from([5_000, 25_000])),
]


class Wire:
    """The way to the ledger: it may be cut, so that nothing comes there, or no word of it comes back."""

    def __init__(self, store: SqlStore) -> None:
        self._store = store
        self.cut = ""

    def __getattr__(self, name: str) -> Any:
        work = getattr(self._store, name)

        def over(*what: Any) -> Any:
            if self.cut == "before":
                raise OSError("cut")
            done = work(*what)
            if self.cut == "after":
                raise OSError("cut")
            return done

        return over


@dataclass
class Ingress:
    """One process: its accounts, its calls under way, and what its journal says that nobody has taken over yet."""

    accounts: Ledgered
    wire: Wire
    holder: str
    holds: list[tuple[Hold, int]] = field(default_factory=list)
    journal: list[int] = field(default_factory=list)
    read: int = 0
    most: int = 0

    def looked_at(self) -> None:
        """Remember the largest lease that it had."""
        book = self.accounts.keeper.books.get(DAY)
        if book is not None:
            self.most = max(self.most, book.free + book.aside + book.returning + book.spent - book.settled)


class World:
    """The ingresses, their ledger and all clocks."""

    def __init__(self, store: SqlStore, clock: Clock, limits: dict[str, Any], *, prompt: bool) -> None:
        self.store = store
        self.clock = clock
        self.limits = limits
        self.prompt = prompt
        self.steps_s = [0] * INGRESSES
        self.made = 0
        self.dead: list[Ingress] = []
        self.alive = [self.started(at) for at in range(INGRESSES)]

    def started(self, at: int) -> Ingress:
        self.made += 1
        wire, holder = Wire(self.store), f"at{at}-{self.made}-"
        wall_s = lambda: WALL_S + self.clock.now_us / 1e6 + self.steps_s[at]  # noqa: E731
        return Ingress(accounts_on(wire, self.limits, holder, wall_s=wall_s), wire, holder)

    @property
    def spent(self) -> int:
        """What all calls have really cost."""
        return sum(sum(each.journal) for each in (*self.alive, *self.dead))

    async def call(self, at: int, price: int) -> None:
        one = self.alive[at]
        going = asyncio.create_task(self._begun(one, price))
        for _ in range(6):
            for _ in range(3):
                await asyncio.sleep(0)
            if going.done():
                break
            await self.pass_(300)
        going.cancel()
        with suppress(Trouble, asyncio.CancelledError):
            one.holds.append((await going, price))

    async def _begun(self, one: Ingress, price: int) -> Hold:
        hold = await opened(one.accounts, call_of())
        try:
            await reserved(hold, price)
        except BaseException:
            hold.end(0, 0)
            raise
        return hold

    async def end(self, at: int, which: int, percent: int) -> None:
        one = self.alive[at]
        if one.holds:
            hold, price = one.holds.pop(which % len(one.holds))
            cost = price * percent // 100
            hold.end(cost, 0)
            one.journal.append(cost)
            if self.prompt:
                await self.settle(at)

    async def settle(self, at: int) -> None:
        self.take_over(self.alive[at])

    def take_over(self, one: Ingress) -> None:
        new = one.journal[one.read :]
        entries = [entry_of(f"{one.holder}{one.read + n}", cost) for n, cost in enumerate(new)]
        self.store.settle(one.holder, one.read, one.read + len(new), entries)
        one.read += len(new)

    async def pass_(self, ms: int) -> None:
        """Let time pass: everybody's keeper has its turn."""
        self.clock.now_us += ms * 1000
        for one in self.alive:
            one.looked_at()
            await one.accounts.keeper.round()
            one.looked_at()

    async def freeze(self, ms: int) -> None:
        """Let time pass in which no keeper runs."""
        self.clock.now_us += ms * 1000

    async def cut(self, at: int, how: str) -> None:
        self.alive[at].wire.cut = how

    async def heal(self, at: int) -> None:
        self.alive[at].wire.cut = ""

    async def step(self, at: int, by_s: int) -> None:
        self.steps_s[at] = by_s

    async def crash(self, at: int) -> None:
        self.dead.append(self.alive[at])
        self.alive[at] = self.started(at)

    async def play(self, step: Step) -> None:
        word, *what = step
        doing: Coroutine[Any, Any, None] = getattr(self, "pass_" if word == "pass" else word)(*what)
        await doing
        for one in self.alive:
            one.looked_at()

    async def close(self) -> None:
        """End everything: all calls cost what they may, and everything is taken over."""
        for at, one in enumerate(self.alive):
            while one.holds:
                await self.end(at, 0, 100)
        for one in (*self.alive, *self.dead):
            self.take_over(one)


def played(steps: list[Step], budget: int = BUDGET, *, prompt: bool) -> World:
    """Play a story to its end."""

    async def story() -> World:
        with ledger() as store, Clock().rules() as clock:
            clock.now_us = 1_000_000_000
            world = World(store, clock, {"budget_usd_per_day": usd(budget)}, prompt=prompt)
            for step in steps:
                await world.play(step)
            await world.close()
            (used,) = store.used([DAY])
            assert used == world.spent, "no call is lost, and none counted twice"
            return world

    return asyncio.run(story())


@settings(max_examples=12, deadline=None)
@given(st.lists(st.one_of(GOOD), min_size=60, max_size=100))
def test_where_nothing_goes_wrong_no_more_is_spent_than_the_budget(steps: list[Step]) -> None:
    world = played(steps, prompt=False)
    assert world.spent <= BUDGET


@settings(max_examples=20, deadline=None)
@given(st.lists(st.one_of(*GOOD, *GOOD, *BAD), min_size=40, max_size=100))
def test_whatever_goes_wrong_each_ingress_overspends_by_one_lease_at_most(steps: list[Step]) -> None:
    world = played(steps, prompt=True)
    everybody = [*world.alive, *world.dead]
    assert world.spent <= BUDGET + sum(one.most for one in everybody)
    # A lease is a chunk, what calls under way have set aside, and what they still need.
    assert all(one.most <= BUDGET // MOST_SHARE + BUDGET // LEAST_SHARE + 8 * PRICE_MAX for one in everybody)


@settings(max_examples=12, deadline=None)
@given(st.lists(st.one_of(*GOOD, *GOOD, *BAD), min_size=40, max_size=100))
def test_also_where_calls_are_taken_over_late(steps: list[Step]) -> None:
    world = played(steps, prompt=False)
    assert world.spent <= BUDGET + sum(one.most for one in (*world.alive, *world.dead))
