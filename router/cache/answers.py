"""The cache of one entry: answers that were given before, given again where the policy in force lets them.

Nothing here is a short way past the policy. Whether a call may look, what it finds, and whether its answer is kept are
each asked of the newest policy, for that very call; a hit is a decision, recorded as any. What may not be stored here is
neither looked for nor kept, and not even its digest is made.
"""

import asyncio
import time
from collections import Counter
from dataclasses import replace

from infercast.policies.model import Choice, Request
from infercast.policies.units import US_PER_S

from ..api import Api
from ..conduct import clock
from ..conduct.deciding import Deciding
from ..conduct.endings import Answered, Carrying, Freshness, Result
from ..conduct.open import wants_kept
from ..conduct.ports import Carried, Run
from ..conduct.troubles import not_kept
from ..runtime.host import Answer
from .bodies import named, nameless
from .control import Wish, wish_of
from .embedding import Embedded, Embedding
from .flights import Flight, Flights
from .keeping import Keeping, Standing
from .questions import Question, question_of
from .store import SIZE_BYTES, Kept, Key, Store
from .streams import Collected, Replayed
from .vectors import SpaceKey, Vectors, bytes_of

INLINE_BYTES_MAX = 16 * 1024
"""Larger bodies are read on a thread: others do not wait for that."""
WAIT_MIN_US = 1_000
"""A call with less time than this waits for no other."""


