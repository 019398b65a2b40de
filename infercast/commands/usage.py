"""`usage`: what calls have cost, out of the ledger, and whether it is what the journals say."""

import csv
import io
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from infercast.policies.faults import BadInput, Fault, did_you_mean
from infercast.policies.units import usd_text
from infercast.router.ledger.asking import DIMENSIONS, Wanted
from infercast.router.ledger.ports import Entry

from .app import FAILED, STATE, AsJson, LedgerUrl, StatePath, app, err, out, print_json, refusing
from .log import since_s
from .usage_prune import before_day_s, prune_books

if TYPE_CHECKING:  # what needs a database is loaded when one is asked: other commands do not wait for it
    from infercast.router.ledger.checking import Report
    from infercast.router.ledger.store import SqlStore

By = Annotated[str, typer.Option("--by", help=f"Comma-separated: {', '.join(DIMENSIONS)}; empty for one sum.")]
Since = Annotated[
    str | None, typer.Option("--since", help="Calls begun since then: 90s, 15m, 6h, 7d, or 2026-01-31[T12:00] in UTC.")
]
Until = Annotated[str | None, typer.Option("--until", help="Calls begun before then; the same words.")]
Tenant = Annotated[str, typer.Option("--tenant", help="Only this tenant's.", show_default=False)]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="File to write the CSV to, instead of printing.")]
Orphans = Annotated[
    bool,
    typer.Option("--orphans", help="List the calls whose process died before they ended: reserved, never settled."),
]
Check = Annotated[
    bool,
    typer.Option(
        "--check", help="Hold the ledger against the journals, to the nano-dollar; exit code 1 if they differ."
    ),
]
Settle = Annotated[
    bool,
    typer.Option("--settle", help="First take over what stands in the journals; a running system does so by itself."),
]
Prune = Annotated[
    bool,
    typer.Option("--prune", help="Make daily sums of all calls before --before, so that the ledger grows no further."),
]
Before = Annotated[
    str | None,
    typer.Option(
        "--before",
        help="With --prune: of the days before then, in months that are over; the same words as for --since.",
    ),
]


@app.command()
def usage(
    by: By = "tenant,model",
    since: Since = None,
    until: Until = None,
    tenant: Tenant = "",
    json: AsJson = False,
    as_csv: AsCsv = False,
    output: Output = None,
    list_orphans: Orphans = False,
    check_books: Check = False,
    settle: Settle = False,
    prune: Prune = False,
    before: Before = None,
    ledger: LedgerUrl = "",
    state: StatePath = STATE,
) -> None:
    """Show what calls have used and cost, while the system runs or not.

    The money is exact: whole nano-USD, added up. A call belongs to the day (UTC) on which it began, and counts where it ended;
    tries beside its answer that were paid for add their cost where they ran.

    [bold]infercast usage --by tenant,day --since 7d[/]  what each tenant has spent this week

    [bold]infercast usage --by site,model --csv -o november.csv --since 2026-11-01 --until 2026-12-01[/]

    [bold]infercast usage --check[/]  whether the books are what the journals say

    [bold]infercast usage --prune --before 400d[/]  only daily sums of what is older
    """
    from infercast.router.ledger import opening

    with refusing():
        names = _dimensions(by)
        now_s = time.time()
        bounds = [
            None if text is None else since_s(text, now_s, option)
            for text, option in ((since, "--since"), (until, "--until"))
        ]
        wanted = _wanted(bounds[0], bounds[1], tenant)
        csv_asked = as_csv or output is not None
        _alone("are two forms at once", json=json, csv=csv_asked)
        _alone("are two things at once", orphans=list_orphans, check=check_books, prune=prune)
        for job, on in (("--check", check_books), ("--prune", prune)):
            _all_books(job, since=on and since, until=on and until, tenant=on and tenant, csv=on and csv_asked)
        before_s = before_day_s(before, now_s, asked=prune)
        url = opening.absolute(ledger) or opening.noted(state)
        store = opening.open_store(url, write=settle or prune, make=settle and (state / "journal").is_dir())
        try:
            if before_s is not None:
                prune_books(store, before_s, state / "journal", json=json, settle=settle)
                return
            _show(store, state / "journal", names, wanted, (json, as_csv, output), list_orphans, check_books, settle)
        except OSError as error:
            raise BadInput([Fault(store.name, 0, "", str(error), "try again when it is there")]) from error
        finally:
            store.close()


