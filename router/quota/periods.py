"""The periods that limits count in: UTC minutes, days and months, by the clock on the wall."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from ..ledger.periods import day_of, minute_of

MINUTE_S = 60
DAY_S = 86_400
MONTHS = 12


class Period(NamedTuple):
    """One period: what the ledger calls it, and `[begins_s, ends_s)`."""

    name: str
    begins_s: int
    ends_s: int


ALWAYS = Period("", 0, 1 << 62)
"""Of what counts in no period: calls at once."""


def minute(at_s: int) -> Period:
    """Return the minute around an instant."""
    begins_s = at_s - at_s % MINUTE_S
    return Period(minute_of(begins_s), begins_s, begins_s + MINUTE_S)


def day(at_s: int) -> Period:
    """Return the day around an instant."""
    return _day(at_s // DAY_S)


@lru_cache(maxsize=64)
def _day(number: int) -> Period:
    begins_s = number * DAY_S
    return Period(day_of(begins_s), begins_s, begins_s + DAY_S)


def month(at_s: int) -> Period:
    """Return the month around an instant."""
    return _month(at_s // DAY_S)


@lru_cache(maxsize=64)
def _month(day_number: int) -> Period:
    first = datetime.fromtimestamp(day_number * DAY_S, UTC).replace(day=1)
    following = datetime(first.year + first.month // MONTHS, first.month % MONTHS + 1, 1, tzinfo=UTC)
    return Period(first.strftime("%Y-%m"), int(first.timestamp()), int(following.timestamp()))


def always(at_s: int) -> Period:
    """Return the one period that has no end."""
    return ALWAYS


OF_WORD: dict[str, Callable[[int], Period]] = {"minute": minute, "day": day, "month": month, "": always}
