"""Circuits: a candidate on which this entry's calls fail again and again is left alone for a while, then tried out by one call.

A circuit is *closed* (calls go), *open* (none goes) or *half open* (one at a time does, and decides). `Circuit` is one of them:
no clock and no luck inside. `Circuits` are an entry's, and put what they say into its snapshot, so that it is the decision
that leaves a candidate out, under the rule of health, and its record says so.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from infercast.policies.snapshot import TRIED_OUT_US, Snapshot

from . import clock

FAILURES_IN_A_ROW = 5
"""So many failures with no answer in between open a circuit."""
WINDOW_CALLS, WINDOW_US = 20, 30_000_000
"""The share of failures is that of the newest calls, so many at most, and none older than this."""
WINDOW_CALLS_MIN = 10
"""Of fewer calls no share is taken."""
BESIDE_US = 5_000_000
"""Who was answered so recently speaks for the candidate, when only somebody else's calls fail there."""
COOL_US, COOL_US_MAX = 1_000_000, 60_000_000
"""How long a circuit stays open at first, and at most: twice as long each time that it opens again."""
CALM_US = 60_000_000
"""A circuit that has been closed for so long begins anew with its first time."""


class State(Enum):
    """How a circuit stands."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half open"


class Pass(Enum):
    """Whether a call may go to a candidate."""

    NO = 0
    YES = 1
    TRIAL = 2
    """It may, and tries out whether the circuit may close: nobody else goes until it has ended."""


@dataclass(slots=True)
class Answers:
    """Whose calls a candidate has answered of late: the newest of all, and the newest of anybody else's."""

    at_us: int = -BESIDE_US
    tenant: str = ""
    other_us: int = -BESIDE_US
    other: str = ""

    def note(self, tenant: str, now_us: int) -> None:
        """Take in an answer to a tenant's call."""
        if tenant != self.tenant:
            self.other_us, self.other = self.at_us, self.tenant
            self.tenant = tenant
        self.at_us = now_us

    def beside(self, tenant: str, now_us: int) -> bool:
        """Return whether anybody else than a tenant was answered just now."""
        at_us = self.at_us if self.tenant != tenant else self.other_us
        return now_us - at_us < BESIDE_US


