"""Holding the books against the journals, to the nano-dollar: every settled line has its entries, and every sum is theirs."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, select

from . import journals
from .lines import ORPHANED, taken
from .periods import money_quotas
from .ports import Entry, holder_of
from .pruned import pruned
from .reading import has_days
from .settling import NAMES_MAX
from .store import SqlStore
from .tables import CURSORS, DAYS, ENTRIES, SPENT

TOLD_MAX = 50
"""How many differences are told in full; the others are counted."""
ROWS = 5_000
"""How many entries are fetched in one go."""
COLUMNS = [ENTRIES.c[name] for name in Entry._fields]


@dataclass(slots=True)
class Report:
    """What the check found: calls and money as the settled journal lines have them, and as the ledger has them."""

    calls: int = 0
    journal_nusd: int = 0
    ledger_nusd: int = 0
    unsettled: int = 0
    unreadable: int = 0
    orphans: int = 0
    pruned: int = 0
    """Calls whose lines are here, and whose entries are sums of their days."""
    differing: int = 0
    differences: list[str] = field(default_factory=list)

    def differ(self, what: str) -> None:
        """Note a difference."""
        self.differing += 1
        if len(self.differences) < TOLD_MAX:
            self.differences.append(what)


def check(folder: Path, store: SqlStore) -> Report:
    """Hold a ledger against the journals of a folder, all in one state of the ledger. Raises OSError.

    Entries of processes that have no journal here are left out of the comparison with journals, not out of the sums.
    """
    return store.read(lambda db: _check(db, folder), patiently=True)


def _check(db: Connection, folder: Path) -> Report:
    report, seen, writers = Report(), set[tuple[str, int]](), set[str]()
    cursors = {row.journal: row.settled_bytes for row in db.execute(select(CURSORS))}
    for path in journals.journal_files(folder):
        with path.open("rb") as file:
            name = journals.name_of(path, file)
            until = cursors.get(name, 0)
            for batch in _batches(file, 0, until):
                found = taken(batch.lines)
                report.unreadable += found.unreadable
                writers.update(holder_of(entry.number) for entry in found.entries)
                _compare(db, report, seen, found.entries)
            report.unsettled += sum(len(taken(batch.lines).entries) for batch in _batches(file, until))
    _hold_lines(db, report, seen, writers)
    _hold_sums(db, report)
    return report


def _batches(file: Any, begin: int, until: int | None = None) -> Iterator[journals.Batch]:
    while True:
        batch = journals.batch_from(file, begin) if until is None else journals.batch_from(file, begin, until)
        if not batch.lines:
            return
        yield batch
        begin = batch.end


def _compare(db: Connection, report: Report, seen: set[tuple[str, int]], entries: list[Entry]) -> None:
    """Hold what some lines say against the entries of their calls. A line that stands in two files is one."""
    for begin in range(0, len(entries), NAMES_MAX):
        some = entries[begin : begin + NAMES_MAX]
        asked = select(*COLUMNS).where(ENTRIES.c.number.in_({entry.number for entry in some}))
        booked = {(row.number, row.part): Entry(*row) for row in db.execute(asked)}
        sums = pruned(db, {entry.number for entry in some}) if has_days(db) else set()
        for entry in some:
            key = (entry.number, entry.part)
            if key in seen:
                continue
            seen.add(key)
            if entry.number in sums and key not in booked:
                report.pruned += entry.part == 0
                continue
            report.calls += entry.part == 0
            report.journal_nusd += entry.cost_nusd
            there = booked.get(key)
            if there is None:
                report.differ(f"{_named(*key)}: {entry.cost_nusd} nano-USD in the journal, not in the ledger")
            elif there != entry:
                report.differ(f"{_named(*key)}: {_otherwise(entry, there)}")


def _otherwise(line: Entry, there: Entry) -> str:
    """Say what differs between a line and its entry."""
    pairs = zip(Entry._fields, line, there, strict=True)
    return "; ".join(
        f"{name} is {was!r} in the journal, {now!r} in the ledger" for name, was, now in pairs if was != now
    )


def _hold_lines(db: Connection, report: Report, seen: set[tuple[str, int]], writers: set[str]) -> None:
    """Look for entries that no line stands for, of the processes whose journals are here."""
    asked = select(ENTRIES.c.number, ENTRIES.c.part, ENTRIES.c.state, ENTRIES.c.cost_nusd)
    for number, part, state, cost_nusd in db.execute(asked.execution_options(yield_per=ROWS)):
        if holder_of(number) not in writers:
            continue
        if state == ORPHANED:
            report.orphans += 1
            continue
        report.ledger_nusd += cost_nusd
        if (number, part) not in seen:
            report.differ(f"{_named(number, part)}: {cost_nusd} nano-USD in the ledger, in no journal here")


def _hold_sums(db: Connection, report: Report) -> None:
    """Hold what budgets count as used against the entries, and what was entries before it was pruned."""
    sums = Counter[tuple[str, str, str]]()
    for table in (ENTRIES, DAYS) if has_days(db) else (ENTRIES,):
        keys = (table.c.tenant, table.c.model, table.c.day)
        for tenant, model, day, cost_nusd in db.execute(select(*keys, func.sum(table.c.cost_nusd)).group_by(*keys)):
            for quota in money_quotas(tenant, model, day):
                sums[quota.tenant, quota.model, quota.period] += int(cost_nusd)
    spent = {(tenant, model, period): cost_nusd for tenant, model, period, cost_nusd in db.execute(select(SPENT))}
    for key in sorted(sums.keys() | spent.keys()):
        if sums[key] != spent.get(key, 0):
            tenant, model, period = key
            whose = f"{tenant}, {model or 'all models'}, {period}"
            report.differ(f"{whose}: {spent.get(key, 0)} nano-USD are used, entries have {sums[key]}")


def _named(number: str, part: int) -> str:
    return f"{number}, part {part}" if part else number
