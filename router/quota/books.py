"""What one ingress has leased of one quota, and what it does with it. No clock, no store: whoever calls brings both.

`free` is what may still be taken. It follows from what the store says by one rule, so that nothing that went wrong on the
way to the store stays wrong: the lease, less what is being given back, less what has been spent and is not settled there
yet, less what is set aside for calls under way. It is negative where a lease was lost that calls had been let through on.
"""

from ..ledger.periods import SLACK_S
from ..ledger.ports import Lease, Measure, Quota
from .periods import DAY_S, Period

HORIZON_US = 2_000_000
"""A chunk is what has lately been used in so long a time,"""
LEAST_SHARE = 256
"""but no less than this part of the whole limit,"""
MOST_SHARE = 32
"""and no more than this part: as much as one ingress can keep from the others, beside what one call needs."""
FOR_EVER_US = 1 << 62


class Book:
    """One quota as one ingress has it."""

    __slots__ = (
        "aside",
        "asked_taken",
        "asked_us",
        "dry_until_us",
        "free",
        "kept_until_s",
        "limit",
        "low",
        "period",
        "quota",
        "returning",
        "settled",
        "spent",
        "taken",
        "taken_seen",
        "thirsty",
        "until_us",
    )

    def __init__(self, quota: Quota, period: Period, limit: int) -> None:
        self.quota = quota
        self.period = period
        self.kept_until_s = period.ends_s + (DAY_S if quota.measure is Measure.MONEY else SLACK_S)
        """As long as the store knows what this ingress has had of it: who forgot that earlier would have it once more."""
        self.limit = limit
        self.free = 0
        self.aside = 0
        """Set aside for calls under way."""
        self.spent = 0
        """By calls that have ended, ever. Calls at once are given back, not spent."""
        self.settled = 0
        """Of that, what the store has taken over: no longer part of the lease."""
        self.returning = 0
        """On its way back to the store."""
        self.until_us = 0
        """Until when the lease may be used, on this ingress's own clock."""
        self.dry_until_us = 0
        """Until then nobody asks again: the store had nothing."""
        self.low = limit // LEAST_SHARE // 2
        """Below that it is asked for more, before it is wanted."""
        self.thirsty = False
        self.taken = 0
        self.asked_taken = 0
        self.asked_us = 0
        self.taken_seen = 0

    def take(self, amount: int) -> None:
        """Set an amount aside."""
        self.free -= amount
        self.aside += amount
        self.taken += amount

    def settle(self, aside: int, cost: int) -> None:
        """Spend `cost` of what was set aside; the rest is free again."""
        self.aside -= aside
        self.free += aside - cost
        self.spent += cost

    @property
    def held(self) -> int:
        """What is leased of its quota here, and not settled yet, as far as is known: `standing` read backwards."""
        return self.free + self.aside + self.returning + self.spent - self.settled

    def standing(self, lease: Lease) -> None:
        """Take in what the store says that this ingress has."""
        self.settled = max(self.settled, lease.settled)
        self.free = lease.amount - self.returning - (self.spent - self.settled) - self.aside

    def lost(self) -> None:
        """Have nothing any more: the lease ran out before it could be renewed."""
        self.standing(Lease(0, self.settled))

    def alive(self, now_us: int) -> bool:
        """Return whether the lease may be used."""
        return now_us < self.until_us

    def want(self, need: int, now_us: int) -> int:
        """Return how much to ask for, where calls need so much now: as much more as lasts for a while."""
        taken, since_us = self.taken - self.asked_taken, max(now_us - self.asked_us, HORIZON_US // 20)
        self.asked_taken, self.asked_us = self.taken, now_us
        chunk = min(max(taken * HORIZON_US // since_us, self.limit // LEAST_SHARE), self.limit // MOST_SHARE)
        if self.quota.measure is Measure.RUNNING:
            chunk = 0  # a place that is free is a place that another ingress lacks
        self.low = chunk // 2
        return max(0, need - self.free) + max(0, chunk - max(0, self.free - need))

    def surplus(self) -> int:
        """Return what has lain idle since this was asked last: all that is free, where nothing was taken meanwhile."""
        idle = self.taken == self.taken_seen
        self.taken_seen = self.taken
        kept = 0 if idle else 2 * self.low + max(1, self.limit // MOST_SHARE)
        return max(0, self.free - kept)

    def give_back(self, amount: int) -> None:
        """Put an amount on its way back."""
        self.free -= amount
        self.returning += amount

    def limit_to(self, limit: int) -> None:
        """Go by another limit. What was leased by a higher one goes back: it is to be asked for by this one."""
        if limit < self.limit:
            self.give_back(max(0, self.free))
        self.limit = limit

    def ended(self, now_s: float) -> bool:
        """Return whether its period is over."""
        return now_s >= self.period.ends_s

    def done(self, now_s: float) -> bool:
        """Return whether nobody asks for it any more, and nothing is under way that was let through in it."""
        return now_s >= self.kept_until_s and not self.aside