def _show(
    store: "SqlStore",
    folder: Path,
    names: list[str],
    wanted: Wanted,
    form: tuple[bool, bool, Path | None],
    list_orphans: bool,
    check_books: bool,
    settle: bool,
) -> None:
    from infercast.router.ledger.checking import check
    from infercast.router.ledger.reading import SUMS, orphans, sums_by, unsettled_calls
    from infercast.router.ledger.settler import Settler

    json, as_csv, output = form
    if settle:
        Settler(folder, store).round()
    if check_books:
        report = check(folder, store)
        _say_check(report, store.name, json)
        if report.differing:
            raise typer.Exit(FAILED)
        return
    waiting = unsettled_calls(folder, store)
    if list_orphans:
        rows = [_orphan_row(entry) for entry in orphans(store, wanted)]
        columns = ["at", "number", "tenant", "model", "entry", "reserved_usd"]
    else:
        lines = sums_by(store, names, wanted)
        rows = [line.told(names) for line in lines]
        columns = [*names, *(name for name in SUMS if name != "cost_nusd"), "cost_usd"]
    if json:
        kind = "orphans" if list_orphans else "usage"
        print_json({"ledger": store.name, kind: rows, "unsettled_calls": waiting})
    elif as_csv or output is not None:
        _write_csv(columns, rows, output)
    else:
        _print_table(columns, rows, numbers=0 if list_orphans else len(names))
        if not list_orphans and len(rows) > 1:
            total = sum(line.sums["cost_nusd"] for line in lines)
            calls = sum(line.sums["calls"] for line in lines)
            out.print(f"in all {calls} calls, {usd_text(total)} USD", highlight=False)
    if wanted.tenant and not rows:
        known = [line.by[0] for line in sums_by(store, ("tenant",), Wanted())]
        if wanted.tenant not in known:
            said = f"no call of {wanted.tenant!r} is in this ledger: {did_you_mean(wanted.tenant, known)}"
            err.print(f"[yellow]![/] {escape(said)}", highlight=False, soft_wrap=True)
    if waiting:
        err.print(f"[yellow]![/] {waiting} calls stand in the journals and are not settled yet", highlight=False)


def _dimensions(by: str) -> list[str]:
    names = [name for name in (word.strip() for word in by.split(",")) if name]
    faults = [
        Fault("command line", 0, "--by", f"{name!r} is nothing to sum by", did_you_mean(name, DIMENSIONS))
        for name in names
        if name not in DIMENSIONS
    ]
    if faults:
        raise BadInput(faults)
    return list(dict.fromkeys(names))


def _alone(what: str, **options: bool) -> None:
    given = [f"--{name}" for name, on in options.items() if on]
    if len(given) > 1:
        raise BadInput([Fault("command line", 0, " ".join(given), what, "give one of them")])


def _all_books(job: str, **options: object) -> None:
    given = [f"--{name}" for name, on in options.items() if on]
    if given:
        raise BadInput([Fault("command line", 0, " ".join(given), f"means nothing with {job}", "leave it out")])


def _wanted(since_s: float | None, until_s: float | None, tenant: str) -> Wanted:
    if since_s is not None and until_s is not None and since_s >= until_s:
        said = f"ends at {_time(until_s)}, and begins at {_time(since_s)}"
        raise BadInput([Fault("command line", 0, "--since --until", said, "give --since the earlier one")])
    return Wanted(since_s, until_s, tenant)


def _orphan_row(entry: Entry) -> dict[str, Any]:
    facts = {
        "at": _time(entry.at_s),
        "number": entry.number,
        "tenant": entry.tenant,
        "model": entry.model,
        "entry": entry.entry,
    }
    return {**facts, "reserved_nusd": entry.reserved_nusd, "reserved_usd": usd_text(entry.reserved_nusd)}


def _time(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _write_csv(columns: list[str], rows: list[dict[str, Any]], output: Path | None) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    if output is None:
        sys.stdout.write(text.getvalue())
        return
    try:
        output.write_text(text.getvalue(), encoding="utf-8")
    except OSError as error:
        raise BadInput(
            [Fault(str(output), 0, "--output", f"cannot be written: {error.strerror}", "check the path")]
        ) from error


def _cell(value: Any) -> Any:
    """A caller's words must not be taken for a formula by who opens the file in a spreadsheet."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def _print_table(columns: list[str], rows: list[dict[str, Any]], numbers: int) -> None:
    """Print rows; columns from the `numbers`th on stand to the right, and those that are nothing throughout are left out."""
    if not rows:
        out.print("nothing")
        return
    table = Table()
    shown = [
        name
        for at, name in enumerate(columns)
        if numbers == 0 or at < numbers or name in ("calls", "cost_usd") or any(row[name] for row in rows)
    ]
    for name in shown:
        right = bool(numbers) and name not in columns[:numbers]
        table.add_column(name.replace("_", " "), justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(escape(_plain(str(row[name]))) for name in shown))
    out.print(table)


def _plain(text: str) -> str:
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def _say_check(report: "Report", name: str, json: bool) -> None:
    if json:
        facts = {slot: getattr(report, slot) for slot in report.__slots__}
        print_json({"ledger": name, "agree": not report.differing, **facts})
        return
    for difference in report.differences:
        out.print(f"[red]✗[/] {escape(difference)}", highlight=False, soft_wrap=True)
    if report.differing > len(report.differences):
        out.print(f"… and {report.differing - len(report.differences)} more", highlight=False)
    mark, words = ("[red]✗[/]", f"{report.differing} differences") if report.differing else ("[green]✓[/]", "agree")
    said = f"{report.calls} calls, {usd_text(report.journal_nusd)} USD in the journals, {usd_text(report.ledger_nusd)} USD in the ledger"
    out.print(f"{mark} {words}: {said}", highlight=False, soft_wrap=True)
    for count, what in (
        (report.orphans, "calls were reserved and never ended (--orphans)"),
        (report.pruned, "calls of the journals are sums of their days by now (--prune)"),
        (report.unsettled, "entries stand in the journals and are not settled yet (--settle)"),
        (report.unreadable, "lines of the journals cannot be read"),
    ):
        if count:
            out.print(f"[yellow]![/] {count} {what}", highlight=False)
