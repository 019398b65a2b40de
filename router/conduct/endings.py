"""What is known of a call while it is carried, and how it ended: one journal line each."""

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

from infercast.policies.model import Request
from infercast.policies.prices import Prices
from infercast.policies.units import usd

from ..api import Api, Usage
from ..errors import Gone, Kind, Trouble
from ..runtime.host import Answer
from . import clock
from .ports import Hold, Journal, Lost

if TYPE_CHECKING:
    from .tries import Try
    from .waiting import Waits


Result = Literal["hit", "similar", "miss"]
"""What came of looking for a kept answer: that very one, one to a similar question, or none."""


class Freshness(NamedTuple):
    """What the cache of an entry says of an answer: a hit, an answer to a similar question, or one that was just made.

    `age_s` is how long ago it was made, `lifetime_s` how long it is kept in all; 0 where it is not.
    """

    how: Result
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
    """What the call has cost in all; as foretold, until the last of a streamed answer has come."""
    expected_us: list[int]
    """p50, p90, p95 and p99 of what the last attempt was expected to take, and what it took."""
    ran_us: int
    freshness: Freshness | None = None
    """What the entry's cache says of it, where the tenant has one. A kept answer took no attempts and costs nothing."""


@dataclass(slots=True)
class Stake:
    """A try that has been paid for in advance: what it was foretold to cost, and the most that it may."""

    index: int
    deployment: str
    price_nusd: int
    aside_nusd: int


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
    events: int = 0
    """How many events of a streamed answer have been sent on."""
    hold: Hold | None = None
    """What it may use of its tenant's limits, once it has been counted in them."""
    arrived_us: int = 0
    """When its headers were here, before it was known whose call it is; this and what follows by the clock of `conduct`."""
    admitted_us: int = 0
    """When its metadata had been decided on; 0 where that came to a refusal."""
    received_us: int = 0
    """When its body was here, where that was waited for."""
    api: Api = Api.INFER
    tries: "list[Try]" = field(default_factory=list)
    begun_us: int = 0
    """When a streamed answer's first event was here."""
    ended_us: int = 0
    traced: object | None = None
    """What `Sight` keeps of a call that it traces."""
    turn: "Waits | None" = None
    """Where it waits, or has been promised a place."""
    turn_number: int = -1
    """Its place among those of its tenant that wait: kept when it is decided again."""
    queued_us: int = 0
    """How long it has waited for its turn, in all."""
    waits: tuple[tuple[int, int], ...] = ()
    """Each of these waits: when it began and when it ended."""
    won: Stake | None = None
    """The try that brought the answer: none where there is none, or it is one that was kept."""
    spent: list[tuple[str, int]] = field(default_factory=list)
    """Each try that was paid for, with its cost in nano-USD: the answer's first, once the call is settled."""

    def lost(self, stake: Stake, *, ran: bool) -> None:
        """A try brought no answer. One that may have run is paid as foretold; of one that surely did not, all is free again.

        What was set aside is the most that it may cost: less than foretold, where it was to be shorter than is usual.
        """
        cost_nusd = min(stake.price_nusd, stake.aside_nusd) if ran else 0
        if ran:
            self.spent.append((stake.deployment, cost_nusd))
        if self.hold is not None:
            self.hold.lost(stake.aside_nusd, cost_nusd)

    def settle(self, prices: Prices) -> int:
        """Settle what the call has cost, once it has ended; return that in nano-USD. Must be called once.

        A streamed answer that was cut short says nothing of its tokens: then each of its events counts as one, and
        four bytes of the body as one of the prompt.
        """
        won, usage = self.won, self.usage
        tokens = None if usage is None else usage.prompt_tokens + usage.completion_tokens
        if won is not None:
            if usage is not None:
                cost_nusd = prices.settled_nusd(won.index, won.price_nusd, *usage)
            elif self.events:
                prompt = prompt_tokens(self.received_bytes)
                tokens = prompt + self.events
                cost_nusd = prices.settled_nusd(won.index, won.price_nusd, prompt, self.events)
            else:
                cost_nusd = min(won.price_nusd, won.aside_nusd)
            self.spent.insert(0, (won.deployment, cost_nusd))
        elif not self.spent:
            tokens = 0
        total_nusd = 0
        for _, cost_nusd in self.spent:
            total_nusd += cost_nusd
        if self.hold is not None:
            self.hold.end(total_nusd, tokens)
        return total_nusd


BYTES_PER_TOKEN = 4
"""Of a prompt whose tokens nobody has counted: about what English text has in the usual vocabularies."""


def prompt_tokens(body_bytes: int) -> int:
    """Return about how many tokens a body's prompt has."""
    return -(-body_bytes // BYTES_PER_TOKEN)


def write(
    journal: Journal,
    entry: str,
    carrying: Carrying,
    answered: Answered | None,
    error: BaseException | None,
    cost_nusd: int,
    *,
    device: bool,
) -> None:
    """Write down how a call ended, which is now. `at_s` is when it began: the day and month that its cost belongs to.

    `device` says that it was carried on a device: tries that went to a site's ingress are settled there.
    """
    carrying.ended_us = clock.now_us()
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
        device=device,
        request=request.id,
        at_s=request.at_s,
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
        cost_usd=usd(cost_nusd),
        spent=carrying.spent,
        cached=cached,
        expected_us=ran.expected_us if ran else None,
        ran_us=ran.ran_us if ran else None,
        at_site_us=ran.answer.at_site_us if ran else None,
        service_us=ran.answer.service_us if ran else None,
        tokens=list(usage) if usage else None,
        attempts=carrying.attempts,
        queued_us=carrying.queued_us,
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
