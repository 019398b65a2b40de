"""`drain` and `undrain`: a site takes no new calls, ends those it has, and takes calls again."""

import time
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from infercast import system
from infercast.first_keys import ADMIN
from infercast.policies.faults import BadInput, Fault
from infercast.policies.fleet_file import load_fleet
from infercast.router.drains import drain as set_drained
from infercast.router.key_changes import read_credentials

from .app import STATE, StatePath, app, out, refusing

HEARD_S = 10.0
"""How long a site may take to hear that it is drained: its files are looked at once a second."""
POLL_S = 0.1
Site = Annotated[str, typer.Argument(help="The site, as the fleet file names it.")]
Wait = Annotated[float, typer.Option("--wait", help="Wait so many seconds for its calls to end.", min=0)]


@app.command()
def drain(site: Site, state: StatePath = STATE, wait: Wait = 0.0) -> None:
    """Let a site take no new calls, its own or others', and end those it has: before its machine is worked on.

    It stays so until `infercast undrain SITE`, also over restarts. Exit code 1: calls are still under way after --wait.
    """
    with refusing():
        running, changed = _set(state, site, on=True)
        left = _under_way(running, state, site, wait)
    out.print(f"[green]✓[/] {site} {'is' if changed else 'was'} drained: it takes no new calls", highlight=False)
    if left:
        out.print(f"  {left} calls are still under way there", highlight=False)
        raise typer.Exit(1 if wait else 0)


@app.command()
def undrain(site: Site, state: StatePath = STATE) -> None:
    """Let a site take calls again."""
    with refusing():
        _, changed = _set(state, site, on=False)
    out.print(f"[green]✓[/] {site} takes calls{' again' if changed else ''}", highlight=False)


def _set(state: Path, site: str, *, on: bool) -> tuple[system.Running, bool]:
    running = system.find(state)
    return running, set_drained(state, load_fleet(Path(running.fleet)), site, on=on)


def _under_way(running: system.Running, state: Path, site: str, wait_s: float) -> int:
    """Wait until a site has heard that it is drained, and so long for its calls to end; return how many have not.

    An upstream has no calls of its own: it is called by others. Raises BadInput where the site does not hear of it.
    """
    if site not in {served.id for served in load_fleet(Path(running.fleet)).served}:
        return 0
    secret = read_credentials(state).get(ADMIN, "")
    until = time.monotonic() + max(HEARD_S, wait_s)
    end = time.monotonic() + wait_s
    with httpx.Client(timeout=3, verify=running.verify()) as client:
        while True:
            here = _here(client, f"{running.url}/{site}/admin/v1/status", secret)
            if here.get("drained") and (not here["under_way"] or time.monotonic() > end):
                return int(here["under_way"])
            if time.monotonic() > until:
                said = "did not say that it is drained: the file is written, and it will be once it hears of it"
                raise BadInput([Fault(site, 0, "", said, "`infercast status` shows whether it lives")])
            time.sleep(POLL_S)


def _here(client: httpx.Client, url: str, secret: str) -> dict[str, Any]:
    try:
        told = client.get(url, headers={"authorization": f"Bearer {secret}"})
        said: dict[str, Any] = told.json().get("here", {}) if told.status_code == 200 else {}
    except (httpx.HTTPError, ValueError):
        return {}
    return said
