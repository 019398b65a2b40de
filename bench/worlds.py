"""Large worlds for the benches, made in memory and the same for the same seed on every machine.

Places lie around real cities; a round trip follows from the distance in a great circle. No part of a world is measured:
worlds are for timing the engine, never for saying what a placement would gain.
"""

from dataclasses import dataclass
from itertools import combinations
from math import asin, cos, radians, sin, sqrt
from random import Random
from typing import Any

from infercast.policies import kernel
from infercast.policies.fleet import Fleet
from infercast.policies.model import Request
from infercast.policies.policy import Policy
from infercast.policies.snapshot import Snapshot

Raw = dict[str, Any]
EARTH_KM = 6371.0
KM_PER_MS = 200.0
"""Light in glass, one way."""
DETOUR = 1.5
"""Cables are longer than great circles."""
CITIES = (
    ("DE", 50.1, 8.7), ("DE", 52.5, 13.4), ("FR", 48.9, 2.4), ("NL", 52.4, 4.9), ("IE", 53.3, -6.3),
    ("ES", 40.4, -3.7), ("IT", 45.5, 9.2), ("PL", 52.2, 21.0), ("SE", 59.3, 18.1), ("FI", 60.2, 24.9),
    ("AT", 48.2, 16.4), ("PT", 38.7, -9.1), ("CH", 47.4, 8.5), ("GB", 51.5, -0.1), ("US", 39.0, -77.5),
    ("US", 41.9, -87.6), ("US", 32.8, -96.8), ("US", 37.4, -122.0), ("US", 45.6, -121.2), ("CA", 43.7, -79.4),
    ("BR", -23.5, -46.6), ("CL", -33.4, -70.7), ("ZA", -33.9, 18.4), ("KE", -1.3, 36.8), ("AE", 25.2, 55.3),
    ("IN", 19.1, 72.9), ("IN", 13.1, 80.3), ("SG", 1.4, 103.8), ("JP", 35.7, 139.7), ("KR", 37.6, 127.0),
    ("AU", -33.9, 151.2), ("NZ", -36.8, 174.8),
)  # fmt: skip
EUROPEAN = CITIES[:12]
GROUPS = {
    "eea": sorted({country for country, *_ in EUROPEAN}),
    "europe": ["eea", "CH", "GB"],
    "americas": ["US", "CA", "BR", "CL"],
    "asia": ["IN", "SG", "JP", "KR", "AE"],
}
OPERATORS = ("acme", "borealis", "cumulus", "dunes", "estuary", "fjord")
ENTRY = "s000"
"""Where calls enter in every world: an EEA site that is trusted, so that most policies let them."""
CLASS_NAMES = ("public", "internal", "personal", "health")
TRUSTED: Raw = {
    "retention_days": 0,
    "trains_on_inputs": False,
    "attestation": "tdx",
    "certifications": ["iso27001", "soc2"],
}
PREFERENCES = ("balanced", "balanced", "balanced", "cheapest", "fastest", "most_accurate", "most_private")


@dataclass(frozen=True)
class Size:
    """How much there is of everything. The default is the fleet that the published figures of compiling stand on."""

    sites: int = 300
    models: int = 20
    variants: int = 3
    zones: int = 300
    tenants: int = 1000
    policies: int = 50


@dataclass(frozen=True)
class FlatWorld:
    """A world of one model in which every deployment is a candidate that passes all rules that files alone decide."""

    fleet: Fleet
    policies: dict[str, Policy]
    snapshot: Snapshot
    requests: tuple[Request, ...]


def distance_km(a: Raw, b: Raw) -> float:
    """Return the great-circle distance between two places (haversine formula)."""
    lat_a, lat_b = radians(a["lat"]), radians(b["lat"])
    across = sin((lat_b - lat_a) / 2) ** 2
    along = cos(lat_a) * cos(lat_b) * sin(radians(b["lon"] - a["lon"]) / 2) ** 2
    return 2 * EARTH_KM * asin(sqrt(min(1.0, across + along)))


