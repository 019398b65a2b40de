"""A second try beside one that takes long: how many of a tenant's calls may have one, and how two run side by side."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from infercast.policies.objectives import QUANTILE_COLUMN
from infercast.policies.units import PPM, US_PER_S, ppm

from ..errors import Trouble
from . import clock
from .breaker import Circuits
from .deciding import Deciding
from .endings import Answered
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
        self.races = Races()
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
        hedge = self._deciding.behaviour(course.call.request).hedge
        if hedge is None or len(course.carrying.attempts) > 1 or len(one.choice.deployments) == 1 or course.whole_text:
            return None
        after_us = one.expected_us[QUANTILE_COLUMN[hedge.after_quantile]]
        return after_us if after_us < one.wait_us else None

    async def run(self, course: Course, first: Try, after_us: int) -> Answered | Failed:
        """Run a call's first try, and from a moment on a second beside it. The first answer is the call's; the other try ends.

        Where both fail, the one that failed last is returned, the other is in the course. Raises what either raises.
        """
        course.running.append(first)
        met: list[Answered | Failed] = []
        try:
            met = await self.races.run(
                self._beside(course, first), after_us / US_PER_S, lambda: self._second(course, first)
            )
        finally:
            self._let_go(course, answered=bool(met) and isinstance(met[0], Answered))
        for failed in met[:-1]:
            if isinstance(failed, Failed):
                course.take(failed, clock.now_us(), 0)
        if isinstance(met[-1], Answered) and course.won is not first:
            self.won += 1
        return met[-1]

    async def _second(self, course: Course, first: Try) -> Met:
        """Decide on a second try, and run it; None where the policy, the share of hedges, or the money has none."""
        request = course.call.request
        hedge, hedges = self._deciding.behaviour(request).hedge, self._hedges(request.tenant)
        if hedge is None or not hedges.may(ppm(hedge.budget_share)):
            return None
        hedges.hedged += 1  # before anything is waited for: two calls may not both take the last
        try:
            second = await self._next(course, [first.index])
        except Trouble:
            second = None
        if second is None:
            hedges.hedged -= 1
            return None
        self.sent += 1
        course.running.append(second)
        return await self._beside(course, second)

    async def _beside(self, course: Course, one: Try) -> Met:
        try:
            met = await self._run(course, one)
        finally:
            course.running.remove(one)
        if isinstance(met, Answered):
            if course.won is not None:  # both answered at the same moment
                course.book(one, ran=True)
                await closed(met)
                return None
            course.won = one
        return met

    def _let_go(self, course: Course, *, answered: bool) -> None:
        """Book what is still on its way, now: when it has ended, the call will have been settled."""
        for one in course.running:
            sent = one.sent_us != NOT_SENT
            course.book(one, ran=sent)
            one.let_go, one.outrun = True, answered
            if not sent:  # it never will be, so nothing else says that it has ended
                self._circuits.ended(one.index, None, trial=one.trial)
        if course.won is not None and not answered:  # its caller has gone at the moment that the answer was there
            course.book(course.won, ran=True)


class Races:
    """Tries side by side. Whatever was let go and has not ended yet is kept here until it has."""

    def __init__(self) -> None:
        self.ending: set[asyncio.Task[Any]] = set()

    async def run(
        self, first: Coroutine[Any, Any, Met], after_s: float, second: Callable[[], Coroutine[Any, Any, Met]]
    ) -> list[Answered | Failed]:
        """Run `first`, and `second` beside it from `after_s` on; return the answer alone, or how both failed.

        Whoever has not ended by then is cancelled, however this ends. Raises what either raises, unless the other answers at
        the same moment.
        """
        tasks = [asyncio.create_task(first)]
        used: asyncio.Task[Met] | None = None
        try:
            _, waiting = await asyncio.wait(tasks, timeout=after_s)
            if waiting:
                tasks.append(asyncio.create_task(second()))
            waiting = set(tasks)
            met: list[Answered | Failed] = []
            while waiting:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                ended = [task for task in tasks if task in done]
                used = next((task for task in ended if _answered(task)), None)
                if used is not None:
                    return [used.result()]  # type: ignore[list-item]
                met += [result for result in (task.result() for task in ended) if result is not None]
            return met
        finally:
            for task in tasks:
                if task is not used:
                    self._let_go(task)

    def _let_go(self, task: asyncio.Task[Met]) -> None:
        """End a try whose answer nobody wants: at once, as far as this side goes."""
        self.ending.add(task)
        task.add_done_callback(self._gone)
        task.cancel()

    def _gone(self, task: asyncio.Task[Met]) -> None:
        self.ending.discard(task)
        if _answered(task):
            closing = asyncio.ensure_future(closed(task.result()))
            self.ending.add(closing)
            closing.add_done_callback(self.ending.discard)


async def closed(met: Met) -> None:
    """End an answer that nobody will read."""
    if isinstance(met, Answered) and met.answer.stream is not None:
        await met.answer.stream.aclose()


def _answered(task: asyncio.Task[Met]) -> bool:
    """Return whether a task that is done holds an answer. What it may have raised instead counts as seen."""
    return not task.cancelled() and task.exception() is None and isinstance(task.result(), Answered)
