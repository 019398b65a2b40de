"""The way of one call.

Each attempt is a new decision on the newest snapshot, with what was tried marked as tried: so a fallback can go nowhere
that the policy does not allow, and every call ends in exactly one way, inside its deadline.
"""

import asyncio
import itertools
import os
import secrets
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field, replace

from infercast.policies.engine import Engine, Unknown, tighter
from infercast.policies.estimates import Estimates
from infercast.policies.faults import did_you_mean
from infercast.policies.fleet import Fleet
from infercast.policies.model import Choice, Outcome, Request
from infercast.policies.patience import DEADLINE_DEFAULT_US, NOTHING_BEHIND, PATIENCE_FLOOR_US, patience_us
from infercast.policies.record import reasons
from infercast.policies.snapshot import Snapshot
from infercast.policies.units import US_PER_S, usd

from ..api import Api, Usage
from ..errors import Gone, Kind, Trouble
from ..runtime.host import Answer
from ..streams import Watched
from .ports import Carried, Journal, Lost, Receive, Received, Runner, lost_in
from .prompt import Begun
from .recorder import Recorder

TEXTS = (Api.CHAT, Api.COMPLETION)
KIND_OF = {Outcome.REFUSED: Kind.REFUSED, Outcome.SATURATED: Kind.SATURATED, Outcome.UNAVAILABLE: Kind.UNAVAILABLE}


@dataclass(slots=True)
class Answered:
    """A call that was answered: by whom, after how many attempts, for how much. Made for each call, so not frozen."""

    answer: Answer
    deployment: str
    tier: str
    decision_id: str
    attempts: int
    cost_usd: float
    expected_us: list[int]
    """p50, p90, p95 and p99 of what the last attempt was expected to take, and what it took."""
    ran_us: int


