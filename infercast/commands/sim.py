"""`sim`: what would happen if. Runs, comparisons and sweeps of scenarios, with no cluster running."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from infercast.policies.faults import BadInput, Fault
from infercast.sim.replications import jobs_of, kept
from infercast.sim.scenario import Scenario, load_scenario
from infercast.sim.settings import Setting

from .app import AsJson, app, err, out, print_json, refusing
from .sim_running import (
    can_be_written,
    end_if_stopped,
    head,
    run_with_progress,
    runs_said,
    write_comparison,
    write_report,
)

sim = typer.Typer(
    name="sim",
    help="What would happen if: a site were added or lost, traffic tripled, a policy tightened, a price changed.\n\n"
    "A scenario is a YAML file: a fleet, tenants' policies and traffic, and a list of changes; or another scenario and "
    "what is different from it. docs/what-if.md shows how to write one; examples/what-if/ holds some.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)
app.add_typer(sim)

ScenarioPath = Annotated[Path, typer.Argument(help="The scenario file.", metavar="SCENARIO.yaml")]
Html = Annotated[
    Path | None,
    typer.Option("--html", help="Write a report for a browser into this file.", callback=can_be_written),
]
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
                write_comparison(html, first, second, comparison)
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


@sim.command("check")
def check(
    scenarios: Annotated[list[Path], typer.Argument(help="Scenario files.", metavar="SCENARIO.yaml...")],
    json: AsJson = False,
) -> None:
    """Check scenarios with all files that they name, and count their calls; run nothing.

    Faults come with file, line and remedy (exit 2): all of a file's form at once, then what its contents get wrong.
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
        out.print(f"[green]✓[/] {escape(each.path)}: {said}, {runs_said(each.replications)}", highlight=False)


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
    out.print(f"wrote {path}", highlight=False, markup=False)
