"""Random small worlds: a fleet, a policy, signals and a call, as plain values that JSON can carry.

Values come from small pools, so that ties, unknowns and edges are frequent. Signals are kept by deployment id, so that
a world can lose a deployment and stay otherwise the same.

hypothesis draws one seed per part, and dice thrown from it make the part: drawing each of a world's 200 values through
hypothesis takes ten times as long as deciding in it. A failing world does not shrink, but it is small and printed whole.
"""

from copy import deepcopy
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from random import Random
from typing import Any

from hypothesis import strategies as st

from infercast.policies.engine import Engine
from infercast.policies.fleet import Fleet
from infercast.policies.model import Choice, Decision, Request, Rule
from infercast.policies.policy import Policy
from infercast.policies.snapshot import Report, Snapshot
from tests.support import TRUSTED, card

Raw = dict[str, Any]
NOW_US = 10_000_000_000
GROUPS = {"eea": ["DE", "FR", "PL"], "europe": ["eea", "CH"]}
COUNTRIES = ("DE", "DE", "FR", "FR", "US", "CH", "ZZ")
OPERATORS = ("acme", "hyper")
MARKS = ("iso27001", "soc2")
ATTESTATIONS = ("tpm", "tdx")
PREFERENCES = ("balanced", "cheapest", "fastest", "most_accurate", "most_private")
CLASSES = ("health", "plain")
MONDAY_S = int(datetime(2026, 3, 2, tzinfo=UTC).timestamp())
DAY_S = 86_400
UPSTREAM_SEED = 7_000_000_007
RTT_AGES_US = (0, 0, 60_000_000, 60_000_001, 10**9)


@dataclass(frozen=True)
class World:
    """One situation.

    `signals` maps a deployment to [in_flight, p50_us, p95_us, healthy, age_us, sizes], None for unheard; `sizes` are
    None, or (p50_us, p95_us) for each payload size. `learned` holds round trips [entry, site, p50_us, spread_us, age_us]
    and quantiles [entry, deployment, z].
    """

    fleet: Raw
    policy: Raw
    signals: dict[str, list[Any] | None]
    call: Raw
    learned: Raw
    tried: tuple[str, ...] = ()

    def engine(self) -> Engine:
        """A fresh engine."""
        policy = Policy.model_validate(self.policy)
        return Engine(Fleet.model_validate(self.fleet), {policy.tenant: policy})

    def snapshot(self, fleet: Fleet, older_us: int = 0) -> Snapshot:
        """The signals, heard and believed; `older_us` lets time pass."""
        snapshot = Snapshot(fleet)
        for name, signal in self.signals.items():
            if signal is not None:
                in_flight, p50_us, p95_us, healthy, age_us, *sizes = signal
                told = tuple((one, other) for one, other in (sizes[0] or ())) if sizes else ()
                report = Report(in_flight, p50_us, p95_us, bool(healthy), told)
                snapshot.hear(fleet.deployment_index[name], report, NOW_US - age_us)
        for entry, site, p50_us, spread_us, age_us in self.learned["rtt"]:
            snapshot.hear_rtt(entry, fleet.tables.site_index[site], p50_us, spread_us, NOW_US - age_us)
        for entry, name, z_milli in self.learned["z"]:
            snapshot.hear_z(entry, fleet.deployment_index[name], z_milli)
        snapshot.believe(NOW_US + older_us)
        return snapshot

    def tried_on(self, fleet: Fleet) -> tuple[int, ...]:
        """The deployments that the call was tried on already."""
        return tuple(fleet.deployment_index[name] for name in self.tried)

    def request(self) -> Request:
        """The call."""
        return Request(**{**self.call, "classes": tuple(self.call["classes"])})

    def decide(self) -> Decision:
        """Explain the call on a fresh engine."""
        engine = self.engine()
        return engine.explain(self.request(), self.snapshot(engine.fleet), self.tried_on(engine.fleet))

    def choose(self) -> tuple[Choice, tuple[str, ...]]:
        """Decide the call fast on a fresh engine; the names of the chosen and its fallbacks come along."""
        engine = self.engine()
        choice = engine.choose(self.request(), self.snapshot(engine.fleet), self.tried_on(engine.fleet))
        return choice, tuple(engine.fleet.deployments[index].id for index in choice.deployments)

    def without(self, deployment: str) -> "World":
        """The same world without one deployment (its variant stays in the catalogue)."""
        deployments = [d for d in self.fleet["deployments"] if f"{d['variant']}@{d['site']}" != deployment]
        return self.but(
            fleet={**deepcopy(self.fleet), "deployments": deployments},
            signals={name: signal for name, signal in self.signals.items() if name != deployment},
            learned={**self.learned, "z": [row for row in self.learned["z"] if row[1] != deployment]},
            tried=tuple(name for name in self.tried if name != deployment),
        )

    def but(self, **parts: Any) -> "World":
        """The same world with other parts."""
        return replace(self, **parts)

    def asking(self, **parts: Any) -> "World":
        """The same world with another call."""
        return self.but(call={**self.call, **parts})

    def as_raw(self) -> Raw:
        """What JSON carries to another process."""
        return {part.name: getattr(self, part.name) for part in fields(self)}


