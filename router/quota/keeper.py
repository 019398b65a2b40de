"""Keeps what an ingress has leased: asks the store ahead, renews, gives back what is idle, lives without the store for a while.

All books are touched on the event loop alone; only the store's own methods run on a thread, one after the other. So what a
call takes is atomic without a lock, and no call waits for the store while there is something left of a lease.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from ..conduct import clock
from ..ledger.ports import Ask, Lease, Measure, Quota, Store
from .books import FOR_EVER_US, Book
from .periods import Period

log = logging.getLogger("infercast.quota")
T = TypeVar("T")
LEASE_S = 20.0
"""How long the store keeps a lease whose holder is not heard of: as long, a dead process keeps money from the others."""
USABLE_US = 12_000_000
"""How long the holder uses it after it began to ask: shorter, so that clocks of two machines may differ by the rest."""
RENEW_S = 3.0
IDLE_S = 1.0
"""How often it is looked for what is idle."""
DRY_US = 250_000
"""For so long after the store had nothing, nobody asks it again."""
AGAIN_S = 0.25
"""For so long after it was out of reach."""


class Keeper:
    """The leases of one process. `holder` is what its calls' numbers begin with."""

    def __init__(self, store: Callable[[], Store], holder: str, wall_s: Callable[[], float] = time.time) -> None:
        self._store = store
        self._holder = holder
        self.wall_s = wall_s
        self.books: dict[Quota, Book] = {}
        self._needs: dict[Book, int] = {}
        self._waiters: list[asyncio.Future[None]] = []
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger")
        self._renewed_us = 0
        self._looked_us = 0
        self._doubtful = False
        """Whether it is not known what the store made of something: then it is asked what there is."""
        self.out_of_reach = False
        self.look_ahead: Callable[[], None] = lambda: None
        """Called once in a while: whoever uses the books says what will be needed next."""
        self.forget: Callable[[], None] = lambda: None
        """Called when a book has been dropped: nobody is to take anything from it any more."""

    def book(self, quota: Quota, period: Period, limit: int) -> Book:
        """Return the book of a quota, by the limit that is in force now."""
        book = self.books.get(quota)
        if book is None:
            book = self.books[quota] = Book(quota, period, limit)
        book.limit_to(limit)
        return book

    def thirst(self, book: Book) -> None:
        """Ask for more soon: a book runs low."""
        if not book.thirsty and book.dry_until_us <= clock.now_us():
            book.thirsty = True
            self._needs.setdefault(book, 0)
            self._wake.set()

    async def bring(self, needs: list[tuple[Book, int]]) -> None:
        """Ask for what a call lacks, and return when the store has answered, or could not. Nothing is kept for the call."""
        for book, amount in needs:
            self._needs[book] = self._needs.get(book, 0) + amount
        self._wake.set()
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter

    async def run(self) -> None:
        """Keep the leases for as long as this is not cancelled."""
        try:
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._rest_s()):
                        await self._wake.wait()
                await self.round()
                if self.out_of_reach:
                    await asyncio.sleep(AGAIN_S)
        finally:
            self._thread.shutdown(wait=False)

    async def round(self) -> None:
        """Talk to the store once: renew what is due, give back what is idle, ask for what is needed."""
        self._wake.clear()
        needs, self._needs = self._needs, {}
        waiters, self._waiters = self._waiters, []
        try:
            await self._talk(needs)
        except OSError as error:
            self._doubtful = True
            self._say(error)
        else:
            self._say(None)
        finally:
            for book in needs:
                book.thirsty = False
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    async def _talk(self, needs: dict[Book, int]) -> None:
        now_us = clock.now_us()
        if self._renewal_due(now_us, needs):
            await self._renew(now_us)
        if now_us - self._looked_us >= IDLE_S * 1_000_000 or any(book.returning for book in needs):
            self._looked_us = now_us
            self.look_ahead()
            await self._give_back()
        asked = [book for book in needs if self.books.setdefault(book.quota, book) is book]
        if asked:
            await self._grant(asked, needs)

    def _renewal_due(self, now_us: int, needs: dict[Book, int]) -> bool:
        if not any(book.free > 0 or book.aside or book in needs for book in self.books.values()):
            return False
        lapsed = any(book.until_us and not book.alive(now_us) for book in needs)
        return self._doubtful or lapsed or now_us - self._renewed_us >= RENEW_S * 1_000_000

    async def _renew(self, began_us: int) -> None:
        now_s = self.wall_s()
        leases = await self.ask(lambda store: store.renew(self._holder, now_s + LEASE_S, now_s))
        self._renewed_us, self._doubtful = began_us, False
        for quota, book in self.books.items():
            book.standing(leases.get(quota, Lease(0, book.settled)))
            if book.until_us:
                book.until_us = _until_us(quota, began_us)

    async def _give_back(self) -> None:
        now_s = self.wall_s()
        for quota, book in list(self.books.items()):
            idle = book.surplus()
            # What is left of a minute that is over is nobody's; money goes back, for calls of others that began in time.
            if idle and (quota.measure is Measure.MONEY or not book.ended(now_s)):
                book.give_back(idle)
            left = book.free > 0 or book.returning
            if book.done(now_s) and (quota.measure is not Measure.MONEY or not left):
                del self.books[quota]
                self.forget()
        back = [(book, book.returning) for book in self.books.values() if book.returning]
        if back:
            said = [(book.quota, amount) for book, amount in back]
            await self.ask(lambda store: store.give_back(self._holder, said))
            for book, amount in back:
                book.returning -= amount

    async def _grant(self, books: list[Book], needs: dict[Book, int]) -> None:
        now_us, now_s = clock.now_us(), self.wall_s()
        wants = [(book, book.want(needs[book], now_us)) for book in books]
        asks = [Ask(book.quota, book.limit, want, now_s + LEASE_S) for book, want in wants if want]
        if not asks:
            return
        for ask, granted in zip(
            asks, await self.ask(lambda store: store.grant(self._holder, asks, now_s)), strict=True
        ):
            book = self.books[ask.quota]
            book.free += granted.amount
            if book.limit < ask.limit:  # it has been lowered meanwhile
                book.give_back(max(0, book.free))
            if not book.until_us:
                book.until_us = _until_us(book.quota, now_us)
            if granted.amount < ask.want:
                book.dry_until_us = clock.now_us() + DRY_US

    async def ask(self, work: Callable[[Store], T]) -> T:
        """Ask the store something, on its thread. Raises OSError where it is out of reach."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: work(self._store()))

    def _rest_s(self) -> float:
        return IDLE_S if self.books else RENEW_S

    def _say(self, error: OSError | None) -> None:
        if error is not None and not self.out_of_reach:
            log.error("the ledger is out of reach: limits go by what is leased, and then refuse (%s)", error)
        if error is None and self.out_of_reach:
            log.warning("the ledger is there again")
        self.out_of_reach = error is not None


def _until_us(quota: Quota, asked_us: int) -> int:
    """Return until when a lease that was asked for at an instant may be used. A minute's stands until the minute is over."""
    return FOR_EVER_US if quota.measure in (Measure.CALLS, Measure.TOKENS) else asked_us + USABLE_US
