"""`check`: the fleet, the policies and the tenants' own cases, with no cluster running."""

from collections import Counter
from pathlib import Path

import typer
from rich.markup import escape
from rich.table import Table

from infercast.policies.cases import Result, check_cases
from infercast.policies.engine import Engine
from infercast.policies.faults import BadInput, Fault
from infercast.policies.fleet import Fleet
from infercast.policies.fleet_file import load_fleet
from infercast.policies.policy import Policy
from infercast.policies.policy_file import form_faults, load_policies, load_shadows
from infercast.policies.record import summary

from .app import FAILED, FLEET, POLICIES, AsJson, FleetPath, PoliciesPath, app, err, out, print_json, refusing


@app.command()
def check(fleet: FleetPath = FLEET, policies: PoliciesPath = POLICIES, json: AsJson = False) -> None:
    """Check the fleet and the policies, and run the tenants' cases that stand beside them.

    All faults come at once, with file, line and remedy (exit 2). A case that does not hold exits 1.
    """
    with refusing(), err.status("checking…"):
        tenants, results = run_all(fleet, policies)
    if show_cases(policies, tenants, results, json=json):
        raise typer.Exit(FAILED)


def show_cases(folder: Path, tenants: list[str], results: list[tuple[str, Result]], *, json: bool) -> int:
    """Print what came of the tenants' cases, and return how many do not hold."""
    failed = sum(1 for _, result in results if result.failures)
    if json:
        rows = [
            {
                "tenant": tenant,
                "case": result.case.name,
                "holds": not result.failures,
                "failures": list(result.failures),
            }
            for tenant, result in results
        ]
        print_json({"cases": rows, "failed": failed})
        return failed
    out.print(_table(results))
    counts = Counter(name for name, _ in results)
    for tenant in tenants:
        remedy = "" if counts[tenant] else f" (write {folder / tenant}.cases.yaml)"
        out.print(f"  {tenant}: {counts[tenant]} cases{remedy}", highlight=False, markup=False)
    out.print(f"{len(results) - failed} cases hold, {failed} do not", highlight=False)
    return failed


def load_all(fleet_path: Path, folder: Path) -> tuple[Fleet, dict[str, Policy], dict[str, Policy]]:
    """Return the fleet, the policies, and the versions that stand in their shadow. Raises BadInput with all faults.

    Where the fleet has faults, no policy's names can be held against it; the faults of form in the policies come all the
    same.
    """
    try:
        fleet = load_fleet(fleet_path)
    except BadInput as error:
        raise BadInput([*error.faults, *form_faults(folder)]) from error
    faults: list[Fault] = []
    loaded: list[dict[str, Policy]] = []
    for load in (load_policies, load_shadows):
        try:
            loaded.append(load(folder, fleet))
        except BadInput as error:
            faults.extend(error.faults)
    if faults:
        raise BadInput(faults)
    return fleet, loaded[0], loaded[1]


def run_all(fleet_path: Path, folder: Path) -> tuple[list[str], list[tuple[str, Result]]]:
    """Return the tenants, and what came of each of their cases. Raises BadInput with the faults of all files."""
    fleet, tenants, _ = load_all(fleet_path, folder)
    engine = Engine(fleet, tenants)
    results: list[tuple[str, Result]] = []
    faults: list[Fault] = []
    for tenant in tenants:
        path = folder / f"{tenant}.cases.yaml"
        if path.exists():
            try:
                results += [(tenant, result) for result in check_cases(path, engine)]
            except BadInput as error:
                faults.extend(error.faults)
    if faults:
        raise BadInput(faults)
    return list(tenants), results


def _table(results: list[tuple[str, Result]]) -> Table:
    table = Table()
    for column in ("", "tenant", "case", "decision"):
        table.add_column(column, overflow="fold")
    for tenant, result in results:
        said = "\n".join(result.failures) or summary(result.decision)
        table.add_row("[red]✗[/]" if result.failures else "[green]✓[/]", tenant, escape(result.case.name), escape(said))
    return table
