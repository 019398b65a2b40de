"""How an upstream stands, as one worker sees it: whether it lives, and which of its deployments are not to be called for now."""

import logging
from dataclasses import dataclass, field

from ..runtime.load import now_us

log = logging.getLogger("infercast.upstream")
MISSET_AFTER = 3
"""After so many such answers in a row: one alone may be a single call's affair."""
BROKEN_AFTER = 3
"""After so many calls in a row that came to nothing the site itself may be why, and not what one caller sent."""
MISSET_US = 30_000_000
"""What cannot be called as the fleet file says is left alone for so long."""
TOLD_EVERY_US = 30_000_000
"""The same thing is told of a site this often at most."""
US_PER_S = 1_000_000


@dataclass(slots=True)
class Standing:
    """One upstream site. Nothing is known of it before its first check."""

    site: str
    lives: bool = False
    full_until_us: dict[int, int] = field(default_factory=dict)
    misset_until_us: dict[int, int] = field(default_factory=dict)
    misset_row: dict[int, int] = field(default_factory=dict)
    broken_row: int = 0
    told_us: dict[str, int] = field(default_factory=dict)

    def full(self, index: int, retry_after_s: int) -> None:
        """Take in that a deployment has no room until then."""
        self.full_until_us[index] = now_us() + retry_after_s * US_PER_S

    def misset(self, index: int, why: str) -> None:
        """Take in that a deployment could not be called as the fleet file says; told in the log, now and then."""
        self.misset_row[index] = self.misset_row.get(index, 0) + 1
        if self.misset_row[index] >= MISSET_AFTER:
            self.misset_until_us[index] = now_us() + MISSET_US
        self.tell(why, "look at its url, key and models in the fleet file")

    def answered(self, index: int) -> None:
        """Take in that a deployment has answered."""
        self.misset_row.pop(index, None)
        self.broken_row = 0

    def broke(self) -> bool:
        """Take in that a call came to nothing; returns whether the site may be why."""
        self.broken_row += 1
        return self.broken_row >= BROKEN_AFTER

    def tell(self, what: str, remedy: str, fault: Exception | None = None) -> None:
        """Say something of the site in the log, unless it was said a moment ago; of a fault of ours, where it happened."""
        at_us = now_us()
        if at_us - self.told_us.get(remedy, -TOLD_EVERY_US) >= TOLD_EVERY_US:
            self.told_us[remedy] = at_us
            log.warning("upstream %s: %s (%s)", self.site, what, remedy, exc_info=fault)

    def healthy(self, index: int) -> bool:
        """Return whether calls may go to a deployment."""
        return self.lives and now_us() >= self.misset_until_us.get(index, 0)

    def is_full(self, index: int) -> bool:
        """Return whether a deployment has said that it has no room."""
        return now_us() < self.full_until_us.get(index, 0)
