"""Which calls' entries have been pruned: ranges of numbers, by the process that settled them.

A process numbers its calls one after the other, so a month of them is a range or two, however many they were. Their lines
may come once more, in a file that was copied or cut: what is in a range is not booked again.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable

from sqlalchemy import Connection, delete, func, insert, select

from .ports import holder_of
from .tables import PRUNED

Range = tuple[int, int]
LAST_MAX = 2**63 - 1


def order_of(number: str) -> int | None:
    """Return a call's place among those of its process; None where its number is none that infercast gives."""
    digits = number[len(holder_of(number)) :]
    if not (digits.isascii() and digits.isdigit()) or len(digits) > len(str(LAST_MAX)):
        return None
    order = int(digits)
    return order if str(order) == digits and order <= LAST_MAX else None


def pruned(db: Connection, numbers: Iterable[str]) -> set[str]:
    """Return those of these numbers whose entries have been pruned."""
    wanted: dict[str, dict[int, str]] = defaultdict(dict)
    for number in numbers:
        order = order_of(number)
        if order is not None:
            wanted[holder_of(number)][order] = number
    found = set[str]()
    for holder, names in wanted.items():
        ranges = _ranges(db, holder, min(names), max(names))
        found |= {number for order, number in names.items() if _among(order, ranges)}
    return found


def note(db: Connection, numbers: Iterable[str]) -> None:
    """Remember that the entries of these numbers are pruned. Each must have an `order_of`."""
    new: dict[str, list[Range]] = defaultdict(list)
    for number in numbers:
        order = order_of(number)
        assert order is not None
        new[holder_of(number)].append((order, order))
    for holder, ranges in sorted(new.items()):
        known = set(_ranges(db, holder, min(ranges)[0] - 1, min(max(ranges)[0] + 1, LAST_MAX)))
        whole = set(merged([*known, *ranges]))
        for first, _ in sorted(known - whole):
            db.execute(delete(PRUNED).where(PRUNED.c.holder == holder, PRUNED.c.first == first))
        if rows := [{"holder": holder, "first": first, "last": last} for first, last in sorted(whole - known)]:
            db.execute(insert(PRUNED), rows)


def merged(ranges: Iterable[Range]) -> list[Range]:
    """Return the least number of ranges that have in them what these have, in order."""
    found: list[Range] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return found


def _ranges(db: Connection, holder: str, low: int, high: int) -> list[Range]:
    """Return a holder's ranges that have numbers from `low` to `high`, in order.

    A process may have very many: others' calls lie between those that it settles. No two overlap, so of those that begin before
    `low` only the last can reach it.
    """
    first = PRUNED.c.first
    before = select(func.max(first)).where(PRUNED.c.holder == holder, first <= low).scalar_subquery()
    asked = select(first, PRUNED.c.last).where(
        PRUNED.c.holder == holder, first >= func.coalesce(before, low), first <= high
    )
    return [(row.first, row.last) for row in db.execute(asked.order_by(first)) if row.last >= low]


def _among(order: int, ranges: list[Range]) -> bool:
    at = bisect_right(ranges, (order, LAST_MAX)) - 1
    return at >= 0 and order <= ranges[at][1]
