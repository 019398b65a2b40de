"""`policy`: a tenant's file from the command line: checked, tested against its cases, and its schema for editors."""

from pathlib import Path
from typing import Annotated

import typer

from .app import FAILED, FLEET, POLICIES, AsJson, FleetPath, PoliciesPath, app, err, out, print_json, refusing
from .check import load_all, run_all, show_cases

policy = typer.Typer(
    name="policy", help="Check, test and describe tenants' policy files.", no_args_is_help=True, rich_markup_mode="rich"
)
app.add_typer(policy)

OfBase = Annotated[bool, typer.Option("--base", help="The schema of bases, which have no tenant.")]
Write = Annotated[
    Path | None,
    typer.Option("--write", help="Write both schemas into this folder of policies instead of printing one."),
]


@policy.command("check")
def check_files(fleet: FleetPath = FLEET, policies: PoliciesPath = POLICIES, json: AsJson = False) -> None:
    """Check the fleet, the policies, their bases and shadows. All faults come at once, with file, line and remedy (exit 2).

    Runs no cases; `policy test` does, and `infercast check` does both.
    """
    with refusing(), err.status("checking…"):
        _, tenants, shadows = load_all(fleet, policies)
    if json:
        listed = {name: {"digest": each.digest, "extends": each.extends} for name, each in tenants.items()}
        print_json({"policies": listed, "shadows": sorted(shadows), "faults": 0})
        return
    for name, each in tenants.items():
        above = f", extends {each.extends}" if each.extends else ""
        beside = ", with a shadow" if name in shadows else ""
        counted = f"{len(each.classes)} classes, {len(each.overrides)} overrides, {len(each.claims)} claims"
        out.print(f"  {name}: {counted}{above}{beside}", highlight=False)
    out.print(f"{len(tenants)} policies, no faults", highlight=False)


@policy.command("test")
def run_cases(fleet: FleetPath = FLEET, policies: PoliciesPath = POLICIES, json: AsJson = False) -> None:
    """Run the tenants' cases: what is expected of a call, and why. A case that does not hold exits 1.

    A fault in a file exits 2, before any case is run.
    """
    with refusing(), err.status("deciding…"):
        tenants, results = run_all(fleet, policies)
    if show_cases(policies, tenants, results, json=json):
        raise typer.Exit(FAILED)


@policy.command("schema")
def print_schema(base: OfBase = False, write: Write = None) -> None:
    """Print the JSON Schema of a tenant's file, with which editors complete and check it."""
    from infercast.policies.policy_schema import BASE_FILE, TENANT_FILE, as_text, base_schema, tenant_schema

    if write is None:
        typer.echo(as_text(base_schema() if base else tenant_schema()), nl=False)
        return
    for name, schema in ((TENANT_FILE, tenant_schema()), (BASE_FILE, base_schema())):
        path = write / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(as_text(schema), encoding="utf-8")
        out.print(f"wrote {path}", highlight=False, markup=False)
