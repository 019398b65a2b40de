"""The tries of one call: each is a new decision on the newest snapshot and policy, with what has failed shut for it.

So a retry, a fallback or a hedge can go nowhere that the policy does not allow at the moment that it is made.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from infercast.policies.estimates import Estimates
from infercast.policies.model import Choice, Request
from infercast.policies.patience import NOTHING_BEHIND, patience_us
from infercast.policies.prices import Prices
from infercast.policies.units import US_PER_S

from ..errors import Trouble, let_go
from . import clock
from .breaker import Circuits, Pass
from .deciding import Deciding
from .endings import Answered, Carrying, Stake
from .hedging import Hedging
from .judging import Judging
from .ports import Carried, Hold, Runner
from .retrying import NEWS_US, Budget, backoff_us
from .tries import Course, Decided, Failed, Try
from .troubles import no_place, too_late, within
from .waiting import Turns


@dataclass(slots=True)
class Counts:
    """What was done so far, for whoever looks; hedges count themselves, and so do circuits."""

    retries: int = 0
    retries_denied: int = 0
    """For want of budget."""
    fallbacks: int = 0


class Attempts:
    """Tries calls, on one candidate after the other, or on two side by side."""

    def __init__(
        self, deciding: Deciding, estimates: Estimates, runner: Runner, draw: Callable[[], float] = random.random
    ) -> None:
        self._deciding = deciding
        self.runner = runner
        self.prices = Prices(deciding.fleet)
        self._draw = draw
        self.turns = Turns(deciding)
        self.circuits = Circuits(deciding.snapshot, draw)
        self.judging = Judging(deciding, estimates, self.circuits)
        self.hedging = Hedging(deciding, self.circuits, self._beside, self._run)
        self.counts = Counts()
        self._budgets: dict[str, Budget] = {}

    async def carry(self, call: Carried, carrying: Carrying, hold: Hold, still: Choice | None) -> Answered:
        """Carry a call until it is answered; `still` is what a decision on it, made just now, would say. Raises Trouble."""
        course = Course(call, carrying, hold)
        tenant, behaviour = call.request.tenant, self._deciding.behaviour(call.request)
        if behaviour.retries_max:
            self._budget(tenant).called()
        if behaviour.hedge is not None:
            self.hedging.called(tenant)
        while True:
            one = await self._next(course, course.tried, still)
            still = None
            if one is None:
                await self._rest(course)
                continue
            after_us = self.hedging.after_us(course, one) if one.hedge is not None else None
            met = await (self._run(course, one) if after_us is None else self.hedging.run(course, one, after_us))
            if isinstance(met, Answered):
                carrying.won = (course.won or one).stake
                return met
            await self._go_on(course, met)

    async def once(self, call: Carried, carrying: Carrying, hold: Hold, shut: Sequence[int]) -> Answered:
        """Try a call once, on none of the deployments that are `shut`, and only where it has to wait for no turn.

        Raises Trouble, Lost or TimeoutError.
        """
        course = Course(call, carrying, hold)
        one = await self._next(course, shut, waits=False)
        if one is None:
            raise no_place()
        met = await self._run(course, one)
        if isinstance(met, Failed):
            raise met.error
        carrying.won = one.stake
        return met

    async def _beside(self, course: Course, tried: Sequence[int]) -> Try | None:
        """Decide on a hedge, and begin it. None where it would have to wait for its turn: that takes a place from nobody."""
        return await self._next(course, tried, waits=False)

    async def _next(
        self, course: Course, tried: Sequence[int], still: Choice | None = None, *, waits: bool = True
    ) -> Try | None:
        """Decide on a call's next try, set its price aside, and begin it. None where nothing is left to try.

        Raises Trouble where the call is refused, has no money or no time.
        """
        while True:
            decided = self._decide(course, tried, still)
            still = None
            if decided is None:
                self.turns.leave(course.carrying)  # where it waited it may not go by now
                return None
            turn = await self._turn(course, decided, waits=waits)
            if turn is not True:
                if turn is False:
                    return None
                continue
            stake = self._stake(course.call, decided.choice)
            setting_aside = course.hold.reserve(stake.aside_nusd)
            if setting_aside is not None:
                limit_us = self._deciding.limit_us(course.call.request)
                await within(setting_aside, decided.left_us, too_late(limit_us, course.carrying.attempts))
                # The policy may be another by now, or the place full: what was decided before the wait is decided again.
                later = self._decide(course, tried)
                same = later is not None and later.choice.deployment == stake.index
                if later is None or not same or not self.turns.has(stake.index, course.carrying):
                    course.carrying.lost(stake, ran=False)
                    continue
                decided = later
            one = self._begin(course, decided, stake)
            if one is not None:
                return one
            course.carrying.lost(stake, ran=False)

    async def _turn(self, course: Course, decided: Decided, *, waits: bool) -> bool | None:
        """Wait for a try's turn, where it has to. True: it may go on; None: it has waited, and is decided again; False: no turn for it.

        Raises Trouble(SATURATED) where a call that has not been tried yet cannot have its turn in time.
        """
        index, turns = decided.choice.deployment, self.turns
        if not waits:
            return turns.is_free(index, course.call.request.tenant)
        try:
            turn = turns.turn(index, course.carrying, decided.left_us)
            if turn is None:
                return True
            await turns.wait(turn, course.carrying, decided.left_us)
        except Trouble as trouble:
            if not course.carrying.attempts:
                raise
            let_go(trouble)
            course.refused = trouble
            return False
        course.waited = True
        return None

    def _stake(self, call: Carried, choice: Choice) -> Stake:
        index, price_nusd = choice.deployment, choice.price_nusd[0]
        aside_nusd = self.prices.most_nusd(index, price_nusd, len(call.body), call.tokens_max)
        return Stake(index, self._deciding.names[index], price_nusd, aside_nusd)

    def _left_us(self, course: Course) -> int:
        """Return the time that a call has left, by the policy in force now. Raises Trouble where there is none."""
        limit_us = self._deciding.limit_us(course.call.request)
        course.asked_us = now_us = clock.now_us()
        left_us = limit_us - (now_us - course.carrying.began_us)
        if left_us <= 0:
            raise too_late(limit_us, course.carrying.attempts)
        return left_us

    def _decide(self, course: Course, tried: Sequence[int], still: Choice | None = None) -> Decided | None:
        """Decide on a call, which does not stand before itself where it waits. None where nothing is left to try."""
        self.turns.asks = course.carrying.turn
        try:
            return self._decided(course, tried, still)
        finally:
            self.turns.asks = None

    def _decided(self, course: Course, tried: Sequence[int], still: Choice | None) -> Decided | None:
        """Decide on a call: at first as it came, later for the time that is left. None where nothing is left to try."""
        deciding, request, left_us = self._deciding, course.call.request, self._left_us(course)
        if not course.carrying.attempts:
            if course.waited:
                return self._at_its_turn(request, left_us)
            return Decided(request, still or deciding.choose(request, tried), tried, left_us)
        fallbacks_max = deciding.behaviour(request).fallbacks_max
        course.refused = None
        if course.is_over(fallbacks_max):
            return None
        asked, shut = replace(request, deadline_us=left_us), list(tried)
        try:
            choice = deciding.choose(asked, shut)
            # A call that may be tried on nothing new is retried where it was, though something else may be better by now.
            while len(course.failures) > fallbacks_max and choice.deployment not in course.failures:
                shut.append(choice.deployment)
                choice = deciding.choose(asked, shut)
        except Trouble as trouble:
            let_go(trouble)
            course.refused = trouble
            return None
        return Decided(asked, choice, shut, left_us)

    def _at_its_turn(self, request: Request, left_us: int) -> Decided:
        """Decide on a call that has only waited. What the policy refuses now is refused; else its turn came too late."""
        asked = replace(request, deadline_us=left_us)
        try:
            return Decided(asked, self._deciding.choose(asked, ()), (), left_us)
        except Trouble as trouble:
            index = self._deciding.choose(request, ()).deployment
            raise self.turns.shed(index, f"its turn came with {left_us / 1000:.0f} ms left") from trouble

    def _begin(self, course: Course, decided: Decided, stake: Stake) -> Try | None:
        """Begin a try; None where its candidate's circuit has opened since, or is being tried out: that is decided again."""
        deciding, choice, index = self._deciding, decided.choice, decided.choice.deployment
        decision_id = deciding.record(decided.asked, choice, decided.shut)
        expected_us = deciding.expected_us(choice)
        may = self.circuits.enter(index)
        if may is Pass.NO:
            return None
        attempts = course.carrying.attempts
        again = index in course.failures
        self.counts.fallbacks += bool(course.failures) and not again
        attempts.append(stake.deployment)
        behaviour, others = deciding.behaviour(course.call.request), len(course.failures) + len(course.running) - again
        last = len(choice.deployments) == 1 or others >= behaviour.fallbacks_max
        behind_us, left_us = NOTHING_BEHIND if last else choice.latency_us[1], decided.left_us
        wait_us = left_us if course.whole_text else patience_us(choice.latency_us[0], behind_us, left_us)
        facts = (stake, decision_id, expected_us, wait_us, behaviour.hedge, may is Pass.TRIAL)
        return Try(index, choice, *facts, course.asked_us, bool(course.running))

    async def _run(self, course: Course, one: Try) -> Answered | Failed:
        """Run a try to its end, and take in what it says. Raises what the call ends in, where it ends with it."""
        course.carrying.tries.append(one)
        one.sent_us = clock.now_us()
        try:
            answer = await self.turns.run(self.runner, one.index, course.call, one.wait_us / US_PER_S, course.carrying)
        except BaseException as met:  # noqa: BLE001 - raised again, unless the call may go on
            one.ended_us = clock.now_us()
            # A cancellation goes on with the frames that hold this try: what is kept of it must not hold them.
            one.met = asyncio.CancelledError() if isinstance(met, asyncio.CancelledError) else met
            failed = self.judging.failed(course, one, met)
            let_go(met)  # its frames hold this try, which holds it
            return failed
        one.ended_us = clock.now_us()
        return self.judging.answered(course, one, answer)

    async def _go_on(self, course: Course, failed: Failed) -> None:
        """Take in a try that has failed. One that may be made once more at once is waited for a moment; else others come first."""
        behaviour = self._deciding.behaviour(course.call.request)
        again = course.take(failed, clock.now_us(), behaviour.retries_max)
        if again and not failed.retry_after_s:
            await self._pause(course, failed.index, 0)

    async def _rest(self, course: Course) -> None:
        """Wait until a candidate that had no room may have some. Raises the call's trouble where none is worth waiting for."""
        soonest = min(course.resting_us, key=course.resting_us.__getitem__, default=None)
        if soonest is not None:
            rest_us = max(0, course.resting_us[soonest] - clock.now_us()) + NEWS_US
            if await self._pause(course, soonest, rest_us):
                return
        left_us = self._left_us(course)
        raise course.trouble(self._deciding.limit_us(course.call.request), left_us)

    async def _pause(self, course: Course, index: int, least_us: int) -> bool:
        """Wait before a candidate is tried once more. False, at once, where there is not the time or no retry left in the budget."""
        wait_us = least_us + backoff_us(course.failures[index], self._draw())
        if wait_us >= self._left_us(course):
            return False
        if not self._budget(course.call.request.tenant).take(clock.now_us()):
            self.counts.retries_denied += 1
            return False
        self.counts.retries += 1
        await asyncio.sleep(wait_us / US_PER_S)
        course.open_again(index)
        return True

    def _budget(self, tenant: str) -> Budget:
        budget = self._budgets.get(tenant)
        if budget is None:
            budget = self._budgets[tenant] = Budget(clock.now_us())
        return budget
