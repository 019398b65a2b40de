"""`policy verify`: prove what the tenants' files claim over all requests, or show a call that breaks it."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from infercast.policies.claims import Proof, prove
from infercast.policies.claims_said import claim_said, proof_json, proof_said
from infercast.policies.documents import read_document
from infercast.policies.engine import Engine
from infercast.policies.faults import BadInput, Fault, did_you_mean
from infercast.policies.fleet_file import load_fleet
from infercast.policies.policy import Policy
from infercast.policies.policy_file import load_policies

from .app import FAILED, FLEET, POLICIES, AsJson, FleetPath, PoliciesPath, err, out, print_json, refusing
from .policy import policy as commands

OneTenant = Annotated[str | None, typer.Option("--tenant", help="Only this tenant's claims.")]


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a claim, and where it stands."""

    tenant: str
    place: str
    proof: Proof


@commands.command("verify")
def verify(
    tenant: OneTenant = None, fleet: FleetPath = FLEET, policies: PoliciesPath = POLICIES, json: AsJson = False
) -> None:
    """Prove the tenants' claims over all requests: any payload, deadline, time, load, health and latency.

    A claim that is not proved is shown with a call that breaks it, and exits 1; a fault in a file exits 2.
    """
    with refusing(), err.status("proving…"):
        results, silent = prove_all(fleet, policies, tenant)
    failed = sum(1 for result in results if not result.proof.holds)
    options = _options(fleet, policies)
    if json:
        print_json({"claims": [_json(result, options) for result in results], "failed": failed})
    else:
        out.print(_table(results))
        for result in results:
            _show(result, options)
        for name in silent:
            out.print(f"  {name}: no claims (write `claims:` in {policies / name}.yaml)", highlight=False, markup=False)
        out.print(f"{len(results) - failed} claims proved, {failed} not", highlight=False)
    if failed:
        raise typer.Exit(FAILED)


def prove_all(fleet_path: Path, folder: Path, tenant: str | None = None) -> tuple[list[Result], list[str]]:
    """Return what came of each claim, and the tenants that claim nothing. Raises BadInput for faults of all files."""
    fleet = load_fleet(fleet_path)
    tenants = load_policies(folder, fleet)
    if tenant is not None and tenant not in tenants:
        remedy = did_you_mean(tenant, tenants)
        raise BadInput([Fault("command line", 0, "--tenant", f"no tenant is called {tenant!r}", remedy)])
    engine = Engine(fleet, tenants)
    results = []
    for name, policy in tenants.items():
        if tenant in (None, name):
            places = places_of_claims(folder / f"{name}.yaml", policy)
            proofs = (prove(claim, name, engine) for claim in policy.claims)
            results += [Result(name, place, proof) for place, proof in zip(places, proofs, strict=True)]
    silent = [name for name, policy in tenants.items() if tenant in (None, name) and not policy.claims]
    return results, silent


def places_of_claims(path: Path, policy: Policy) -> list[str]:
    """Return FILE:LINE of each claim. Those of the bases come first, the topmost base's before all."""
    found: list[str] = []
    while True:
        document = read_document(path)
        value: dict[str, Any] = document.value
        own = [f"{path}:{document.line_of(('claims', index))}" for index in range(len(value.get("claims") or ()))]
        found = own + found
        if "extends" not in value or len(found) >= len(policy.claims):
            return found
        path = Path(os.path.normpath(path.parent / value["extends"]))


def _options(fleet: Path, policies: Path) -> str:
    """Return what `explain` must be told, so that it reads the same files."""
    said = f" --fleet {fleet}" if fleet != FLEET else ""
    return said + (f" --policies {policies}" if policies != POLICIES else "")


def _json(result: Result, options: str) -> dict[str, Any]:
    told = proof_json(result.proof)
    if told["counterexample"] is not None:
        told["counterexample"]["command"] += options
    return {"tenant": result.tenant, "place": result.place, **told}


def _table(results: list[Result]) -> Table:
    table = Table()
    for column in ("", "tenant", "claim", "came of it", "stands in"):
        table.add_column(column, overflow="fold")
    for result in results:
        proof = result.proof
        came = proof_said(proof).split("\n", maxsplit=1)[0]
        mark = "[green]✓[/]" if proof.holds else "[red]✗[/]"
        came = came if proof.holds else f"{proof.answer}: {came}"
        table.add_row(mark, result.tenant, claim_said(proof.claim), came, escape(result.place))
    return table


def _show(result: Result, options: str) -> None:
    """Show the call that breaks a claim, as the engine decides it, and the command line that shows it whole."""
    proof = result.proof
    if proof.holds:
        return
    said = f": {proof.claim.description}" if proof.claim.description else ""
    out.print(f"[red]✗[/] {escape(result.place + said)}", highlight=False, soft_wrap=True)
    for line in proof_said(proof).split("\n"):
        shown = line + options if line.startswith("infercast explain") else line
        out.print(f"  {shown}", highlight=False, soft_wrap=True, markup=False)
