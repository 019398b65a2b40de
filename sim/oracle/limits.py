"""How much each tenant has used: calls, calls at once, money. Exact, over all entries."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from infercast.policies.policy import Policy
from infercast.policies.units import PPM, US_PER_S, nusd, ppm

from ..model import LimitedBy
from .calls import Call

MINUTE_US = 60 * US_PER_S
DAY_US = 1440 * MINUTE_US


def _month(wall_us: int) -> int:
    at = datetime.fromtimestamp(wall_us // US_PER_S, UTC)
    return 12 * at.year + at.month


@dataclass(slots=True)
class Used:
    """What one tenant has used. Money of a period is forgotten with it; what is reserved goes on."""

    calls: int = 0
    hedges: int = 0
    minute: int = -1
    calls_in_minute: int = 0
    running: int = 0
    reserved_nusd: int = 0
    day: int = -1
    day_nusd: int = 0
    month: int = -1
    month_nusd: int = 0

    def turn(self, wall_us: int) -> None:
        """Begin new periods that have come."""
        minute, day, month = wall_us // MINUTE_US, wall_us // DAY_US, _month(wall_us)
        if minute != self.minute:
            self.minute, self.calls_in_minute = minute, 0
        if day != self.day:
            self.day, self.day_nusd = day, 0
        if month != self.month:
            self.month, self.month_nusd = month, 0


class Limits:
    """The tenants' limits and what they have used of them. The caller brings the clock."""

    def __init__(self, policies: Mapping[str, Policy], starts_at_s: int) -> None:
        self._policies = policies
        self._starts_us = starts_at_s * US_PER_S
        self._used = {tenant: Used() for tenant in policies}
        self._reserved: dict[int, int] = {}
        self._running: set[int] = set()

    def _now(self, tenant: str, now_us: int) -> Used:
        used = self._used[tenant]
        used.turn(self._starts_us + now_us)
        return used

    def reached(self, tenant: str, now_us: int) -> LimitedBy | None:
        """Return the first limit of a tenant's that leaves no room for a further call."""
        used, limits = self._now(tenant, now_us), self._policies[tenant].limits
        if limits.requests_per_minute is not None and used.calls_in_minute >= limits.requests_per_minute:
            return LimitedBy.REQUESTS_PER_MINUTE
        if limits.concurrent_max is not None and used.running >= limits.concurrent_max:
            return LimitedBy.CONCURRENT_MAX
        for budget_usd, spent_nusd, name in (
            (limits.budget_usd_per_day, used.day_nusd, LimitedBy.BUDGET_PER_DAY),
            (limits.budget_usd_per_month, used.month_nusd, LimitedBy.BUDGET_PER_MONTH),
        ):
            if budget_usd is not None and spent_nusd + used.reserved_nusd >= nusd(budget_usd):
                return name
        return None

    def let_through(self, call: Call, now_us: int) -> None:
        """Count a call that no limit stops."""
        used = self._now(call.kind.tenant, now_us)
        used.calls += 1
        used.calls_in_minute += 1
        used.running += 1
        self._running.add(call.number)

    def reserve(self, call: Call, price_nusd: int) -> None:
        """Set aside what a call is foretold to cost, until it ends."""
        self._reserved[call.number] = price_nusd
        self._used[call.kind.tenant].reserved_nusd += price_nusd

    def end(self, call: Call) -> None:
        """Settle: what the call has cost is counted already, what was set aside for it is free again."""
        if call.number in self._running:
            self._running.remove(call.number)
            self._used[call.kind.tenant].running -= 1
            self._used[call.kind.tenant].reserved_nusd -= self._reserved.pop(call.number, 0)

    def spend(self, tenant: str, cost_nusd: int, now_us: int) -> None:
        """Count money spent."""
        used = self._now(tenant, now_us)
        used.day_nusd += cost_nusd
        used.month_nusd += cost_nusd

    def may_hedge(self, tenant: str) -> bool:
        """Return whether a further call of a tenant's may be hedged, and count it if so is done (`hedge`)."""
        hedge, used = self._policies[tenant].behaviour.hedge, self._used[tenant]
        return hedge is not None and (used.hedges + 1) * PPM <= ppm(hedge.budget_share) * used.calls

    def hedge(self, tenant: str) -> None:
        """Count a hedged call."""
        self._used[tenant].hedges += 1

    def settled(self) -> bool:
        """Return whether nothing is running or set aside."""
        return not any(used.running or used.reserved_nusd for used in self._used.values())
