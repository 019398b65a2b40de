"""Worlds for timing the simulator: the benches' fleets with calls, at a load that is told."""

from dataclasses import dataclass, replace
from itertools import islice
from random import Random

import numpy as np
import numpy.typing as npt

from bench.worlds import CLASS_NAMES, ENTRY, Size, flat_world, fleet_of, policies_of
from infercast.policies.engine import Engine
from infercast.policies.fleet import Fleet
from infercast.policies.model import Outcome, Request
from infercast.policies.parts import Cache, Hedge, Limits
from infercast.policies.policy import Policy
from infercast.policies.snapshot import Snapshot
from infercast.sim.model import NEVER_EQUAL, WORK_USUAL_PPM, Calls, Kind, Scaling, World
from infercast.sim.shapes import luck_of

Ints = npt.NDArray[np.int64]
TENANTS = 10
LOAD = 0.3
"""Calls come so fast that they would use this share of all servers if they were spread by speed."""
MARGIN_USD = 0.00001
ASKED_AGAIN = 1000
"""So many different questions are asked again and again."""
STARTS_AT_S = 1_800_000_000
KINDS_EACH = 6
DRAWS_MAX = 500


@dataclass(frozen=True)
class Features:
    """What is in use in a world beside what cannot be left out."""

    margins: bool = False
    learned: bool = False
    jitter: bool = True
    load: float = LOAD
    behaviours: bool = False
    """Limits that nobody reaches, a cache that one call in ten finds its answer in, hedges, and scaling."""

    def words(self) -> str:
        """Name them."""
        return ", ".join(
            [
                "estimates learned" if self.learned else "estimates declared",
                "round trips vary" if self.jitter else "round trips do not vary",
                *(["near-ties share calls"] if self.margins else []),
                *(["limits, cache, hedges, scaling"] if self.behaviours else []),
                *([f"load {self.load:.0%}"] if self.load != LOAD else []),
            ]
        )


HEADLINE = Features()
CALM = Features(load=0.02)
"""Few calls wait: the best candidates are free, and few others have to be looked at."""
OTHERS = (
    Features(jitter=False),
    Features(margins=True),
    Features(learned=True),
    Features(behaviours=True),
    Features(margins=True, learned=True, behaviours=True),
)


def many_candidates(candidates: int, calls: int, features: Features, seed: int = 1) -> World:
    """Return a world in which each call has so many candidates, that no rule of the files vetoes.

    Ten tenants of ten policies call from four zones with one class or all, and enter at one site.
    """
    flat = flat_world(candidates, TENANTS, requests=1)
    fleet = flat.fleet
    kinds = tuple(
        Kind(tenant, "m00", zone.id, (ENTRY,), classes)
        for tenant in flat.policies
        for zone in fleet.zones
        for classes in ((), ("personal",))
    )
    made = calls_of(fleet, kinds, calls, seed, features.load)
    if features.behaviours:
        asked = np.random.default_rng(seed).integers(0, 10 * calls, calls)
        made = replace(made, content=np.where(asked < calls, asked % ASKED_AGAIN, NEVER_EQUAL))
    return World(
        fleet,
        {name: _behaving(policy, features) for name, policy in flat.policies.items()},
        made,
        starts_at_s=STARTS_AT_S if features.behaviours else 0,
        scaling={each.id: _scaling(each.replicas) for each in fleet.deployments} if features.behaviours else {},
        estimates="learned" if features.learned else "declared",
        jitter=features.jitter,
    )


def _behaving(policy: Policy, features: Features) -> Policy:
    behaviour: dict[str, object] = {"spread_margin_usd": MARGIN_USD if features.margins else 0.0}
    more: dict[str, object] = {}
    if features.behaviours:
        behaviour |= {"hedge": Hedge(), "cache": Cache(ttl_s=3600, scope="tenant")}
        more = {"limits": Limits(requests_per_minute=10**9, concurrent_max=10**9, budget_usd_per_day=1e9)}
    return policy.model_copy(update={"behaviour": policy.behaviour.model_copy(update=behaviour), **more})


def _scaling(replicas: int) -> Scaling:
    return Scaling(replicas_min=replicas, replicas_max=2 * replicas)


def continents(sites: int, tenants: int, calls: int, seed: int = 1) -> World:
    """Return a world of mixed sites, one model and a variant of it at each, whose calls enter near their callers.

    Fifty policies of four classes. Each tenant has six kinds of calls, for which the files leave a candidate: of a zone
    and a class, entering at the site nearest to the zone or at ENTRY. Estimates are learned and round trips vary.
    """
    size = Size(sites=sites, models=1, variants=1, zones=sites, tenants=tenants, policies=50)
    fleet, policies, dice = fleet_of(size), policies_of(size), Random(seed)
    engine, idle = Engine(fleet, policies), Snapshot.declared(fleet)
    near = {zone.id: _nearest(fleet, zone.id) for zone in fleet.zones}
    kinds = []
    for tenant in policies:
        drawn = ((dice.choice(fleet.zones).id, dice.choice(CLASS_NAMES)) for _ in range(DRAWS_MAX))
        found = (
            Kind(tenant, "m00", zone, (entry,), (name,))
            for zone, name in drawn
            for entry in (near[zone], ENTRY)
            if engine.choose(Request("r", tenant, "m00", entry, zone, (name,)), idle).outcome is Outcome.CHOSEN
        )
        kinds += list(islice(found, KINDS_EACH))
    return World(fleet, policies, calls_of(fleet, tuple(kinds), calls, seed))


def _nearest(fleet: Fleet, zone: str) -> str:
    """Return the site of the least round trip among those that a zone has a link to."""
    linked = [(link.rtt_ms, {link.from_, link.to} - {zone}) for link in fleet.links if zone in (link.from_, link.to)]
    return min((rtt_ms, name) for rtt_ms, names in linked for name in names)[1]


def calls_of(fleet: Fleet, kinds: tuple[Kind, ...], calls: int, seed: int, load: float = LOAD) -> Calls:
    """Return Poisson arrivals at a load, of all kinds alike, with payloads between 100 bytes and 4 kB."""
    rng = np.random.default_rng(seed)
    gap_us = 1 / (load * served_per_us(fleet).sum())
    return Calls(
        kinds=kinds,
        at_us=np.cumsum(rng.exponential(gap_us, calls)).astype(np.int64),
        kind=rng.integers(0, len(kinds), calls, dtype=np.int32),
        payload_bytes=rng.integers(100, 4_000, calls),
        work_ppm=np.full(calls, WORK_USUAL_PPM, dtype=np.int64),
        content=np.full(calls, NEVER_EQUAL, dtype=np.int64),
        luck=luck_of(seed, calls),
    )


def servers_of(fleet: Fleet) -> Ints:
    """Return how many calls each deployment serves at once, int64[deployments]."""
    return np.array([each.replicas * each.concurrency for each in fleet.deployments], dtype=np.int64)


def served_per_us(fleet: Fleet) -> npt.NDArray[np.float64]:
    """Return how many calls a microsecond each deployment can serve, by its declared median."""
    return servers_of(fleet) / fleet.tables.priors_us[:, 0]


def part_of(world: World, calls: int) -> World:
    """Return the world with its first calls only."""
    made = world.calls
    some = {
        name: getattr(made, name)[:calls].copy()
        for name in ("at_us", "kind", "payload_bytes", "work_ppm", "content", "luck")
    }
    return replace(world, calls=replace(made, **some))
