"""`log replay`: every decision of the log, made again."""

from dataclasses import asdict

import typer
from rich.markup import escape

from infercast.replay import redecide_all

from .app import FAILED, STATE, AsJson, StatePath, err, out, print_json, refusing
from .log import LogPath, log_app

SHOWN_MAX = 20


@log_app.command("replay")
def replay_log(log: LogPath = None, state: StatePath = STATE, json: AsJson = False) -> None:
    """Make every decision again, from the signals, files and policies that were in force, and say which come out unlike.

    Reading is not verifying: see `infercast log verify`. Exit code 1 where any decision differs from its record.
    """
    with refusing(), err.status("deciding again…"):
        done = redecide_all(log or state / "decisions")
    if json:
        print_json(asdict(done))
    else:
        for decision, differs in list(done.differing.items())[:SHOWN_MAX]:
            said = escape(f"{decision}: {'; '.join(differs)}")
            out.print(f"[red]✗[/] {said}", highlight=False, soft_wrap=True)
        alike = done.decisions - len(done.differing)
        said = f"{alike} of {done.decisions} decisions come out alike"
        out.print(said + (f"; {done.pruned} were pruned" if done.pruned else ""), highlight=False)
        if done.unreadable:
            words = f"{done.unreadable} lines cannot be read; `infercast log verify` says more"
            err.print(f"[yellow]![/] {words}", highlight=False)
    if done.differing:
        raise typer.Exit(FAILED)
