"""`keys`: who may call: listed, issued, rotated and revoked. A running system follows within a few seconds."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from infercast import system
from infercast.policies.faults import BadInput, Fault
from infercast.policies.fleet import Fleet
from infercast.policies.fleet_file import load_fleet
from infercast.policies.policy_file import load_policies
from infercast.router.key_binding import binding_faults
from infercast.router.key_changes import free_id, issue_key, revoke_key, rotate_key
from infercast.router.key_file import KEYS, load_keys
from infercast.router.key_listing import listing
from infercast.router.keys import Holder
from infercast.sim.durations import microseconds

from .app import FLEET, POLICIES, STATE, AsJson, FleetPath, PoliciesPath, StatePath, app, err, out, print_json, refusing

keys_app = typer.Typer(
    name="keys", help="Keys of tenants and of the platform team: list, issue, rotate, revoke.", no_args_is_help=True
)
app.add_typer(keys_app)

Id = Annotated[str, typer.Argument(help="The key's id, as `infercast keys list` shows it.")]
NewId = Annotated[
    str | None,
    typer.Option(
        "--id", help="An id for it; if left out, made of tenant and origin, and a number where that is taken."
    ),
]
Tenant = Annotated[str | None, typer.Option("--tenant", help="Whose calls it opens.")]
Admin = Annotated[bool, typer.Option("--admin", help="A key of the platform team's: /admin, and no inference.")]
Origin = Annotated[
    str | None,
    typer.Option("--from", help="Client zone or device its calls come from; the site they enter at if left out."),
]
Classes = Annotated[
    list[str] | None, typer.Option("--class", help="A data class that binds all of its calls; may be repeated.")
]
Expires = Annotated[str | None, typer.Option("--expires", help="How long it is good: 90d, 12h; for ever if left out.")]
Grace = Annotated[str, typer.Option("--grace", help="How long the old secret stays good: 10m, 1d, 0s.")]
OPTIONS = {"tenant": "--tenant", "origin": "--from", "class": "--class"}


@keys_app.command("list")
def list_keys(state: StatePath = STATE, json: AsJson = False) -> None:
    """Show all keys: whose they are, what they are bound to, until when they are good. Never a secret."""
    with refusing():
        rows = listing(load_keys(state / KEYS), time.time())
    if json:
        print_json({"keys": rows})
        return
    table = Table()
    for column in ("id", "holder", "tenant", "origin", "classes", "standing", "expires", "old secret until"):
        table.add_column(column, no_wrap=column == "id")
    for row in rows:
        standing = "[green]valid[/]" if row["standing"] == "valid" else f"[red]{row['standing']}[/]"
        told = (row["expires_at"] or "", row["old_until"] or "")
        bound = (row["tenant"] or "", row["origin"] or "", ", ".join(row["classes"]))
        table.add_row(row["id"], row["holder"], *bound, standing, *told)
    out.print(table)


@keys_app.command("issue")
def issue(
    tenant: Tenant = None,
    admin: Admin = False,
    origin: Origin = None,
    data_class: Classes = None,
    expires: Expires = None,
    key_id: NewId = None,
    fleet: FleetPath = FLEET,
    policies: PoliciesPath = POLICIES,
    state: StatePath = STATE,
    json: AsJson = False,
) -> None:
    """Issue a key and print its secret, once: it is kept nowhere.

    Tenant, origin and classes are looked up in the files that the running system uses, else in --fleet and --policies.
    """
    with refusing():
        classes = data_class or []
        if admin:
            _no_binding(tenant, origin, classes)
        else:
            _known(state, fleet, policies, tenant, origin, classes)
        name = key_id or free_id(state, "admin" if admin else f"{tenant}.{origin}" if origin else str(tenant))
        lifetime_s = None if expires is None else _seconds("--expires", expires)
        holder = Holder.ADMIN if admin else Holder.TENANT
        secret = issue_key(state, name, tenant or "", origin, classes, holder, lifetime_s)
    _show(name, secret, "issued", json)


@keys_app.command("rotate")
def rotate(key_id: Id, grace: Grace = "10m", state: StatePath = STATE, json: AsJson = False) -> None:
    """Give a key a new secret and print it, once. The old one stays good for a while, so that no call is lost."""
    with refusing():
        secret = rotate_key(state, key_id, _seconds("--grace", grace))
    _show(key_id, secret, f"rotated; the old secret is good for another {grace}", json)


@keys_app.command("revoke")
def revoke(key_id: Id, state: StatePath = STATE, json: AsJson = False) -> None:
    """End a key with all of its secrets. Running sites refuse it within a few seconds."""
    with refusing():
        revoke_key(state, key_id)
    if json:
        print_json({"id": key_id, "standing": "revoked"})
    else:
        out.print(f"[green]✓[/] {key_id} revoked", highlight=False)


def _show(key_id: str, secret: str, what: str, json: bool) -> None:
    if json:
        print_json({"id": key_id, "secret": secret})
        return
    err.print(f"[green]✓[/] {key_id} {what}. Its secret, shown this once:", highlight=False)
    typer.echo(secret)


def _known(
    state: Path, fleet_path: Path, policies_path: Path, tenant: str | None, origin: str | None, classes: list[str]
) -> None:
    """Raise BadInput unless fleet and policies know what the key is to be bound to."""
    fleet, policies = _files(state, fleet_path, policies_path)
    faults = binding_faults(fleet, policies, tenant, origin, classes)
    said = [Fault("command line", 0, OPTIONS[what], message, remedy) for what, message, remedy in faults]
    if said:
        raise BadInput(said)


def _files(state: Path, fleet_path: Path, policies_path: Path) -> tuple[Fleet, dict[str, Any]]:
    try:
        running = system.find(state)
        fleet_path, policies_path = Path(running.fleet), Path(running.policies)
    except system.NotRunning:
        pass
    fleet = load_fleet(fleet_path)
    return fleet, load_policies(policies_path, fleet)


def _no_binding(tenant: str | None, origin: str | None, classes: list[str]) -> None:
    if tenant or origin or classes:
        raise _bad("--admin", "an admin's key is bound to no tenant, origin or class", "leave the others out")


def _seconds(option: str, text: str) -> int:
    try:
        return microseconds(text) // 1_000_000
    except ValueError as error:
        raise _bad(option, f"{text!r}: {error}", "") from error


def _bad(option: str, message: str, remedy: str) -> BadInput:
    return BadInput([Fault("command line", 0, option, message, remedy)])