def world_from(raw: Raw) -> World:
    """The inverse of `as_raw`."""
    return World(**{**raw, "tried": tuple(raw["tried"])})


def eligible(decision: Decision) -> set[str]:
    """The candidates that no rule vetoes."""
    return {verdict.deployment for verdict in decision.verdicts if verdict.rule is Rule.NONE}


class Dice(Random):
    """A seeded source of small choices."""

    def of(self, *pool: Any) -> Any:
        """One of the pool."""
        return self.choice(pool)

    def some(self, pool: tuple[str, ...], least: int = 0) -> list[str]:
        """A sorted selection."""
        return sorted(self.sample(pool, self.randint(least, len(pool))))

    def rarely(self, value: Any, otherwise: Any = None) -> Any:
        """One time in twenty the value: most rules ask for nothing, so that something is left to choose from."""
        return value if self.random() < 1 / 20 else otherwise


def _trust(dice: Dice, *, surely: bool = False) -> Raw:
    if surely:
        return TRUSTED
    return {
        "retention_days": dice.of(None, 0, 0, 7, 30),
        "trains_on_inputs": dice.of(None, False, False, True),
        "attestation": dice.of(None, "none", *ATTESTATIONS),
        "certifications": dice.some(MARKS),
    }


def _sites(dice: Dice) -> list[Raw]:
    """Two to six sites; the first is an edge, where calls mostly enter."""
    return [
        {
            "id": f"s{index}",
            "tier": dice.of("device", "edge", "cloud") if index else "edge",
            "country": dice.of(*COUNTRIES) if index else dice.of("DE", "DE", "DE", "ZZ"),
            "lat": 0.0,
            "lon": 0.0,
            "operator": dice.of(None, *OPERATORS),
            "trust": _trust(dice, surely=index == 0 and dice.of(True, True, False)),
            "accelerators": {"cpu": {"slots": 100, "usd_per_hour": dice.of(0.0, 0.36, 3.6, 36.0)}},
        }
        for index in range(dice.randint(2, 6))
    ]


def _links(dice: Dice, ends: list[str]) -> list[Raw]:
    """Links between most of the pairs, sometimes of unknown course."""
    found = []
    for at, start in enumerate(ends):
        for end in ends[at + 1 :]:
            if dice.of(True, True, True, False):
                rtt_ms = dice.of(0, 1, 10, 40, 150)
                found.append(
                    {
                        "from": start,
                        "to": end,
                        "rtt_ms": rtt_ms,
                        "rtt_p95_ms": dice.of(None, rtt_ms, rtt_ms * 3),
                        "bandwidth_mbps": dice.of(0.5, 100, 10_000),
                        "egress_usd_per_gb": dice.of(0.0, 0.09),
                        "egress_back_usd_per_gb": dice.of(None, 0.02),
                        "countries": dice.of([], ["DE"], ["DE", "FR"], ["FR", "US"], ["CH"]),
                    }
                )
    return found


def fleet_from(seed: int, *, measured: bool = False) -> Raw:
    """A fleet of one or two models. `measured` leaves no accuracy out."""
    dice = Dice(seed)
    sites = _sites(dice)
    models, cards, variants = [], {}, []
    for m in range(dice.randint(1, 2)):
        own = [f"m{m}v{v}" for v in range(dice.randint(1, 3))]
        models.append({"id": f"m{m}", "variants": [{"id": name, "card": f"{name}.json"} for name in own]})
        for name in own:
            accuracy = dice.of(0.8, 0.9, 0.95, *([] if measured else [None]))
            p50 = dice.of(0.5, 2.0, 20.0)
            cards[name] = card(name, accuracy, p50, p50 * dice.of(1, 3))
        variants += own
    pairs = [(variant, site["id"]) for variant in variants for site in sites]
    deployments = [
        {
            "variant": variant,
            "site": site,
            "hosted": "own",
            "replicas": dice.randint(1, 2),
            "concurrency": dice.of(1, 4),
            "queue_max": dice.of(8, 64),
        }
        for variant, site in dice.sample(pairs, dice.randint(1, min(8, len(pairs))))
    ]
    zone = {"id": "zone", "country": dice.of(*COUNTRIES), "lat": 0.0, "lon": 0.0}
    _with_upstream(Dice(seed + UPSTREAM_SEED), sites, deployments, zone)
    return {
        "version": 1,
        "name": "random",
        "jurisdictions": GROUPS,
        "sites": sites,
        "zones": [zone],
        "links": _links(dice, ["zone", *(site["id"] for site in sites)]),
        "models": models,
        "deployments": deployments,
        "cards": cards,
    }


