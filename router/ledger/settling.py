"""Entries in a ledger's store: booked once, in the transaction that moves the cursor of the journal they stand in."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, and_, bindparam, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from . import leasing
from .dialects import upsert
from .periods import day_of, money_quotas
from .ports import Entry, Moved, Quota, Reserved, holder_of
from .pruned import pruned
from .tables import CURSORS, ENTRIES, RESERVED, SPENT

NAMES_MAX = 500
"""How many numbers are asked for in one go: a statement takes only so many values."""
ORPHANED = "orphaned"
Key = tuple[str, int]


def move(db: Connection, journal: str, begin: int, end: int) -> None:
    """Move a journal's cursor from `begin` to `end`, which keeps others from it until the transaction ends. Raises Moved."""
    if begin == 0:
        new = upsert(db, CURSORS).values(journal=journal, settled_bytes=0)
        db.execute(new.on_conflict_do_nothing())
    here = and_(CURSORS.c.journal == journal, CURSORS.c.settled_bytes == begin)
    if db.execute(update(CURSORS).where(here).values(settled_bytes=end)).rowcount != 1:
        raise Moved(f"{journal}: what stands from byte {begin} on has been settled by another process")


def book(db: Connection, journal: str, entries: Sequence[Entry], reserved: Sequence[Reserved]) -> int:
    """Add entries, and to the sums what they cost; keep what is reserved and not ended. Returns how many were new."""
    new = _add(db, list({(entry.number, entry.part): entry for entry in entries}.values()))
    _sum_up(db, new)
    ended = {entry.number for entry in entries}
    began = [one for one in reserved if one.number not in ended]
    if began:  # an end may stand in a file that was settled before: journals are moved and copied
        names = {one.number for one in began}
        over = {number for number, _ in _states(db, names)} | pruned(db, names)
        began = [one for one in began if one.number not in over]
    if began:
        rows = [{**one._asdict(), "journal": journal} for one in began]
        db.execute(upsert(db, RESERVED).on_conflict_do_nothing(), rows)
    if ended:
        _forget(db, journal, ended)
    return len(new)


def _forget(db: Connection, journal: str, ended: set[str]) -> None:
    """Forget the reservations of calls that have ended. Most are reserved and end in the same batch: they are in no table."""
    open_here = {number for (number,) in db.execute(select(RESERVED.c.number).where(RESERVED.c.journal == journal))}
    if gone := sorted(open_here & ended):
        db.execute(delete(RESERVED).where(RESERVED.c.number == bindparam("of")), [{"of": number} for number in gone])


def _add(db: Connection, entries: list[Entry]) -> list[Entry]:
    """Insert entries, and return those that were not there already."""
    if not entries:
        return []
    try:
        with db.begin_nested():
            db.execute(insert(ENTRIES), [_row(entry) for entry in entries])
    except IntegrityError:
        # Rare: the same lines stand in two files, or an orphan's end has come to light.
        known = _states(db, {entry.number for entry in entries})
        orphans = [
            entry for entry in entries if known.get((entry.number, entry.part)) == ORPHANED and entry.state != ORPHANED
        ]
        for orphan in orphans:
            db.execute(delete(ENTRIES).where(ENTRIES.c.number == orphan.number, ENTRIES.c.part == orphan.part))
        entries = [entry for entry in entries if (entry.number, entry.part) not in known] + orphans
        if entries:
            db.execute(insert(ENTRIES), [_row(entry) for entry in entries])
    # Asked for behind the insert, which waits for a pruning of the same entries: what that has done is seen by now.
    again = pruned(db, {entry.number for entry in entries})
    if not again:
        return entries
    db.execute(delete(ENTRIES).where(ENTRIES.c.number == bindparam("of")), [{"of": number} for number in sorted(again)])
    return [entry for entry in entries if entry.number not in again]


def _states(db: Connection, numbers: set[str]) -> dict[Key, str]:
    """Return the state of every part of these numbers that is there."""
    names, found = sorted(numbers), dict[Key, str]()
    for begin in range(0, len(names), NAMES_MAX):
        asked = select(ENTRIES.c.number, ENTRIES.c.part, ENTRIES.c.state)
        some = asked.where(ENTRIES.c.number.in_(names[begin : begin + NAMES_MAX]))
        found |= {(number, part): state for number, part, state in db.execute(some)}
    return found


def _sum_up(db: Connection, entries: Sequence[Entry]) -> None:
    """Add what entries cost to what their tenants have used, and take it off their writers' leases."""
    costs = Counter[tuple[str, str, str, str]]()
    for entry in entries:
        if entry.cost_nusd:
            costs[holder_of(entry.number), entry.tenant, entry.model, day_of(entry.at_s)] += entry.cost_nusd
    if not costs:
        return
    spent, leased = Counter[Quota](), defaultdict[str, Counter[Quota]](Counter)
    for (holder, tenant, model, day), cost_nusd in costs.items():
        for quota in money_quotas(tenant, model, day):
            spent[quota] += cost_nusd
            leased[holder][quota] += cost_nusd
    new = upsert(db, SPENT)
    key = [SPENT.c.tenant, SPENT.c.model, SPENT.c.period]
    added = {"cost_nusd": SPENT.c.cost_nusd + new.excluded.cost_nusd}
    rows = [
        {"tenant": quota.tenant, "model": quota.model, "period": quota.period, "cost_nusd": cost_nusd}
        for quota, cost_nusd in sorted(spent.items())
    ]
    db.execute(new.on_conflict_do_update(index_elements=key, set_=added), rows)
    for holder, off in sorted(leased.items()):
        leasing.shrink(db, holder, off, settled=True)


def _row(entry: Entry) -> dict[str, Any]:
    return {**entry._asdict(), "day": day_of(entry.at_s)}
