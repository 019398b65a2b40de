"""`usage --prune`: daily sums in place of entries that are old."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from infercast.policies.faults import BadInput, Fault
from infercast.policies.units import usd_text
from infercast.router.quota.periods import DAY_S, month

from .app import out, print_json
from .log import since_s

if TYPE_CHECKING:  # what needs a database is loaded when one is asked
    from infercast.router.ledger.store import SqlStore


def before_day_s(before: str | None, now_s: float, *, asked: bool) -> int | None:
    """Return the beginning of the day that `--before` names, s since 1970 UTC; None where nothing is to be pruned. Raises BadInput."""
    if not asked and before is None:
        return None
    if not asked or before is None:
        missing, given = ("--before", "--prune") if asked else ("--prune", "--before")
        remedy = "give both: --prune --before 2026-01-01"
        raise BadInput([Fault("command line", 0, given, f"says nothing without {missing}", remedy)])
    at_s = since_s(before, now_s, "--before")
    open_since = month(int(now_s))
    if at_s > open_since.begins_s:
        said = f"budgets of {open_since.name} are open, and its calls are still wanted one by one"
        raise BadInput([Fault("command line", 0, "--before", said, f"{_day(open_since.begins_s)} or earlier")])
    return at_s - at_s % DAY_S


def prune_books(store: "SqlStore", before_s: int, folder: Path, *, json: bool, settle: bool) -> None:
    """Prune a ledger, and say what became of it. Raises OSError; what is done by then stays done."""
    from infercast.router.ledger.pruning import prune
    from infercast.router.ledger.settler import Settler

    if settle:
        Settler(folder, store).round()
    done = prune(store, _day(before_s))
    if json:
        facts = {"before": _day(before_s), "entries": done.entries, "cost_nusd": done.cost_nusd}
        print_json({"ledger": store.name, "pruned": facts})
        return
    said = f"{done.entries} entries of days before {_day(before_s)} are daily sums now: {usd_text(done.cost_nusd)} USD"
    out.print(f"[green]✓[/] {said}", highlight=False, soft_wrap=True)


def _day(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d")
