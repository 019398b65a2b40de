"""The simulator's words: calls, what happens to the world, and how every call ended. Arrays; times in whole microseconds.

Time 0 is the start of the scenario; `World.starts_at_s` says what the wall clock shows then. `docs/simulator.md` says what
each of these does.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal

import numpy as np
import numpy.typing as npt

from infercast.policies.fleet import Fleet
from infercast.policies.policy import Policy

Ints = npt.NDArray[np.int64]
WORK_USUAL_PPM = 1_000_000
"""The work of a call that takes as long as the card says."""
WORK_MAX_PPM = 1_000_000_000
NEVER_EQUAL = -1
"""Content of a call whose answer is of no use to another."""
SHAPE_POINTS = 4096
"""Equally likely values that a distribution of times is drawn from."""


class Ended(IntEnum):
    """How a call ended. Every call of a run ends in exactly one of these ways."""

    RUNNING = 0
    """Not ended: none is left when a run is over."""
    ANSWERED = 1
    CACHED = 2
    """Answered by the entry's cache."""
    REFUSED = 3
    """No candidate passes, by policy."""
    SATURATED = 4
    """One would pass, and has no room."""
    UNAVAILABLE = 5
    """One would pass, and is not healthy."""
    LIMITED = 6
    """Its tenant's rate, concurrency or budget is used up."""
    LATE = 7
    """It was tried, and the deadline passed."""
    LOST = 8
    """It found no entry, or its entry died with it."""


ANSWERED = (Ended.ANSWERED, Ended.CACHED)


class LimitedBy(IntEnum):
    """Which limit stopped a call that ended as LIMITED; stands in `Run.rule` for those."""

    REQUESTS_PER_MINUTE = 101
    CONCURRENT_MAX = 102
    BUDGET_PER_DAY = 103
    BUDGET_PER_MONTH = 104


@dataclass(frozen=True, slots=True)
class Kind:
    """What calls have in common: who, what, from where, where they enter. `entries` are tried in order.

    `priority` 0 is served first, 3 last, without breaking off what runs.
    """

    tenant: str
    model: str
    origin: str
    entries: tuple[str, ...]
    classes: tuple[str, ...] = ()
    priority: int = 0
    deadline_us: int = 0
    """What the caller asks, beside the policy's; 0 is nothing."""


@dataclass(frozen=True, slots=True)
class Calls:
    """A workload: one place per call in every array, in order of time.

    `at_us` int64[n]: when the caller sends it. `kind` int32[n]: which of `kinds`. `payload_bytes` int64[n].
    `work_ppm` int64[n]: its work, as a share of what the card's times are for, WORK_MAX_PPM at most. `content` int64[n]: equal numbers are equal
    questions of one tenant (for its cache), NEVER_EQUAL is equal to none. `luck` int64[n], each below 2**60: what chance has
    in store for the call (see `shapes.point`); calls with equal luck are the same call in two runs.
    """

    kinds: tuple[Kind, ...]
    at_us: Ints
    kind: npt.NDArray[np.int32]
    payload_bytes: Ints
    work_ppm: Ints
    content: Ints
    luck: Ints

    def __len__(self) -> int:
        return len(self.at_us)


@dataclass(frozen=True, slots=True)
class Truth:
    """What calls of one deployment really take, on an idle server. By default as declared: `lognormal` through p50 and p95.

    `exponential` and `constant` have mean p50_us; `empirical` draws from `values_us`.
    """

    p50_us: int
    p95_us: int
    shape: Literal["lognormal", "exponential", "constant", "empirical"] = "lognormal"
    values_us: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Scaling:
    """How a deployment's replicas follow its load, in the words of Ray Serve's autoscaling."""

    replicas_min: int
    replicas_max: int
    target_ongoing: float = 2.0
    look_back_us: int = 30_000_000
    upscale_delay_us: int = 30_000_000
    downscale_delay_us: int = 600_000_000
    cold_start_us: int = 10_000_000
    """From the wish for a replica to its first call: node, process, model load, warm-up."""


@dataclass(frozen=True, slots=True)
class Disturbance:
    """Something that happens to the world for a time. `factor` slows times down: 3.0 takes three times as long.

    `site_down`, `site_slow`: `target` is a site. `deployment_down`: a deployment's id. `link_down`, `link_slow`: two places
    joined by `~`, as `fra~dub`.
    """

    what: Literal["site_down", "site_slow", "deployment_down", "link_down", "link_slow"]
    target: str
    from_us: int
    until_us: int
    factor: float = 1.0


@dataclass(frozen=True, slots=True)
class World:
    """All that a run depends on. Equal worlds give equal runs, byte for byte."""

    fleet: Fleet
    policies: Mapping[str, Policy]
    calls: Calls
    starts_at_s: int = 0
    disturbances: tuple[Disturbance, ...] = ()
    scaling: Mapping[str, Scaling] = field(default_factory=dict)
    truth: Mapping[str, Truth] = field(default_factory=dict)
    batch_marginal: Mapping[str, float] = field(default_factory=dict)
    """By variant: the time that each further call of a batch adds, as a share of one call's; 1.0 gains nothing."""
    watts: Mapping[str, float] = field(default_factory=dict)
    """By site: power drawn by a replica while it computes."""
    estimates: Literal["learned", "declared"] = "learned"
    """Whether places learn service times and round trips from calls, as the live router does, or go by the files."""
    surprises: Mapping[tuple[str, str], tuple[int, int, int, int]] = field(default_factory=dict)
    """By (entry, deployment): quantiles of surprise that the entry had learned before, in thousandths of a spread; p50, p90,
    p95 and p99, rising from 0. For what is not named, those of the normal distribution."""
    jitter: bool = True
    """Whether round trips vary as the links' p95 says; false where distances are emulated by waiting."""
    exchange_us: int = 250_000
    """How often a site tells of its load and hears the others."""
    bins: int = 240
    """Intervals of the time series."""


@dataclass(frozen=True, slots=True)
class Run:
    """How every call ended, and what the deployments did. One place per call in every array but the series.

    `latency_us`: from the caller's sending to the answer, or to the end without one; access included. `wait_us`: in queues.
    `rule`: code of policies.model.Rule, or of LimitedBy, for calls without an answer; 0 for others. `deployment`, `entry`:
    numbers of the fleet's deployments and sites, -1 for none. `cost_nusd` is compute and egress of all tries;
    `egress_nusd` the egress in it. `attempts` counts tries, `hedged` says that one was a hedge.
    """

    world: World
    ended: npt.NDArray[np.uint8]
    rule: npt.NDArray[np.uint8]
    deployment: npt.NDArray[np.int32]
    entry: npt.NDArray[np.int32]
    latency_us: Ints
    wait_us: Ints
    cost_nusd: Ints
    egress_nusd: Ints
    attempts: npt.NDArray[np.uint8]
    hedged: npt.NDArray[np.bool_]
    span_us: int
    """How long the run lasted: to the last call's end."""
    busy_us: Ints
    """int64[deployments, bins]: server time in use, by the bin in which it was."""
    bin_us: int
    """Width of a bin; the last one holds whatever comes later."""
    replica_us: Ints
    """int64[deployments, bins]: server time that stood ready."""
    joules: float = 0.0
    stopped_early: bool = False
    """Whether it was stopped before its last call; calls that never came are not in it."""

    def __len__(self) -> int:
        return len(self.ended)
