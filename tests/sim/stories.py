"""Summaries that look like those of a real scenario: the example fleet, made-up calls, and the same with an edge more."""

from pathlib import Path

import numpy as np

from infercast.policies.fleet import Fleet, Site
from infercast.policies.fleet_file import load_fleet
from infercast.policies.model import Rule
from infercast.sim.model import Calls, Ended, Kind, LimitedBy, Run, World
from infercast.sim.results import summarise
from infercast.sim.summary import Summary
from tests.support import policy_of

ROOT = Path(__file__).resolve().parents[2]
HOUR_US = 3_600_000_000
RULES = (Rule.RESIDENCY_TRANSIT, Rule.PRIVACY_TIER, Rule.DEADLINE_LOAD, Rule.CAPACITY)
ENDINGS = (Ended.REFUSED, Ended.REFUSED, Ended.SATURATED, Ended.SATURATED)
TENANTS = ("annotator", "bank", "hospital", "studio")


def example_fleet() -> Fleet:
    """The fleet that ships with the repository."""
    return load_fleet(ROOT / "cluster.yaml")


def with_warsaw(fleet: Fleet) -> Fleet:
    """The fleet with one edge site more, as Frankfurt's."""
    sites, deployments = list(fleet.sites), list(fleet.deployments)
    like = fleet.site_by_id["fra"].model_dump()
    sites.append(Site(**{**like, "id": "waw", "country": "PL", "lat": 52.17, "lon": 20.97}))
    deployments += [each.model_copy(update={"site": "waw"}) for each in fleet.deployments if each.site == "fra"]
    return fleet.model_copy(update={"sites": tuple(sites), "deployments": tuple(deployments)})


def summary_of(
    fleet: Fleet, seed: int, factor: float = 1.0, n: int = 4_000, tenants: tuple[str, ...] = TENANTS
) -> Summary:
    """A run of `n` made-up calls over two hours; times and prices are multiplied by `factor`."""
    rng = np.random.default_rng(seed)
    origins = ("berlin", "paris", "newyork", "saopaulo", "tokyo", "singapore")
    kinds = tuple(
        Kind(tenant, "digits", origin, ("fra",), deadline_us=40_000 if tenant != "studio" else 0)
        for tenant in tenants
        for origin in origins
    )
    entries = {site.id: index for index, site in enumerate(fleet.sites)}
    near = {"berlin": "fra", "paris": "dub", "newyork": "iad", "saopaulo": "gru", "tokyo": "sin", "singapore": "sin"}
    if "waw" in entries:
        near["berlin"] = "waw"
    kind = rng.integers(0, len(kinds), n)
    calls = Calls(
        kinds,
        np.sort(rng.integers(0, 2 * HOUR_US, n)),
        kind.astype(np.int32),
        *(np.full(n, value, dtype=np.int64) for value in (100, 1_000_000, -1, 0)),
    )
    candidates = fleet.tables.candidates("digits")
    own = [next(c for c in candidates if fleet.deployments[c].site == near[each.origin]) for each in kinds]
    deployment = np.where(rng.random(n) < 0.8, np.array(own)[kind], rng.choice(candidates, n))
    draw = rng.random(n)
    why = rng.integers(0, len(RULES), n)
    ended = np.where(
        draw < 0.03, np.array(ENDINGS)[why], np.where(draw < 0.04, int(Ended.LIMITED), int(Ended.ANSWERED))
    )
    rule = np.where(draw < 0.03, np.array(RULES)[why], np.where(draw < 0.04, int(LimitedBy.CONCURRENT_MAX), 0))
    without = ended != Ended.ANSWERED
    bins, size = 120, len(fleet.deployments)
    waves = 0.5 + 0.4 * np.sin(np.arange(bins) / 15 + np.arange(size)[:, None])
    ready = np.full((size, bins), 60_000_000, dtype=np.int64)
    costs = np.where(without, 0, (60_000 * factor * rng.random(n))).astype(np.int64)
    run = Run(
        World(fleet, {tenant: policy_of(tenant=tenant) for tenant in tenants}, calls, 1_767_225_600, bins=bins),
        ended=ended.astype(np.uint8),
        rule=rule.astype(np.uint8),
        deployment=np.where(without, -1, deployment).astype(np.int32),
        entry=np.array([entries[near[each.origin]] for each in kinds])[kind].astype(np.int32),
        latency_us=(rng.lognormal(9.8, 0.5, n) * factor + 2_000 * (kind % 6)).astype(np.int64),
        wait_us=rng.integers(0, 1000, n),
        cost_nusd=costs,
        egress_nusd=costs // 3,
        attempts=np.where(without, 0, 1).astype(np.uint8),
        hedged=np.zeros(n, dtype=np.bool_),
        span_us=2 * HOUR_US,
        busy_us=(ready * waves * factor * 0.9).astype(np.int64),
        bin_us=2 * HOUR_US // bins,
        replica_us=ready,
    )
    return summarise(run, seed)


def before_and_after(seeds: int = 5) -> tuple[list[Summary], list[Summary]]:
    """The example fleet, and the same with an edge in Warsaw: faster and dearer."""
    fleet = example_fleet()
    more = with_warsaw(fleet)
    return [summary_of(fleet, seed) for seed in range(seeds)], [summary_of(more, seed, 0.8) for seed in range(seeds)]
