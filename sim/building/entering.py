"""Which entry each call takes, and when it is there: known before the run, since only disturbances decide it."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from infercast.policies.fleet import Fleet

from ..kernel.layout import NONE
from ..model import Calls, Ints
from .upheaval import Steps, Upheaval


@dataclass(frozen=True, slots=True)
class Entering:
    """For each call: the row of its kind and entry (NONE where none was up), when it is there, and its access round trip.

    `order` are the calls that enter, in the order in which they do.
    """

    row: npt.NDArray[np.int32]
    enter_us: Ints
    access_us: npt.NDArray[np.int32]
    order: Ints


def rows_of(calls: Calls) -> list[tuple[int, str]]:
    """Return the (kind, entry) pairs of a workload: a kind's entries one after the other."""
    return [(number, entry) for number, kind in enumerate(calls.kinds) for entry in kind.entries]


def entering(fleet: Fleet, upheaval: Upheaval, calls: Calls) -> Entering:
    """Send each call to the first of its kind's entries that is up, and can be reached, when it is sent."""
    n = len(calls)
    row = np.full(n, NONE, dtype=np.int32)
    access_us = np.zeros(n, dtype=np.int32)
    enter_us = calls.at_us.copy()
    firsts = np.cumsum([0, *(len(kind.entries) for kind in calls.kinds)])
    steady = upheaval.nothing
    for number, kind in enumerate(calls.kinds):
        waiting = np.flatnonzero(calls.kind == number) if len(calls.kinds) > 1 else np.arange(n)
        for place, entry in enumerate(kind.entries):
            path = fleet.network.path(kind.origin, entry)
            rtt_us, _, ps_per_byte, _, _ = fleet.tables.access(kind.origin, entry)
            if steady:
                mine, trip_us = waiting, np.full(len(waiting), rtt_us)
            else:
                at_us = calls.at_us[waiting]
                cut, trips = upheaval.way(path)
                up = (_stepped(upheaval.down("site_down", entry), at_us, 0) == 0) & (_stepped(cut, at_us, 0) == 0)
                mine, trip_us = waiting[up], _stepped(trips, at_us, rtt_us)[up]
                waiting = waiting[~up]
            row[mine] = firsts[number] + place
            access_us[mine] = trip_us
            enter_us[mine] += trip_us // 2 + (ps_per_byte * calls.payload_bytes[mine] + 999_999) // 1_000_000
            if steady:
                break
    return Entering(row, enter_us, access_us, _in_order(row, enter_us))


def _in_order(row: npt.NDArray[np.int32], enter_us: Ints) -> Ints:
    calls = np.flatnonzero(row >= 0)
    times = enter_us[calls]
    return calls if (times[1:] >= times[:-1]).all() else calls[np.argsort(times, kind="stable")]


def _stepped(steps: Steps, at_us: Ints, before: int) -> Ints:
    """Return what holds at each of some times."""
    values = np.array([before, *(value for _, value in steps)], dtype=np.int64)
    return values[np.searchsorted(np.array([when for when, _ in steps], dtype=np.int64), at_us, side="right")]