@dataclass(slots=True)
class Circuit:
    """One candidate's circuit. `luck` is from 0 up to 1, and comes from outside as the time does."""

    open_until_us: int = 0
    state: State = State.CLOSED
    trying: bool = False
    """Whether a call is trying it out."""
    in_a_row: int = 0
    times_opened: int = 0
    closed_us: int = 0
    newest: deque[tuple[int, bool, str]] = field(default_factory=lambda: deque(maxlen=WINDOW_CALLS))
    """When each of the newest calls ended, whether it failed, and whose it was."""
    answers: Answers = field(default_factory=Answers)

    def enter(self, now_us: int) -> Pass:
        """Return whether a call may go now."""
        if self.state is State.CLOSED:
            return Pass.YES
        if self.state is State.OPEN and now_us >= self.open_until_us:
            self.state = State.HALF_OPEN
        if self.state is State.OPEN or self.trying:
            return Pass.NO
        self.trying = True
        return Pass.TRIAL

    def ended(self, failed: bool | None, tenant: str, trial: bool, now_us: int, luck: float) -> None:
        """Take in how a tenant's call ended that was let through; None says nothing of the candidate.

        What ends late, from before the circuit opened, says nothing new of it.
        """
        if trial:
            self.trying = False
            if failed:
                self._open(now_us, luck)
            elif failed is not None:
                self.state, self.closed_us, self.in_a_row = State.CLOSED, now_us, 0
                self.answers.note(tenant, now_us)
                self.newest.clear()
        elif self.state is State.CLOSED and failed is not None:
            self._counted(failed, tenant, now_us, luck)

    def _counted(self, failed: bool, tenant: str, now_us: int, luck: float) -> None:
        self.newest.append((now_us, failed, tenant))
        self.in_a_row = self.in_a_row + 1 if failed else 0
        if not failed:
            self.answers.note(tenant, now_us)
            return
        recent = [(bad, whose) for at_us, bad, whose in self.newest if now_us - at_us <= WINDOW_US]
        failing = {whose for bad, whose in recent if bad}
        many = len(recent) >= WINDOW_CALLS_MIN and 2 * sum(bad for bad, _ in recent) >= len(recent)
        # One tenant's bodies may be what breaks it, while others' are answered: no reason to take it from these. That is
        # not asked of the newest calls: of a flood, all of these are its own.
        its_own_affair = len(failing) == 1 and self.answers.beside(tenant, now_us)
        if (self.in_a_row >= FAILURES_IN_A_ROW or many) and not its_own_affair:
            self._open(now_us, luck)

    def _open(self, now_us: int, luck: float) -> None:
        if self.state is State.CLOSED and now_us - self.closed_us >= CALM_US:
            self.times_opened = 0
        cool_us = min(COOL_US_MAX, COOL_US << min(self.times_opened, 10))
        self.times_opened += 1
        self.state = State.OPEN
        # Between half of it and all: entries that lost a site together do not come back to it together.
        self.open_until_us = now_us + cool_us // 2 + int(luck * (cool_us - cool_us // 2))

    def is_well(self, now_us: int) -> bool:
        """Return whether it need not be remembered: nothing has failed there of late."""
        if self.state is not State.CLOSED or now_us - self.closed_us < CALM_US:
            return False
        return not any(failed and now_us - at_us <= WINDOW_US for at_us, failed, _ in self.newest)


class Circuits:
    """The circuits of one entry. Of a candidate on which nothing has failed of late there is none, only whom it has answered."""

    def __init__(self, snapshot: Snapshot, draw: Callable[[], float]) -> None:
        self._snapshot = snapshot
        self._draw = draw
        self._circuits: dict[int, Circuit] = {}
        self._answers: dict[int, Answers] = {}
        self.opened = 0
        """How often one has opened."""

    def enter(self, index: int) -> Pass:
        """Return whether a call may go to a candidate now; if so it has `ended` there later, once. Else it is decided again."""
        circuit = self._circuits.get(index)
        if circuit is None:
            return Pass.YES
        now_us = clock.now_us()
        may = circuit.enter(now_us)
        if may is not Pass.YES:
            # NO: decided before it opened, or before another began to try it out. The next decision is told.
            until_us = TRIED_OUT_US if circuit.trying else circuit.open_until_us
            self._snapshot.open_circuit(index, until_us, now_us)
        return may

    def ended(self, index: int, failed: bool | None, tenant: str, *, trial: bool = False) -> None:
        """Take in how a tenant's call ended at a candidate: None where that says nothing of it."""
        circuit = self._circuits.get(index)
        if circuit is None and failed is None:
            return
        now_us = clock.now_us()
        if circuit is None:
            answers = self._answers.get(index)
            if answers is None:
                answers = self._answers[index] = Answers()
            if not failed:
                answers.note(tenant, now_us)
                return
            circuit = self._circuits[index] = Circuit(closed_us=now_us - CALM_US, answers=answers)
        was_open = circuit.state is not State.CLOSED
        circuit.ended(failed, tenant, trial, now_us, self._draw())
        if circuit.state is State.OPEN and (trial or not was_open):
            self.opened += 1
            self._snapshot.open_circuit(index, circuit.open_until_us, now_us)
        elif trial:  # closed, or to be tried out by the next call
            self._snapshot.close_circuit(index)
        if circuit.is_well(now_us):
            del self._circuits[index]

    def state(self, index: int) -> State:
        """Return how a candidate's circuit stands."""
        circuit = self._circuits.get(index)
        return State.CLOSED if circuit is None else circuit.state
