"""The glossary: one word per thing. Everything above this file speaks in these words."""

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import NamedTuple

from .units import LATENCY_MAX_US

PAYLOAD_BYTES_MAX = 10_000_000_000
"""Largest payload that is decided on (10 GB): with the bounds of the fleet's fields it keeps every product below 2**63."""


class Tier(StrEnum):
    """Where on the way from the caller to the data centre a site stands."""

    DEVICE = "device"
    EDGE = "edge"
    CLOUD = "cloud"


class Hosting(StrEnum):
    """How a deployment's replicas stand: inside the site's worker processes, as replicas of their own, or at somebody else's."""

    IN_WORKER = "in_worker"
    OWN = "own"
    UPSTREAM = "upstream"


class Preference(StrEnum):
    """What a tenant values: one currency (`balanced`, by exchange rates), or one thing first (the others)."""

    BALANCED = "balanced"
    CHEAPEST = "cheapest"
    FASTEST = "fastest"
    MOST_ACCURATE = "most_accurate"
    MOST_PRIVATE = "most_private"


class Quantile(StrEnum):
    """The quantiles at which a latency may be asked for."""

    P50 = "p50"
    P90 = "p90"
    P95 = "p95"
    P99 = "p99"


class Outcome(StrEnum):
    """How a call can end before it runs anywhere; `chosen` is the only one that runs."""

    CHOSEN = "chosen"
    REFUSED = "refused"
    SATURATED = "saturated"
    UNAVAILABLE = "unavailable"


class Rule(IntEnum):
    """Why a candidate is vetoed; the first that applies, in this order, is the candidate's verdict.

    Values are the codes of the compiled arrays. 0 is no veto. Those up to ACCURACY depend on files only and are
    compiled ahead; the others depend on the call and the snapshot.
    """

    NONE = 0
    ENTRY_RESIDENCY = 1
    ENTRY_TRANSIT = 2
    ENTRY_PRIVACY = 3
    PATH_NONE = 4
    RESIDENCY_PROCESSING = 5
    RESIDENCY_TRANSIT = 6
    RESIDENCY_STORAGE = 7
    PRIVACY_TIER = 8
    PRIVACY_OPERATOR = 9
    PRIVACY_RETENTION = 10
    PRIVACY_TRAINING = 11
    PRIVACY_ATTESTATION = 12
    PRIVACY_CERTIFICATION = 13
    ACCURACY = 14
    PRICE = 15
    DEADLINE = 16
    HEALTH = 17
    DEADLINE_LOAD = 18
    CAPACITY = 19
    TRIED = 20
    VERSION = 21

    @property
    def word(self) -> str:
        """The rule's name as records, logs and messages write it: `residency.transit`."""
        return self.name.lower().replace("_", ".", 1).replace("_", " ") if self else "none"


STATIC_RULES = frozenset(rule for rule in Rule if rule <= Rule.ACCURACY)
SATURATED_RULES = frozenset({Rule.DEADLINE_LOAD, Rule.CAPACITY})
UNAVAILABLE_RULES = frozenset({Rule.HEALTH, Rule.TRIED})


@dataclass(frozen=True, slots=True)
class Request:
    """A call's metadata; never its payload.

    `classes` are the data classes that the caller and the key name, sorted; none named means every class at once,
    which is at least as strict as each. `deadline_us` and the others only tighten what the policy says. `entry` is the
    site whose ingress received the call; `origin` the client zone or site that it comes from, known from the key.
    `at_s` is when it came, in seconds since 1970 UTC: what policies say of hours is judged by it. `variant` is the only
    one that may run it, where the caller named one.
    """

    id: str
    tenant: str
    model: str
    entry: str
    origin: str
    classes: tuple[str, ...] = ()
    payload_bytes: int = 0
    deadline_us: int = 0
    at_s: int = 0
    variant: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.payload_bytes <= PAYLOAD_BYTES_MAX or self.deadline_us < 0:
            raise ValueError(f"payload_bytes and deadline_us count from 0; payload_bytes ends at {PAYLOAD_BYTES_MAX}")
        if self.deadline_us > LATENCY_MAX_US:
            object.__setattr__(self, "deadline_us", LATENCY_MAX_US)
        if self.classes != () and tuple(sorted(set(self.classes))) != self.classes:
            object.__setattr__(self, "classes", tuple(sorted(set(self.classes))))

    def __reduce__(self) -> tuple[type["Request"], tuple[object, ...]]:
        """Travel by its values in order: what Python does with a frozen dataclass takes three times as long."""
        named = (self.id, self.tenant, self.model, self.entry, self.origin, self.classes)
        return Request, (*named, self.payload_bytes, self.deadline_us, self.at_s, self.variant)


class Verdict(NamedTuple):
    """What the engine thinks of one candidate.

    `rule` is NONE for an eligible one. `shares` sum to `score`, both in `Decision.score_unit`. `detail` says the rule
    in words with the values compared; estimates are given for vetoed candidates too, where a path exists.
    """

    deployment: str
    variant: str
    site: str
    tier: Tier
    rule: Rule
    detail: str
    latency_us: int = 0
    deadline_latency_us: int = 0
    price_nusd: int = 0
    accuracy_ppm: int | None = None
    score: int = 0
    shares: tuple[tuple[str, int], ...] = ()
    signals: tuple[tuple[str, int], ...] = ()
    notes: tuple[str, ...] = ()


class Choice(NamedTuple):
    """The fast answer: where to run, and what stands behind it, best first. Indices are deployments of the fleet.

    `latency_us` is the whole call's, at the deadline's quantile; `median_us` and `spread_us` (p95 - p50) are what is
    expected from the entry on, without the way in.
    """

    outcome: Outcome
    deployments: tuple[int, ...] = ()
    latency_us: tuple[int, ...] = ()
    price_nusd: tuple[int, ...] = ()
    median_us: tuple[int, ...] = ()
    spread_us: tuple[int, ...] = ()
    rule: Rule = Rule.NONE

    @property
    def deployment(self) -> int:
        """The chosen deployment. Only a `chosen` outcome has one."""
        return self.deployments[0]


@dataclass(frozen=True, slots=True)
class Decision:
    """The explained answer: the choice, the ordered alternatives, and a verdict for every candidate."""

    id: str
    request: Request
    outcome: Outcome
    chosen: str | None
    alternatives: tuple[str, ...]
    verdicts: tuple[Verdict, ...]
    preference: Preference
    score_unit: str
    deadline_us: int
    policy_digest: str
    fleet_digest: str
    snapshot_epoch: int
    entries: tuple[str, ...] = ()
    spread: tuple[str, ...] = field(default=())
    overrides: tuple[int, ...] = ()

    def verdict_of(self, deployment: str) -> Verdict:
        """Return the verdict of a deployment by its id. Raises KeyError for one that is no candidate."""
        for verdict in self.verdicts:
            if verdict.deployment == deployment:
                return verdict
        raise KeyError(deployment)
