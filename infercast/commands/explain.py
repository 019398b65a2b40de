"""`explain`: decide a call on paper and show every candidate's verdict, shares and counterfactual."""

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.table import Table

from infercast.policies import kernel
from infercast.policies.counterfactual import least_change
from infercast.policies.engine import Engine, Unknown
from infercast.policies.faults import BadInput, Fault, did_you_mean
from infercast.policies.fleet import Fleet
from infercast.policies.fleet_file import load_fleet
from infercast.policies.model import Decision, Outcome, Request, Rule, Verdict
from infercast.policies.policy import Policy
from infercast.policies.policy_file import load_policies
from infercast.policies.record import as_json, summary
from infercast.policies.snapshot import Snapshot
from infercast.policies.units import PPM, ms, us_from_ms, usd

from .app import FAILED, FLEET, POLICIES, AsJson, FleetPath, PoliciesPath, app, err, out, print_json, refusing

Tenant = Annotated[str, typer.Option("--tenant", help="Whose policy decides.")]
Model = Annotated[str, typer.Option("--model", help="The task to call.")]
Entry = Annotated[
    str | None, typer.Option("--entry", help="The site that receives the call; nearest to --from if left out.")
]
Origin = Annotated[str | None, typer.Option("--from", help="The client zone or device that the call comes from.")]
DataClass = Annotated[str | None, typer.Option("--class", help="Data class; none means every class at once.")]
DataClasses = Annotated[
    list[str] | None, typer.Option("--class", help="Data class; may be repeated. None means every class at once.")
]
At = Annotated[
    str | None,
    typer.Option("--at", help="When the call comes, such as 2026-12-24T22:00Z; left out, every time window holds."),
]
Bytes = Annotated[int, typer.Option("--bytes", help="Payload size.", min=0)]
Deadline = Annotated[
    float, typer.Option("--deadline-ms", help="A deadline tighter than the policy's; 0 for none.", min=0)
]
Down = Annotated[list[str] | None, typer.Option("--down", help="A site to think away as not healthy; may be repeated.")]


@app.command()
def explain(
    tenant: Tenant,
    model: Model = "digits",
    entry: Entry = None,
    origin: Origin = None,
    data_class: DataClasses = None,
    payload_bytes: Bytes = 256,
    deadline_ms: Deadline = 0,
    down: Down = None,
    at: At = None,
    fleet: FleetPath = FLEET,
    policies: PoliciesPath = POLICIES,
    json: AsJson = False,
) -> None:
    """Say where a call would go and why, with no cluster running: an idle fleet with the service times of the cards.

    Each candidate stands with its verdict, the shares of its score, and the least change that would make it win.
    Exit code 1 when no candidate passes.
    """
    with refusing(), err.status("deciding…"):
        world = load_fleet(fleet)
        tenants = load_policies(policies, world)
        start = entry or nearest_entry(world, origin)
        request = Request(
            id="explain", tenant=tenant, model=model, entry=start, origin=origin or start,
            classes=tuple(data_class or ()), payload_bytes=payload_bytes, deadline_us=us_from_ms(deadline_ms), at_s=_seconds(at),
        )  # fmt: skip
        try:
            decision = Engine(world, tenants).explain(request, _snapshot(world, down or []))
        except Unknown as error:
            raise BadInput([Fault("command line", 0, error.field, str(error))]) from error
    changes = {v.deployment: least_change(decision, v, tenants[tenant]) for v in decision.verdicts}
    said = {name: change.said if change else "" for name, change in changes.items()}
    if json:
        record = as_json(decision)
        for verdict in record["verdicts"]:
            verdict["counterfactual"] = said[verdict["deployment"]]
        print_json({**record, "summary": summary(decision)})
    else:
        _show(decision, said, tenants[tenant])
    if decision.outcome is not Outcome.CHOSEN:
        raise typer.Exit(FAILED)


def nearest_entry(fleet: Fleet, origin: str | None) -> str:
    """Return the site that a call from a place would enter at. Raises BadInput for a place nobody declared."""
    places = (*fleet.site_by_id, *fleet.zone_by_id)
    if origin is None or origin not in places:
        message = "give --entry or --from" if origin is None else f"no place is called {origin!r}"
        raise BadInput([Fault("command line", 0, "--from", message, did_you_mean(origin or "", places))])
    ways = [(fleet.network.path(origin, site.id), site.id) for site in fleet.sites]
    return min((path.rtt_us, site) for path, site in ways if path is not None)[1]


def _seconds(at: str | None) -> int:
    """Return seconds since 1970 UTC; 0, a time nobody knows, for None. A time without a zone is UTC's."""
    if at is None:
        return 0
    try:
        given = datetime.fromisoformat(at)
    except ValueError as error:
        fault = Fault("command line", 0, "--at", f"{at!r} is no time", "write it as 2026-12-24T22:00Z")
        raise BadInput([fault]) from error
    return int((given if given.tzinfo else given.replace(tzinfo=UTC)).timestamp())


def _snapshot(fleet: Fleet, down: list[str]) -> Snapshot:
    snapshot = Snapshot.declared(fleet)
    for site in down:
        if site not in fleet.site_by_id:
            fault = Fault(
                "command line", 0, "--down", f"no site is called {site!r}", did_you_mean(site, fleet.site_by_id)
            )
            raise BadInput([fault])
    for index, deployment in enumerate(fleet.deployments):
        if deployment.site in down:
            snapshot.live[index, kernel.L_HEALTHY] = 0
    return snapshot


def _show(decision: Decision, said: dict[str, str], policy: Policy) -> None:
    request = decision.request
    classes = " + ".join(request.classes) or "every class at once (none named)"
    out.print(f"{request.tenant}: {request.model}, {classes}, from {request.origin}, entering at {request.entry}")
    out.print(
        f"policy {decision.policy_digest[:8]}, preference {policy.objective.preference}; score in {decision.score_unit}"
    )
    table = Table()
    for column in ("", "candidate", "verdict", "latency", "price", "accuracy", "score", "of which", "to win"):
        table.add_column(
            column, overflow="fold", justify="right" if column in ("latency", "price", "score") else "left"
        )
    rank = {name: place for place, name in enumerate([decision.chosen, *decision.alternatives])}
    for verdict in sorted(decision.verdicts, key=lambda v: (rank.get(v.deployment, 99), v.deployment)):
        table.add_row(*_row(decision, verdict, said[verdict.deployment]))
    out.print(table)
    out.print(summary(decision), highlight=False)
    if decision.entries:
        out.print(f"may enter at: {', '.join(decision.entries)}")


def _row(decision: Decision, verdict: Verdict, to_win: str) -> list[str]:
    chosen = verdict.deployment == decision.chosen
    why = "[green]chosen[/]" if chosen else "eligible"
    if verdict.rule is not Rule.NONE:
        why = f"[red]{verdict.rule.word}[/]: {verdict.detail}"
    shares = (
        ", ".join(f"{name} {value:,}" for name, value in verdict.shares if value) if verdict.rule is Rule.NONE else ""
    )
    accuracy = f"{verdict.accuracy_ppm / PPM:.4f}" if verdict.accuracy_ppm is not None else "unmeasured"
    reachable = bool(verdict.shares)
    return [
        "→" if chosen else "",
        verdict.deployment,
        "; ".join((why, *verdict.notes)),
        f"{ms(verdict.latency_us):.2f} ms" if reachable else "",
        f"{usd(verdict.price_nusd) * 1e6:.3f} µ$" if reachable else "",
        accuracy,
        f"{verdict.score:,}" if reachable else "",
        shares,
        to_win,
    ]
