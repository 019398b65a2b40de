"""The tries of one call: what each was decided on, how it failed, and what the call has been tried on so far."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from infercast.policies.model import Choice, Request
from infercast.policies.parts import Hedge
from infercast.policies.units import US_PER_S

from ..api import Api
from ..errors import Kind, Trouble
from .endings import Carrying, Stake
from .ports import Carried, Hold, Lost
from .troubles import no_room, too_late

NOT_SENT = -1
NOTHING: Mapping[int, int] = MappingProxyType({})
TEXTS = (Api.CHAT, Api.COMPLETION)


class Decided(NamedTuple):
    """A decision, and what was asked: the request with the time that was left, and what was shut for it."""

    asked: Request
    choice: Choice
    shut: Sequence[int]
    left_us: int


@dataclass(slots=True)
class Try:
    """A call on its way to one candidate. Made for each, so not frozen."""

    index: int
    choice: Choice
    stake: Stake
    decision_id: str
    expected_us: list[int]
    wait_us: int
    hedge: Hedge | None
    """How it may get another one beside it."""
    trial: bool
    """Whether it tries out its candidate's circuit."""
    sent_us: int = NOT_SENT
    let_go: bool = False
    """Whether nobody waits for it any more, and it is booked."""
    outrun: bool = False
    """Whether that is because another try of the call has answered."""


@dataclass(slots=True)
class Failed:
    """A try that brought no answer, for a reason that another candidate need not have."""

    index: int
    error: Lost | TimeoutError | Trouble

    @property
    def again(self) -> bool:
        """Whether the same candidate may be asked once more."""
        return isinstance(self.error, Lost) and self.error.again

    @property
    def retry_after_s(self) -> int:
        """How long it has no room for."""
        return self.error.retry_after_s if isinstance(self.error, Lost) else 0


class Course:
    """What became of one call so far. Most calls are answered at once: what only others need is made when they do."""

    __slots__ = (
        "call",
        "carrying",
        "failures",
        "hold",
        "last",
        "refused",
        "resting_us",
        "running",
        "tried",
        "whole_text",
        "won",
    )

    def __init__(self, call: Carried, carrying: Carrying, hold: Hold) -> None:
        self.call = call
        self.carrying = carrying
        self.hold = hold
        # A text that is asked for whole: what is expected of one is its beginning, and it takes as long as it is long.
        self.whole_text = not call.stream and call.api in TEXTS
        self.tried: tuple[int, ...] = ()
        """What is shut for its next decision."""
        self.failures: Mapping[int, int] = NOTHING
        """How often each candidate has failed: all that it was tried on."""
        self.resting_us: Mapping[int, int] = NOTHING
        """Who has no room until then, and may be asked once more."""
        self.running: list[Try] | tuple[()] = ()
        """Of a hedged call: what is on its way."""
        self.won: Try | None = None
        """Of a hedged call: what has answered."""
        self.last: Failed | None = None
        self.refused: Trouble | None = None
        """Why the last decision found nothing."""

    @property
    def tenant(self) -> str:
        """Whose it is."""
        return self.call.request.tenant

    def book(self, one: Try, *, ran: bool) -> None:
        """Book a try that brought no answer: one that may have run is paid for, whatever became of it."""
        if not one.let_go:
            self.carrying.lost(one.stake, ran=ran)

    def take(self, failed: Failed, now_us: int, retries_max: int) -> bool:
        """Take in a try that has failed; its candidate is shut. Returns whether it may be asked once more, soon or later."""
        index, self.last = failed.index, failed
        self.failures = {**self.failures, index: self.failures.get(index, 0) + 1}
        self.tried = (*self.tried, index)
        again = failed.again and self.failures[index] <= retries_max
        if again and failed.retry_after_s:
            self.resting_us = {**self.resting_us, index: now_us + failed.retry_after_s * US_PER_S}
        return again

    def open_again(self, index: int) -> None:
        """Let the next decision take a candidate once more."""
        self.resting_us = {other: until_us for other, until_us in self.resting_us.items() if other != index}
        self.tried = tuple(other for other in self.tried if other != index)

    def is_over(self, fallbacks_max: int) -> bool:
        """Return whether it has been tried on all that its policy lets it try, and all of that is shut."""
        return len(self.failures) > fallbacks_max and len(self.tried) == len(self.failures)

    def trouble(self, limit_us: int, left_us: int) -> Trouble:
        """Return what the call ends in. That nothing passes now is no refusal: it was accepted, and lost."""
        attempts, last = self.carrying.attempts, self.last
        if last is not None and isinstance(last.error, Trouble):
            return last.error
        if last is not None and last.retry_after_s:
            return no_room(last.retry_after_s, attempts)
        if self.refused is None:
            return too_late(limit_us, attempts)
        message = f"{', '.join(attempts)} gave no answer, and nothing else can in the {left_us / 1000:.0f} ms left"
        return Trouble(Kind.DEADLINE, f"{message}: {self.refused.message}", "the call may be repeated")
