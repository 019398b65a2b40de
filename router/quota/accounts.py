"""The tenants' limits at one ingress: what a call needs is taken from what is leased, all of it or nothing.

What is there is taken at once, in the step of the event loop that asks for it; only what is not leased yet is waited for.
A call counts in the minute, day and month that it came in, whenever it ends; one whose body took long, in the minute that
it was let through in.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping

from infercast.policies.fleet import Fleet
from infercast.policies.model import Request
from infercast.policies.policy import Policy
from infercast.policies.prices import COMPLETION_TOKENS_UNKNOWN, Prices
from infercast.policies.units import US_PER_S

from ..api import Api
from ..conduct import clock
from ..conduct.endings import Carrying, prompt_tokens
from ..conduct.open import UNLIMITED
from ..conduct.ports import Carried, Hold, Journal
from ..errors import Trouble
from ..ledger.ports import Measure, Store
from .alerts import Alerts
from .books import Book
from .held import Held, Shelf
from .keeper import Keeper
from .refusals import refused, unreachable
from .rules import Rule, Rules, rules_of, word_of

log = logging.getLogger("infercast.quota")
WAIT_S = 2.0
"""The longest that a call waits for the ledger, where its own deadline is later."""
ALERTS_S = 2.0
"""How often it is looked whether a share of a budget is used that is to be told."""
AHEAD_S = 2
"""So long before a minute, day or month begins it is asked for some of it."""
LATE_S = 30
"""A call that is let through so long after it came counts in the minute of then: its own may be forgotten, and then had twice."""
AWAY = "ledger"
"""What refuses a call where a limit's lease is used up, and the ledger out of reach."""
Need = tuple[Book, int]


