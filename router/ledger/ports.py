"""What the ledger's store does, in words that do not depend on where it is kept.

Two things stand in it. **Entries**: what each call cost, once, taken over from the journals, which hold it first. And
**leases**: amounts of a quota that one ingress may use by itself, without asking, until they expire. What is granted and not
yet settled never exceeds what a quota has left, so all ingresses together overspend by no more than leases that expired
while their holder could not be reached, each at most once.

All times are of the wall's clock, in seconds since 1970 UTC; days and months are UTC's.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol


class Measure(StrEnum):
    """What a quota counts, and in which unit."""

    CALLS = "calls"
    TOKENS = "tokens"
    RUNNING = "running"
    """Calls at once."""
    MONEY = "money"
    """Nano-USD."""


class Quota(NamedTuple):
    """One limit of a tenant's in one period. `model` is empty where it is for all of them.

    `period` is the UTC minute ("2026-11-25T19:47"), day ("2026-11-25") or month ("2026-11"), and empty for RUNNING.
    """

    tenant: str
    model: str
    measure: Measure
    period: str


class Ask(NamedTuple):
    """A wish for more of a quota: `want` of it, where the policy sets the `limit`, usable until `expires_s` (wall clock)."""

    quota: Quota
    limit: int
    want: int
    expires_s: float


class Granted(NamedTuple):
    """What came of it: `amount` more for the asker (0 where nothing is free), and what other holders have of the quota.

    `used` is what settled entries have used of a MONEY quota, 0 of the others.
    """

    quota: Quota
    amount: int
    elsewhere: int
    used: int = 0


class Lease(NamedTuple):
    """What a holder has of a quota: `amount`, and of MONEY how much of its calls' cost has been settled so far, ever.

    By both a holder knows exactly what it may still use: `amount` less what it has spent and is not `settled` yet.
    """

    amount: int
    settled: int = 0


class Entry(NamedTuple):
    """What one part of a call cost: its answer, or a try beside it that was paid for too. Unique by `number` and `part`.

    `state` is "settled", or "orphaned" for a reservation whose process died before the call ended: `reserved_nusd` was set
    aside for it and is free again, and `cost_nusd` is 0.
    """

    number: str
    part: int
    at_s: float
    tenant: str
    model: str
    entry: str
    site: str
    deployment: str
    outcome: str
    state: str
    cost_nusd: int
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached: bool = False
    reserved_nusd: int = 0


class Reserved(NamedTuple):
    """A call that money was set aside for when it began, and whose end has not been taken over yet."""

    number: str
    at_s: float
    tenant: str
    model: str
    entry: str
    reserved_nusd: int


class Moved(Exception):  # noqa: N818 - expected: somebody else was there first
    """The lines that were to be settled have been settled by another process."""


class Store(Protocol):
    """A ledger's store. Every method is one transaction, may block, and raises OSError where the store is out of reach.

    A store may be used by several threads.
    """

    def grant(self, holder: str, asks: Sequence[Ask], now_s: float) -> list[Granted]:
        """Let expired leases go, and add to the holder's leases what is free, never more than is wanted; one Granted per Ask.

        Free is `limit` less what entries have used of a MONEY quota, less all leases. A holder has one lease of a quota:
        what is added to it lets all of it live until the later `expires_s`. MONEY leases shrink when their holder's entries
        are settled; CALLS and TOKENS leases stand until a minute after their minute is over, whatever `expires_s` says.
        """
        ...

    def give_back(self, holder: str, back: Sequence[tuple[Quota, int]]) -> None:
        """Return what a holder will not use. More than it has is all that it has."""
        ...

    def renew(self, holder: str, expires_s: float, now_s: float) -> dict[Quota, Lease]:
        """Let the holder's MONEY and RUNNING leases live until `expires_s`; return all that it has. What had expired is gone.

        Of a MONEY quota that it ever had a lease of `settled` is told on, with an amount of 0, until the period is over
        for a day.
        """
        ...

    def used(self, quotas: Sequence[Quota]) -> list[int]:
        """Return what entries have used of each of several MONEY quotas."""
        ...

    def alert(self, quota: Quota, limit: int, share_ppm: int) -> bool:
        """Note that a share of a budget is used. True for the first who says so of this quota, limit and share, ever."""
        ...

    def cursor(self, journal: str) -> int:
        """Return how many bytes of a journal have been settled."""
        ...

    def settle(
        self, journal: str, begin: int, end: int, entries: Sequence[Entry], reserved: Sequence[Reserved] = ()
    ) -> int:
        """Take over what stands in a journal from byte `begin` to `end`. Raises Moved where `begin` is not its cursor.

        Adds to what the tenant has used, of each model and of all, in the day and month of `at_s`, and takes as much off the
        MONEY leases of the process that wrote the entries (`holder_of` the number). An entry that is there already changes nothing,
        unless it is an orphaned one that turns out to have ended. Returns how many entries are new. `reserved` are calls that
        have begun and not ended in these bytes; an entry of their number ends them.
        """
        ...

    def reservations(self, journal: str) -> list[Reserved]:
        """Return the calls of a journal that have begun and not ended, as far as it has been settled."""
        ...


def holder_of(number: str) -> str:
    """Return who settles a call of that number: the process that it entered at (the number up to its last dash, with it)."""
    return number[: number.rfind("-") + 1]
