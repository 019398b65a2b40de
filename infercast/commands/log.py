"""`log`: what the decision log holds, whether anybody changed it, and erasing what has expired."""

import time
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from infercast.policies.faults import BadInput, Fault, did_you_mean
from infercast.policies.model import Outcome
from infercast.router.telemetry.chain import Malformed
from infercast.router.telemetry.checkpoints import PublicKey, SigningKey, load_public
from infercast.router.telemetry.heads import HEADS, HEADS_BYTES_MAX, read_heads, write_whole
from infercast.router.telemetry.log_files import KEY, PUBLIC, ask_to_turn, log_files
from infercast.router.telemetry.log_reader import Filter, Listing, Row, newest
from infercast.router.telemetry.log_verify import Report, is_held, verify
from infercast.router.telemetry.retention import prune

from .app import FAILED, STATE, AsJson, StatePath, app, err, out, print_json, refusing

DECISIONS = "decisions"
TURN_PATIENCE_S = 15.0
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

log_app = typer.Typer(name="log", help="The decision log: list, verify, checkpoint, prune.", no_args_is_help=True)
app.add_typer(log_app)

LogPath = Annotated[
    Path | None, typer.Option("--log", help="Folder of the log; `decisions` in the state folder if left out.")
]
Tenant = Annotated[str | None, typer.Option("--tenant", help="Only this tenant's.")]
Site = Annotated[str | None, typer.Option("--site", help="Only calls that entered here, or for which it was chosen.")]
OutcomeName = Annotated[
    str | None, typer.Option("--outcome", help="Only this outcome: chosen, refused, saturated or unavailable.")
]
Since = Annotated[
    str | None, typer.Option("--since", help="Only since then: 90s, 15m, 6h, 7d, or 2026-01-31[T12:00] in UTC.")
]
Last = Annotated[int, typer.Option("--last", help="How many at most, the newest.", min=1, max=1_000_000)]
KeyPath = Annotated[Path | None, typer.Option("--key", help="The public key that you kept; the log's own if left out.")]
Stored = Annotated[
    list[Path] | None,
    typer.Option("--checkpoint", help="A checkpoint that was kept elsewhere; may be repeated."),
]
To = Annotated[Path | None, typer.Option("--out", help="File to write it to; printed if left out.")]
WhoseRecords = Annotated[str | None, typer.Option("--tenant", help="Erase all records of this tenant as well.")]


def _folder(log: Path | None, state: Path) -> Path:
    return log or state / DECISIONS


@log_app.command("list")
def list_decisions(
    tenant: Tenant = None,
    site: Site = None,
    outcome: OutcomeName = None,
    since: Since = None,
    last: Last = 20,
    log: LogPath = None,
    state: StatePath = STATE,
    json: AsJson = False,
) -> None:
    """Show the newest decisions, newest last. Reading is not verifying: see `infercast log verify`."""
    with refusing():
        outcomes = [str(each) for each in Outcome]
        if outcome is not None and outcome not in outcomes:
            remedy = did_you_mean(outcome, outcomes)
            raise BadInput([Fault("command line", 0, "--outcome", f"no outcome is called {outcome!r}", remedy)])
        wanted = Filter(tenant, site, outcome, None if since is None else since_s(since, time.time()))
        listing = newest(_folder(log, state), wanted, last)
    if json:
        rows = [{**asdict(row), "at": _time(row.at_s)} for row in listing.rows]
        print_json({"decisions": rows, "erased": listing.erased, "unreadable": listing.unreadable})
        return
    out.print(_table(listing.rows))
    _say_rest(listing)


