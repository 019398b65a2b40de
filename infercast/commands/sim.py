"""`sim`: what would happen if. Runs, comparisons and sweeps of scenarios, with no cluster running."""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import product
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from infercast.policies.faults import BadInput, Fault
from infercast.sim.replications import Job, jobs_of, kept, processes_here, run_all
from infercast.sim.scenario import Scenario, load_scenario
from infercast.sim.settings import COMMAND_LINE, Setting, read_axis
from infercast.sim.summary import Summary

from .app import AsJson, app, err, out, print_json, refusing

sim = typer.Typer(
    name="sim",
    help="What would happen if: a site were added or lost, traffic tripled, a policy tightened, a price changed.\n\n"
    "A scenario is a YAML file: a fleet, tenants' policies and traffic, and a list of changes; or another scenario and "
    "what is different from it. docs/what-if.md shows how to write one; examples/what-if/ holds some.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)
app.add_typer(sim)
INTERRUPTED = 130
"""Exit code after an interrupt or a time limit: what had run by then was still shown."""
POINTS_MAX = 10_000

ScenarioPath = Annotated[Path, typer.Argument(help="The scenario file.", metavar="SCENARIO.yaml")]
Html = Annotated[Path | None, typer.Option("--html", help="Write a report for a browser into this file.")]
Replications = Annotated[
    int | None, typer.Option("--replications", "-n", help="Runs with seeds SEED, SEED+1, …", min=1)
]
Seed = Annotated[int | None, typer.Option("--seed", help="The first run's seed, instead of the file's.", min=0)]
Processes = Annotated[
    int, typer.Option("--processes", help="Runs at once; 0: one per core. A Ray cluster decides by itself.", min=0)
]
TimeLimit = Annotated[
    float | None, typer.Option("--time-limit", help="End after so many seconds and keep what is done.", min=0)
]


def given(seed: int | None, replications: int | None) -> tuple[Setting, ...]:
    """Return what the command line says of a scenario's own fields."""
    said = (("--seed", "seed", seed), ("--replications", "replications", replications))
    return tuple(Setting(option, (field,), value) for option, field, value in said if value is not None)


@contextmanager
def stopping(limit_s: float | None) -> Iterator[Callable[[], bool]]:
    """Give what says whether to end early: an interrupt came (a second one ends at once), or the time is up."""
    interrupted = threading.Event()
    until_s = None if limit_s is None else time.monotonic() + limit_s

    def interrupt(signum: int, frame: FrameType | None) -> None:
        if interrupted.is_set():
            raise KeyboardInterrupt
        interrupted.set()

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield lambda: interrupted.is_set() or (until_s is not None and time.monotonic() >= until_s)
    finally:
        signal.signal(signal.SIGINT, before)


def run_with_progress(jobs: Sequence[Job], processes: int, limit_s: float | None) -> tuple[list[Summary | None], bool]:
    """Return the summaries of runs, and whether any was stopped; a bar on standard error shows how far they are."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with stopping(limit_s) as stop, Progress(*columns, console=err, transient=True) as progress:
        bar = progress.add_task(f"{len(jobs)} runs" if len(jobs) > 1 else "1 run", total=1.0)
        found = run_all(jobs, processes or processes_here(), lambda share: progress.update(bar, completed=share), stop)
    return found, any(summary is None or summary.stopped_early for summary in found)


def end_if_stopped(jobs: int, found: Sequence[Summary | None]) -> None:
    """Say what an early stop left out, and end with its exit code; do nothing where nothing was stopped."""
    done = kept(found)
    early = sum(summary.stopped_early for summary in done)
    if len(done) < jobs or early:
        message = f"stopped: {len(done) - early} of {jobs} runs are whole, {early} ended early, {jobs - len(done)} never began"
        err.print(f"[yellow]![/] {message}", highlight=False, soft_wrap=True)
        raise typer.Exit(INTERRUPTED)


def write_report(path: Path, scenario: Scenario, before: Sequence[Summary], after: Sequence[Summary] = ()) -> None:
    """Write a report for a browser: of runs, or of what differs between two scenarios. Raises BadInput where it cannot."""
    from infercast.sim.report.page import report

    title = scenario.description or Path(scenario.path).stem
    text = report(title, before, after, scenario.changes, "")
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        remedy = "name a file in a folder that is there"
        raise BadInput([Fault(str(path), 0, "", f"cannot be written: {error.strerror}", remedy)]) from error
    err.print(f"wrote {path}", highlight=False, soft_wrap=True)


def head(scenario: Scenario, summaries: Sequence[Summary], jobs: int) -> dict[str, Any]:
    """Return what JSON says of a scenario and its runs, before the runs themselves."""
    return {
        "scenario": scenario.path,
        "description": scenario.description,
        "seeds": [summary.seed for summary in summaries],
        "stopped_early": len(summaries) < jobs or any(summary.stopped_early for summary in summaries),
    }


@sim.command("run")
def run(
    scenario: ScenarioPath,
    html: Html = None,
    replications: Replications = None,
    seed: Seed = None,
    processes: Processes = 0,
    time_limit: TimeLimit = None,
    json: AsJson = False,
) -> None:
    """Run a scenario and say what became of its calls: by tenant and by site, latency, cost, refusals with their rules.

    The same file and seed give the same numbers, on any machine. More replications say how sure the numbers are.
    Ctrl-C keeps what is done, says so, and exits 130. A fault in a file exits 2, before anything runs.
    """
    from .sim_tables import show_run

    with refusing():
        loaded = load_scenario(scenario, given(seed, replications))
        jobs = jobs_of(loaded)
        found, _ = run_with_progress(jobs, processes, time_limit)
    done = kept(found)
    if json:
        print_json({**head(loaded, done, len(jobs)), "runs": [summary.as_json() for summary in done]})
    elif done:
        show_run(loaded, done)
    if html is not None and done:
        with refusing():
            write_report(html, loaded, done)
    end_if_stopped(len(jobs), found)


@sim.command("compare")
def compare(
    base: Annotated[Path, typer.Argument(help="What to compare with.", metavar="BASE.yaml")],
    scenario: ScenarioPath,
    html: Html = None,
    replications: Replications = None,
    seed: Seed = None,
    processes: Processes = 0,
    time_limit: TimeLimit = None,
    json: AsJson = False,
) -> None:
    """Run two scenarios with the same luck and say what differs, and how sure that is.

    Each call has the same luck in both, so differences are the scenario's. With two or more replications they come
    with 95% intervals. Seed and replications of both are BASE's. Ctrl-C keeps the pairs that are done.
    """
    from infercast.sim.comparison import compare as compared

    from .sim_tables import show_comparison

    with refusing():
        first, second = load_both(base, scenario, given(seed, replications))
        jobs = [job for pair in zip(jobs_of(first), jobs_of(second), strict=True) for job in pair]
        found, _ = run_with_progress(jobs, processes, time_limit)
    pairs = [(a, b) for a, b in zip(found[::2], found[1::2], strict=True) if a is not None and b is not None]
    if pairs:
        comparison = compared([a for a, _ in pairs], [b for _, b in pairs])
        if json:
            both = {"base": first.path, **head(second, comparison.after, len(jobs) // 2)}
            print_json({**both, "comparison": comparison.as_json()})
        else:
            show_comparison(first, second, comparison)
        if html is not None:
            with refusing():
                write_report(html, second, comparison.before, comparison.after)
    end_if_stopped(len(jobs), found)


def load_both(base: Path, scenario: Path, settings: tuple[Setting, ...]) -> tuple[Scenario, Scenario]:
    """Return two scenarios that run with the seeds of the first. Raises BadInput with the faults of both."""
    loaded: list[Scenario] = []
    faults: list[Fault] = []
    for path in (base, scenario):
        try:
            loaded.append(load_scenario(path, settings))
        except BadInput as error:
            faults += error.faults
    if faults:
        raise BadInput(faults)
    first, second = loaded
    return first, replace(second, seed=first.seed, replications=first.replications)


Over = Annotated[
    list[str],
    typer.Option(
        "--over",
        help="PATH=VALUES: `1,2,4`, or `0:0.01:5` for five values from 0 to 0.01. Several make a grid. Paths begin with "
        "`fleet.`, `policies.TENANT.` (or `policies.*.`), `workload.`, or a field of the scenario; `traffic.scale` "
        "scales all calls.",
        metavar="PATH=VALUES",
    ),
]
Latency = Annotated[str, typer.Option("--latency", help="The latency of the frontier: mean, p50, p95 or p99.")]


@sim.command("sweep")
def sweep(
    scenario: ScenarioPath,
    over: Over,
    latency: Latency = "p95",
    replications: Replications = None,
    seed: Seed = None,
    processes: Processes = 0,
    time_limit: TimeLimit = None,
    json: AsJson = False,
) -> None:
    r"""Run a scenario at every point of a grid, and show which points no other beats in both cost and latency.

    [bold]infercast sim sweep S.yaml --over policies.hospital.objective.waiting.usd_per_second=0:0.01:5[/]

    [bold]infercast sim sweep S.yaml --over "fleet.deployments\[squeezenet@dub].replicas=1,2" --over traffic.scale=1,3[/]

    All points are checked before anything runs. Points share their luck. Ctrl-C keeps the points that are done.
    """
    from .sim_tables import point_rows, show_sweep

    with refusing():
        if latency not in ("mean", "p50", "p95", "p99"):
            raise BadInput([Fault(COMMAND_LINE, 0, "--latency", f"{latency!r} is not known", "mean, p50, p95 or p99")])
        settings, points = points_of(scenario, over, given(seed, replications))
        jobs = [job for point in points for job in jobs_of(point)]
        found, _ = run_with_progress(jobs, processes, time_limit)
    each = points[0].replications
    runs = [kept(found[at : at + each]) for at in range(0, len(found), each)]
    rows = point_rows(settings, runs, latency)
    if json:
        print_json({**head(points[0], kept(found), len(jobs)), "latency": latency, "points": rows})
    else:
        show_sweep(points[0], rows, latency)
    end_if_stopped(len(jobs), found)


def points_of(
    scenario: Path, over: Sequence[str], own: tuple[Setting, ...]
) -> tuple[list[tuple[Setting, ...]], list[Scenario]]:
    """Return the points of a grid, as settings and as scenarios. Raises BadInput with the faults of all of them."""
    grid = list(product(*(read_axis(text).settings() for text in over)))
    if len(grid) > POINTS_MAX:
        raise BadInput([Fault(COMMAND_LINE, 0, "--over", f"{len(grid)} points, at most {POINTS_MAX}", "fewer values")])
    points: list[Scenario] = []
    faults: list[Fault] = []
    for settings in grid:
        try:
            points.append(load_scenario(scenario, (*own, *settings)))
        except BadInput as error:
            faults += error.faults
    if faults:
        raise BadInput(faults)
    if len({point.replications for point in points}) > 1:
        raise BadInput([Fault(COMMAND_LINE, 0, "--over", "replications differ between points", "give --replications")])
    return grid, points


@sim.command("check")
def check(
    scenarios: Annotated[list[Path], typer.Argument(help="Scenario files.", metavar="SCENARIO.yaml...")],
    json: AsJson = False,
) -> None:
    """Check scenarios with all files that they name, and count their calls; run nothing.

    All faults come at once, with file, line and remedy (exit 2).
    """
    loaded: list[Scenario] = []
    faults: list[Fault] = []
    calls: list[int] = []
    with refusing(), err.status("checking…"):
        for path in scenarios:
            try:
                loaded.append(load_scenario(path))
                calls.append(len(loaded[-1].world().calls))
            except BadInput as error:
                faults += error.faults
        if faults:
            raise BadInput(faults)
    rows = [
        {
            "scenario": each.path,
            "calls": counted,
            "tenants": sorted(each.policies),
            "sites": [site.id for site in each.fleet.sites],
            "replications": each.replications,
            "seed": each.seed,
        }
        for each, counted in zip(loaded, calls, strict=True)
    ]
    if json:
        print_json({"scenarios": rows, "faults": 0})
        return
    for row, each in zip(rows, loaded, strict=True):
        said = f"{row['calls']:,} calls, {len(each.policies)} tenants, {len(each.fleet.sites)} sites"
        out.print(f"[green]✓[/] {each.path}: {said}, {each.replications} runs", highlight=False)


@sim.command("schema")
def print_schema(
    write: Annotated[Path | None, typer.Option("--write", help="Write it into this folder instead.")] = None,
) -> None:
    """Print the JSON Schema of scenario files, with which editors complete and check them."""
    from infercast.policies.policy_schema import as_text
    from infercast.sim.scenario_schema import SCENARIO_FILE, scenario_schema

    if write is None:
        typer.echo(as_text(scenario_schema()), nl=False)
        return
    path = write / SCENARIO_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(as_text(scenario_schema()), encoding="utf-8")
    out.print(f"wrote {path}", highlight=False)