def _with_upstream(dice: Dice, sites: list[Raw], deployments: list[Raw], zone: Raw) -> None:
    """In every third world the last site is somebody else's, if it is no device; sometimes the zone is another cluster."""
    if dice.of(True, False, False) and sites[-1]["tier"] != "device":
        sites[-1]["upstream"] = {"url": "https://upstream.example", "api": "oip"}
        zone["peer"] = dice.of(True, False, False)
        zone["onward"] = zone["peer"] and dice.of(True, False)
        for deployment in deployments:
            if deployment["site"] == sites[-1]["id"]:
                deployment.update(hosted="upstream", usd_per_call=dice.of(0.0, 0.000001, 0.01))


def _places(dice: Dice) -> Raw:
    allow = dice.of(None, ["europe"], ["eea", "US"], ["DE", "FR", "US"], ["DE"], [])
    return {"allow": allow, "deny": dice.of([], [], ["US"], ["eea"])}


def _constraints(dice: Dice) -> Raw:
    operators = {"allow": dice.of(None, dice.some(OPERATORS)), "deny": dice.some(OPERATORS[:1])}
    return {
        "residency": {part: dice.rarely(_places(dice)) for part in ("entry", "processing", "transit", "storage")},
        "privacy": {
            "tiers": dice.rarely(dice.some(("device", "edge", "cloud"))),
            "operators": dice.rarely(operators),
            "retention_days_max": dice.rarely(dice.of(0, 7, 30)),
            "no_training": dice.rarely(True, False),
            "attestation": dice.rarely(dice.some(ATTESTATIONS, 1)),
            "certifications": dice.rarely(["iso27001"], []),
        },
        "deadline_ms": dice.rarely(dice.of(1, 20, 100, 400)),
        "accuracy_min": dice.rarely({"m0": dice.of(0.9, 0.95)}, {}),
        "price_max_usd": dice.rarely(dice.of(0.0, 1e-7, 1e-4)),
    }


def objective_from(seed: int, *preferences: str) -> Raw:
    """What a tenant values."""
    dice = Dice(seed)
    return {
        "preference": dice.of(*(preferences or PREFERENCES)),
        "waiting": {"usd_per_second": dice.of(0.0, 0.001, 10.0), "quantile": dice.of("p50", "p95", "p99")},
        "usd_per_error": dice.of(0.0, 0.001, 1000.0),
        "exposure": {f"usd_leaving_{thing}": dice.of(0.0, 0.0001) for thing in ("device", "country", "operator")},
    }


def _override(dice: Dice, *preferences: str) -> Raw:
    """What differs for some calls or at some times."""
    when: Raw = {
        "models": dice.of(None, None, ["m0"], ["m1"]),
        "origins": dice.of(None, None, ["zone"], ["s0", "s1"], ["eea"], ["DE", "US"]),
        "hours": dice.of(None, None, "08:00-18:00", "22:00-06:00", "00:00-24:00"),
        "days": dice.of(None, None, ["mon"], ["sat", "sun"], ["mon", "tue", "wed", "thu", "fri"]),
        "zone": dice.of("UTC", "Asia/Kolkata"),
        "since": dice.of(None, None, None, "2026-03-04"),
        "until": dice.of(None, None, None, "2026-03-05"),
    }
    constraints = dice.of(None, _constraints(dice), _constraints(dice))
    objective = objective_from(dice.randint(0, 2**32), *preferences)
    return {"when": when, "constraints": constraints, "objective": None if constraints else objective}


