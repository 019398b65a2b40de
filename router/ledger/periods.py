"""The periods that quotas are counted in: UTC's minutes, days and months, as text."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache

from .ports import Measure, Quota

DAY_S = 86_400
SLACK_S = 60.0
"""How long a minute's leases stay when it is over: clocks of other machines may be behind by so much."""


def minute_of(at_s: float) -> str:
    """Return the minute of an instant: "2026-11-25T19:47"."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M")


def day_of(at_s: float) -> str:
    """Return the day of an instant: "2026-11-25". Raises ValueError or OverflowError where no calendar has it."""
    return _day(int(at_s // DAY_S))


@lru_cache(64)
def _day(days: int) -> str:
    return datetime.fromtimestamp(days * DAY_S, UTC).strftime("%Y-%m-%d")


def money_quotas(tenant: str, model: str, day: str) -> set[Quota]:
    """Return the quotas that money spent on a model on a day is used of: of that model and of all, of the day and the month."""
    return {
        Quota(tenant, which, Measure.MONEY, period) for which in {"", model} for period in (day, day[: len("2026-11")])
    }


def stands_until_s(quota: Quota, expires_s: float) -> float:
    """Return until when a lease is to be counted that its holder may use until `expires_s`.

    What has been used of a minute's calls or tokens is in no entry: the lease stands for it until the minute is over.
    """
    if quota.measure in (Measure.CALLS, Measure.TOKENS):
        begin = datetime.fromisoformat(quota.period).replace(tzinfo=UTC)
        return max(expires_s, (begin + timedelta(minutes=1)).timestamp() + SLACK_S)
    return expires_s


def kept_until_s(quota: Quota) -> float:
    """Return until when it is to be known how much of a holder's calls has been settled: of MONEY, a day after its period."""
    if quota.measure is not Measure.MONEY:
        return 0.0
    is_month = len(quota.period) == len("2026-11")
    begin = datetime.fromisoformat(f"{quota.period}-01" if is_month else quota.period).replace(tzinfo=UTC)
    over = (begin + timedelta(days=31)).replace(day=1) if is_month else begin + timedelta(days=1)
    return (over + timedelta(days=1)).timestamp()