class Caller:
    """Carries the calls that enter at one place. One event loop, one engine, one snapshot."""

    def __init__(
        self,
        entry: str,
        engine: Engine,
        snapshot: Snapshot,
        estimates: Estimates,
        runner: Runner,
        recorder: Recorder,
        journal: Journal,
    ) -> None:
        self.entry = entry
        self.snapshot = snapshot
        self._estimates = estimates
        self._runner = runner
        self._recorder = recorder
        self._journal = journal
        self._z_epoch = -1
        self._z_milli: dict[int, list[int]] = {}
        # In a container every process has the same number: what is settled under it must not repeat after a restart.
        self._series = f"{entry}-{os.getpid()}-{secrets.token_hex(4)}-"
        self.install(engine, None)
        # Callers may use an id of theirs twice: the journal counts calls by numbers of its own.
        self._numbers = itertools.count(1)

    def install(self, engine: Engine, shadow: Engine | None) -> None:
        """Decide by another engine from now on, calls on their way included: what they try next, the new one allows."""
        self.engine = engine
        self._tiers = [str(engine.fleet.site_by_id[deployment.site].tier) for deployment in engine.fleet.deployments]
        self._recorder.install(engine, shadow)

    @property
    def fleet(self) -> Fleet:
        """The fleet that calls are placed on."""
        return self.engine.fleet

    def admit(self, request: Request) -> Choice | None:
        """Decide from metadata alone. Raises Trouble when the call may not enter here or no candidate passes.

        Where the model is not known yet, since it stands in the body, only that the call may enter: then None.
        """
        if request.model:
            return self._choose(request, ())
        try:
            shut = self.engine.shut(request)
        except Unknown as error:
            raise unknown(error) from error
        if shut is not None:
            raise self._refusal(shut, self.engine.choose(shut, self.snapshot), ())
        return None

    def ready(self) -> None:
        """Raise Trouble where no call may begin, since the journal has no room for its line: it would be paid and not told."""
        if self._journal.full and not self._journal.retry():
            raise Trouble(Kind.UNAVAILABLE, f"the journal of {self.entry} has no room", "its operator makes some")

    def _record(self, request: Request, choice: Choice, tried: Sequence[int]) -> str:
        """Name a decision and write it down."""
        decision_id = self.engine.decision_id(request, self.snapshot, tried)
        self._recorder.decided(self.engine, decision_id, request, choice, tried)
        return decision_id

    async def call(self, request: Request, receive: Receive, hops: tuple[str, ...] = ()) -> Answered:
        """Carry one call to its end: decide, read the body only then, run, fall back. Raises Trouble.

        Exactly one `call` line is written for it, whatever happens; for a streamed answer, when the stream has ended:
        whoever gets one closes it. One that could not be written down is not begun (see `ready`). `hops` are the clusters that it has come through: the first of them settles it.
        """
        self.ready()
        began_us = _now_us()
        carrying = Carrying(request, f"{self._series}{next(self._numbers)}", hops)
        try:
            choice = self.admit(request)
            begun = Begun(receive())
            received = begun.value or await self._within(request, began_us, begun)
            call = received.carried(request, hops, carrying.number)
            carrying.request, carrying.received_bytes = call.request, len(call.body)
            # What was decided for the same metadata stands, where nothing else has run since.
            still = choice if begun.done and call.request is request else None
            answered = await self._attempts(call, began_us, carrying.attempts, still)
        except BaseException as error:
            self._write(carrying, None, error, began_us)
            raise
        stream = answered.answer.stream
        if stream is None:
            carrying.usage = answered.answer.usage
            self._write(carrying, answered, None, began_us)
            return answered

        def ended(error: BaseException | None) -> None:
            carrying.usage = told.usage
            if isinstance(error, Lost) and not error.alive:
                self._give_up(self.fleet.deployment_index[answered.deployment])
            self._write(carrying, answered, error, began_us)

        told = Watched(stream, ended)
        return replace(answered, answer=replace(answered.answer, stream=told))

    async def _within(self, request: Request, began_us: int, receiving: Awaitable[Received]) -> Received:
        """Read the rest of the body inside the deadline: a caller who sends slowly holds no place for ever."""
        limit_us = self._limit_us(request) if request.model else request.deadline_us or DEADLINE_DEFAULT_US
        try:
            async with asyncio.timeout(max(0, limit_us - (_now_us() - began_us)) / US_PER_S):
                return await receiving
        except TimeoutError:
            said = f"the body was not here within {limit_us / 1000:.0f} ms"
            raise Trouble(Kind.SLOW, said, "send it at once, or ask for a longer deadline") from None

    async def _attempts(
        self, call: Carried, began_us: int, attempts: list[str], still: Choice | None = None
    ) -> Answered:
        """Carry a call until it is answered; `still` is what a decision on it, made just now, would say."""
        tried: list[int] = []
        full_s = 0
        while True:
            limit_us = self._limit_us(call.request)  # the policy may be another by now
            left_us = limit_us - (_now_us() - began_us)
            if left_us <= 0:
                raise _too_late(limit_us, attempts)
            if tried:
                choice = self._again(call, left_us, tried, attempts, full_s)
            else:
                choice = still or self._choose(call.request, ())
            index = choice.deployment
            deployment = self.fleet.deployments[index]
            attempts.append(deployment.id)
            asked = replace(call.request, deadline_us=left_us) if tried else call.request
            decision_id = self._record(asked, choice, tried)
            expected_us = self._expected_us(choice)
            last = len(choice.deployments) == 1 or len(tried) >= self._fallbacks_max(call.request)
            # What is expected of a text is its beginning; one that is asked for whole takes as long as it is long.
            whole_text = call.api in TEXTS and not call.stream
            behind_us = NOTHING_BEHIND if last else choice.latency_us[1]
            wait_us = left_us if whole_text else patience_us(choice.latency_us[0], behind_us, left_us)
            sent_us = _now_us()
            try:
                answer = await self._runner.run(index, call, wait_us / US_PER_S)
            except (Lost, TimeoutError, Trouble) as met:
                error = lost_in(met)
                if whole_text and isinstance(
                    error, TimeoutError
                ):  # too long a text for its deadline says nothing of who makes it
                    raise _too_late(limit_us, attempts) from None
                if isinstance(error, TimeoutError):
                    self._estimates.gave_up(index, wait_us, choice.median_us[0], choice.spread_us[0])
                # A wait that only the caller's hurry cut short says nothing of the place, for other callers least of all.
                if not error.alive if isinstance(error, Lost) else wait_us >= PATIENCE_FLOOR_US:
                    self._give_up(index)
                tried.append(index)
                full_s = error.retry_after_s if isinstance(error, Lost) else 0
                if len(tried) > self._fallbacks_max(call.request):
                    raise _no_room(full_s, attempts) if full_s else _too_late(limit_us, attempts) from None
                continue
            ran_us = _now_us() - sent_us
            if whole_text:
                ran_us -= max(0, answer.at_site_us - answer.service_us)
            self._estimates.carried(index, ran_us, choice.median_us[0], choice.spread_us[0])
            facts = (len(attempts), usd(choice.price_nusd[0]), expected_us, ran_us)
            return Answered(answer, deployment.id, self._tiers[index], decision_id, *facts)

    def _expected_us(self, choice: Choice) -> list[int]:
        """Return p50, p90, p95 and p99 of the time that the choice is expected to take, from here on."""
        index, median_us, spread_us = choice.deployment, choice.median_us[0], choice.spread_us[0]
        if self._z_epoch != self.snapshot.epoch:
            self._z_epoch = self.snapshot.epoch
            self._z_milli.clear()
        z_milli = self._z_milli.get(index)
        if z_milli is None:
            z_milli = self._z_milli[index] = self.snapshot.z(self.entry)[index].tolist()
        return [max(0, median_us + z * spread_us // 1000) for z in z_milli]

    def _again(self, call: Carried, left_us: int, tried: list[int], attempts: list[str], full_s: int) -> Choice:
        """Decide anew for what time is left. That nothing passes now is no refusal: the call was accepted, and lost.

        Where the last that was tried had no room for `full_s`, that is said.
        """
        try:
            return self._choose(replace(call.request, deadline_us=left_us), tried)
        except Trouble as trouble:
            if full_s:
                raise _no_room(full_s, attempts) from trouble
            message = f"{', '.join(attempts)} gave no answer, and nothing else can in the {left_us / 1000:.0f} ms left"
            raise Trouble(Kind.DEADLINE, f"{message}: {trouble.message}", "the call may be repeated") from trouble

    def _give_up(self, index: int) -> None:
        """A lost call says that its whole site may be gone: distrust all of it until it is heard of again."""
        site = self.fleet.deployments[index].site
        for other, deployment in enumerate(self.fleet.deployments):
            if other == index or (deployment.site == site and site != self.entry):
                self.snapshot.distrust(other, _now_us())

    def _choose(self, request: Request, tried: Sequence[int]) -> Choice:
        """Decide, with `tried` shut for the length of the decision only."""
        try:
            choice = self.engine.choose(request, self.snapshot, tried)
            if choice.outcome is not Outcome.CHOSEN:
                raise self._refusal(request, choice, tried)
            return choice
        except Unknown as error:
            raise unknown(error) from error

    def _refusal(self, request: Request, choice: Choice, tried: Sequence[int]) -> Trouble:
        self._record(request, choice, tried)
        decision = self.engine.explain(request, self.snapshot, tried)
        facts = {"outcome": str(choice.outcome), "decision": decision.id, "reasons": reasons(decision)}
        gate = self.engine.compiled(request).gate
        if gate is not None:
            entries = list(decision.entries)
            remedy = f"enter at {', '.join(entries)}" if entries else "no site of this fleet may receive it"
            if not request.classes:  # most likely forgotten, and then a class is what it takes
                known = ", ".join(self.engine.policies[request.tenant].classes)
                elsewhere = f"; or {remedy}" if entries else ""
                remedy = f"no class is named, so all count: name one in infercast-class ({known}){elsewhere}"
            message = f"this call may not enter at {self.entry}: {gate.detail}"
            return Trouble(Kind.WRONG_ENTRY, message, remedy, {**facts, "rule": gate.rule.word, "entries": entries})
        message = f"0/{len(decision.verdicts)} candidates pass: {facts['reasons']}"
        remedy = "POST /v1/decide shows each candidate's verdict"
        return Trouble(KIND_OF[choice.outcome], message, remedy, {**facts, "rule": choice.rule.word})

    def _limit_us(self, request: Request) -> int:
        try:
            limit_us = self.engine.compiled(request).deadline_us
        except Unknown:  # its tenant or class has gone while it was on its way: the next decision says so
            limit_us = 0
        return tighter(limit_us, request.deadline_us) or DEADLINE_DEFAULT_US

    def _fallbacks_max(self, request: Request) -> int:
        policy = self.engine.policies.get(request.tenant)
        return policy.behaviour.fallbacks_max if policy is not None else 0

    def _write(
        self, carrying: "Carrying", answered: Answered | None, error: BaseException | None, began_us: int
    ) -> None:
        request = carrying.request
        kind, reason = ending(error)
        usage = carrying.usage
        self._journal.write(
            "call",
            number=carrying.number,
            hops=list(carrying.hops),
            settled=not carrying.hops,
            request=request.id,
            tenant=request.tenant,
            model=request.model,
            entry=self.entry,
            origin=request.origin,
            classes=list(request.classes),
            received_bytes=carrying.received_bytes,
            outcome=kind,
            reason=reason,
            deployment=answered.deployment if answered else None,
            decision=answered.decision_id if answered else None,
            cost_usd=answered.cost_usd if answered else 0.0,
            expected_us=answered.expected_us if answered else None,
            ran_us=answered.ran_us if answered else None,
            at_site_us=answered.answer.at_site_us if answered else None,
            service_us=answered.answer.service_us if answered else None,
            tokens=list(usage) if usage else None,
            attempts=carrying.attempts,
            took_us=_now_us() - began_us,
        )


@dataclass(slots=True)
class Carrying:
    """What is known of a call that is being carried, for its one line."""

    request: Request
    number: str
    hops: tuple[str, ...] = ()
    received_bytes: int = 0
    attempts: list[str] = field(default_factory=list)
    usage: Usage | None = None


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


def unknown(error: Unknown) -> Trouble:
    """Return a name that nobody declared as the trouble it is."""
    kind = Kind.NOT_FOUND if error.field in ("model", "version") else Kind.BAD_REQUEST
    return Trouble(kind, f"no {error.field} is called {error.value!r}", did_you_mean(error.value, error.known))


def _no_room(retry_after_s: int, attempts: list[str]) -> Trouble:
    message = f"{', '.join(attempts)} gave no answer, the last for want of room"
    remedy = f"repeat the call in {retry_after_s} s"
    return Trouble(Kind.SATURATED, message, remedy, {"retry_after_s": retry_after_s})


def _too_late(limit_us: int, attempts: list[str]) -> Trouble:
    tried = ", ".join(attempts) or "nothing"
    return Trouble(
        Kind.DEADLINE, f"no answer within {limit_us / 1000:.0f} ms; tried {tried}", "the call may be repeated"
    )


def _now_us() -> int:
    return time.monotonic_ns() // 1000
