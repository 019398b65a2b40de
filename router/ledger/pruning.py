"""Pruning: entries of days long past become sums of their day, by all that sums may be by. No sum that is told changes.

It goes in steps of a transaction each: in one, some entries go, their sums grow by as much, and their numbers are
remembered. So whoever ends it at any moment leaves books that add up, and calls never wait long for the ledger meanwhile.
Calls that were never ended (orphans) stay: there are few, and what becomes of them may still come to light.
"""

import errno
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, select

from .dialects import upsert
from .pruned import note, order_of
from .settling import NAMES_MAX, ORPHANED
from .store import SqlStore
from .tables import DAYS, ENTRIES

STEP_ROWS = 2_000
"""How many entries go in one transaction: about 50 ms."""
PAUSE_S = 0.05
"""How long others are let to the ledger between two of them."""
ONE_AT_A_TIME = "(pruning)"
"""Whose turn it takes: no tenant is called so."""
DIMENSIONS = ("day", "tenant", "model", "entry", "site", "deployment", "outcome")
SUMS = ("calls", "cached", "lost_tries", "prompt_tokens", "completion_tokens", "cost_nusd")


@dataclass(slots=True)
class Done:
    """What became of it: how many entries are sums now, and what they cost."""

    entries: int = 0
    cost_nusd: int = 0


def prune(store: SqlStore, before: str, pause_s: float = PAUSE_S) -> Done:
    """Make sums of the entries of all days before a day ("2026-01-01"). Raises OSError; what is done by then stays done."""
    done, after = Done(), ""
    while True:
        rows, last = store.write(lambda db, after=after: _step(db, before, after), [ONE_AT_A_TIME])  # type: ignore[misc]
        done.entries += len(rows)
        done.cost_nusd += sum(row.cost_nusd for row in rows)
        if not last:
            return done
        after = last
        time.sleep(pause_s)


def _step(db: Connection, before: str, after: str) -> tuple[list[Row[Any]], str]:
    """Prune some entries of numbers behind `after`. Returns them, and the last number looked at: empty at the end."""
    old = select(ENTRIES).where(*_old(before))
    asked = old.where(ENTRIES.c.number > after).order_by(ENTRIES.c.number, ENTRIES.c.part)
    found = db.execute(asked.limit(STEP_ROWS)).all()
    if not found:
        return [], ""
    last = found[-1].number
    # Of the last call there may be more: a call goes as a whole.
    found = [*(row for row in found if row.number != last), *db.execute(old.where(ENTRIES.c.number == last))]
    rows = [row for row in found if order_of(row.number) is not None]
    numbers = sorted({row.number for row in rows})
    if _deleted(db, before, numbers) != len(rows):
        raise OSError(errno.EAGAIN, "entries changed while they were pruned")
    _add(db, rows)
    note(db, numbers)
    return rows, last


def _old(before: str) -> tuple[ColumnElement[bool], ...]:
    return ENTRIES.c.day < before, ENTRIES.c.state != ORPHANED


def _deleted(db: Connection, before: str, numbers: Sequence[str]) -> int:
    """Delete the old entries of some numbers; return how many there were."""
    pieces = (numbers[begin : begin + NAMES_MAX] for begin in range(0, len(numbers), NAMES_MAX))
    gone = (delete(ENTRIES).where(*_old(before), ENTRIES.c.number.in_(some)) for some in pieces)
    return sum(db.execute(each).rowcount for each in gone)


def _add(db: Connection, rows: Iterable[Row[Any]]) -> None:
    """Add entries to the sums of their days."""
    sums: dict[tuple[str, ...], Counter[str]] = {}
    for row in rows:
        ended = row.part == 0
        of = sums.setdefault(tuple(getattr(row, name) for name in DIMENSIONS), Counter())
        of["calls"] += ended
        of["cached"] += ended and row.cached
        of["lost_tries"] += not ended
        for name in ("prompt_tokens", "completion_tokens", "cost_nusd"):
            of[name] += getattr(row, name)
    if not sums:
        return
    new = upsert(db, DAYS)
    added = {name: DAYS.c[name] + new.excluded[name] for name in SUMS}
    values = [
        {**dict(zip(DIMENSIONS, key, strict=True)), **{name: of[name] for name in SUMS}}
        for key, of in sorted(sums.items())
    ]
    db.execute(new.on_conflict_do_update(index_elements=[DAYS.c[name] for name in DIMENSIONS], set_=added), values)
