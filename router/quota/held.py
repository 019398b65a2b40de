"""What one call has of its tenant's limits, from when it is let through until it has ended."""

from collections.abc import Awaitable
from typing import TYPE_CHECKING, NamedTuple

from infercast.policies.model import Request

from ..conduct import clock
from .books import Book

if TYPE_CHECKING:
    from .accounts import Ledgered


class Shelf(NamedTuple):
    """The books that calls of one tenant and model are let through by, from `begins_s` until `ends_s`."""

    begins_s: int
    ends_s: int
    calls: tuple[Book, ...]
    tokens: tuple[Book, ...]
    running: tuple[Book, ...]
    money: tuple[Book, ...]
    first: tuple[Book, ...]
    """Those that may say before the body is read that nothing is left: what a text needs of tokens is not known yet."""


class Held:
    """What one call has of its tenant's limits. It does not know the `Carrying` that holds it: that would be a circle."""

    __slots__ = ("_accounts", "_aside_nusd", "_number", "_request", "_shelf", "_tokens", "_told")

    def __init__(self, accounts: "Ledgered", shelf: Shelf, tokens: int, number: str, request: Request) -> None:
        self._accounts = accounts
        self._shelf = shelf
        self._tokens = tokens
        self._number = number
        self._request = request
        self._aside_nusd = 0
        self._told = False

    def reserve(self, aside_nusd: int) -> Awaitable[None] | None:
        """See `ports.Hold`."""
        if not self._shelf.money or self._set_aside(aside_nusd):
            return None
        return self._reserve_later(aside_nusd)

    async def _reserve_later(self, aside_nusd: int) -> None:
        needs = [(book, aside_nusd) for book in self._shelf.money]
        await self._accounts.bring(needs, self._request.at_s, lambda: self._set_aside(aside_nusd))

    def _set_aside(self, aside_nusd: int) -> bool:
        money, now_us = self._shelf.money, clock.now_us()
        for book in money:
            if book.free < aside_nusd or now_us >= book.until_us:
                return False
        for book in money:
            book.take(aside_nusd)
            if book.free < book.low:
                self._accounts.keeper.thirst(book)
        self._aside_nusd += aside_nusd
        if not self._told:
            self._told = True
            self._tell(aside_nusd)
        return True

    def _tell(self, aside_nusd: int) -> None:
        """Write down what is set aside, so that it is seen where this process dies before the call has ended."""
        request = self._request
        self._accounts.journal.write(
            "reserved",
            number=self._number,
            at_s=request.at_s,
            tenant=request.tenant,
            model=request.model,
            reserved_nusd=aside_nusd,
        )

    def lost(self, aside_nusd: int, cost_nusd: int) -> None:
        """See `ports.Hold`."""
        free = aside_nusd - cost_nusd
        for book in self._shelf.money:
            book.settle(free, 0)
        self._aside_nusd -= free if self._shelf.money else 0

    def end(self, cost_nusd: int, tokens: int | None) -> None:
        """See `ports.Hold`."""
        shelf = self._shelf
        for book in shelf.running:
            book.settle(1, 0)
        for book in shelf.tokens:
            book.settle(self._tokens, self._tokens if tokens is None else tokens)
        for book in shelf.money:
            book.settle(self._aside_nusd, cost_nusd)
