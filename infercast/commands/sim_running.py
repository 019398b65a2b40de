"""Running what a `sim` command asks for: a bar, an early end, a report; and what is said of each."""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from infercast.policies.faults import BadInput, Fault
from infercast.sim.comparison import Comparison
from infercast.sim.engine import make_ready
from infercast.sim.replications import Job, kept, processes_here, run_all
from infercast.sim.scenario import Scenario
from infercast.sim.summary import Summary

from .app import err, refusing

COMPILING_SAID_S = 4.0
COMPILING = "compiling the simulator for this machine: once, about a minute…"
INTERRUPTED = 130
"""Exit code after an interrupt or a time limit: what had run by then was still shown."""


@contextmanager
def stopping(limit_s: float | None) -> Iterator[Callable[[], bool]]:
    """Give what says whether to end early: an interrupt came (a second one ends at once), or the time is up."""
    interrupted = threading.Event()
    # Its own thread: what a signal handler prints meets what the interrupted code was printing.
    told = threading.Thread(target=_say_stopping, daemon=True)
    until_s = None if limit_s is None else time.monotonic() + limit_s

    def interrupt(signum: int, frame: FrameType | None) -> None:
        if interrupted.is_set():
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a third must not cut the ending short
            raise KeyboardInterrupt
        interrupted.set()
        told.start()

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield lambda: interrupted.is_set() or (until_s is not None and time.monotonic() >= until_s)
    finally:
        signal.signal(signal.SIGINT, before)
        if told.ident is not None:
            told.join()


def _say_stopping() -> None:
    err.print("stopping… (Ctrl-C again: at once)", highlight=False, soft_wrap=True)


def run_with_progress(jobs: Sequence[Job], processes: int, limit_s: float | None) -> tuple[list[Summary | None], bool]:
    """Return the summaries of runs, and whether any was stopped; a bar on standard error shows how far they are."""
    _make_ready(jobs)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with stopping(limit_s) as stop, Progress(*columns, console=err, transient=True) as progress:
        bar = progress.add_task(runs_said(len(jobs)), total=1.0)
        found = run_all(jobs, processes or processes_here(), lambda share: progress.update(bar, completed=share), stop)
    return found, any(summary is None or summary.stopped_early for summary in found)


def runs_said(count: int) -> str:
    """Return how many runs there are, in words: `1 run`, `30 runs`."""
    return "1 run" if count == 1 else f"{count} runs"


def _make_ready(jobs: Sequence[Job]) -> None:
    """Have the simulator compiled before anything runs, and say so where it takes long."""
    said = threading.Timer(COMPILING_SAID_S, err.print, [COMPILING], {"highlight": False, "soft_wrap": True})
    said.daemon = True
    said.start()
    try:
        for job in jobs[:1]:
            make_ready(job.scenario.fleet)
    except KeyboardInterrupt:
        err.print("[yellow]![/] stopped while compiling: nothing has run", highlight=False)
        raise typer.Exit(INTERRUPTED) from None
    finally:
        said.cancel()


def end_if_stopped(jobs: int, found: Sequence[Summary | None]) -> None:
    """Say what an early stop left out, and end with its exit code; do nothing where nothing was stopped."""
    done = kept(found)
    early = sum(summary.stopped_early for summary in done)
    if len(done) < jobs or early:
        message = f"stopped: {len(done) - early} of {jobs} runs are whole, {early} ended early, {jobs - len(done)} never began"
        err.print(f"[yellow]![/] {message}", highlight=False, soft_wrap=True)
        raise typer.Exit(INTERRUPTED)


def write_report(path: Path, scenario: Scenario, runs: Sequence[Summary]) -> None:
    """Write a report of runs for a browser. Raises BadInput where it cannot."""
    from infercast.sim.report.page import report

    write_page(path, report(title_of(scenario), runs, changes=scenario.changes))


def write_comparison(path: Path, base: Scenario, other: Scenario, comparison: Comparison) -> None:
    """Write a report for a browser of what differs between two scenarios. Raises BadInput where it cannot."""
    from infercast.sim.report.page import report

    changes = changes_between(base.changes, other.changes)
    write_page(path, report(title_of(other), comparison.before, comparison.after, changes))


def changes_between(base: Sequence[str], other: Sequence[str]) -> list[str]:
    """Return what one scenario changes and the other does not: its own as they are, the base's as `without …`."""
    mine, theirs = Counter(other) - Counter(base), Counter(base) - Counter(other)
    return [*mine.elements(), *(f"without {each}" for each in theirs.elements())]


def title_of(scenario: Scenario) -> str:
    """Return what a page about a scenario is headed with."""
    return scenario.description or Path(scenario.path).stem


def can_be_written(path: Path | None) -> Path | None:
    """Return the path of a report that is asked for. Refuses one that cannot be written, before anything runs: exit 2."""
    if path is not None:
        folder = path.parent
        if not folder.is_dir():
            problem = f"no folder is at {folder}"
        elif path.is_dir():
            problem = "is a folder"
        elif not os.access(path if path.exists() else folder, os.W_OK):
            problem = "cannot be written: permission denied"
        else:
            return path
        with refusing():
            raise BadInput([Fault(str(path), 0, "", problem, "name a file in a folder that can be written")])
    return None


def write_page(path: Path, text: str) -> None:
    """Write a page, and say so. Raises BadInput where it cannot be written."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        remedy = "name a file in a folder that is there"
        raise BadInput([Fault(str(path), 0, "", f"cannot be written: {error.strerror}", remedy)]) from error
    err.print(f"wrote {path}", highlight=False, markup=False, soft_wrap=True)


def head(scenario: Scenario, summaries: Sequence[Summary], jobs: int) -> dict[str, Any]:
    """Return what JSON says of a scenario and its runs, before the runs themselves."""
    return {
        "scenario": scenario.path,
        "description": scenario.description,
        "seeds": [summary.seed for summary in summaries],
        "stopped_early": len(summaries) < jobs or any(summary.stopped_early for summary in summaries),
    }
