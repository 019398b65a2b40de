"""Windows of time: hours, days and dates of a place's own clock. Pure: the instant is brought by the caller.

An instant has exactly one local time, so whether a window holds is never in doubt, not even when clocks are set forward
(local times that do not exist simply never come) or back (an hour that comes twice belongs to the window twice).
"""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import pairwise
from re import fullmatch
from zoneinfo import ZoneInfo, available_timezones

from .faults import did_you_mean

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_S, HOUR_S = 86_400, 3_600
MINUTES_OF_DAY = 24 * 60
ALWAYS = (-(2**62), 2**62)
"""The period of what does not depend on time."""
KNOWN_FROM_S = 1
"""First instant that counts as known. A caller that does not know the time brings 0, and is bound by every window."""
KNOWN_UNTIL_S = DAY_S * 2_900_000
"""End of the known instants, in the year 9909: calendars end soon after."""


def knows(at_s: int) -> bool:
    """Return whether an instant (seconds since 1970 UTC) is a time that windows can be held against."""
    return KNOWN_FROM_S <= at_s < KNOWN_UNTIL_S


def minutes_of(text: str) -> tuple[int, int]:
    """Return the minutes since midnight at which hours such as `22:00-06:00` begin and end. Raises ValueError in words.

    The end may be 24:00. Hours whose end stands before their beginning go past midnight.
    """
    found = fullmatch(r"([0-9]{2}):([0-5][0-9])-([0-9]{2}):([0-5][0-9])", text)
    if found is None:
        raise ValueError("hours are written HH:MM-HH:MM, such as 22:00-06:00")
    hour, minute, end_hour, end_minute = (int(part) for part in found.groups())
    start, end = hour * 60 + minute, end_hour * 60 + end_minute
    if start >= MINUTES_OF_DAY or end > MINUTES_OF_DAY:
        raise ValueError("a day's hours go from 00:00 to 24:00")
    if start == end:
        raise ValueError("hours that end when they begin hold no time; leave them out for the whole day")
    return start, end


def known_zone(name: str) -> str:
    """Return the zone's name when this machine knows its clock. Raises ValueError with a remedy.

    Only UTC and names of the kind Area/City are taken: others, such as `localtime`, differ from machine to machine.
    """
    if name != "UTC" and not _has_clock(name):
        near = did_you_mean(name, {each for each in available_timezones() if "/" in each} | {"UTC"})
        remedy = near if near.startswith("did") else "zones are called as Europe/Berlin is; tzdata brings them"
        raise ValueError(f"no time zone is called {name!r} ({remedy})")
    return name


def _has_clock(name: str) -> bool:
    if "/" not in name or name.startswith(("posix/", "right/")):
        return False
    try:
        ZoneInfo(name)
    except (OSError, KeyError, ValueError):
        return False
    return True


@dataclass(frozen=True, slots=True)
class Window:
    """When something holds. `minutes` are [start, end) of the local day, `days` 0 (Monday) to 6, the dates inclusive.

    Hours that go past midnight belong whole to the day on which they begin.
    """

    minutes: tuple[int, int] | None = None
    days: frozenset[int] | None = None
    since: date | None = None
    until: date | None = None
    zone: str = "UTC"

    def holds(self, at_s: int) -> bool:
        """Return whether the window is open at an instant (seconds since 1970 UTC); always, at an unknown one."""
        if not knows(at_s):
            return True
        local = datetime.fromtimestamp(at_s, ZoneInfo(self.zone))
        day = local.date()
        if self.minutes is not None:
            start, end = self.minutes
            minute = local.hour * 60 + local.minute
            if not (start <= minute < end if start < end else minute >= start or minute < end):
                return False
            if start > end and minute < end:
                day -= timedelta(days=1)
        return (
            (self.days is None or day.weekday() in self.days)
            and (self.since is None or day >= self.since)
            and (self.until is None or day <= self.until)
        )

    def period(self, at_s: int) -> tuple[int, int]:
        """Return `[from_s, until_s)` around an instant in which the window neither opens nor closes.

        Periods end at midnight UTC at the latest: only the changes of one day are looked for.
        """
        if not knows(at_s):
            return (ALWAYS[0], KNOWN_FROM_S) if at_s < KNOWN_FROM_S else (KNOWN_UNTIL_S, ALWAYS[1])
        day = at_s // DAY_S
        edges = (max(day * DAY_S, KNOWN_FROM_S), *_changes(self, day), (day + 1) * DAY_S)
        after = bisect_right(edges, at_s)
        return edges[after - 1], edges[after]


def common_period(windows: Iterable[Window], at_s: int) -> tuple[int, int]:
    """Return `[from_s, until_s)` around an instant in which none of the windows opens or closes."""
    periods = [ALWAYS, *(window.period(at_s) for window in windows)]
    return max(start for start, _ in periods), min(end for _, end in periods)


@lru_cache(maxsize=4096)
def _changes(window: Window, day: int) -> tuple[int, ...]:
    """Return the instants of a UTC day at which a window opens or closes, sorted.

    It can do so where the local clock passes one of its edges, and where the clock itself is set.
    """
    zone = ZoneInfo(window.zone)
    hours = [day * DAY_S + hour * HOUR_S for hour in range(25)]
    found = {
        _clock_set(zone, *hour) for hour in pairwise(hours) if _offset_s(zone, hour[0]) != _offset_s(zone, hour[1])
    }
    local = datetime.fromtimestamp(hours[0], zone).date()
    last = datetime.fromtimestamp(hours[-1], zone).date()
    while local <= last:
        for minute in {0, *(edge % MINUTES_OF_DAY for edge in window.minutes or ())}:
            for fold in (0, 1):
                passed = datetime.combine(local, time(minute // 60, minute % 60, fold=fold), zone)
                found.add(int(passed.timestamp()))
        local += timedelta(days=1)
    inside = (at_s for at_s in found if max(hours[0], KNOWN_FROM_S) < at_s < hours[-1])
    return tuple(sorted(at_s for at_s in inside if window.holds(at_s - 1) != window.holds(at_s)))


def _offset_s(zone: ZoneInfo, at_s: int) -> int:
    offset = datetime.fromtimestamp(at_s, UTC).astimezone(zone).utcoffset()
    return int(offset.total_seconds()) if offset is not None else 0


def _clock_set(zone: ZoneInfo, before_s: int, after_s: int) -> int:
    """Return the first instant with the offset of `after_s`."""
    new = _offset_s(zone, after_s)
    while after_s - before_s > 1:
        middle_s = (before_s + after_s) // 2
        if _offset_s(zone, middle_s) == new:
            after_s = middle_s
        else:
            before_s = middle_s
    return after_s
