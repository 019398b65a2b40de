"""The way of one call: the same order of things as in the live router's `conduct/caller.py`."""

from dataclasses import replace
from functools import partial

from infercast.policies.engine import tighter
from infercast.policies.model import Choice, Outcome
from infercast.policies.patience import DEADLINE_DEFAULT_US, NOTHING_BEHIND, patience_us
from infercast.policies.units import US_PER_S

from ..model import NEVER_EQUAL, Ended, World
from ..shapes import point, trip_purpose
from .agenda import Agenda, Rank
from .calls import Books, Call, Try, Where
from .limits import Limits
from .place import Place
from .stations import Stations
from .ways import Way, Ways
from .weather import Weather

ENDED_AS = {
    Outcome.REFUSED: Ended.REFUSED,
    Outcome.SATURATED: Ended.SATURATED,
    Outcome.UNAVAILABLE: Ended.UNAVAILABLE,
}
TRIES_MAX = 16
"""No policy allows as many."""


class Conduct:
    """Carries calls from their entry to their end."""

    def __init__(
        self,
        world: World,
        agenda: Agenda,
        weather: Weather,
        ways: Ways,
        places: list[Place],
        books: Books,
        limits: Limits,
    ) -> None:
        self._world = world
        self._agenda = agenda
        self._weather = weather
        self._ways = ways
        self._places = places
        self._books = books
        self._limits = limits
        self.stations: Stations
        self._response_bytes = {model.id: model.response_bytes for model in world.fleet.models}

    def enter(self, call: Call) -> None:
        """Receive a call at its entry, or lose it with that."""
        place = self._places[call.entry]
        if self._weather.site_down(place.name):
            self._books.end(call.number, Ended.LOST, self._agenda.now_us - call.sent_us)
            return
        place.calls[call.number] = call
        if place.may_enter(call.request) and self._cached(call, place):
            self._end(call, Ended.CACHED)
            return
        limit = self._limits.reached(call.kind.tenant, self._agenda.now_us)
        if limit is not None:
            self._end(call, Ended.LIMITED, rule=int(limit))
            return
        self._limits.let_through(call, self._agenda.now_us)
        self._decide(call, place)

    def _question(self, call: Call) -> tuple[object, ...] | None:
        """Return what an answer is kept under; None where it is not kept."""
        cache = self._world.policies[call.kind.tenant].behaviour.cache
        if cache is None or call.content == NEVER_EQUAL:
            return None
        if cache.scope == "key":
            return call.kind_number, call.content
        return call.kind.tenant, call.kind.model, call.request.classes, call.content

    def _cached(self, call: Call, place: Place) -> bool:
        cache, question = self._world.policies[call.kind.tenant].behaviour.cache, self._question(call)
        if cache is None or question not in place.kept_us:
            return False
        return self._agenda.now_us - place.kept_us[question] < cache.ttl_s * US_PER_S

    def _decide(self, call: Call, place: Place) -> None:
        call.limit_us = (
            tighter(place.engine.compiled(call.request).deadline_us, call.request.deadline_us) or DEADLINE_DEFAULT_US
        )
        choice = place.choose(call.request, [])
        if choice.outcome is not Outcome.CHOSEN:
            self._end(call, ENDED_AS[choice.outcome], rule=int(choice.rule))
            return
        self._limits.reserve(call, choice.price_nusd[0])
        self._send(call, place, choice)

    def _left_us(self, call: Call) -> int:
        return call.limit_us - (self._agenda.now_us - call.enter_us)

    def _fallbacks_max(self, call: Call) -> int:
        return self._world.policies[call.kind.tenant].behaviour.fallbacks_max

    def _send(self, call: Call, place: Place, choice: Choice) -> None:
        """Try a call on what was chosen, and begin to wait for it."""
        now_us, number, left_us = self._agenda.now_us, len(call.tries), self._left_us(call)
        last = len(choice.deployments) == 1 or number >= self._fallbacks_max(call)
        wait_us = patience_us(choice.latency_us[0], NOTHING_BEHIND if last else choice.latency_us[1], left_us)
        index = choice.deployment
        way = self._way(call, index)
        away = index not in place.mine
        trip_us = way.trip_us(self._weather, self._point(call, number)) if away else 0
        each = Try(call, number, index, choice, wait_us, now_us, trip_us, place.sending(index))
        call.tries.append(each)
        call.out.append(each)
        self._books.attempts[call.number] += 1
        self._agenda.put(now_us + wait_us, Rank.PATIENCE, TRIES_MAX * call.number + number, lambda: self._run_out(each))
        self._plan_hedge(each, place)
        if not away:
            self.stations.arrive(each)
        elif way.closed(self._weather):
            each.where = Where.NOWHERE
        else:
            there_us = now_us + trip_us // 2 + way.transfer_us(call.request.payload_bytes)
            self._agenda.schedule(there_us, lambda: self._arrive(each))

    def _plan_hedge(self, each: Try, place: Place) -> None:
        """See to it that a first try which takes long gets a second beside it."""
        hedge, choice = self._world.policies[each.call.kind.tenant].behaviour.hedge, each.choice
        if hedge is None or each.number > 0 or len(choice.deployments) == 1:
            return
        z_milli = place.z_milli(each.deployment, hedge.after_quantile)
        after_us = max(0, choice.median_us[0] + z_milli * choice.spread_us[0] // 1000)
        if after_us < each.patience_us:
            self._agenda.schedule(self._agenda.now_us + after_us, partial(self._hedge, each, place))

    def _hedge(self, first: Try, place: Place) -> None:
        call = first.call
        if first not in call.out or not self._limits.may_hedge(call.kind.tenant):
            return
        choice = place.choose(replace(call.request, deadline_us=self._left_us(call)), call.tried)
        if choice.outcome is Outcome.CHOSEN:
            self._limits.hedge(call.kind.tenant)
            self._books.hedged[call.number] = True
            self._send(call, place, choice)

    def _point(self, call: Call, number: int) -> int | None:
        return point(call.luck, trip_purpose(number)) if self._world.jitter else None

    def _way(self, call: Call, index: int) -> Way:
        return self._ways.way(call.request.entry, self._world.fleet.deployments[index].site)

    def _arrive(self, each: Try) -> None:
        if not each.given_up:
            self.stations.arrive(each)

    def served(self, each: Try) -> None:
        """Send the answer of a call that was served on its way back."""
        if each.sending is None:
            self._answered(each)
            return
        way = self._way(each.call, each.deployment)
        back_us = each.trip_us - each.trip_us // 2 + way.transfer_us(self._response(each.call))
        self._agenda.schedule(self._agenda.now_us + back_us, lambda: self._came_back(each))

    def _response(self, call: Call) -> int:
        return self._response_bytes[call.kind.model]

    def _came_back(self, each: Try) -> None:
        if not each.given_up:
            self._answered(each)

    def _answered(self, each: Try) -> None:
        call = each.call
        self._release(each)
        sent_bytes, came_bytes = call.request.payload_bytes, self._response(call)
        access = self._ways.way(call.kind.origin, call.request.entry)
        way = self._way(call, each.deployment)
        egress_nusd = way.egress_nusd(sent_bytes, came_bytes) + access.egress_nusd(sent_bytes, came_bytes)
        self._books.egress_nusd[call.number] += egress_nusd
        self.spend(call, egress_nusd)
        place, now_us = self._places[call.entry], self._agenda.now_us
        if place.learns:
            if each.sending is not None:
                away_us = each.trip_us + way.transfer_us(sent_bytes) + way.transfer_us(came_bytes)
                site = self._world.fleet.tables.site_index[self._world.fleet.deployments[each.deployment].site]
                place.estimates.travelled(site, sent_bytes, away_us, now_us)
            expected = (each.choice.median_us[0], each.choice.spread_us[0])
            place.estimates.carried(each.deployment, now_us - each.sent_us, *expected)
        question = self._question(call)
        if question is not None:
            place.kept_us[question] = now_us
        self._end(call, Ended.ANSWERED, deployment=each.deployment)

    def spend(self, call: Call, nusd: int) -> None:
        """Count money that a call has cost."""
        self._books.cost_nusd[call.number] += nusd
        self._limits.spend(call.kind.tenant, nusd, self._agenda.now_us)

    def _run_out(self, each: Try) -> None:
        """Give a try up because its patience has ended, and try the next."""
        if each.given_up or each not in each.call.out:
            return
        call, place = each.call, self._places[each.call.entry]
        self._give_up(each)
        if place.learns:
            expected = (each.choice.median_us[0], each.choice.spread_us[0])
            place.estimates.gave_up(each.deployment, each.patience_us, *expected)
        place.distrust(each.deployment, self._agenda.now_us)
        if call.out:
            return  # The other of two tries is still waited for.
        left_us = self._left_us(call)
        if len(call.tries) > self._fallbacks_max(call) or left_us <= 0:
            self._end(call, Ended.LATE)
            return
        choice = place.choose(replace(call.request, deadline_us=left_us), call.tried)
        if choice.outcome is not Outcome.CHOSEN:
            self._end(call, Ended.LATE)
            return
        self._send(call, place, choice)

    def _release(self, each: Try) -> None:
        """Wait for a try no longer."""
        each.call.out.remove(each)
        if each.sending is not None:
            each.sending.__exit__(None, None, None)

    def _give_up(self, each: Try) -> None:
        each.given_up = True
        self._release(each)
        self.stations.leave(each)

    def lose_entered(self, place: Place) -> None:
        """End the calls that had entered at a place which has gone down, and forget the answers that were kept there."""
        place.kept_us.clear()
        for call in sorted(place.calls.values(), key=lambda each: each.number):
            self._drop(call)
            self._books.end(call.number, Ended.LOST, self._agenda.now_us - call.sent_us)

    def _end(self, call: Call, ended: Ended, rule: int = 0, deployment: int = -1) -> None:
        """Let a call end at its entry, from where the answer, or the word that there is none, goes back."""
        self._drop(call)
        access = self._ways.way(call.kind.origin, call.request.entry)
        back_us = call.access_trip_us - call.access_trip_us // 2
        if ended in (Ended.ANSWERED, Ended.CACHED):
            back_us += access.transfer_us(self._response(call))
        self._books.end(call.number, ended, self._agenda.now_us + back_us - call.sent_us, rule, deployment)

    def _drop(self, call: Call) -> None:
        del self._places[call.entry].calls[call.number]
        self._limits.end(call)
        for each in list(call.out):
            self._give_up(each)
