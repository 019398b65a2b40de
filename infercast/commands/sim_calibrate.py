"""`sim calibrate`: the simulator held against the real system, on the demo's traffic."""

import os
import platform
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from infercast import system
from infercast.calibrate import measure
from infercast.load import Payloads, Sender, load_traffic
from infercast.policies.faults import BadInput, Fault
from infercast.policies.fleet_file import load_fleet
from infercast.policies.policy_file import load_policies
from infercast.sim.calibration import compare
from infercast.sim.measured import profile_of

from .app import (
    FAILED,
    FLEET,
    POLICIES,
    STATE,
    AsJson,
    FleetPath,
    PoliciesPath,
    StatePath,
    err,
    out,
    print_json,
    refusing,
)
from .call import addresses
from .demo import TrafficPath
from .running import Port, start_with_progress
from .sim import sim
from .sim_calibrate_words import Calibrated, as_markdown, machine, profile_rows, show

BEGIN, END = "<!-- calibration: begin -->", "<!-- calibration: end -->"
Reruns = Annotated[int, typer.Option("--reruns", help="How often the whole workload is sent.", min=1, max=1000)]
WriteDocs = Annotated[
    Path | None,
    typer.Option("--write-docs", help=f"Put the tables into this file, between `{BEGIN}` and `{END}`."),
]


@sim.command("calibrate")
def calibrate(
    reruns: Reruns = 10,
    fleet: FleetPath = FLEET,
    policies: PoliciesPath = POLICIES,
    state: StatePath = STATE,
    port: Port = 8000,
    traffic: TrafficPath = Path("examples/demo.yaml"),
    write_docs: WriteDocs = None,
    json: AsJson = False,
) -> None:
    """Hold the simulator against the real system: the demo's workload, live and simulated, side by side.

    Starts the fleet on this machine, warms it up, sends the workload --reruns times while every site is up, and ends
    it. Every other rerun is compared, its arrivals simulated with the profile of the one before it (times at sites, on
    ways, around entries). Takes half a minute a rerun. Exit code 1 where a figure misses its goal.
    """
    with refusing():
        world = load_fleet(fleet)
        tenants = load_policies(policies, world)
        plan = load_traffic(traffic, world, tenants)
        payloads = Payloads(world, fleet.resolve().parent)
        if write_docs is not None:
            _parts(write_docs)
        began = f"{datetime.now(UTC):%d %B %Y}", os.getloadavg()
        running = start_with_progress(fleet, policies, state, port)
        try:
            sender = Sender(world, tenants, payloads, addresses(running, state, world), lambda: None)
            with err.status("measuring…") as status:
                runs, alone = measure(world, sender, payloads, plan.streams, state, reruns, status.update)
        finally:
            load = os.getloadavg()
            with err.status("ending…"):
                system.stop(state)
    with err.status("simulating…"):
        comparison = compare(world, tenants, runs)
    done = Calibrated(comparison, profile_of(world, [alone]), len(runs), len(runs[0].calls), machine(*began, load))
    if json:
        print_json(_as_json(done))
    else:
        show(out, done)
    if write_docs is not None:
        with refusing():
            before, after = _parts(write_docs)
            write_docs.write_text(f"{before}{BEGIN}\n\n{as_markdown(done)}\n{END}{after}", encoding="utf-8")
    if not comparison.passes:
        raise typer.Exit(FAILED)


def _parts(path: Path) -> tuple[str, str]:
    """Return what stands before and after the tables of a file. Raises BadInput where it has no place for them."""
    try:
        before, found, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput([Fault(str(path), 0, "--write-docs", f"cannot be read: {error}", "check the path")]) from error
    _, ended, after = rest.partition(END)
    if not found or not ended:
        remedy = f"write the lines {BEGIN} and {END} where the tables are to stand"
        raise BadInput([Fault(str(path), 0, "--write-docs", "it has no place for the tables", remedy)])
    return before, after


def _as_json(done: Calibrated) -> dict[str, Any]:
    comparison = done.comparison
    lines = [
        {**asdict(line), "error": line.error, "allowed": line.allowed, "passes": line.passes, "in_goal": line.in_goal}
        for line in comparison.lines
    ]
    return {
        "emulated_distances": True,
        "machine": done.machine,
        "python": platform.python_version(),
        "reruns": done.reruns,
        "calls_per_rerun": done.calls,
        "held_out": comparison.held_out,
        "passes": comparison.passes,
        "lines": lines,
        "cost_told_usd": comparison.told_usd,
        "cost_real_usd": comparison.real_usd,
        "profile": profile_rows(comparison.profile, done.alone),
    }
