"""Random small worlds to run: fleet and policies as the laws' are, with traffic, bad weather, and all that a run can do.

Times come from small pools too, so that things often happen in the same microsecond: the order of events is part of what
two runs must agree on. `FEATURES` can be left out by name; the rest of the world stays as it is.
"""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from infercast.policies.fleet import Fleet
from infercast.policies.policy import Policy
from infercast.sim.model import NEVER_EQUAL, Calls, Disturbance, Kind, Scaling, Truth, World
from infercast.sim.shapes import luck_of
from tests.laws.worlds import CLASSES, MONDAY_S, SEEDS, Dice, Raw, fleet_from, policy_from
from tests.support import TRUSTED

FEATURES = (
    "fallbacks",
    "disturbances",
    "jitter",
    "truth",
    "learning",
    "batching",
    "priorities",
    "limits",
    "cache",
    "hedges",
    "scaling",
    "energy",
    "windows",
)
S = 1_000_000
ARRAYS = (
    "ended",
    "rule",
    "deployment",
    "entry",
    "latency_us",
    "wait_us",
    "cost_nusd",
    "egress_nusd",
    "attempts",
    "hedged",
    "busy_us",
    "replica_us",
)
"""The arrays of a run."""


def world_of(seed: int, features: Collection[str] = FEATURES, calls: int | None = None) -> World:
    """Return a world of 2 to 6 sites, 1 or 2 models, 2 to 4 tenants and 50 to 400 calls in up to twenty seconds."""
    dice = Dice(seed)
    fleet = _fleet(Dice(dice.randint(0, 2**62)), features)
    tenants = [f"t{number}" for number in range(dice.randint(2, 4))]
    policies = {tenant: _policy(Dice(dice.randint(0, 2**62)), tenant, features) for tenant in tenants}
    whole = World(
        fleet=fleet,
        policies=policies,
        calls=_calls(Dice(dice.randint(0, 2**62)), fleet, tenants, features, calls),
        starts_at_s=dice.of(0, MONDAY_S + 86_395, MONDAY_S + dice.randint(0, 7 * 86_400)),
        disturbances=tuple(_disturbance(dice, fleet) for _ in range(dice.of(0, 1, 2, 3))),
        scaling={name: _scaling(dice) for name in _names(dice, fleet)},
        truth={name: _truth(dice) for name in _names(dice, fleet)},
        batch_marginal={card.variant: dice.of(0.0, 0.1, 0.333333, 1.0) for card in fleet.deployments[:2]},
        watts={site.id: dice.of(0.0, 12.5, 300.0) for site in fleet.sites[:3]},
        estimates=dice.of("learned", "learned", "declared"),
        jitter=dice.of(True, True, False),
        exchange_us=dice.of(100_000, 250_000, 250_000, 1_000_000),
        bins=dice.of(1, 7, 240),
        surprises=_surprises(Dice(seed + 1), fleet),
    )
    return _without(whole, features)


def _surprises(dice: Dice, fleet: Fleet) -> dict[tuple[str, str], tuple[int, int, int, int]]:
    """What some entries had learned of some deployments before."""
    found = {}
    for site in fleet.sites:
        for deployment in fleet.deployments:
            if dice.random() < 0.2:
                p50, p90, p95, p99 = sorted(dice.of(0, 300, 800, 1_000, 1_700, 4_000, 120_000) for _ in range(4))
                found[(site.id, deployment.id)] = (p50, p90, p95, p99)
    return found


def _without(world: World, features: Collection[str]) -> World:
    neutral: dict[str, Raw] = {
        "disturbances": {"disturbances": ()},
        "scaling": {"scaling": {}},
        "truth": {"truth": {}},
        "batching": {"batch_marginal": {}},
        "energy": {"watts": {}},
        "learning": {"estimates": "declared"},
        "jitter": {"jitter": False},
        "windows": {"starts_at_s": 0},
    }
    for name, parts in neutral.items():
        if name not in features:
            world = replace(world, **parts)
    return world


def _fleet(dice: Dice, features: Collection[str]) -> Fleet:
    raw = fleet_from(dice.randint(0, 2**62))
    for site in raw["sites"][1:]:
        site["tier"] = dice.of("edge", "edge", "cloud", "cloud", site["tier"])
    for site in raw["sites"]:
        if dice.of(True, True, True, False):
            site.update(country="DE", operator="acme", trust=TRUSTED)
    variants = [variant["id"] for model in raw["models"] for variant in model["variants"]]
    standing = {(card["variant"], card["site"]) for card in raw["deployments"]}
    for variant in variants:
        site = dice.of(*raw["sites"])["id"]
        if (variant, site) not in standing:
            raw["deployments"].append({"variant": variant, "site": site, "hosted": "own"})
    for card in raw["deployments"]:
        batch_max = dice.of(1, 1, 2, 8)
        card["batch_max"] = batch_max if "batching" in features else 1
        card["queue_max"] = dice.of(2, 8, 64, 64)
    for link in raw["links"]:
        link["bandwidth_mbps"] = dice.of(10, 100, 10_000)
    for model in raw["models"]:
        model["response_bytes"] = dice.of(0, 1_024, 100_000)
    raw["call_overhead_ms"] = dice.of(0.0, 0.3)
    return Fleet.model_validate(raw)


