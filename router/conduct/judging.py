"""What a try says of its candidate, taken in where it ends: for the estimates, the circuit, the site, and the tenant's money."""

import asyncio

from infercast.policies.estimates import Estimates
from infercast.policies.model import Quantile
from infercast.policies.objectives import QUANTILE_COLUMN
from infercast.policies.patience import PATIENCE_FACTOR, PATIENCE_FLOOR_US
from infercast.policies.units import usd

from ..errors import Kind, Trouble
from ..runtime.host import Answer
from . import clock
from .breaker import Circuits
from .deciding import Deciding
from .endings import Answered
from .ports import Lost, Passed
from .tries import Course, Failed, Try
from .troubles import too_late


class Judging:
    """Takes in how tries at one entry ended."""

    def __init__(self, deciding: Deciding, estimates: Estimates, circuits: Circuits) -> None:
        self._deciding = deciding
        self._estimates = estimates
        self._circuits = circuits

    def answered(self, course: Course, one: Try, answer: Answer) -> Answered:
        """Take in a try that was answered."""
        ran_us = one.ended_us - one.sent_us
        if course.whole_text:
            ran_us -= max(0, answer.at_site_us - answer.service_us)
        index, choice = one.index, one.choice
        self._estimates.carried(index, ran_us, choice.median_us[0], choice.spread_us[0])
        self._circuits.ended(index, False, course.tenant, trial=one.trial)
        deciding = self._deciding
        facts = (len(course.carrying.attempts), usd(one.stake.price_nusd), one.expected_us, ran_us)
        return Answered(answer, deciding.names[index], deciding.tiers[index], one.decision_id, *facts)

    def failed(self, course: Course, one: Try, met: BaseException) -> Failed:
        """Take in a try that ended otherwise. Raises what the call ends in, where it ends with it."""
        match met:
            case Trouble(kind=Kind.FAULT):
                return self._ended(course, one, Failed(one.index, met), failed=True, ran=False)
            case Trouble(kind=Kind.SATURATED | Kind.UNAVAILABLE):
                return self._ended(course, one, Failed(one.index, Passed(met)), failed=None, ran=False)
            case Trouble():  # the call's own doing: it would meet the same elsewhere
                self._ended(course, one, Failed(one.index, met), failed=False, ran=False)
                raise met
            case Lost():
                if not met.alive:
                    self.give_up(one.index)
                failed = True if met.blames else None
                return self._ended(course, one, Failed(one.index, met), failed=failed, ran=met.ran)
            case TimeoutError():
                return self._too_late(course, one, met)
        self._left(course, one, met)
        try:
            raise met
        finally:
            del met  # it goes on with this frame, which must not hold it

    def _too_late(self, course: Course, one: Try, met: TimeoutError) -> Failed:
        if course.whole_text:  # too long a text for its deadline says nothing of who makes it
            self._ended(course, one, Failed(one.index, met), failed=None, ran=True)
            raise too_late(self._deciding.limit_us(course.call.request), course.carrying.attempts) from None
        choice = one.choice
        self._estimates.gave_up(one.index, one.wait_us, choice.median_us[0], choice.spread_us[0])
        # A wait that only the caller's hurry cut short says nothing of the place, for other callers least of all: one below
        # what anybody is given, and below what one call in a hundred takes there where all is well.
        enough_us = min(PATIENCE_FACTOR * choice.latency_us[0], one.expected_us[QUANTILE_COLUMN[Quantile.P99]])
        late = one.wait_us >= max(PATIENCE_FLOOR_US, enough_us)
        if late:
            self.give_up(one.index)
        # A hasty call that tries a circuit out decides, too: else such calls would try it one after the other, without a pause.
        failed = late or (one.trial and one.wait_us >= PATIENCE_FLOOR_US)
        return self._ended(course, one, Failed(one.index, met), failed=failed or None, ran=True)

    def _ended(self, course: Course, one: Try, met: Failed, *, failed: bool | None, ran: bool) -> Failed:
        self._circuits.ended(one.index, failed, course.tenant, trial=one.trial)
        course.book(one, ran=ran)
        return met

    def _left(self, course: Course, one: Try, met: BaseException) -> None:
        """Take in a try that was cancelled, or ended in what nobody foresaw: that speaks against its candidate."""
        if one.outrun:
            ran_us = clock.now_us() - one.sent_us
            self._estimates.outrun(one.index, ran_us, one.choice.median_us[0], one.choice.spread_us[0])
        course.book(one, ran=True)
        failed = None if isinstance(met, asyncio.CancelledError) else True
        self._circuits.ended(one.index, failed, course.tenant, trial=one.trial)

    def broke_off(self, index: int, lost: Lost, tenant: str) -> None:
        """Take in that an answer broke off after it had begun."""
        if not lost.alive:
            self.give_up(index)
        if lost.blames:
            self._circuits.ended(index, True, tenant)

    def give_up(self, index: int) -> None:
        """A lost call says that its whole site may be gone: distrust all of it until it is heard of again."""
        deciding = self._deciding
        site = deciding.fleet.deployments[index].site
        for other, deployment in enumerate(deciding.fleet.deployments):
            if other == index or (deployment.site == site and site != deciding.entry):
                deciding.snapshot.distrust(other, clock.now_us())
