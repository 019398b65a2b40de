"""What a ledger says to people: sums of calls and money by tenant, model, site and day, and the calls that nobody ended.

Of days that have been pruned there are sums only, which are added to those of entries.
"""

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, case, false, func, inspect, literal, select

from infercast.policies.faults import Fault
from infercast.policies.units import usd_text

from . import journals
from .asking import MiddleOfDay, Wanted
from .lines import ORPHANED, taken
from .opening import open_store
from .periods import DAY_S, day_of
from .ports import Entry
from .store import SqlStore
from .tables import DAYS, ENTRIES

SUMS = (
    "calls", "answered", "refused", "failed", "orphaned", "cached", "lost_tries", "prompt_tokens", "completion_tokens",
    "cost_nusd",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Line:
    """One line of sums: what its calls have in common, in the order asked for, and their `SUMS` by name."""

    by: tuple[str, ...]
    sums: dict[str, int]

    def told(self, names: Sequence[str]) -> dict[str, Any]:
        """Return it for programs; `names` are what it is by. The money stands there as a text, too, which no reader rounds."""
        return {**dict(zip(names, self.by, strict=True)), **self.sums, "cost_usd": usd_text(self.sums["cost_nusd"])}


def sums_by(store: SqlStore, dimensions: Sequence[str], wanted: Wanted) -> list[Line]:
    """Return the sums of all calls that are wanted, by some of `DIMENSIONS`, sorted by them.

    A call counts where it ended; tries beside its answer that were paid for (`lost_tries`) add their cost where they ran.
    Raises OSError, and MiddleOfDay where a day that has been pruned is wanted in part.
    """
    names = list(dict.fromkeys(dimensions))
    found: dict[tuple[str, ...], Counter[str]] = {}
    for row in store.read(lambda db: _rows(db, names, wanted), patiently=True):
        sums = found.setdefault(tuple(str(value) for value in row[: len(names)]), Counter())
        for name, value in zip(SUMS, row[len(names) :], strict=True):
            sums[name] += int(value or 0)
    return [Line(key, {name: sums[name] for name in SUMS}) for key, sums in sorted(found.items())]


def _rows(db: Connection, names: list[str], wanted: Wanted) -> list[Any]:
    rows = list(db.execute(_asked(ENTRIES, names, _counts(), _conditions(wanted))))
    if has_days(db):
        conditions = _whole_days(db, wanted)
        rows += db.execute(_asked(DAYS, names, _day_counts(), conditions))
    return rows


def _asked(table: Table, names: list[str], counts: list[Any], conditions: list[ColumnElement[bool]]) -> Any:
    keys = [table.c[name] for name in names]
    return select(*keys, *map(func.sum, counts)).where(*conditions).group_by(*keys)


def has_days(db: Connection) -> bool:
    """Return whether a ledger may have been pruned: those of an earlier infercast have no table for that yet."""
    return inspect(db).has_table(DAYS.name)


def usage_by(url: str, dimensions: Sequence[str], wanted: Wanted) -> list[dict[str, Any]]:
    """Return such sums for programs, of the ledger of a URL. Raises BadInput (MiddleOfDay) and OSError."""
    with closing(open_store(url, write=False)) as store:
        return [line.told(dimensions) for line in sums_by(store, dimensions, wanted)]


def _conditions(wanted: Wanted) -> list[ColumnElement[bool]]:
    conditions = []
    if wanted.since_s is not None:
        conditions.append(ENTRIES.c.at_s >= float(wanted.since_s))  # no database takes every whole number
    if wanted.until_s is not None:
        conditions.append(ENTRIES.c.at_s < float(wanted.until_s))
    if wanted.tenant:
        conditions.append(ENTRIES.c.tenant == wanted.tenant)
    return conditions


def _whole_days(db: Connection, wanted: Wanted) -> list[ColumnElement[bool]]:
    """Return the conditions for days that are sums. Raises MiddleOfDay."""
    conditions = [DAYS.c.tenant == wanted.tenant] if wanted.tenant else []
    for at_s, option, is_first in ((wanted.since_s, "--since", True), (wanted.until_s, "--until", False)):
        if at_s is None:
            continue
        try:
            day = day_of(at_s)
        except (ValueError, OverflowError):  # before or behind all days
            if (at_s > 0) is is_first:
                conditions.append(false())
            continue
        if at_s % DAY_S and db.execute(select(DAYS.c.day).where(DAYS.c.day == day).limit(1)).first():
            said = f"{day} has been pruned: of its calls only the sum is known"
            raise MiddleOfDay([Fault("the ledger", 0, option, said, f"give whole days: {day}, or the next")])
        conditions.append(DAYS.c.day >= day if is_first else DAYS.c.day < day)
    return conditions


def _counts() -> list[Any]:
    ended = (ENTRIES.c.part == 0) & (ENTRIES.c.state != ORPHANED)
    outcomes = [case((ended & (ENTRIES.c.outcome == name), 1), else_=0) for name in ("answered", "refused", "failed")]
    return [
        case((ended, 1), else_=0),
        *outcomes,
        case((ENTRIES.c.state == ORPHANED, 1), else_=0),
        case((ended & ENTRIES.c.cached, 1), else_=0),
        case((ENTRIES.c.part > 0, 1), else_=0),
        *(ENTRIES.c[name] for name in ("prompt_tokens", "completion_tokens", "cost_nusd")),
    ]


def _day_counts() -> list[Any]:
    outcomes = [case((DAYS.c.outcome == name, DAYS.c.calls), else_=0) for name in ("answered", "refused", "failed")]
    rest = ("cached", "lost_tries", "prompt_tokens", "completion_tokens", "cost_nusd")
    return [DAYS.c.calls, *outcomes, literal(0), *(DAYS.c[name] for name in rest)]


def orphans(store: SqlStore, wanted: Wanted) -> list[Entry]:
    """Return the calls whose process died before they ended, oldest first. Raises OSError."""
    columns = [ENTRIES.c[name] for name in Entry._fields]
    asked = select(*columns).where(ENTRIES.c.state == ORPHANED, *_conditions(wanted))
    ordered = asked.order_by(ENTRIES.c.at_s, ENTRIES.c.number)
    return store.read(lambda db: [Entry(*row) for row in db.execute(ordered)], patiently=True)


def unsettled_calls(folder: Path, store: SqlStore) -> int:
    """Return how many calls stand in a folder's journals and in no ledger yet. Raises OSError."""
    waiting: set[str] = set()
    for path in journals.journal_files(folder):
        with path.open("rb") as file:
            name = journals.name_of(path, file)
            at = store.cursor(name) if name else 0
            while (batch := journals.batch_from(file, at)).lines:
                waiting.update(entry.number for entry in taken(batch.lines).entries)
                at = batch.end
    return len(waiting)
