"""How much each tenant has used, exactly, over all entries: calls, calls at once, money. Only of tenants where it matters."""

from ..model import LimitedBy
from .compiling import inlined
from .layout import (
    K_TENANT,
    N_STARTS_AT_S,
    T_CALL,
    T_KIND,
    T_RESERVED_NUSD,
    U_CALLS,
    U_DAY,
    U_DAY_MAX_NUSD,
    U_DAY_NUSD,
    U_HEDGE_PPM,
    U_HEDGES,
    U_IN_MINUTE,
    U_MINUTE,
    U_MONTH,
    U_MONTH_MAX_NUSD,
    U_MONTH_NUSD,
    U_PER_MINUTE_MAX,
    U_RESERVED_NUSD,
    U_RUNNING,
    U_RUNNING_MAX,
    U_TRACKED,
    State,
)

REQUESTS_PER_MINUTE, CONCURRENT_MAX = int(LimitedBy.REQUESTS_PER_MINUTE), int(LimitedBy.CONCURRENT_MAX)
BUDGET_PER_DAY, BUDGET_PER_MONTH = int(LimitedBy.BUDGET_PER_DAY), int(LimitedBy.BUDGET_PER_MONTH)
PPM, S_PER_MINUTE, S_PER_DAY = 1_000_000, 60, 86_400
DAYS_PER_ERA, DAYS_TO_1970 = 146_097, 719_468
"""Days in 400 years, and from 0000-03-01 to 1970-01-01."""


@inlined
def month_of(day: int) -> int:
    """Return the number of the month that a day since 1970 lies in, counted from March of the year 0.

    Months from March on have 31, 30, 31, 30, 31 days over and over, 153 in five: the leap day is the last of its year.
    """
    day += DAYS_TO_1970
    era = day // DAYS_PER_ERA
    of_era = day % DAYS_PER_ERA
    year = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    return 12 * (400 * era + year) + (5 * of_year + 2) // 153


@inlined
def _turn(w: State, tenant: int, now_us: int) -> None:
    """Begin new minutes, days and months that have come; money of one is forgotten with it."""
    row = w.tenant[tenant]
    at_s = w.clock[N_STARTS_AT_S] + now_us // 1_000_000
    if at_s // S_PER_MINUTE != row[U_MINUTE]:
        row[U_MINUTE] = at_s // S_PER_MINUTE
        row[U_IN_MINUTE] = 0
    if at_s // S_PER_DAY != row[U_DAY]:
        row[U_DAY] = at_s // S_PER_DAY
        row[U_DAY_NUSD] = 0
        month = month_of(row[U_DAY])
        if month != row[U_MONTH]:
            row[U_MONTH] = month
            row[U_MONTH_NUSD] = 0


@inlined
def let_through(w: State, tenant: int, now_us: int) -> int:
    """Count a further call, unless a limit leaves no room for it. Returns that limit, or 0."""
    row = w.tenant[tenant]
    if not row[U_TRACKED]:
        return 0
    _turn(w, tenant, now_us)
    if row[U_PER_MINUTE_MAX] >= 0 and row[U_IN_MINUTE] >= row[U_PER_MINUTE_MAX]:
        return REQUESTS_PER_MINUTE
    if row[U_RUNNING_MAX] >= 0 and row[U_RUNNING] >= row[U_RUNNING_MAX]:
        return CONCURRENT_MAX
    if row[U_DAY_MAX_NUSD] >= 0 and row[U_DAY_NUSD] + row[U_RESERVED_NUSD] >= row[U_DAY_MAX_NUSD]:
        return BUDGET_PER_DAY
    if row[U_MONTH_MAX_NUSD] >= 0 and row[U_MONTH_NUSD] + row[U_RESERVED_NUSD] >= row[U_MONTH_MAX_NUSD]:
        return BUDGET_PER_MONTH
    row[U_CALLS] += 1
    row[U_IN_MINUTE] += 1
    row[U_RUNNING] += 1
    return 0


@inlined
def reserve(w: State, slot: int, price_nusd: int) -> None:
    """Set aside what a call is foretold to cost, until it ends."""
    w.tries[slot, T_RESERVED_NUSD] = price_nusd
    w.tenant[w.kind[w.tries[slot, T_KIND], K_TENANT], U_RESERVED_NUSD] += price_nusd


@inlined
def settle(w: State, slot: int) -> None:
    """A call that was let through ends: what was set aside for it is free again."""
    row = w.tenant[w.kind[w.tries[slot, T_KIND], K_TENANT]]
    if row[U_TRACKED]:
        row[U_RUNNING] -= 1
        row[U_RESERVED_NUSD] -= w.tries[slot, T_RESERVED_NUSD]


@inlined
def spend(w: State, slot: int, nusd: int, now_us: int) -> None:
    """Count money that a try's call has cost."""
    w.cost_nusd[w.tries[slot, T_CALL]] += nusd
    tenant = w.kind[w.tries[slot, T_KIND], K_TENANT]
    if w.tenant[tenant, U_TRACKED]:
        _turn(w, tenant, now_us)
        w.tenant[tenant, U_DAY_NUSD] += nusd
        w.tenant[tenant, U_MONTH_NUSD] += nusd


@inlined
def may_hedge(w: State, tenant: int) -> bool:
    """Return whether one more of a tenant's calls may be hedged."""
    row = w.tenant[tenant]
    return bool((row[U_HEDGES] + 1) * PPM <= row[U_HEDGE_PPM] * row[U_CALLS])