def since_s(text: str, now_s: float, option: str = "--since") -> int:
    """Return the instant that an option means, s since 1970 UTC. Raises BadInput."""
    number, unit = text[:-1], text[-1:]
    try:
        if unit in _UNITS_S and number.isascii() and number.isdigit():
            return int(now_s - timedelta(seconds=int(number) * _UNITS_S[unit]).total_seconds())
        given = datetime.fromisoformat(text)
        return int((given if given.tzinfo else given.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError) as error:
        remedy = "90s, 15m, 6h, 7d, 2026-01-31 or 2026-01-31T12:00"
        raise BadInput([Fault("command line", 0, option, f"{text!r} is no time", remedy)]) from error


def _time(at_s: int) -> str:
    try:
        return datetime.fromtimestamp(at_s, UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return str(at_s)


def _table(rows: list[Row]) -> Table:
    table = Table()
    for column in ("time", "tenant", "model", "class", "origin", "entry", "outcome", "chosen", "decision"):
        table.add_column(column, overflow="fold")
    for row in rows:
        more = f" +{len(row.chosen) - 1}" if len(row.chosen) > 1 else ""
        chosen = f"{row.chosen[0]}{more}" if row.chosen else ""
        classes = " + ".join(row.classes) or "all"
        cells = (row.tenant, row.model, classes, row.origin, row.entry, row.outcome, chosen, row.id)
        table.add_row(_time(row.at_s), *(_plain(cell) for cell in cells))
    return table


def _plain(cell: str) -> str:
    """A caller's words are shown as they are: no markup, no control characters."""
    shown = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in cell)
    return shown.replace("[", "\\[")


def _say_rest(listing: Listing) -> None:
    said = [f"{len(listing.rows)} decisions"]
    if listing.erased:
        said.append(f"{listing.erased} pruned")
    out.print(", ".join(said), highlight=False)
    if listing.unreadable:
        words = f"{listing.unreadable} lines cannot be read; `infercast log verify` says more"
        err.print(f"[yellow]![/] {words}", highlight=False)


@log_app.command("verify")
def verify_log(
    key: KeyPath = None,
    checkpoint: Stored = None,
    log: LogPath = None,
    state: StatePath = STATE,
    json: AsJson = False,
) -> None:
    """Say whether anybody altered, removed, added, moved or cut off anything, from the public key alone.

    Exit code 0: every signed record is as it was written; a file may be open, its last lines not signed yet.
    Exit code 1: something was tampered with. Exit code 2: there is no log, or the key or a checkpoint cannot be read.
    """
    with refusing(), err.status("verifying…"):
        given = load_public(key) if key else None
        for path in checkpoint or ():
            if not path.is_file():
                raise BadInput([Fault(str(path), 0, "--checkpoint", "no such file")])
        report = verify(_folder(log, state), given, checkpoint or ())
    if json:
        print_json(_report_json(report, given))
    else:
        _show_report(report, given)
    if report.tampered:
        raise typer.Exit(FAILED)


def _report_json(report: Report, given: PublicKey | None) -> dict[str, Any]:
    return {
        "verified": not report.tampered,
        "key": report.key,
        "key_given": given is not None,
        "files": [asdict(one) for one in report.files],
        "findings": [asdict(finding) for finding in report.findings],
    }


def _show_report(report: Report, given: PublicKey | None) -> None:
    for finding in report.findings:
        mark = "[red]✗[/]" if finding.tampered else "[yellow]![/]"
        out.print(f"{mark} {_plain(str(finding))}", highlight=False, soft_wrap=True)
    files = report.files
    counts = {
        "files": len(files),
        "records": sum(one.records for one in files),
        "pruned": sum(one.erased for one in files),
        "lost": sum(one.lost for one in files),
        "withheld": sum(one.withheld for one in files),
        "lines not signed yet": sum(one.unsigned for one in files),
    }
    out.print(", ".join(f"{count} {what}" for what, count in counts.items()), highlight=False)
    whose = "the key given" if given else "the log's own key; compare it with one that you kept"
    out.print(f"key {report.key or 'none'} ({whose})", highlight=False, soft_wrap=True)
    verdict = "[red]tampered with[/]" if report.tampered else "[green]✓[/] every signed record is as it was written"
    out.print(verdict)


@log_app.command("checkpoint")
def checkpoint_log(out_path: To = None, log: LogPath = None, state: StatePath = STATE, json: AsJson = False) -> None:
    """Print the newest signed checkpoint, or write it to a file. Keep it where whoever writes the log cannot reach.

    It names every file and how far each has come (10 s ago at most); `infercast log verify --checkpoint FILE` holds the
    log against it later. Exit code 2 where the log's own list does not hold.
    """
    path = _folder(log, state) / HEADS
    with refusing():
        key = load_public(path.parent / PUBLIC)
        try:
            heads = read_heads(path, key)
        except (Malformed, OSError) as error:
            raise BadInput([Fault(str(path), 0, "", str(error), "`infercast log verify` says more")]) from error
        with path.open(encoding="utf-8") as file:
            text = file.read(HEADS_BYTES_MAX)
        if out_path is not None:
            try:
                write_whole(out_path, text.encode(), 0o644)
            except OSError as error:
                raise BadInput([Fault(str(out_path), 0, "--out", str(error.strerror))]) from error
    if out_path is None:
        typer.echo(text, nl=False)
    elif json:
        print_json({"number": heads.number, "at": _time(heads.at_s), "files": len(heads.files), "out": str(out_path)})
    else:
        said = f"checkpoint {heads.number} of {_time(heads.at_s)}, {len(heads.files)} files: {out_path}"
        out.print(f"[green]✓[/] {said}", highlight=False, soft_wrap=True)


@log_app.command("prune")
def prune_log(tenant: WhoseRecords = None, log: LogPath = None, state: StatePath = STATE, json: AsJson = False) -> None:
    """Erase records that have expired; run it daily. The chain stays whole, and a signed line says what was erased.

    Files that are being written wait for their end (a day at most); with --tenant their writers are asked to end them.
    Exit code 1 where a file does not verify and was left as it is, or a tenant's records could not all be erased.
    """
    folder = _folder(log, state)
    with refusing(), err.status("pruning…"):
        key = SigningKey.load(folder.parent / KEY)
        paths = log_files(folder)
        if tenant is not None and any(is_held(path) for path in paths):
            ask_to_turn(folder)
            until = time.monotonic() + TURN_PATIENCE_S
            while any(is_held(path) for path in paths) and time.monotonic() < until:
                time.sleep(0.2)
        try:
            done = prune(folder, key, int(time.time()), tenant)
        except OSError as error:
            raise BadInput([Fault(str(folder), 0, "", f"cannot be pruned: {error.strerror}")]) from error
    if json:
        print_json({"files": [asdict(one) for one in done]})
    else:
        for one in done:
            if one.skipped:
                out.print(f"  {one.file}: left as it is, {one.skipped}", highlight=False, soft_wrap=True)
        sums = {word: sum(getattr(one, word) for one in done) for word in ("expired", "asked", "unused")}
        out.print(
            f"[green]✓[/] erased {sums['expired']} expired records, {sums['asked']} asked for, "
            f"{sums['unused']} snapshots that none needs any more", highlight=False,
        )  # fmt: skip
    left = {path.name for path in paths} & {one.file for one in done if one.skipped}
    if any(one.tampered for one in done) or (tenant is not None and left):
        raise typer.Exit(FAILED)


@log_app.command("key")
def show_key(log: LogPath = None, state: StatePath = STATE, json: AsJson = False) -> None:
    """Print the public key that the log is signed with. Keep a copy elsewhere and verify with that one."""
    with refusing():
        key = load_public(_folder(log, state) / PUBLIC)
    if json:
        print_json({"fingerprint": key.fingerprint, "pem": key.pem})
    else:
        typer.echo(key.pem, nl=False)
