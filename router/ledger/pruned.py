"""Which calls' entries have been pruned: ranges of numbers, by the process that settled them.

A process numbers its calls one after the other, so a month of them is a range or two, however many they were. Their lines
may come once more, in a file that was copied or cut: what is in a range is not booked again.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable

from sqlalchemy import Connection, delete, insert, select

from .ports import holder_of
from .tables import PRUNED

Range = tuple[int, int]
LAST_MAX = 2**63 - 1
HOLDERS_MAX = 500
"""How many are asked for in one go."""


def order_of(number: str) -> int | None:
    """Return a call's place among those of its process; None where its number is none that infercast gives."""
    digits = number[len(holder_of(number)) :]
    if not (digits.isascii() and digits.isdigit()) or len(digits) > len(str(LAST_MAX)):
        return None
    order = int(digits)
    return order if str(order) == digits and order <= LAST_MAX else None


def pruned(db: Connection, numbers: Iterable[str]) -> set[str]:
    """Return those of these numbers whose entries have been pruned."""
    wanted = list(numbers)
    ranges = _ranges(db, {holder_of(number) for number in wanted})
    return {number for number in wanted if _among(order_of(number), ranges.get(holder_of(number), []))}


def note(db: Connection, numbers: Iterable[str]) -> None:
    """Remember that the entries of these numbers are pruned. Each must have an `order_of`."""
    new: dict[str, list[Range]] = defaultdict(list)
    for number in numbers:
        order = order_of(number)
        assert order is not None
        new[holder_of(number)].append((order, order))
    known = _ranges(db, set(new))
    for holder, ranges in sorted(new.items()):
        db.execute(delete(PRUNED).where(PRUNED.c.holder == holder))
        whole = merged([*known.get(holder, []), *ranges])
        db.execute(insert(PRUNED), [{"holder": holder, "first": first, "last": last} for first, last in whole])


def merged(ranges: Iterable[Range]) -> list[Range]:
    """Return the least number of ranges that have in them what these have, in order."""
    found: list[Range] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return found


def _ranges(db: Connection, holders: set[str]) -> dict[str, list[Range]]:
    names, found = sorted(holders), defaultdict[str, list[Range]](list)
    for begin in range(0, len(names), HOLDERS_MAX):
        asked = select(PRUNED).where(PRUNED.c.holder.in_(names[begin : begin + HOLDERS_MAX]))
        for holder, first, last in db.execute(asked.order_by(PRUNED.c.holder, PRUNED.c.first)):
            found[holder].append((first, last))
    return found


def _among(order: int | None, ranges: list[Range]) -> bool:
    if order is None:
        return False
    at = bisect_right(ranges, (order, LAST_MAX)) - 1
    return at >= 0 and order <= ranges[at][1]