def raw_fleet(size: Size, seed: int = 1) -> Raw:
    """Return a fleet as its file would say it: every variant at every site, mixed countries, operators and trust.

    One site in six is a cloud, the others are edges. Each links to its three nearest and to the nearest hub; hubs (one
    site in 25) link to each other; each client zone links to its three to five nearest sites
    and, since its calls shall enter there, to ENTRY.
    """
    dice = Random(seed)
    sites = [_site(dice, ENTRY, EUROPEAN, mixed=False)]
    sites += [_site(dice, f"s{index:03}", CITIES, mixed=True) for index in range(1, size.sites)]
    zones = [_place(dice, f"z{index:03}", CITIES) for index in range(size.zones)]
    return _fleet(dice, sites, zones, size.models, size.variants)


def fleet_of(size: Size, seed: int = 1) -> Fleet:
    """Return the same fleet, validated."""
    return Fleet.model_validate(raw_fleet(size, seed))


def raw_policies(size: Size, seed: int = 1) -> dict[str, Raw]:
    """Return policies by tenant: `size.tenants` tenants share `size.policies` distinct ones, of four data classes each."""
    dice = Random(seed)
    kinds = [_policy(dice, kind) for kind in range(size.policies)]
    tenants = {f"t{index:04}": kinds[index % size.policies] for index in range(size.tenants)}
    return {tenant: {"tenant": tenant, **kind} for tenant, kind in tenants.items()}


def policies_of(size: Size, seed: int = 1) -> dict[str, Policy]:
    """Return the same policies, validated."""
    return {tenant: Policy.model_validate(raw) for tenant, raw in raw_policies(size, seed).items()}


