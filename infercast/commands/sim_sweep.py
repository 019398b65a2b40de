"""`sim sweep`: a scenario at every point of a grid, and the frontier of cost and latency."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import typer

from infercast.policies.faults import BadInput, Fault
from infercast.sim.replications import jobs_of, kept
from infercast.sim.scenario import Scenario, load_scenario
from infercast.sim.settings import COMMAND_LINE, Setting, read_axis

from .app import AsJson, print_json, refusing
from .sim import Html, Processes, Replications, ScenarioPath, Seed, TimeLimit, given, sim
from .sim_running import end_if_stopped, head, run_with_progress, title_of, write_page

POINTS_MAX = 10_000
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
    html: Html = None,
    replications: Replications = None,
    seed: Seed = None,
    processes: Processes = 0,
    time_limit: TimeLimit = None,
    json: AsJson = False,
) -> None:
    r"""Run a scenario at every point of a grid, and show which points no other beats in both cost and latency.

    [bold]infercast sim sweep S.yaml --over policies.annotator.objective.preference=cheapest,fastest[/]

    [bold]infercast sim sweep S.yaml --over "fleet.deployments\[resnet50@iad].replicas=1,2" --over traffic.scale=1,3[/]

    All points are checked before anything runs. Points share their luck. Ctrl-C keeps the points that are done.
    """
    from .sim_sweep_tables import point_rows, show_sweep

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
    if html is not None:
        with refusing():
            write_sweep(html, points[0], rows, latency)
    end_if_stopped(len(jobs), found)


def write_sweep(path: Path, scenario: Scenario, rows: Sequence[dict[str, Any]], latency: str) -> None:
    """Write the page of a sweep. Points without an answered call have no place on it. Raises BadInput where it cannot."""
    from infercast.sim.report.sweep import sweep_report

    from .sim_sweep_tables import points_in

    points = points_in(rows, latency)
    if not points:
        raise BadInput([Fault(str(path), 0, "", "no point has an answered call to show", "more traffic, or more time")])
    write_page(path, sweep_report(title_of(scenario), points, f"{latency} latency"))


def points_of(
    scenario: Path, over: Sequence[str], own: tuple[Setting, ...]
) -> tuple[list[tuple[Setting, ...]], list[Scenario]]:
    """Return the points of a grid, as settings and as scenarios. Raises BadInput with the faults of all of them."""
    axes = [read_axis(text) for text in over]
    twice = next((axis for index, axis in enumerate(axes) if axis.steps in [each.steps for each in axes[:index]]), None)
    if twice is not None:
        message = f"{twice.text} stands twice, and only one of them would count"
        raise BadInput([Fault(COMMAND_LINE, 0, "--over", message, "give all its values at once: 1,2,4")])
    grid = list(product(*(axis.settings() for axis in axes)))
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