class AnswerCache:
    """Keeps answers in memory, up to `size_bytes`. Without `embedding`, none is given to a question that is only similar."""

    def __init__(self, deciding: Deciding, size_bytes: int = SIZE_BYTES, embedding: Embedding | None = None) -> None:
        self.store = Store(size_bytes)
        self.vectors = Vectors()
        self.store.dropped = self.vectors.forget
        self.flights = Flights()
        self._deciding = deciding
        self._keeping = Keeping(deciding)
        self._embedding = embedding
        self.counts: Counter[tuple[str, str, Result]] = Counter()
        """How many calls were answered from here, or not, by tenant and model: for whoever looks."""
        fleet = deciding.fleet
        self._elsewhere = {fleet.model_of[fleet.deployments[index].variant] for index in fleet.upstream_deployments}
        """Models that calls may be sent on for as they came."""
        self._judged_by: dict[str, str] = {}
        """The digest of each tenant's policy that what is kept has been held against."""
        self.judge()

    def serves(self, tenant: str) -> bool:
        """Return whether a tenant has a cache."""
        policy = self._deciding.engine.policies.get(tenant)
        return policy is not None and policy.behaviour.cache is not None

    def covers(self, call: Carried) -> bool:
        """Return whether a call's tenant has a cache, or the call wants to know of one."""
        return self.serves(call.request.tenant) or wants_kept(call)

    async def through(self, call: Carried, carrying: Carrying, still: Choice | None, run: Run) -> Answered:
        """Answer a call from what is kept; else run it, or wait for one that asks the same. See `conduct.ports.Cache`."""
        wish = wish_of(call.control)
        question: Question | None = None
        waited: Flight | None = None
        while wish.keeps:
            standing = self._standing(call, carrying)
            if standing is None:
                break
            if question is None and len(call.body) > INLINE_BYTES_MAX:
                still, question = None, await asyncio.to_thread(self._question, call)
                if question is None:
                    break
                continue  # the policy may be another by now
            question = question or self._question(call)
            if question is None:
                break
            key = _key(call, standing, question)
            found = self._found(key, call, question, standing, wish) if wish.looks else None
            if found is not None:
                return found
            if wish.only:
                break
            flight = self.flights.get(key) if wish.looks else None
            if flight is None or flight is waited:
                return await self._lead(key, call, carrying, question, wish, still, run)
            still, waited = None, flight
            # Half of the time that is left: then there is still the other half to run it in.
            left_us = self._left_us(call, carrying)
            landed = left_us >= WAIT_MIN_US and await flight.landed(left_us / 2 / US_PER_S)
            if left_us < WAIT_MIN_US or (landed and flight.unkept):
                break
        if wish.only:
            raise not_kept()
        return await run(still)

    def judge(self) -> None:
        """Drop what the policies in force do not let be kept, and shorten the time of the rest to theirs."""
        self._keeping.forget()
        policies = self._deciding.engine.policies
        for tenant in self.store.tenants:
            policy = policies.get(tenant)
            if policy is None or policy.digest != self._judged_by.get(tenant):
                self._judge(tenant)
        self._judged_by = {tenant: policy.digest for tenant, policy in policies.items()}

    def _judge(self, tenant: str) -> None:
        now_us, now_s = clock.now_us(), int(time.time())
        standings: dict[tuple[object, ...], Standing | None] = {}
        for kept in self.store.of(tenant):
            request = kept.request
            kind = (request.classes, request.origin, request.model)
            if kind not in standings:
                standings[kind] = self._keeping.standing(replace(request, at_s=now_s))
            standing = standings[kind]
            age_us = now_us - kept.made_us
            lifetime_us = 0 if standing is None else min(standing.lifetime_us, age_us + standing.until_us)
            shared = standing is not None and standing.cache.scope == "tenant"
            if standing is None or age_us >= lifetime_us or shared == bool(kept.key.holder):
                self.store.drop(kept)
                continue
            self.store.shorten(kept, lifetime_us)
            if standing.cache.similar is None:
                self.vectors.forget(kept)

    def sweep(self) -> None:
        """Drop what has had its time. Called about once a second, so that nothing stays for longer because nobody asks."""
        self.store.sweep(clock.now_us())

    def _question(self, call: Carried) -> Question | None:
        return question_of(call, goes_on=call.request.model in self._elsewhere)

    def _standing(self, call: Carried, carrying: Carrying) -> Standing | None:
        """Return where a call stands now; None also for one without a key where answers are a key's own."""
        standing = self._keeping.standing(call.request, clock.now_us() - carrying.began_us)
        if standing is not None and standing.cache.scope == "key" and not call.holder:
            return None
        return standing

    def _left_us(self, call: Carried, carrying: Carrying) -> int:
        return self._deciding.limit_us(call.request) - (clock.now_us() - carrying.began_us)

    def _found(self, key: Key, call: Carried, question: Question, standing: Standing, wish: Wish) -> Answered | None:
        kept = self.store.get(key, clock.now_us())
        if kept is None or (kept.similar is not None and kept.similar != standing.cache.similar):
            return None
        return self._given(kept, call, question, standing, wish, similar=kept.similar is not None)

    def _given(
        self, kept: Kept, call: Carried, question: Question, standing: Standing, wish: Wish, *, similar: bool
    ) -> Answered | None:
        """Return a kept answer as the answer to a call; None where the call, or its policy, does not take it."""
        deciding = self._deciding
        age_us = clock.now_us() - kept.made_us
        lifetime_us = min(kept.lifetime_us, standing.lifetime_us)
        age_s = age_us // US_PER_S
        left_s = (lifetime_us - age_us) // US_PER_S
        if age_us >= lifetime_us or left_s < wish.left_min_s:
            return None
        if wish.age_max_s is not None and age_us > wish.age_max_s * US_PER_S:
            return None
        index = deciding.fleet.deployment_index.get(kept.deployment)
        choice = None if index is None else deciding.again(call.request, index)
        if index is None or choice is None:
            return None
        decision_id = deciding.record(call.request, choice, ())
        body, header_bytes = named(kept.body, kept.header_bytes, question.id)
        stream = None if kept.events is None else Replayed(kept.events)
        answer = Answer(body, header_bytes, kept.variant, kept.site, 0, stream=stream)
        told = Freshness("similar" if similar else "hit", age_s, lifetime_us // US_PER_S)
        self.counts[call.request.tenant, call.request.model, told.how] += 1
        return Answered(answer, kept.deployment, deciding.tiers[index], decision_id, 0, 0.0, [], 0, told)

    async def _lead(
        self,
        key: Key,
        call: Carried,
        carrying: Carrying,
        question: Question,
        wish: Wish,
        still: Choice | None,
        run: Run,
    ) -> Answered:
        """Run a call that others may wait for, and keep its answer. Its vector may take a quarter of its time, or is done without."""
        flight = self.flights.begin(key)
        try:
            embedded = await self._embedded(call, carrying, question)
            if embedded is not None:
                still = None
                near = self._near(key, call, carrying, question, wish, embedded) if wish.looks else None
                if near is not None:
                    self.flights.end(key, flight)
                    return near
            self.counts[call.request.tenant, call.request.model, "miss"] += 1
            answered = await run(still)
        except BaseException:
            self.flights.end(key, flight)
            raise
        stream = answered.answer.stream
        if stream is None:
            lifetime_s = self._keep(key, call, carrying, question, answered, embedded)
            self.flights.end(key, flight, unkept=lifetime_s == 0)
            return replace(answered, freshness=Freshness("miss", 0, lifetime_s))

        def ended(events: tuple[bytes, ...] | None, well: bool) -> None:
            kept_s = 0 if events is None else self._keep(key, call, carrying, question, answered, embedded, events)
            self.flights.end(key, flight, unkept=well and kept_s == 0)

        collected = Collected(stream, self.store.entry_bytes_max, ended)
        answer = replace(answered.answer, stream=collected)
        return replace(answered, answer=answer, freshness=Freshness("miss"))

    def _keep(
        self,
        key: Key,
        call: Carried,
        carrying: Carrying,
        question: Question,
        answered: Answered,
        embedded: Embedded | None,
        events: tuple[bytes, ...] | None = None,
    ) -> int:
        """Keep an answer if the policy in force still lets it be kept; return for how many seconds, 0 for not at all."""
        standing = self._standing(call, carrying)
        if standing is None or key != _key(call, standing, question):
            return 0
        answer = answered.answer
        body = nameless(key.api, answer.body, answer.header_bytes) if events is None else (b"", None)
        if body is None:
            return 0
        lifetime_us = min(standing.lifetime_us, standing.until_us)
        facts = (answered.deployment, answer.variant, answer.site, *body, events, clock.now_us(), lifetime_us)
        kept = Kept(key, call.request, *facts)
        if embedded is not None and standing.cache.similar is not None:
            kept.beside_bytes = bytes_of(embedded.vector)
        if not self.store.put(kept):
            return 0
        if embedded is not None and kept.beside_bytes:
            self.vectors.add(_space(key, question, embedded), embedded.vector, kept)
        return lifetime_us // US_PER_S

    async def _embedded(self, call: Carried, carrying: Carrying, question: Question) -> Embedded | None:
        """Return the vector of a question, where its policy has similar ones answered."""
        within_s = max(0, self._left_us(call, carrying)) / 4 / US_PER_S
        standing = self._standing(call, carrying)
        similar = None if standing is None else standing.cache.similar
        if self._embedding is None or similar is None or question.text is None or call.hops:
            return None
        if similar.model == call.request.model and call.api is Api.EMBEDDING:
            return None  # to compare it would take what it takes to answer it
        return await self._embedding.embedded(call, similar.model, question.text.said, within_s)

    def _near(
        self, key: Key, call: Carried, carrying: Carrying, question: Question, wish: Wish, embedded: Embedded
    ) -> Answered | None:
        """Return the kept answer to the nearest question, where that is near enough; it is kept for this question too."""
        standing = self._standing(call, carrying)
        similar = None if standing is None else standing.cache.similar
        found = self.vectors.nearest(_space(key, question, embedded), embedded.vector)
        if standing is None or similar is None or found is None or found[1] < similar.min_similarity:
            return None
        kept = found[0]
        answered = self._given(kept, call, question, standing, wish, similar=True)
        if answered is not None:
            until_us = clock.now_us() - kept.made_us + standing.until_us
            lifetime_us = min(kept.lifetime_us, standing.lifetime_us, until_us)
            alias = replace(kept, key=key, request=call.request, similar=similar, beside_bytes=0)
            alias.lifetime_us = lifetime_us
            self.store.put(alias)
        return answered


def _key(call: Carried, standing: Standing, question: Question) -> Key:
    request: Request = call.request
    holder = "" if standing.cache.scope == "tenant" else call.holder
    return Key(
        request.tenant, holder, request.classes, request.model, request.variant, call.api, call.stream, question.digest
    )


def _space(key: Key, question: Question, embedded: Embedded) -> SpaceKey:
    rest = b"" if question.text is None else question.text.rest
    return SpaceKey(key._replace(digest=b""), rest, embedded.variant)
