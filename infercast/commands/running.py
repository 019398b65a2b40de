"""`up`, `down`, `status`."""

from json import loads as json_of
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.table import Table

from infercast import system
from infercast.first_keys import ADMIN
from infercast.policies.faults import BadInput, Fault
from infercast.policies.fleet_file import load_fleet
from infercast.policies.model import Tier
from infercast.router.bundle import bundle_id
from infercast.router.followed import CERTIFICATE_TOLD, IN_FORCE
from infercast.router.key_changes import read_credentials
from infercast.router.serving.certificate import TlsFiles

from .app import (
    FLEET,
    POLICIES,
    STATE,
    AsJson,
    FleetPath,
    LedgerUrl,
    PoliciesPath,
    StatePath,
    app,
    err,
    out,
    print_json,
    refusing,
)

GrpcPort = Annotated[
    int, typer.Option("--grpc-port", help="Where they are reached by gRPC, on loopback.", min=1, max=65535)
]
Port = Annotated[
    int, typer.Option("--port", help="Where the sites' ingresses are reached, on loopback.", min=1, max=65535)
]

TlsCert = Annotated[
    Path | None,
    typer.Option(
        "--tls-cert",
        help="PEM file of the sites' certificate chain: clients come by HTTPS.",
        envvar="INFERCAST_TLS_CERT",
    ),
]
TlsKey = Annotated[
    Path | None, typer.Option("--tls-key", help="PEM file of its private key.", envvar="INFERCAST_TLS_KEY")
]


@app.command()
def up(
    fleet: FleetPath = FLEET,
    policies: PoliciesPath = POLICIES,
    state: StatePath = STATE,
    port: Port = 8000,
    grpc_port: GrpcPort = 8001,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    ledger: LedgerUrl = "",
) -> None:
    """Start the whole fleet on this machine: one raylet per edge and cloud site, one agent per device site.

    Takes half a minute on two cores. Distances between the sites are emulated. `infercast down` ends it. Keys that were
    issued for this state folder stay; what is missing is issued.
    """
    with refusing():
        running = start_with_progress(fleet, policies, state, port, grpc_port, _tls(tls_cert, tls_key), ledger)
    out.print(f"[green]✓[/] up at {running.url}/SITE/v2 (distances between sites are emulated)", highlight=False)
    grpc = f"127.0.0.1:{running.grpc_port}"
    out.print(f"  gRPC at {grpc}, the site in the metadata: `application: SITE`", highlight=False)
    for site, device_port in running.devices.items():
        out.print(f"  device {site}: http://127.0.0.1:{device_port}/v2", highlight=False)
    out.print(
        f"  keys: {state / 'credentials.json'}; try: infercast call --tenant hospital --class personal --from paris"
    )


def _tls(certificate: Path | None, key: Path | None) -> TlsFiles | None:
    if certificate is not None and key is not None:
        return TlsFiles(certificate, key)
    if certificate is None and key is None:
        return None
    given, missing = ("--tls-cert", "--tls-key") if certificate else ("--tls-key", "--tls-cert")
    raise BadInput([Fault("command line", 0, missing, f"is missing beside {given}", "a certificate needs its key")])


def start_with_progress(
    fleet: FleetPath,
    policies: PoliciesPath,
    state: StatePath,
    port: int,
    grpc_port: int = 0,
    tls: TlsFiles | None = None,
    ledger: str = "",
) -> system.Running:
    """Start a system, saying on standard error what it is at."""
    with err.status("starting…") as status:

        def step(name: str) -> None:
            status.update(f"starting: {name}")
            if not err.is_terminal:
                err.print(f"starting: {name}", highlight=False)

        return system.start(fleet, policies, state, port, step, grpc_port, tls, ledger)


@app.command()
def down(state: StatePath = STATE) -> None:
    """End the running system, and whatever a crash left of one."""
    with err.status("ending…"):
        left = system.stop(state)
    out.print("[green]✓[/] down" if left else "nothing was running")


