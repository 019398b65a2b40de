"""Calls on their way, and how they ended."""

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import Enum, auto

import numpy as np

from infercast.policies.model import Choice, Request

from ..model import Ended, Kind, World


class Where(Enum):
    """Where a try is."""

    ON_ITS_WAY = auto()
    QUEUED = auto()
    IN_SERVICE = auto()
    DONE = auto()
    """Served; its answer is on its way, or has come."""
    NOWHERE = auto()
    """Lost with its site, its deployment or on the way; or given up before it was served."""


@dataclass(slots=True, eq=False)
class Try:
    """One try of a call on a deployment. `trip_us` is the round trip that it drew, 0 at the entry's own site."""

    call: "Call"
    number: int
    deployment: int
    choice: Choice
    patience_us: int
    sent_us: int
    trip_us: int
    sending: AbstractContextManager[None] | None
    """Counts it at its entry for as long as it is away; None at the entry's own site."""
    where: Where = Where.ON_ITS_WAY
    given_up: bool = False
    arrived_us: int = 0
    began_us: int = 0


@dataclass(slots=True, eq=False)
class Call:
    """A call that found an entry. `tries` are all that were made, `out` those that are still waited for."""

    number: int
    kind: Kind
    kind_number: int
    entry: int
    request: Request
    sent_us: int
    enter_us: int
    access_trip_us: int
    luck: int
    work_ppm: int
    content: int
    limit_us: int = 0
    tries: list[Try] = field(default_factory=list)
    out: list[Try] = field(default_factory=list)

    @property
    def tried(self) -> list[int]:
        """The deployments that it was tried on."""
        return [each.deployment for each in self.tries]


class Books:
    """How calls ended, one place per call in every array; see `Run`."""

    def __init__(self, world: World) -> None:
        n = len(world.calls)
        self.ended = np.zeros(n, dtype=np.uint8)
        self.rule = np.zeros(n, dtype=np.uint8)
        self.deployment = np.full(n, -1, dtype=np.int32)
        self.entry = np.full(n, -1, dtype=np.int32)
        self.latency_us = np.zeros(n, dtype=np.int64)
        self.wait_us = np.zeros(n, dtype=np.int64)
        self.cost_nusd = np.zeros(n, dtype=np.int64)
        self.egress_nusd = np.zeros(n, dtype=np.int64)
        self.attempts = np.zeros(n, dtype=np.uint8)
        self.hedged = np.zeros(n, dtype=np.bool_)
        self.enter_us = np.zeros(n, dtype=np.int64)
        self.came = 0
        self.over = 0

    def end(self, number: int, ended: Ended, latency_us: int, rule: int = 0, deployment: int = -1) -> None:
        """Write down how a call ended: once."""
        assert self.ended[number] == Ended.RUNNING, "a call ends once"
        self.ended[number] = ended
        self.rule[number] = rule
        self.deployment[number] = deployment
        self.latency_us[number] = latency_us
        self.over += 1
