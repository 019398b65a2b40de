"""The keys that `up` issues: what is missing, and nothing else. A key that is there goes on as it is."""

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from infercast.policies.faults import BadInput
from infercast.policies.fleet import Fleet
from infercast.policies.model import Tier
from infercast.router.bundle import bundle_id, bundle_path, read_bundle, write_bundle
from infercast.router.key_changes import CREDENTIALS, locked, read_credentials, rotate_key
from infercast.router.key_file import KEYS, load_keys, save_keys
from infercast.router.keys import Holder, Key, issue, write_private

ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A key that ought to be there."""

    id: str
    tenant: str
    origin: str | None = None
    holder: Holder = Holder.TENANT


def wanted(fleet: Fleet, tenants: Iterable[str]) -> Iterator[Wanted]:
    """Yield one key for the platform team, and per tenant one, one for each client zone, one for each of its devices."""
    yield Wanted(ADMIN, "", None, Holder.ADMIN)
    for tenant in tenants:
        yield Wanted(tenant, tenant)
        for zone in fleet.zone_by_id:
            yield Wanted(f"{tenant}.{zone}", tenant, zone)
        for site in fleet.sites:
            if site.tier is Tier.DEVICE and site.tenant == tenant:
                yield Wanted(bundle_id(tenant, site.id), tenant, site.id)


def issue_missing(state: Path, fleet: Fleet, tenants: Iterable[str]) -> None:
    """Issue the keys that are missing, and give each device its bundle. Raises BadInput where the file of keys is bad.

    Keys of tenants and zones that are gone stay: they open nothing, and may come back.
    """
    wants = list(wanted(fleet, tenants))
    with locked(state):
        keys = list(load_keys(state / KEYS)) if (state / KEYS).exists() else []
        ids = {key.id for key in keys}
        known = read_credentials(state)
        for want in wants:
            if want.id not in ids:
                new, known[want.id] = issue(
                    want.id, want.tenant, want.origin, holder=want.holder, now_s=int(time.time())
                )
                keys.append(new)
        save_keys(state / KEYS, keys)
        write_private(state / CREDENTIALS, json.dumps(known, indent=1))
    devices = {site.id for site in fleet.sites if site.tier is Tier.DEVICE}
    for want in wants:
        if want.origin in devices and want.id == bundle_id(want.tenant, want.origin or ""):
            _bundle(state, want)


def _bundle(state: Path, device: Wanted) -> None:
    """Give a device its bundle anew: what it knows of its own keys may be older than the file."""
    path = bundle_path(state, device.origin or "")
    secret = _secret(state, path, device.id) or rotate_key(state, device.id)
    write_bundle(path, secret, _entries(state, device.id))


def _secret(state: Path, path: Path, key_id: str) -> str:
    """Return the secret of a device's key where this machine knows it, else nothing."""
    known = read_credentials(state).get(key_id, "")
    if known:
        return known
    try:
        return read_bundle(path).secret
    except BadInput:  # not there, or written by an older version
        return ""


def _entries(state: Path, key_id: str) -> list[Key]:
    return [key for key in load_keys(state / KEYS) if key.id == key_id]
