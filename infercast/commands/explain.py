"""`explain`: decide a call on paper and show every candidate's verdict, shares and counterfactual."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from infercast.policies import kernel
from infercast.policies.counterfactual import least_change
from infercast.policies.engine import Engine, Unknown
from infercast.policies.faults import BadInput, Fault, did_you_mean
from infercast.policies.fleet import Fleet
from infercast.policies.fleet_file import load_fleet
from infercast.policies.model import PAYLOAD_BYTES_MAX, Decision, Outcome, Request, Rule, Verdict
from infercast.policies.policy import Terms
from infercast.policies.policy_file import load_policies
from infercast.policies.record import as_json, summary
from infercast.policies.snapshot import Snapshot
from infercast.policies.units import LATENCY_MAX_US, PPM, deadline_us, ms, usd

from .app import (
    FAILED,
    FLEET,
    POLICIES,
    STATE,
    AsJson,
    FleetPath,
    PoliciesPath,
    StatePath,
    app,
    err,
    out,
    print_json,
    refusing,
)

Tenant = Annotated[str, typer.Option("--tenant", help="Whose policy decides.")]
MaybeTenant = Annotated[str | None, typer.Option("--tenant", help="Whose policy decides.")]
Model = Annotated[str, typer.Option("--model", help="The task to call.")]
Entry = Annotated[
    str | None, typer.Option("--entry", help="The site that receives the call; nearest to --from if left out.")
]
Origin = Annotated[str | None, typer.Option("--from", help="The client zone or device that the call comes from.")]
DataClass = Annotated[str | None, typer.Option("--class", help="Data class; none means every class at once.")]
DataClasses = Annotated[
    list[str] | None, typer.Option("--class", help="Data class; may be repeated. None means every class at once.")
]
Bytes = Annotated[int, typer.Option("--bytes", help="Payload size.", min=0, max=PAYLOAD_BYTES_MAX)]
Deadline = Annotated[
    float,
    typer.Option(
        "--deadline-ms", help="A deadline tighter than the policy's; 0 for none.", min=0, max=ms(LATENCY_MAX_US)
    ),
]
Down = Annotated[list[str] | None, typer.Option("--down", help="A site to think away as not healthy; may be repeated.")]


Logged = Annotated[
    str | None, typer.Option("--decision", help="Decide again what stands in the log under this id; needs no --tenant.")
]
At = Annotated[
    datetime | None, typer.Option("--at", help="When the call comes, UTC; left out, every time window counts as open.")
]


@app.command()
def explain(
    tenant: MaybeTenant = None,
    model: Model = "digits",
    entry: Entry = None,
    origin: Origin = None,
    data_class: DataClasses = None,
    payload_bytes: Bytes = 256,
    deadline_ms: Deadline = 0,
    down: Down = None,
    at: At = None,
    decision_id: Logged = None,
    fleet: FleetPath = FLEET,
    policies: PoliciesPath = POLICIES,
    state: StatePath = STATE,
    json: AsJson = False,
) -> None:
    """Say where a call would go and why, with no cluster running: an idle fleet with the service times of the cards.

    Each candidate stands with its verdict, the shares of its score, and the least change that would make it win.
    With --decision it decides again what a running system decided, on the signals and the files of that moment, and
    says whether the same comes out. Exit code 1 when no candidate passes, or when something else comes out.
    """
    if decision_id is not None:
        _again(state, decision_id, json)
        return
    with refusing(), err.status("deciding…"):
        if tenant is None:
            raise BadInput([Fault("command line", 0, "--tenant", "nobody is named", "give --tenant, or --decision")])
        world = load_fleet(fleet)
        tenants = load_policies(policies, world)
        start = entry or nearest_entry(world, origin)
        request = Request(
            id="explain", tenant=tenant, model=model, entry=start, origin=origin or start,
            classes=tuple(data_class or ()), payload_bytes=payload_bytes, deadline_us=deadline_us(deadline_ms),
            at_s=int(at.replace(tzinfo=UTC).timestamp()) if at else 0,
        )  # fmt: skip
        try:
            engine = Engine(world, tenants)
            decision = engine.explain(request, _snapshot(world, down or []))
            terms = engine.compiled(request).terms
        except Unknown as error:
            raise BadInput([Fault("command line", 0, error.field, str(error))]) from error
    _say(decision, terms, json, {})
    if decision.outcome is not Outcome.CHOSEN:
        raise typer.Exit(FAILED)


def _again(state: Path, decision_id: str, json: bool) -> None:
    """Decide a logged decision again, and say whether the same comes out."""
    from infercast.replay import redecide

    with refusing(), err.status("deciding again…"):
        found = redecide(state, decision_id)
    _say(found.decision, found.terms, json, {"differs": list(found.differs)})
    if not json:
        same = "[green]✓[/] decided again, with the same result"
        out.print("\n".join(f"[red]✗[/] {escape(line)}" for line in found.differs) or same, highlight=False)
    if found.differs:
        raise typer.Exit(FAILED)


def _say(decision: Decision, terms: Terms, json: bool, more: dict[str, Any]) -> None:
    changes = {v.deployment: least_change(decision, v, terms) for v in decision.verdicts}
    said = {name: change.said if change else "" for name, change in changes.items()}
    if json:
        record = as_json(decision)
        for verdict in record["verdicts"]:
            verdict["counterfactual"] = said[verdict["deployment"]]
        print_json({**record, "summary": summary(decision), **more})
    else:
        _show(decision, said)


def nearest_entry(fleet: Fleet, origin: str | None) -> str:
    """Return the site that a call from a place would enter at. Raises BadInput for a place nobody declared."""
    places = (*fleet.site_by_id, *fleet.zone_by_id)
    if origin is None or origin not in places:
        message = "give --entry or --from" if origin is None else f"no place is called {origin!r}"
        raise BadInput([Fault("command line", 0, "--from", message, did_you_mean(origin or "", places))])
    ways = [(fleet.network.path(origin, site.id), site.id) for site in fleet.sites]
    near = min(((path.rtt_us, site) for path, site in ways if path is not None), default=None)
    if near is None:
        message = f"no link leads from {origin} to any site"
        raise BadInput([Fault("command line", 0, "--from", message, "declare one in the fleet file")])
    return near[1]


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
    snapshot.refresh()
    return snapshot


def _show(decision: Decision, said: dict[str, str]) -> None:
    request = decision.request
    classes = " + ".join(request.classes) or "every class at once (none named)"
    out.print(f"{request.tenant}: {request.model}, {classes}, from {request.origin}, entering at {request.entry}")
    out.print(f"policy {decision.policy_digest[:8]}, preference {decision.preference}; score in {decision.score_unit}")
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
