"""What a run's answers look like: plain values, in people's units, for tables, comparisons, planners and reports."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

Curve = tuple[tuple[float, float], ...]
"""Points of a distribution: a latency in ms, and the share of answered calls that took no longer. At most 200, rising."""


@dataclass(frozen=True, slots=True)
class Latency:
    """How long answered calls took, from the caller's sending to the answer. Quantiles are nearest ranks."""

    mean_ms: float
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float


@dataclass(frozen=True, slots=True)
class Stopped:
    """Calls without an answer that ended in one way for one reason.

    `ended` is a word of `Ended` (`refused`, `limited`…); `rule` a rule's own words (`residency.transit`), a limit's
    (`limits.requests per minute`), or `none`.
    """

    ended: str
    rule: str
    calls: int

    @property
    def reason(self) -> str:
        """Both in words: `refused residency.transit`, `limits.requests per minute`, `lost`."""
        if self.rule == "none":
            return self.ended
        return self.rule if self.rule.startswith("limits.") else f"{self.ended} {self.rule}"


@dataclass(frozen=True, slots=True)
class Group:
    """What happened to some of the calls of a run. None stands for what cannot be said: a mean of no calls, say.

    `answered` counts the answers of caches too; `ended` has a number for every way to end, and they sum to `calls`;
    `stopped`, most calls first, sums to the calls without an answer. `in_time` of the `with_deadline` calls had their answer
    within what their policy and their caller allow; a call without an answer is not in time. `wait_mean_ms` is time in queues,
    over all calls. `accuracy` is the mean measured accuracy of the variants that answered, over the answers for which it is
    known. Money is compute and egress of all tries; per day is at this run's rate.
    """

    calls: int
    answered: int
    ended: Mapping[str, int]
    stopped: tuple[Stopped, ...]
    latency: Latency | None
    wait_mean_ms: float | None
    with_deadline: int
    in_time: int
    in_time_share: float | None
    answered_share: float | None
    accuracy: float | None
    attempts: int
    hedged: int
    cost_usd: float
    cost_usd_per_1000_calls: float | None
    cost_usd_per_1000_answered: float | None
    cost_usd_per_day: float | None
    egress_usd: float
    egress_usd_per_day: float | None

    def stopped_by(self, ended: str = "refused") -> dict[str, int]:
        """Return the calls that ended in one way, by the rule's words."""
        return {each.rule: each.calls for each in self.stopped if each.ended == ended}


@dataclass(frozen=True, slots=True)
class Busy:
    """How much of the server time that stood ready was in use; None where none stood ready.

    `over_time` is the same for each interval of the run, empty for a single deployment.
    """

    busy_s: float
    ready_s: float
    utilisation: float | None
    over_time: tuple[float | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Flow:
    """Calls that came from a zone or site and were answered at a site; "" for those without an answer."""

    origin: str
    site: str
    calls: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where a site or a client zone lies. `tier` is `zone` for the latter."""

    id: str
    tier: str
    country: str
    lat: float
    lon: float


@dataclass(frozen=True, slots=True)
class Summary:
    """One run in numbers.

    A call belongs to the site where it ended: where it ran last or, if it ran nowhere, where it entered. A call that found no
    entry is in no site's group. `served` is by tenant and site, answered calls only; `variants` by model and variant, without
    answers of caches. Flows sum to all calls. `interval_s` is the length of the intervals in `Busy.over_time`; the
    last holds whatever comes later. `joules` is None where no site says what it draws.
    """

    fleet: str
    fleet_digest: str
    seed: int
    starts_at_s: int
    span_s: float
    stopped_early: bool
    overall: Group
    tenants: Mapping[str, Group]
    models: Mapping[str, Group]
    sites: Mapping[str, Group]
    entered: Mapping[str, int]
    served: Mapping[str, Mapping[str, int]]
    variants: Mapping[str, Mapping[str, int]]
    busy: Mapping[str, Busy]
    deployments: Mapping[str, Busy]
    interval_s: float
    flows: tuple[Flow, ...]
    curves: Mapping[str, Curve]
    """By tenant."""
    places: tuple[Place, ...]
    joules: float | None

    def as_json(self) -> dict[str, Any]:
        """Return the summary as values that JSON has."""
        return asdict(self)
