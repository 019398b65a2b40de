"""What a tenant's key may be bound to: a tenant with a policy, a place of the fleet, classes of that policy."""

from collections.abc import Iterable, Iterator, Mapping

from infercast.policies.faults import did_you_mean
from infercast.policies.fleet import Fleet
from infercast.policies.policy import Policy


def binding_faults(
    fleet: Fleet, policies: Mapping[str, Policy], tenant: str | None, origin: str | None, classes: Iterable[str]
) -> Iterator[tuple[str, str, str]]:
    """Yield what is wrong with a binding: which of `tenant`, `origin` and `class`, a message and a remedy."""
    if not tenant:
        yield "tenant", "nobody is named", f"known: {', '.join(policies)}"
        return
    if tenant not in policies:
        yield "tenant", f"no tenant is called {tenant!r}", did_you_mean(tenant, policies)
        return
    places = {**fleet.zone_by_id, **fleet.site_by_id}
    if origin is not None and origin not in places:
        yield "origin", f"no zone or site is called {origin!r}", did_you_mean(origin, places)
    for name in classes:
        if name not in policies[tenant].classes:
            yield "class", f"{tenant} has no class {name!r}", did_you_mean(name, policies[tenant].classes)
