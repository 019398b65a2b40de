"""What is known of a call while it is carried, and how it ended: one journal line each."""

import asyncio
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from infercast.policies.model import Request

from ..api import Usage
from ..errors import Gone, Kind, Trouble
from ..runtime.host import Answer
from . import clock
from .ports import Hold, Journal, Lost


class Freshness(NamedTuple):
    """What the cache of an entry says of an answer: a hit, an answer to a similar question, or one that was just made.

    `age_s` is how long ago it was made, `lifetime_s` how long it is kept in all; 0 where it is not.
    """

    how: Literal["hit", "similar", "miss"]
    age_s: int = 0
    lifetime_s: int = 0


CACHED = {"hit": "exact", "similar": "similar", "miss": None}
"""What the journal says of them."""


@dataclass(slots=True)
class Answered:
    """A call that was answered: by whom, after how many attempts, for how much. Made for each call, so not frozen."""

    answer: Answer
    deployment: str
    tier: str
    decision_id: str
    attempts: int
    cost_usd: float
    expected_us: list[int]
    """p50, p90, p95 and p99 of what the last attempt was expected to take, and what it took."""
    ran_us: int
    freshness: Freshness | None = None
    """What the entry's cache says of it, where the tenant has one. A kept answer took no attempts and costs nothing."""


@dataclass(slots=True)
class Carrying:
    """A call that is being carried. Its line is written from this, however it ends."""

    request: Request
    number: str
    began_us: int
    hops: tuple[str, ...] = ()
    received_bytes: int = 0
    attempts: list[str] = field(default_factory=list)
    usage: Usage | None = None
    hold: Hold | None = None
    """What it may use of its tenant's limits, once it has been counted in them."""


def write(
    journal: Journal, entry: str, carrying: Carrying, answered: Answered | None, error: BaseException | None
) -> None:
    """Write down how a call ended."""
    request = carrying.request
    kind, reason = ending(error)
    usage = carrying.usage
    cached = CACHED[answered.freshness.how] if answered and answered.freshness else None
    ran = None if cached else answered
    journal.write(
        "call",
        number=carrying.number,
        hops=list(carrying.hops),
        settled=not carrying.hops,
        request=request.id,
        tenant=request.tenant,
        model=request.model,
        entry=entry,
        origin=request.origin,
        classes=list(request.classes),
        received_bytes=carrying.received_bytes,
        outcome=kind,
        reason=reason,
        deployment=answered.deployment if answered else None,
        decision=answered.decision_id if answered else None,
        cost_usd=answered.cost_usd if answered else 0.0,
        cached=cached,
        expected_us=ran.expected_us if ran else None,
        ran_us=ran.ran_us if ran else None,
        at_site_us=ran.answer.at_site_us if ran else None,
        service_us=ran.answer.service_us if ran else None,
        tokens=list(usage) if usage else None,
        attempts=carrying.attempts,
        took_us=clock.now_us() - carrying.began_us,
    )


def ending(error: BaseException | None) -> tuple[str, str]:
    """Return how a call ended that ended so, and the reason where it was not answered."""
    match error:
        case None:
            return "answered", ""
        case Trouble(kind=kind):
            return "failed" if kind in (Kind.FAULT, Kind.DEADLINE) else "refused", str(kind)
        case Gone() | GeneratorExit():
            return "failed", "gone"
        case asyncio.CancelledError():
            return "failed", "cancelled"
        case Lost():
            return "failed", "lost"
        case _:
            return "failed", str(Kind.FAULT)
