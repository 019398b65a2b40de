"""What a ledger says to people: sums of calls and money by tenant, model, site and day, and the calls that nobody ended."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, case, func, select

from infercast.policies.units import usd_text

from . import journals
from .asking import Wanted
from .lines import ORPHANED, taken
from .opening import open_store
from .ports import Entry
from .store import SqlStore
from .tables import ENTRIES

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
    """Return the sums of all entries that are wanted, by some of `DIMENSIONS`, sorted by them. Raises OSError.

    A call counts where it ended; tries beside its answer that were paid for (`lost_tries`) add their cost where they ran.
    """
    names = list(dict.fromkeys(dimensions))
    keys = [ENTRIES.c[name] for name in names]
    asked = select(*keys, *(_sum(condition) for condition in _counts())).where(*_conditions(wanted))
    found = store.read(lambda db: db.execute(asked.group_by(*keys)).all(), patiently=True)
    lines = [
        Line(
            tuple(str(value) for value in row[: len(names)]),
            {name: int(value or 0) for name, value in zip(SUMS, row[len(names) :], strict=True)},
        )
        for row in found
    ]
    return sorted(lines, key=lambda line: line.by)


def usage_by(url: str, dimensions: Sequence[str], wanted: Wanted) -> list[dict[str, Any]]:
    """Return such sums for programs, of the ledger of a URL. Raises BadInput and OSError."""
    with closing(open_store(url, write=False)) as store:
        return [line.told(dimensions) for line in sums_by(store, dimensions, wanted)]


def _conditions(wanted: Wanted) -> list[ColumnElement[bool]]:
    conditions = []
    if wanted.since_s is not None:
        conditions.append(ENTRIES.c.at_s >= wanted.since_s)
    if wanted.until_s is not None:
        conditions.append(ENTRIES.c.at_s < wanted.until_s)
    if wanted.tenant:
        conditions.append(ENTRIES.c.tenant == wanted.tenant)
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


def _sum(column: Any) -> Any:
    return func.sum(column)


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
