"""What is known of a call while it is carried, and how it ended: one journal line each."""

import asyncio
from dataclasses import dataclass, field

from infercast.policies.model import Choice, Request

from ..api import Api, Usage
from ..errors import Gone, Kind, Trouble
from ..runtime.host import Answer
from . import clock
from .ports import Hold, Journal, Lost


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
class Try:
    """One attempt: the deployment, the decision for it, and when what was done. `ended_us` 0: nothing has come back."""

    deployment: int
    decision: str
    choice: Choice
    began_us: int
    """When it was begun to decide; `sent_us` is when the call was sent, by the clock of `conduct`."""
    sent_us: int
    ended_us: int = 0
    met: BaseException | None = None
    """What came in place of an answer."""


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
    arrived_us: int = 0
    """When its headers were here, before it was known whose call it is; this and what follows by the clock of `conduct`."""
    admitted_us: int = 0
    """When its metadata had been decided on; 0 where that came to a refusal."""
    received_us: int = 0
    """When its body was here, where that was waited for."""
    api: Api = Api.INFER
    tries: list[Try] = field(default_factory=list)
    begun_us: int = 0
    """When a streamed answer's first event was here."""
    ended_us: int = 0
    traced: object | None = None
    """What `Sight` keeps of a call that it traces."""


def write(
    journal: Journal, entry: str, carrying: Carrying, answered: Answered | None, error: BaseException | None
) -> None:
    """Write down how a call ended, which is now."""
    carrying.ended_us = clock.now_us()
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
        took_us=carrying.ended_us - carrying.began_us,
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
