"""`up`, `down`, `status`."""

from json import loads as json_of
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.table import Table

from infercast import system
from infercast.policies.fleet_file import load_fleet
from infercast.policies.model import Tier

from .app import FLEET, POLICIES, STATE, AsJson, FleetPath, PoliciesPath, StatePath, app, err, out, print_json, refusing

Port = Annotated[
    int, typer.Option("--port", help="Where the sites' ingresses are reached, on loopback.", min=1, max=65535)
]


@app.command()
def up(
    fleet: FleetPath = FLEET, policies: PoliciesPath = POLICIES, state: StatePath = STATE, port: Port = 8000
) -> None:
    """Start the whole fleet on this machine: one raylet per edge and cloud site, one agent per device site.

    Takes half a minute on two cores. Distances between the sites are emulated. `infercast down` ends it.
    """
    with refusing():
        running = start_with_progress(fleet, policies, state, port)
    out.print(f"[green]✓[/] up at {running.url}/SITE/v2 (distances between sites are emulated)", highlight=False)
    for site, device_port in running.devices.items():
        out.print(f"  device {site}: http://127.0.0.1:{device_port}/v2", highlight=False)
    out.print(
        f"  keys: {state / 'credentials.json'}; try: infercast call --tenant hospital --class personal --from paris"
    )


def start_with_progress(fleet: FleetPath, policies: PoliciesPath, state: StatePath, port: int) -> system.Running:
    """Start a system, saying on standard error what it is at."""
    with err.status("starting…") as status:

        def step(name: str) -> None:
            status.update(f"starting: {name}")
            if not err.is_terminal:
                err.print(f"starting: {name}", highlight=False)

        return system.start(fleet, policies, state, port, step)


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
        in_force = _policies(state)
        # The tenants that run, not those of the files: these may be at fault just now.
        secret = system.secret_of(state, next(iter(in_force["tenants"]), ""))
    rows = []
    for site in fleet.sites:
        if site.upstream is not None:
            asked = _ask_of_upstream(f"{running.url}/{fleet.served[0].id}", secret, site.id)
            rows.append({"site": site.id, "tier": str(site.tier), "country": site.country, **asked})
            continue
        base = (
            f"http://127.0.0.1:{running.devices[site.id]}" if site.tier is Tier.DEVICE else f"{running.url}/{site.id}"
        )
        rows.append({"site": site.id, "tier": str(site.tier), "country": site.country, **_ask(base, secret)})
    if json:
        facts = {"run": running.run, "url": running.url, "emulated_distances": True}
        print_json({**facts, "sites": rows, "policies": in_force})
        return
    table = Table(title=f"{running.url}, distances emulated")
    for column in ("site", "tier", "country", "answers", "deployments heard of"):
        table.add_column(column)
    for row in rows:
        answers = "[green]yes[/]" if row["answers"] else "[red]no[/]"
        table.add_row(str(row["site"]), str(row["tier"]), str(row["country"]), answers, str(row["heard"]))
    out.print(table)
    out.print(f"policies of {', '.join(in_force['tenants'])}, version {in_force['version']}", highlight=False)
    if in_force["shadow"]:
        out.print(f"beside them, for comparison only: {', '.join(in_force['shadow'])}", highlight=False)
    for fault in in_force["refused"]:
        out.print(f"[red]✗[/] the files as they stand now are not in force: {fault}", highlight=False, soft_wrap=True)


def _policies(state: Path) -> dict[str, Any]:
    """Return which policies are in force, and why newer files are not."""
    try:
        said: dict[str, Any] = json_of((state / "policies.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {"version": 0, "tenants": [], "shadow": [], "refused": []}
    return said


def _ask(base: str, secret: str) -> dict[str, object]:
    try:
        alive = httpx.get(f"{base}/v2/health/ready", timeout=3).status_code == 200
        signals = _signals(base, secret)
    except httpx.HTTPError:
        return {"answers": False, "heard": 0}
    return {"answers": alive, "heard": sum(1 for signal in signals if signal["healthy"])}


def _ask_of_upstream(base: str, secret: str, site: str) -> dict[str, object]:
    """Return how an upstream stands, as a site of ours sees it: nothing else calls upstreams."""
    try:
        signals = _signals(base, secret)
    except httpx.HTTPError:
        return {"answers": False, "heard": 0}
    at = [signal["healthy"] for signal in signals if str(signal["deployment"]).endswith(f"@{site}")]
    return {"answers": any(at), "heard": sum(at)}


def _signals(base: str, secret: str) -> list[dict[str, Any]]:
    heard = httpx.get(f"{base}/v1/signals", headers={"authorization": f"Bearer {secret}"}, timeout=3)
    signals: list[dict[str, Any]] = heard.json().get("signals", []) if heard.status_code == 200 else []
    return signals
