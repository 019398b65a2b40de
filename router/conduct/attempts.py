"""The attempts of one call: each is a new decision on the newest snapshot, with what was tried marked as tried.

So a fallback can go nowhere that the policy does not allow.
"""

from collections.abc import Sequence
from dataclasses import replace

from infercast.policies.estimates import Estimates
from infercast.policies.model import Choice
from infercast.policies.patience import NOTHING_BEHIND, PATIENCE_FLOOR_US, patience_us
from infercast.policies.prices import Prices
from infercast.policies.units import US_PER_S, usd

from ..api import Api
from ..errors import Kind, Trouble
from . import clock
from .deciding import Deciding
from .endings import Answered, Carrying, Stake
from .ports import Carried, Hold, Lost, Runner, lost_in
from .troubles import no_room, too_late, within

TEXTS = (Api.CHAT, Api.COMPLETION)


class Attempts:
    """Tries calls on one candidate after the other."""

    def __init__(self, deciding: Deciding, estimates: Estimates, runner: Runner) -> None:
        self._deciding = deciding
        self._estimates = estimates
        self.runner = runner
        self.prices = Prices(deciding.fleet)

    async def carry(self, call: Carried, carrying: Carrying, hold: Hold, still: Choice | None) -> Answered:
        """Carry a call until it is answered; `still` is what a decision on it, made just now, would say. Raises Trouble."""
        deciding, attempts = self._deciding, carrying.attempts
        tried: list[int] = []
        full_s = 0
        while True:
            limit_us = deciding.limit_us(call.request)  # the policy may be another by now
            left_us = limit_us - (clock.now_us() - carrying.began_us)
            if left_us <= 0:
                raise too_late(limit_us, attempts)
            if tried:
                choice = self._again(call, left_us, tried, attempts, full_s)
            else:
                choice = still or deciding.choose(call.request, ())
            index = choice.deployment
            deployment = deciding.fleet.deployments[index]
            stake = self._stake(call, choice)
            reserving = hold.reserve(stake.aside_nusd)
            if reserving is not None:
                await within(reserving, left_us, too_late(limit_us, attempts))
            attempts.append(deployment.id)
            asked = replace(call.request, deadline_us=left_us) if tried else call.request
            decision_id = deciding.record(asked, choice, tried)
            expected_us = deciding.expected_us(choice)
            fallbacks_max = deciding.behaviour(call.request).fallbacks_max
            last = len(choice.deployments) == 1 or len(tried) >= fallbacks_max
            # What is expected of a text is its beginning; one that is asked for whole takes as long as it is long.
            whole_text = call.api in TEXTS and not call.stream
            behind_us = NOTHING_BEHIND if last else choice.latency_us[1]
            wait_us = left_us if whole_text else patience_us(choice.latency_us[0], behind_us, left_us)
            sent_us = clock.now_us()
            try:
                answer = await self.runner.run(index, call, wait_us / US_PER_S)
            except BaseException as met:
                carrying.lost(stake, ran=may_have_run(met))
                if not isinstance(met, (Lost, TimeoutError, Trouble)):
                    raise
                error = lost_in(met)
                if whole_text and isinstance(
                    error, TimeoutError
                ):  # too long a text for its deadline says nothing of who makes it
                    raise too_late(limit_us, attempts) from None
                if isinstance(error, TimeoutError):
                    self._estimates.gave_up(index, wait_us, choice.median_us[0], choice.spread_us[0])
                # A wait that only the caller's hurry cut short says nothing of the place, for other callers least of all.
                if not error.alive if isinstance(error, Lost) else wait_us >= PATIENCE_FLOOR_US:
                    self.give_up(index)
                tried.append(index)
                full_s = error.retry_after_s if isinstance(error, Lost) else 0
                if len(tried) > fallbacks_max:
                    raise no_room(full_s, attempts) if full_s else too_late(limit_us, attempts) from None
                continue
            carrying.won = stake
            ran_us = clock.now_us() - sent_us
            if whole_text:
                ran_us -= max(0, answer.at_site_us - answer.service_us)
            self._estimates.carried(index, ran_us, choice.median_us[0], choice.spread_us[0])
            facts = (len(attempts), usd(choice.price_nusd[0]), expected_us, ran_us)
            return Answered(answer, deployment.id, deciding.tiers[index], decision_id, *facts)

    async def once(
        self, call: Carried, carrying: Carrying, hold: Hold, shut: Sequence[int], timeout_s: float
    ) -> Answered:
        """Try a call once, on none of the deployments that are `shut`. Raises Trouble, Lost or TimeoutError."""
        deciding = self._deciding
        choice = deciding.choose(call.request, shut)
        index = choice.deployment
        stake = self._stake(call, choice)
        reserving = hold.reserve(stake.aside_nusd)
        if reserving is not None:
            await reserving
        carrying.attempts.append(stake.deployment)
        decision_id = deciding.record(call.request, choice, shut)
        sent_us = clock.now_us()
        try:
            answer = await self.runner.run(index, call, timeout_s)
        except BaseException as met:
            carrying.lost(stake, ran=may_have_run(met))
            raise
        carrying.won = stake
        facts = (1, usd(choice.price_nusd[0]), deciding.expected_us(choice), clock.now_us() - sent_us)
        return Answered(answer, stake.deployment, deciding.tiers[index], decision_id, *facts)

    def _stake(self, call: Carried, choice: Choice) -> Stake:
        index, price_nusd = choice.deployment, choice.price_nusd[0]
        aside_nusd = self.prices.most_nusd(index, price_nusd, len(call.body), call.tokens_max)
        return Stake(index, self._deciding.fleet.deployments[index].id, price_nusd, aside_nusd)

    def _again(self, call: Carried, left_us: int, tried: list[int], attempts: list[str], full_s: int) -> Choice:
        """Decide anew for what time is left. That nothing passes now is no refusal: the call was accepted, and lost.

        Where the last that was tried had no room for `full_s`, that is said.
        """
        try:
            return self._deciding.choose(replace(call.request, deadline_us=left_us), tried)
        except Trouble as trouble:
            if full_s:
                raise no_room(full_s, attempts) from trouble
            message = f"{', '.join(attempts)} gave no answer, and nothing else can in the {left_us / 1000:.0f} ms left"
            raise Trouble(Kind.DEADLINE, f"{message}: {trouble.message}", "the call may be repeated") from trouble

    def give_up(self, index: int) -> None:
        """A lost call says that its whole site may be gone: distrust all of it until it is heard of again."""
        deciding = self._deciding
        site = deciding.fleet.deployments[index].site
        for other, deployment in enumerate(deciding.fleet.deployments):
            if other == index or (deployment.site == site and site != deciding.entry):
                deciding.snapshot.distrust(other, clock.now_us())


def may_have_run(error: BaseException) -> bool:
    """Return whether a try that ended so may have run all the same, and is paid for: also one that was cut off under way."""
    return error.ran if isinstance(error, Lost) else not isinstance(error, Trouble)