@app.command()
def status(state: StatePath = STATE, json: AsJson = False) -> None:
    """Show the running system: each site, whether it answers, and what it knows of its deployments."""
    with refusing():
        running = system.find(state)
        fleet = load_fleet(running.fleet)
    told = _in_force(state)
    in_force = told["policies"]
    known = read_credentials(state)
    rows: list[dict[str, object]] = []
    with httpx.Client(timeout=3, verify=running.verify()) as client:
        for site in fleet.sites:
            if site.upstream is not None:  # nothing else calls it: a site of ours says how it stands
                asked = _ask(client, f"{running.url}/{fleet.served[0].id}", "/admin/v1/status", known.get(ADMIN, ""))
                found = _found_upstream(asked, site.id)
            elif site.tier is Tier.DEVICE:
                base = f"http://127.0.0.1:{running.devices[site.id]}"
                asked = _ask(client, base, "/v1/signals", known.get(bundle_id(site.tenant or "", site.id), ""))
                found = _found(asked, asked)
            else:
                asked = _ask(client, f"{running.url}/{site.id}", "/admin/v1/status", known.get(ADMIN, ""))
                found = _found(asked, asked.get("here", {}))
            rows.append({"site": site.id, "tier": str(site.tier), "country": site.country, **found})
    if json:
        facts = {"run": running.run, "url": running.url, "ray": running.ray, "emulated_distances": True}
        print_json({**facts, "sites": rows, **told})
        return
    table = Table(title=f"{running.url}, distances emulated")
    for column in ("site", "tier", "country", "answers", "deployments heard of"):
        table.add_column(column)
    for row in rows:
        answers = "[green]yes[/]" if row["answers"] else "[red]no[/]"
        if row["lags"]:
            answers += ", by older files"
        table.add_row(str(row["site"]), str(row["tier"]), str(row["country"]), answers, str(row["heard"]))
    out.print(table)
    out.print(f"policies of {', '.join(in_force['tenants'])}, version {in_force['version']}", highlight=False)
    if in_force["shadow"]:
        out.print(f"beside them, for comparison only: {', '.join(in_force['shadow'])}", highlight=False)
    if "certificate" in told:
        names, expires_at = told["certificate"]["names"], told["certificate"]["expires_at"]
        out.print(f"certificate for {', '.join(names)}, good until {expires_at}", highlight=False)
    for fault in (fault for what in told.values() for fault in what["refused"]):
        out.print(f"[red]✗[/] the files as they stand now are not in force: {fault}", highlight=False, soft_wrap=True)


def _in_force(state: Path) -> dict[str, Any]:
    """Return which policies, keys and certificate are in force, and why newer files are not."""
    told: dict[str, Any] = {
        "policies": {"version": 0, "tenants": [], "shadow": [], "refused": []},
        "keys": {"digest": "", "refused": []},
    }
    for name, into in ((IN_FORCE, None), (CERTIFICATE_TOLD, "certificate")):
        try:
            said = json_of((state / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        told |= {into: said} if into else said
    return told


def _ask(client: httpx.Client, base: str, path: str, secret: str) -> dict[str, Any]:
    """Return what a place says, with `ready` for whether it takes calls at all."""
    try:
        ready = client.get(f"{base}/v2/health/ready").status_code == 200
        heard = client.get(f"{base}{path}", headers={"authorization": f"Bearer {secret}"})
        said: dict[str, Any] = heard.json() if heard.status_code == 200 else {}
    except (httpx.HTTPError, ValueError):
        return {"ready": False}
    return {**said, "ready": ready}


def _found(asked: dict[str, Any], here: dict[str, Any]) -> dict[str, object]:
    """Return a site's row. It lags while it decides by other policies or keys than the ones in force."""
    lags = any(here[what] != asked[what]["digest"] for what in ("policies", "keys") if what in here)
    heard = sum(1 for signal in here.get("signals", []) if signal["healthy"])
    return {"answers": asked["ready"], "heard": heard, "lags": lags}


def _found_upstream(asked: dict[str, Any], site: str) -> dict[str, object]:
    """Return an upstream's row."""
    signals = asked.get("here", {}).get("signals", [])
    well = [signal["healthy"] for signal in signals if str(signal["deployment"]).endswith(f"@{site}")]
    return {"answers": any(well), "heard": sum(well), "lags": False}