def _policy(dice: Dice, tenant: str, features: Collection[str]) -> Policy:
    raw = policy_from(dice.randint(0, 2**62))
    raw["tenant"] = tenant
    if dice.of(True, True, False):  # else most calls would be refused, and nothing happen
        open_to_all: Raw = {"deadline_ms": dice.of(None, None, 40.0, 400.0)}
        raw.update(always=open_to_all, classes={name: {} for name in CLASSES})
        raw["overrides"] = [each for each in raw["overrides"] if each["objective"]]
    hedge = dice.of(None, {"after_quantile": dice.of("p50", "p90", "p95"), "budget_share": dice.of(0.05, 0.5, 1.0)})
    cache = dice.of(None, None, {"ttl_s": dice.of(1, 3), "scope": dice.of("key", "tenant")})
    limits = dice.of(
        *[{}] * 8,
        {"requests_per_minute": dice.of(0, 40, 80), "tokens_per_minute": 1},
        {"concurrent_max": dice.of(1, 3, 10)},
        {"budget_usd_per_day": dice.of(1e-6, 0.0001, 0.001), "budget_usd_per_month": dice.of(None, 0.0001)},
        {"budget_usd_per_month": dice.of(0.0, 1e-6, 0.0001, 0.001), "concurrent_max": 20},
    )
    raw["behaviour"]["hedge"] = hedge if "hedges" in features else None
    raw["behaviour"]["cache"] = cache if "cache" in features else None
    raw["limits"] = limits if "limits" in features else {}
    if "fallbacks" not in features:
        raw["behaviour"]["fallbacks_max"] = 0
    if "windows" not in features:
        raw["overrides"] = []
    return Policy.model_validate(raw)


def _kind(dice: Dice, fleet: Fleet, tenants: list[str], features: Collection[str]) -> Kind:
    sites = [site.id for site in fleet.sites]
    entries = dice.of([sites[0]], [sites[0], dice.of(*sites)], dice.sample(sites, dice.randint(1, min(3, len(sites)))))
    priority = dice.of(0, 0, 1, 3)
    return Kind(
        tenant=dice.of(*tenants),
        model=dice.of("m0", *(model.id for model in fleet.models)),
        origin=dice.of("zone", "zone", "zone", entries[0], entries[0], dice.of(*sites)),
        entries=tuple(entries),
        classes=tuple(dice.of(["plain"], ["plain"], ["health"], [], ["health", "plain"])),
        priority=priority if "priorities" in features else 0,
        deadline_us=dice.of(0, 0, 0, 0, 30_000, 200_000, 2 * S),
    )


def _calls(dice: Dice, fleet: Fleet, tenants: list[str], features: Collection[str], most: int | None) -> Calls:
    """Return calls in bursts and in a stream; on a grid of whole milliseconds half of the time."""
    kinds = tuple(_kind(dice, fleet, tenants, features) for _ in range(dice.randint(1, 6)))
    n = most or dice.randint(50, 400)
    within_us, grid_us = dice.of(S // 5, 2 * S, 20 * S), dice.of(1, 1_000)
    bursts_us = [dice.randint(0, within_us) for _ in range(5)]
    at_us = sorted(dice.of(dice.randint(0, within_us), dice.of(*bursts_us)) // grid_us * grid_us for _ in range(n))
    return Calls(
        kinds=kinds,
        at_us=np.array(at_us, dtype=np.int64),
        kind=np.array([dice.randint(0, len(kinds) - 1) for _ in range(n)], dtype=np.int32),
        payload_bytes=np.array([dice.of(0, 1_000, 4_097, 100_000, 2_000_000) for _ in range(n)], dtype=np.int64),
        work_ppm=np.array([dice.of(S, S, S // 3, 5 * S) for _ in range(n)], dtype=np.int64),
        content=np.array([dice.of(NEVER_EQUAL, dice.randint(0, 5)) for _ in range(n)], dtype=np.int64),
        luck=luck_of(dice.randint(0, 2**32), n),
    )


def _names(dice: Dice, fleet: Fleet) -> list[str]:
    names = [card.id for card in fleet.deployments]
    return dice.sample(names, dice.randint(0, min(2, len(names))))


def _disturbance(dice: Dice, fleet: Fleet) -> Disturbance:
    what = dice.of("site_down", "site_down", "site_slow", "deployment_down", "link_down", "link_slow")
    if what.startswith("site"):
        target = dice.of(*(site.id for site in fleet.sites))
    elif what == "deployment_down" or not fleet.links:
        what, target = "deployment_down", dice.of(*(card.id for card in fleet.deployments))
    else:
        link = dice.of(*fleet.links)
        target = dice.of(f"{link.from_}~{link.to}", f"{link.to}~{link.from_}")
    from_us = dice.of(0, 250_000, dice.randint(0, 3 * S), dice.randint(0, 20 * S))
    until_us = from_us + dice.of(0, 1, 250_000, 750_000, 6 * S)
    return Disturbance(what, target, from_us, until_us, dice.of(0.5, 3.0, 12.3456789))


def _scaling(dice: Dice) -> Scaling:
    least = dice.of(0, 0, 1, 2)
    return Scaling(
        replicas_min=least,
        replicas_max=least + dice.of(1, 2, 6),
        target_ongoing=dice.of(0.7, 2.0),
        look_back_us=dice.of(0, 2 * S, 30 * S),
        upscale_delay_us=dice.of(0, S, 2 * S),
        downscale_delay_us=dice.of(0, 3 * S, 600 * S),
        cold_start_us=dice.of(0, 250_000, 2 * S),
    )


def _truth(dice: Dice) -> Truth:
    shape: Any = dice.of("lognormal", "exponential", "constant", "empirical")
    p50_us = dice.of(1, 1_000, 5_000, 60_000)
    values_us = tuple(dice.of(500, 1_000, 20_000, 300_000) for _ in range(5)) if shape == "empirical" else ()
    return Truth(p50_us, p50_us * dice.of(1, 2, 20), shape, values_us)


@st.composite
def sim_worlds(draw: st.DrawFn, features: Collection[str] = FEATURES) -> World:
    """A whole world to run."""
    return world_of(draw(SEEDS), features)