def policy_from(seed: int, *, spread: bool | None = None) -> Raw:
    """A policy of two classes; with a spread its preference is `balanced`, the only one that has it."""
    dice = Dice(seed)
    margins = {None: [0.0, 1e-6, 1e-3], False: [0.0], True: [1e-6, 1e-3, 0.1]}[spread]
    preferences = ("balanced",) if spread else ()
    return {
        "version": 1,
        "tenant": "t",
        "deadline_quantile": dice.of("p50", "p90", "p95", "p99"),
        "always": dice.of({}, _constraints(dice)),
        "classes": {name: _constraints(dice) for name in CLASSES},
        "overrides": [_override(dice, *preferences) for _ in range(dice.of(0, 0, 1, 2, 3))],
        "objective": objective_from(seed + 1, *preferences),
        "behaviour": {"fallbacks_max": dice.of(0, 1, 4, 7), "spread_margin_usd": dice.of(*margins)},
    }


def learned_from(seed: int, fleet: Raw) -> Raw:
    """What was learned of ways and of quantiles, by some of the entries."""
    dice = Dice(seed)
    sites = [site["id"] for site in fleet["sites"]]
    rtt = [
        [
            dice.of("s0", dice.of(*sites)),
            site,
            dice.of(0, 500, 20_000, 200_000),
            dice.of(0, 3_000),
            dice.of(*RTT_AGES_US),
        ]
        for site in sites
        if dice.of(True, False)
    ]
    z = [
        [dice.of("s0", dice.of(*sites)), name, dice.of([0, 779, 1000, 1414], [-900, 100, 700, 5000], [-9, -8, -7, -6])]
        for name in names_of(fleet)
        if dice.of(True, False)
    ]
    return {"rtt": rtt, "z": z} if dice.of(True, False) else {"rtt": [], "z": []}


def _sizes(dice: Dice) -> list[list[int]]:
    return [[p50_us := dice.of(100, 5_000, 400_000), p50_us * dice.of(1, 3)] for _ in range(4)]


def signals_from(seed: int, fleet: Raw) -> dict[str, list[Any] | None]:
    """Reports of every deployment: mostly fresh and healthy, some old, some missing."""
    dice = Dice(seed)
    found: dict[str, list[Any] | None] = {}
    for name in names_of(fleet):
        p50_us = dice.of(0, 500, 5_000, 90_000)
        report = [
            dice.of(0, 0, 0, 1, 1, 3, 8, 8, 64),
            p50_us,
            p50_us * dice.of(0, 1, 2, 10),
            dice.of(1, 1, 1, 1, 1, 1, 0),
            dice.of(0, 0, 0, 0, 1_500_000, 1_500_001, 3_000_000, 4_000_000, 4_000_001),
            dice.of(None, None, _sizes(dice)),
        ]
        found[name] = dice.rarely(None, report)
    return found


def call_from(seed: int, fleet: Raw) -> Raw:
    """A call for one of the models, from the zone or from a site."""
    dice = Dice(seed)
    names = [site["id"] for site in fleet["sites"]]
    entry = dice.of("s0", dice.of(*names))
    return {
        "id": f"r{dice.randint(0, 999)}",
        "tenant": "t",
        "model": dice.of("m0", dice.of(*(model["id"] for model in fleet["models"]))),
        "entry": entry,
        "origin": dice.of(entry, "zone", *names),
        "classes": dice.of(["plain"], ["plain"], ["health"], [], ["health", "plain"]),
        "payload_bytes": dice.of(0, 1_000, 4_097, 1_000_000, 1_048_577),
        "deadline_us": dice.of(0, 0, 0, 0, 0, 5_000, 200_000),
        "at_s": dice.of(0, MONDAY_S + dice.randint(0, 7 * DAY_S), MONDAY_S + dice.randint(0, 7 * 48) * DAY_S // 48),
    }


def names_of(fleet: Raw) -> list[str]:
    """The deployments' ids."""
    return [f"{deployment['variant']}@{deployment['site']}" for deployment in fleet["deployments"]]


SEEDS = st.integers(0, 2**62)


@st.composite
def worlds(draw: st.DrawFn, *, spread: bool | None = None, measured: bool = False) -> World:
    """A whole situation. `spread` asks for a margin, or for none; `measured` leaves no accuracy out."""
    fleet = fleet_from(draw(SEEDS), measured=measured)
    return World(
        fleet=fleet,
        policy=policy_from(draw(SEEDS), spread=spread),
        signals=signals_from(draw(SEEDS), fleet),
        call=call_from(draw(SEEDS), fleet),
        learned=learned_from(draw(SEEDS), fleet),
        tried=tuple(draw(st.sampled_from([[], [], [], names_of(fleet)[:1]]))),
    )


@st.composite
def objectives(draw: st.DrawFn) -> Raw:
    """What a tenant values."""
    return objective_from(draw(SEEDS))
