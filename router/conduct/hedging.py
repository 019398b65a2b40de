"""A second try beside one that takes long: how many of a tenant's calls may have one, and how it is decided, run and booked."""

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from infercast.policies.objectives import QUANTILE_COLUMN
from infercast.policies.units import PPM, US_PER_S, ppm

from ..errors import Trouble
from . import clock
from .breaker import Circuits
from .deciding import Deciding
from .endings import Answered
from .prompt import Begun
from .race import Ending, Race
from .tries import NOT_SENT, Course, Failed, Try

Met = Answered | Failed | None
"""What a try came to; None where it was not made, or its answer came second."""
NextTry = Callable[[Course, Sequence[int]], Coroutine[Any, Any, Try | None]]
RunTry = Callable[[Course, Try], Coroutine[Any, Any, Answered | Failed]]


class Hedges:
    """How many calls of one tenant were carried at one entry, and how many of them were hedged."""

    __slots__ = ("calls", "hedged")

    def __init__(self) -> None:
        self.calls = self.hedged = 0

    def may(self, share_ppm: int) -> bool:
        """Return whether one more keeps to a share of all; the simulator asks the same (`sim/oracle/limits.py`)."""
        return (self.hedged + 1) * PPM <= share_ppm * self.calls


class Hedging:
    """Second tries at one entry. `next_try` decides on one and begins it, `run_try` runs it to its end."""

    def __init__(self, deciding: Deciding, circuits: Circuits, next_try: NextTry, run_try: RunTry) -> None:
        self._deciding = deciding
        self._circuits = circuits
        self._next = next_try
        self._run = run_try
        self._of: dict[str, Hedges] = {}
        self.ending: Ending[Met] = Ending(closed)
        self.sent = self.won = 0
        """How many second tries there were, and how many of them answered first."""

    def called(self, tenant: str) -> None:
        """Count a call of a tenant's that may be hedged."""
        self._hedges(tenant).calls += 1

    def _hedges(self, tenant: str) -> Hedges:
        hedges = self._of.get(tenant)
        if hedges is None:
            hedges = self._of[tenant] = Hedges()
        return hedges

    def after_us(self, course: Course, one: Try) -> int | None:
        """Return when a try gets a second one beside it; None for never. A text that is asked for whole gets none: it takes its time."""
        if (
            one.hedge is None
            or len(course.carrying.attempts) > 1
            or len(one.choice.deployments) == 1
            or course.whole_text
        ):
            return None
        after_us = one.expected_us[QUANTILE_COLUMN[one.hedge.after_quantile]]
        return after_us if after_us < one.wait_us else None

    async def run(self, course: Course, first: Try, after_us: int) -> Answered | Failed:
        """Run a call's first try, and from a moment on a second beside it. The first answer is the call's; the other try ends.

        Where both fail, the one that was begun last is returned, the other is in the course. Raises what either raises.
        """
        begun = Begun(self._run(course, first))
        if begun.value is not None:
            return begun.value  # what is so short that it was there at once needs nothing beside it
        course.running = [first]

        def outrun() -> None:
            first.outrun = True

        race: Race[Met] = Race(partial(self._second, course, first), _is_answer, outrun, self.ending)
        met: list[Met] = []
        try:
            met = await race.run(self._beside(course, first, begun), after_us / US_PER_S)
        finally:
            if course.won is not None and not met:  # whoever called has gone at the moment that the answer was there
                course.book(course.won, ran=True)
            self._let_go(course)
        answered = next((one for one in met if isinstance(one, Answered)), None)
        if answered is not None:
            self.won += course.won is not first
            return answered
        *others, last = (one for one in met if isinstance(one, Failed))
        for other in others:
            course.take(other, clock.now_us(), 0)
        return last

    async def _second(self, course: Course, first: Try) -> Met:
        """Decide on a second try, and run it; None where the policy, the share of hedges, or the money has none."""
        request = course.call.request
        hedge, hedges = self._deciding.behaviour(request).hedge, self._hedges(request.tenant)
        if hedge is None or not hedges.may(ppm(hedge.budget_share)):
            return None
        hedges.hedged += 1  # before anything is waited for: two calls may not both take the last
        second: Try | None = None
        try:
            second = await self._next(course, [first.index])
        except Trouble:
            return None
        finally:  # also where the first has answered meanwhile: what was not sent takes nothing from the share
            hedges.hedged -= second is None
        if second is None:
            return None
        self.sent += 1
        course.running = [*course.running, second]
        return await self._beside(course, second, self._run(course, second))

    async def _beside(self, course: Course, one: Try, running: Awaitable[Answered | Failed]) -> Met:
        try:
            met = await running
        finally:
            course.running = [other for other in course.running if other is not one]
        if isinstance(met, Answered):
            if course.won is not None:  # the other one has just answered
                course.book(one, ran=True)
                one.outrun = True
                await closed(met)
                return None
            course.won = one
        return met

    def _let_go(self, course: Course) -> None:
        """Book what is still on its way, now: when it has ended, the call will have been settled."""
        for one in course.running:
            sent = one.sent_us != NOT_SENT
            course.book(one, ran=sent)
            one.let_go, one.outrun = True, course.won is not None
            if not sent:  # it never will be, so nothing else says that it has ended
                self._circuits.ended(one.index, None, course.tenant, trial=one.trial)


def _is_answer(met: Met) -> bool:
    return isinstance(met, Answered)


async def closed(met: Met) -> None:
    """End an answer that nobody will read."""
    if isinstance(met, Answered) and met.answer.stream is not None:
        await met.answer.stream.aclose()
