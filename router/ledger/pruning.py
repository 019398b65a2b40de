"""Pruning: entries of days long past become sums of their day, by all that sums may be by. No sum that is told changes.

It goes in steps of a transaction each: in one, some entries go, their sums grow by as much, and their numbers are
remembered. So whoever ends it at any moment leaves books that add up, and calls never wait long for the ledger meanwhile.
Calls that were never ended (orphans) stay: there are few, and what becomes of them may still come to light.
"""

import errno
import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, literal, select, tuple_, update

from .dialects import upsert
from .pruned import note, order_of
from .settling import NAMES_MAX, ORPHANED
from .store import SqlStore
from .tables import DAYS, ENTRIES, SCHEMA, SCHEMAS

STEP_ROWS = 2_000
"""How many entries go in one transaction: about 50 ms."""
PAUSE_S = 0.05
"""How long others are let to the ledger between two of them."""
ONE_AT_A_TIME = "(pruning)"
"""Whose turn it takes: no tenant is called so."""
DIMENSIONS = ("day", "tenant", "model", "entry", "site", "deployment", "outcome")
Place = tuple[float, str]
NONE: Place = (-math.inf, "")
"""Before all entries."""
SUMS = ("calls", "cached", "lost_tries", "prompt_tokens", "completion_tokens", "cost_nusd")


@dataclass(slots=True)
class Done:
    """What became of it: how many entries are sums now, and what they cost."""

    entries: int = 0
    cost_nusd: int = 0


def prune(store: SqlStore, before: str, pause_s: float = PAUSE_S) -> Done:
    """Make sums of the entries of all days before a day ("2026-01-01"). Raises OSError; what is done by then stays done."""
    before_s = datetime.fromisoformat(before).replace(tzinfo=UTC).timestamp()
    done, after = Done(), NONE
    while True:
        # Looked for before anybody has to wait for the step: the books may be long.
        found = store.read(lambda db, after=after: _next(db, before_s, after), patiently=True)  # type: ignore[misc]
        if not found:
            return done
        numbers = sorted({number for _, number in found if order_of(number) is not None})
        rows = store.write(lambda db, numbers=numbers: _step(db, before_s, numbers), [ONE_AT_A_TIME])  # type: ignore[misc]
        done.entries += len(rows)
        done.cost_nusd += sum(row.cost_nusd for row in rows)
        after = found[-1]
        time.sleep(pause_s)


def _next(db: Connection, before_s: float, after: Place) -> list[Place]:
    """Return the places of the oldest entries behind one: by time, which has an index, so that nothing newer is looked at."""
    at_s, number = ENTRIES.c.at_s, ENTRIES.c.number
    behind = (at_s >= after[0], tuple_(at_s, number) > tuple_(*map(literal, after)))
    asked = select(at_s, number).where(*_old(before_s), *behind).order_by(at_s, number)
    return [(row.at_s, row.number) for row in db.execute(asked.limit(STEP_ROWS))]


def _step(db: Connection, before_s: float, numbers: Sequence[str]) -> list[Row[Any]]:
    """Prune the entries of some numbers, of which others may have pruned some since. Returns them: each call goes as a whole."""
    rows: list[Row[Any]] = []
    for some in _pieces(numbers):
        rows += db.execute(select(ENTRIES).where(*_old(before_s), ENTRIES.c.number.in_(some)))
    if _deleted(db, before_s, numbers) != len(rows):
        raise OSError(errno.EAGAIN, "entries changed while they were pruned")
    if rows:
        _add(db, rows)
        note(db, {row.number for row in rows})
        db.execute(update(SCHEMAS).where(SCHEMAS.c.version < SCHEMA).values(version=SCHEMA))
    return rows


def _old(before_s: float) -> tuple[ColumnElement[bool], ...]:
    return ENTRIES.c.at_s < before_s, ENTRIES.c.state != ORPHANED


def _pieces(numbers: Sequence[str]) -> Iterator[Sequence[str]]:
    return (numbers[begin : begin + NAMES_MAX] for begin in range(0, len(numbers), NAMES_MAX))


def _deleted(db: Connection, before_s: float, numbers: Sequence[str]) -> int:
    """Delete the old entries of some numbers; return how many there were."""
    gone = (delete(ENTRIES).where(*_old(before_s), ENTRIES.c.number.in_(some)) for some in _pieces(numbers))
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
    new = upsert(db, DAYS)
    added = {name: DAYS.c[name] + new.excluded[name] for name in SUMS}
    values = [
        {**dict(zip(DIMENSIONS, key, strict=True)), **{name: of[name] for name in SUMS}}
        for key, of in sorted(sums.items())
    ]
    db.execute(new.on_conflict_do_update(index_elements=[DAYS.c[name] for name in DIMENSIONS], set_=added), values)