class Ledgered:
    """The accounts of one ingress, kept in a ledger. `run` must be running beside the calls."""

    def __init__(
        self,
        fleet: Fleet,
        policies: Mapping[str, Policy],
        store: Callable[[], Store],
        holder: str,
        journal: Journal,
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        prices = Prices(fleet)
        self._completions = {
            model.id: max((prices.completion_max(i, None) for i in fleet.tables.candidates(model.id)), default=0)
            for model in fleet.models
        }
        self._shelves: dict[tuple[str, str], Shelf] = {}
        self._called: set[str] = set()
        """The tenants with limits that have called here: their budgets are looked at."""
        self.keeper = Keeper(store, holder, wall_s)
        self.keeper.look_ahead = self._look_ahead
        self.keeper.forget = self._shelves.clear
        self.alerts = Alerts(self.keeper, journal)
        self.journal = journal
        self.refused: Counter[tuple[str, str]] = Counter()
        """How many calls, or further tries, were refused, by tenant and limit (or AWAY): for whoever looks."""
        self.rules: dict[str, Rules] = {}
        self.install(policies)

    def install(self, policies: Mapping[str, Policy]) -> None:
        """Go by other policies from the next call on. What is set aside stays so."""
        found = {tenant: rules_of(policy.limits) for tenant, policy in policies.items()}
        self.rules = {tenant: rules for tenant, rules in found.items() if rules.rules or rules.alerts}
        self._shelves.clear()

    async def run(self) -> None:
        """Keep what is leased, and tell of budgets, for as long as this is not cancelled."""
        keeping = asyncio.create_task(self.keeper.run())
        try:
            while not keeping.done():
                await asyncio.wait([keeping], timeout=ALERTS_S)
                now_s = int(self.keeper.wall_s())
                alerts = {tenant: self.rules[tenant].alerts for tenant in self._called & self.rules.keys()}
                await self.alerts.round(alerts, now_s)
            await keeping  # raises what ended it
        except Exception:
            log.exception("nothing is leased from the ledger any more: calls of tenants with limits will be refused")
            raise
        finally:
            keeping.cancel()

    def look(self, request: Request) -> None:
        """See `ports.Accounts`."""
        if request.tenant not in self.rules:
            return
        for book in self._shelf(request).first:
            if book.free <= 0 and (book.limit <= 0 or book.dry_until_us > clock.now_us()):
                raise self._refused(book, 1, request.at_s)

    def open(self, call: Carried, carrying: Carrying) -> Hold | Awaitable[Hold]:
        """See `ports.Accounts`."""
        request = call.request
        if request.tenant not in self.rules:
            return UNLIMITED
        shelf = self._shelf(request)
        if (
            carrying.hops
        ):  # the first of the clusters that it has come through settles it: here it would never be settled
            shelf = shelf._replace(money=())
        tokens = self._tokens(call) if shelf.tokens and call.api is not Api.INFER else 0
        if self._let_through(shelf, tokens):
            return Held(self, shelf, tokens, carrying.number, request)
        return self._open_later(shelf, tokens, carrying)

    async def _open_later(self, shelf: Shelf, tokens: int, carrying: Carrying) -> Hold:
        needs = [(book, 1) for book in (*shelf.calls, *shelf.running)] + [
            (book, tokens) for book in shelf.tokens if tokens
        ]
        await self.bring(needs, carrying.request.at_s, lambda: self._let_through(shelf, tokens))
        return Held(self, shelf, tokens, carrying.number, carrying.request)

    def _let_through(self, shelf: Shelf, tokens: int) -> bool:
        """Take what a call needs to begin, or nothing."""
        for book in shelf.calls:
            if book.free < 1:
                return False
        for book in shelf.tokens:
            if book.free < tokens and tokens:
                return False
        if shelf.running:
            now_us = clock.now_us()
            for book in shelf.running:
                if book.free < 1 or now_us >= book.until_us:
                    return False
            for book in shelf.running:
                book.take(1)
        for book in shelf.calls:
            book.free -= 1
            book.taken += 1
            book.spent += 1
            if book.free < book.low:
                self.keeper.thirst(book)
        for book in shelf.tokens:
            book.take(tokens)
            if book.free < book.low:
                self.keeper.thirst(book)
        return True

    async def bring(self, needs: list[Need], at_s: int, take: Callable[[], bool]) -> None:
        """Wait until what is lacking can be taken, and take it. Raises Trouble where the ledger has no more, or is away."""
        until_us = clock.now_us() + int(WAIT_S * US_PER_S)
        while True:
            now_us = clock.now_us()
            lacking = [(book, need) for book, need in needs if book.free < need or now_us >= book.until_us]
            if not lacking and take():
                return
            for book, need in lacking:
                if need > book.limit or (book.free < need and book.dry_until_us > now_us):
                    raise self._refused(book, need, at_s)
            try:
                async with asyncio.timeout(max(0, until_us - clock.now_us()) / US_PER_S):
                    await self.keeper.bring(lacking)
            except TimeoutError:
                raise self._unreachable(needs[0][0].quota.tenant) from None
            if take():
                return
            if self.keeper.out_of_reach:
                raise self._unreachable(needs[0][0].quota.tenant)

    def _refused(self, book: Book, need: int, at_s: int) -> Trouble:
        trouble = refused(book, need, max(at_s, int(self.keeper.wall_s())))
        self.refused[book.quota.tenant, word_of(book.quota)] += 1
        return trouble

    def _unreachable(self, tenant: str) -> Trouble:
        self.refused[tenant, AWAY] += 1
        return unreachable()

    def _tokens(self, call: Carried) -> int:
        """Return how many tokens are set aside for a text: about what its prompt has, and all that it may complete."""
        most = call.tokens_max
        if most is None:
            most = min(self._completions.get(call.request.model, 0), COMPLETION_TOKENS_UNKNOWN)
        return prompt_tokens(len(call.body)) + (0 if call.api is Api.EMBEDDING else most)

    def _shelf(self, request: Request) -> Shelf:
        now_s = int(self.keeper.wall_s())
        if now_s - request.at_s > LATE_S:  # its body was slow
            return self._stock(request.tenant, request.model, request.at_s, now_s)
        shelf = self._shelves.get((request.tenant, request.model))
        if shelf is None or not shelf.begins_s <= request.at_s < shelf.ends_s:
            shelf = self._shelves[request.tenant, request.model] = self._stock(
                request.tenant, request.model, request.at_s, request.at_s
            )
        return shelf

    def _stock(self, tenant: str, model: str, at_s: int, counted_s: int) -> Shelf:
        """Return the books of a call that came `at_s`, its day and month with it, and counts in the minute of `counted_s`."""
        self._called.add(tenant)
        begins_s, ends_s = 0, 1 << 62
        books: dict[Measure, list[Book]] = {measure: [] for measure in Measure}
        for rule in self.rules[tenant].of(model):
            book = self._book(tenant, rule, at_s if rule.measure is Measure.MONEY else counted_s)
            begins_s, ends_s = max(begins_s, book.period.begins_s), min(ends_s, book.period.ends_s)
            books[rule.measure].append(book)
        calls, tokens, running, money = (tuple(books[measure]) for measure in Measure)
        return Shelf(begins_s, ends_s, calls, tokens, running, money, (*calls, *running, *money))

    def _book(self, tenant: str, rule: Rule, at_s: int) -> Book:
        return self.keeper.book(*rule.quota(tenant, at_s), rule.limit)

    def _look_ahead(self) -> None:
        """Ask for some of a period that is about to begin, where calls come in."""
        now_s = int(self.keeper.wall_s())
        for (tenant, model), shelf in list(self._shelves.items()):
            if now_s >= shelf.ends_s:
                del self._shelves[tenant, model]
            elif now_s >= shelf.ends_s - AHEAD_S and tenant in self.rules:
                for rule in self.rules[tenant].of(model):
                    if rule.per:
                        self.keeper.thirst(self._book(tenant, rule, shelf.ends_s))
