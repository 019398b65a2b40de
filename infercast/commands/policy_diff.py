"""`policy diff`: what changes between two sets of policies, over every kind of call, or over calls that came once."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from infercast.past_calls import PastCalls, calls_of_file, calls_of_log
from infercast.policies.changed_words import Word, changed_words
from infercast.policies.claims_said import words_of
from infercast.policies.diff import PAYLOAD_BYTES, Change, Difference, Policies, compare, compare_requests
from infercast.policies.faults import BadInput, Fault
from infercast.policies.fleet import Fleet
from infercast.policies.fleet_file import load_fleet
from infercast.policies.model import PAYLOAD_BYTES_MAX
from infercast.policies.policy_file import load_policies, load_policy
from infercast.policies.record import request_as_json

from .app import FAILED, FLEET, AsJson, FleetPath, err, out, print_json, refusing
from .policy import policy as commands

ROWS_MAX = 60
Side = Annotated[Path, typer.Argument(help="A folder of policies, or one tenant's file.")]
Requests = Annotated[
    Path | None, typer.Option("--requests", help="Compare over the calls of this file instead: JSON, one call a line.")
]
Log = Annotated[
    Path | None, typer.Option("--log", help="Compare over the calls of a decision log, or of a state folder's.")
]
Bytes = Annotated[int, typer.Option("--bytes", help="Payload size of each kind of call.", min=0, max=PAYLOAD_BYTES_MAX)]
Fails = Annotated[bool, typer.Option("--exit-code", help="Exit with 1 when decisions differ.")]


@commands.command("diff")
def diff(
    old: Side,
    new: Side,
    requests: Requests = None,
    log: Log = None,
    payload_bytes: Bytes = PAYLOAD_BYTES,
    exit_code: Fails = False,
    fleet: FleetPath = FLEET,
    json: AsJson = False,
) -> None:
    """Say what changes from OLD to NEW: what is newly allowed, newly vetoed, and which choices move, with counts.

    Every kind of call is decided by both in the world as declared: all classes, models, origins, entries and time
    windows. Words that change without changing a decision are listed apart. A fault in a file exits 2.
    """
    with refusing(), err.status("comparing…"):
        world = load_fleet(fleet)
        before, after = load_both(old, new, world)
        calls = _calls(requests, log)
        if calls is None:
            found = compare(world, before, after, payload_bytes)
        else:
            found = compare_requests(world, before, after, calls.requests)
        both = sorted(before.keys() & after.keys())
        words = [word for tenant in both for word in changed_words(world, before[tenant], after[tenant])]
    left_out = calls.left_out if calls is not None else 0
    if json:
        print_json(_json(found, words, left_out))
    else:
        _show(found, words, "calls" if calls is not None else "kinds of call")
        if left_out:
            out.print(f"{left_out} calls of the log could not be read or have been erased", highlight=False)
    if exit_code and (found.differing or found.added or found.removed):
        raise typer.Exit(FAILED)


def load_both(old: Path, new: Path, fleet: Fleet) -> tuple[Policies, Policies]:
    """Return both sides. A single file is compared with that tenant's of the other side. Raises BadInput."""
    sides: list[Policies] = []
    faults: list[Fault] = []
    for path in (old, new):
        try:
            sides.append(_load(path, fleet))
        except BadInput as error:
            faults.extend(error.faults)
    if faults:
        raise BadInput(faults)
    single = [side for path, side in zip((old, new), sides, strict=True) if path.is_file()]
    kept = set().union(*single) if single else None
    before, after = ({name: each for name, each in side.items() if kept is None or name in kept} for side in sides)
    return before, after


def _load(path: Path, fleet: Fleet) -> Policies:
    if path.is_dir():
        return load_policies(path, fleet)
    policy = load_policy(path, fleet)
    return {policy.tenant: policy}


def _calls(requests: Path | None, log: Path | None) -> PastCalls | None:
    if requests is not None and log is not None:
        raise BadInput([Fault("command line", 0, "--log", "stands beside --requests", "give one of them")])
    if requests is not None:
        return calls_of_file(requests)
    return calls_of_log(log) if log is not None else None


def _json(found: Difference, words: list[Word], left_out: int) -> dict[str, Any]:
    return {
        "calls": found.calls,
        "differing": found.differing,
        "left_out": left_out,
        "note": found.note,
        "added": list(found.added),
        "removed": list(found.removed),
        "changes": [
            {
                "tenant": change.tenant,
                "what": str(change.what),
                "subject": change.subject,
                "why": change.why,
                "calls": change.calls,
                "classes": list(change.classes),
                "models": list(change.models),
                "example": request_as_json(change.example),
            }
            for change in found.changes
        ],
        "words": [
            {"tenant": word.tenant, "place": word.place, "old": word.old, "new": word.new, "matters": word.matters}
            for word in words
        ],
    }


def _show(found: Difference, words: list[Word], counted: str) -> None:
    for name in found.added:
        out.print(f"  {name}: a new tenant", highlight=False)
    for name in found.removed:
        out.print(f"  {name}: no longer a tenant; its calls are not known any more", highlight=False)
    if found.changes:
        out.print(_table(found.changes))
    if len(found.changes) > ROWS_MAX:
        out.print(f"and {len(found.changes) - ROWS_MAX} rows more; --json has them all", highlight=False)
    out.print(f"{found.differing:,} of {found.calls:,} {counted} are decided differently", highlight=False)
    if found.note:
        out.print(found.note, highlight=False)
    _show_words("Words that change decisions:", [word for word in words if word.matters])
    _show_words("Words that change no decision by themselves:", [word for word in words if word.matters is False])
    _show_words("Words not looked at one by one, there are many:", [word for word in words if word.matters is None])


def _table(changes: tuple[Change, ...]) -> Table:
    table = Table()
    for column in ("tenant", "what", "whom", "why", "calls", "classes", "models", "such as"):
        table.add_column(column, overflow="fold", justify="right" if column == "calls" else "left")
    for change in changes[:ROWS_MAX]:
        example = " ".join(words_of(change.example)[4:8])
        classes, models = ", ".join(change.classes), ", ".join(change.models)
        counted = f"{change.calls:,}"
        table.add_row(change.tenant, change.what, change.subject, change.why, counted, classes, models, example)
    return table


def _show_words(title: str, words: list[Word]) -> None:
    if not words:
        return
    out.print(title, highlight=False)
    for word in words:
        out.print(
            f"  {word.tenant}: {word.place}: {_short(word.old)} → {_short(word.new)}", highlight=False, markup=False
        )


def _short(value: Any) -> str:
    text = "left out" if value is None else str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