def flat_world(candidates: int, tenants: int = 1, origins: int = 4, requests: int = 4096, seed: int = 1) -> FlatWorld:
    """Return a world in which one model has exactly so many candidates, and calls that differ in all they can.

    All sites stand in the EEA and are trusted, so that no rule of the files vetoes one: the kernel has each of them to
    estimate and to score. Policies differ between tenants, in objective and deadline too. Loads differ between
    deployments: some are busy, few are full, few are not healthy. No two requests are equal.
    """
    variants = next(count for count in (3, 4, 2, 1) if candidates % count == 0)
    dice = Random(seed)
    sites = [_site(dice, f"s{index:03}", EUROPEAN, mixed=False) for index in range(candidates // variants)]
    zones = [_place(dice, f"z{index:03}", EUROPEAN) for index in range(origins)]
    fleet = Fleet.model_validate(_fleet(dice, sites, zones, 1, variants))
    names = [f"t{index:04}" for index in range(tenants)]
    policies = {
        name: Policy.model_validate({"tenant": name, **_open_policy(dice, at % 50)}) for at, name in enumerate(names)
    }
    snapshot = Snapshot.declared(fleet)
    for row in snapshot.live:
        row[kernel.L_IN_FLIGHT] = dice.choice([0, 0, 0, 1, 2, 5, 20, int(row[kernel.L_QUEUE_MAX])])
        row[kernel.L_HEALTHY] = int(dice.random() > 1 / 50)
    return FlatWorld(fleet, policies, snapshot, tuple(_requests(dice, names, origins, requests)))


def _requests(dice: Random, names: list[str], origins: int, count: int) -> list[Request]:
    """Every tenant in turn, with two kinds of calls each: one class named, or none."""
    return [
        Request(
            id=f"r{at}",
            tenant=names[at % len(names)],
            model="m00",
            entry=ENTRY,
            origin=f"z{dice.randrange(origins):03}",
            classes=dice.choice([(), ("personal",)]),
            payload_bytes=dice.randint(100, 500_000) + at,
            deadline_us=dice.choice([0, 1_500_000 + at]),
        )
        for at in range(count)
    ]


def _place(dice: Random, name: str, cities: tuple[tuple[str, float, float], ...]) -> Raw:
    country, lat, lon = dice.choice(cities)
    return {
        "id": name,
        "country": country,
        "lat": round(lat + dice.uniform(-1.5, 1.5), 3),
        "lon": round(lon + dice.uniform(-1.5, 1.5), 3),
    }


def _site(dice: Random, name: str, cities: tuple[tuple[str, float, float], ...], *, mixed: bool) -> Raw:
    trust = {
        "retention_days": dice.choice([None, 0, 0, 0, 7, 30]),
        "trains_on_inputs": dice.choice([None, False, False, False, True]),
        "attestation": dice.choice([None, "none", "tpm", "tdx", "sev-snp"]),
        "certifications": sorted(dice.sample(["iso27001", "soc2", "hds"], dice.randint(0, 3))),
    }
    known = {"operator": OPERATORS[0]} if not mixed else {"operator": dice.choice((*OPERATORS * 3, None))}
    return {
        **_place(dice, name, cities),
        "tier": dice.choice(["cloud", *["edge"] * 5]),
        **known,
        "trust": trust if mixed else TRUSTED,
        "accelerators": {
            "cpu": {"slots": 1000, "usd_per_hour": round(dice.uniform(0.05, 0.4), 3)},
            "gpu": {"slots": 1000, "usd_per_hour": round(dice.uniform(0.8, 4.0), 3)},
        },
    }


def _fleet(dice: Random, sites: list[Raw], zones: list[Raw], models: int, variants: int) -> Raw:
    entries, cards = [], {}
    for m in range(models):
        names = [f"m{m:02}v{v}" for v in range(variants)]
        entries.append({"id": f"m{m:02}", "variants": [{"id": name, "card": f"{name}.json"} for name in names]})
        base_ms = dice.uniform(2, 40)
        cards.update({name: _card(dice, name, base_ms * (v + 1), 0.80 + 0.05 * v) for v, name in enumerate(names)})
    deployments = [
        {
            "variant": variant,
            "site": site["id"],
            "hosted": "own",
            "accelerator": "gpu" if site["tier"] == "cloud" else "cpu",
            "replicas": dice.randint(1, 4),
            "concurrency": dice.choice([1, 1, 4]),
            "queue_max": dice.choice([32, 64]),
        }
        for variant in cards
        for site in sites
    ]
    return {
        "version": 1,
        "name": "bench",
        "jurisdictions": GROUPS,
        "sites": sites,
        "zones": zones,
        "links": _links(dice, sites, zones),
        "models": entries,
        "deployments": deployments,
        "cards": cards,
    }


def _card(dice: Random, name: str, p50_ms: float, accuracy: float) -> Raw:
    value = round(accuracy + dice.uniform(0, 0.04), 4)
    measured = {"value": value, "correct": round(value * 5000), "n": 5000, "low_95": 0.0, "high_95": 1.0}
    times = {"cpu": p50_ms, "gpu": p50_ms / 6}
    return {
        "variant": name,
        "artefact": f"{name}.onnx",
        "artefact_bytes": 1_000_000,
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 64]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 10]}],
        "accuracy": measured,
        "service_time_ms": {kind: {"p50": round(p50, 3), "p95": round(p50 * 1.6, 3)} for kind, p50 in times.items()},
    }


