"""What is known of a call while it is carried, and how it ended: one journal line each."""

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from infercast.policies.model import Request

from ..api import Usage
from ..errors import Gone, Kind, Trouble
from ..runtime.host import Answer
from . import clock
from .ports import Hold, Journal, Lost

if TYPE_CHECKING:
    from .waiting import Waits


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
    turn: "Waits | None" = None
    """Where it waits, or has been promised a place."""
    turn_number: int = -1
    """Its place among those of its tenant that wait: kept when it is decided again."""
    queued_us: int = 0
    """How long it has waited for its turn."""


def write(
    journal: Journal, entry: str, carrying: Carrying, answered: Answered | None, error: BaseException | None
) -> None:
    """Write down how a call ended."""
    request = carrying.request
    kind, reason = ending(error)
    usage = carrying.usage
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
        expected_us=answered.expected_us if answered else None,
        ran_us=answered.ran_us if answered else None,
        at_site_us=answered.answer.at_site_us if answered else None,
        service_us=answered.answer.service_us if answered else None,
        tokens=list(usage) if usage else None,
        attempts=carrying.attempts,
        queued_us=carrying.queued_us,
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