def _links(dice: Random, sites: list[Raw], zones: list[Raw]) -> list[Raw]:
    hubs = sites[:: max(1, len(sites) // 12)][:12] if len(sites) > 12 else sites
    pairs = {_pair(a, b): (a, b) for a, b in combinations(hubs, 2)}
    for site in sites:
        others = [other for other in sites if other is not site]
        for near in [*_nearest(site, others, 3), *_nearest(site, [hub for hub in hubs if hub is not site], 1)]:
            pairs[_pair(site, near)] = (site, near)
    for zone in zones:
        for near in [sites[0], *_nearest(zone, sites, dice.randint(3, 5))]:
            pairs[_pair(zone, near)] = (zone, near)
    return [_link(dice, *pairs[key]) for key in sorted(pairs)]


def _nearest(place: Raw, others: list[Raw], count: int) -> list[Raw]:
    return sorted(others, key=lambda other: (distance_km(place, other), other["id"]))[:count]


def _pair(a: Raw, b: Raw) -> tuple[str, str]:
    return min(a["id"], b["id"]), max(a["id"], b["id"])


def _link(dice: Random, a: Raw, b: Raw) -> Raw:
    rtt_ms = round(2 * DETOUR * distance_km(a, b) / KM_PER_MS + 0.5, 3)
    return {
        "from": a["id"],
        "to": b["id"],
        "rtt_ms": rtt_ms,
        "rtt_p95_ms": round(rtt_ms * 1.3 + 0.2, 3),
        "bandwidth_mbps": dice.choice([200, 1000, 10_000]),
        "egress_usd_per_gb": dice.choice([0.0, 0.02, 0.08]),
        "countries": sorted({a["country"], b["country"]}),
    }


def _policy(dice: Random, kind: int) -> Raw:
    """One of the distinct policies; rules ask for enough to veto a good part of the world, and not all of it."""
    home = dice.choice(["eea", "eea", "europe", "europe", "americas", "asia"])
    return {
        **_valued(dice, kind),
        "always": {
            "residency": {"processing": {"deny": dice.choice([[], ["AE"], ["BR", "CL"]])}},
            "privacy": {"operators": {"deny": dice.sample(OPERATORS[1:], dice.randint(0, 2))}},
            "price_max_usd": dice.choice([0.01, 0.1]),
        },
        "classes": {
            "public": {"deadline_ms": dice.choice([1500, 3000])},
            "internal": {"privacy": {"no_training": True}, "accuracy_min": {"m00": 0.82}},
            "personal": {
                "residency": {part: [home] for part in ("entry", "processing", "transit", "storage")},
                "privacy": {"no_training": True, "retention_days_max": dice.choice([0, 7, 30])},
            },
            "health": {
                "residency": {"processing": [home], "storage": [home]},
                "privacy": {"retention_days_max": 0, "certifications": ["iso27001"], "attestation": ["tdx", "sev-snp"]},
                "accuracy_min": {"m00": 0.85, "m01": 0.85},
            },
        },
    }


def _open_policy(dice: Random, kind: int) -> Raw:
    """A policy that asks about everything, and that every trusted site in the EEA passes."""
    everywhere = {part: ["europe"] for part in ("entry", "processing", "transit", "storage")}
    private = {"no_training": True, "retention_days_max": 0, "certifications": ["soc2"], "attestation": ["tdx"]}
    return {
        **_valued(dice, kind),
        "always": {"residency": everywhere, "price_max_usd": 1.0},
        "classes": {name: {"privacy": private, "deadline_ms": 2000 + 10 * kind} for name in CLASS_NAMES},
    }


def _valued(dice: Random, kind: int) -> Raw:
    """What a tenant values; `kind` makes it unlike every other."""
    return {
        "version": 1,
        "deadline_quantile": dice.choice(["p50", "p90", "p95", "p99"]),
        "objective": {
            "preference": dice.choice(PREFERENCES),
            "waiting": {"usd_per_second": round(0.001 + 0.0001 * kind, 6), "quantile": dice.choice(["p50", "p95"])},
            "usd_per_error": round(dice.uniform(0.0, 0.01), 6),
            "exposure": {"usd_leaving_country": dice.choice([0.0, 0.0001])},
        },
        "behaviour": {"fallbacks_max": 4, "spread_margin_usd": dice.choice([0.0, 0.0, 0.00001])},
    }
