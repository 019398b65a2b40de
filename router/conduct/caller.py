"""The way of one call: decided from metadata, its body read only then, answered from what is kept or by attempts.

Every call ends in exactly one way, inside its deadline, and its journal line says which.
"""

import asyncio
import itertools
import os
import secrets
from collections.abc import Awaitable, Sequence
from dataclasses import replace
from functools import partial

from infercast.policies.engine import Engine, Unknown
from infercast.policies.estimates import Estimates
from infercast.policies.fleet import Fleet
from infercast.policies.model import Choice, Request, Tier
from infercast.policies.patience import DEADLINE_DEFAULT_US
from infercast.policies.snapshot import Snapshot
from infercast.policies.units import US_PER_S, usd

from ..errors import Kind, Trouble
from ..streams import Watched
from . import clock
from .attempts import Attempts
from .deciding import Deciding
from .endings import Answered, Carrying, write
from .open import KEEPS_NOTHING, SEES_NOTHING, UNLIMITED
from .pacing import HELD_MAX, Pacing
from .ports import Accounts, Cache, Carried, Journal, Lost, Receive, Received, Runner, Sight
from .prompt import Begun
from .recorder import Recorder
from .troubles import too_late, unknown, within


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
        *,
        accounts: Accounts = UNLIMITED,
        cache: Cache = KEEPS_NOTHING,
        sight: Sight = SEES_NOTHING,
        series: str = "",
    ) -> None:
        self.entry = entry
        self._at_device = engine.fleet.site_by_id[entry].tier is Tier.DEVICE
        self.deciding = Deciding(entry, engine, snapshot, recorder)
        self.attempts = Attempts(self.deciding, estimates, runner)
        self._journal = journal
        self._accounts = accounts
        self.cache = cache
        """Answers that were given before; whoever makes one needs `deciding`, and puts it here."""
        self._sight = sight
        self.series = series or series_of(entry)
        self.drained: frozenset[str] = frozenset()
        """The sites that their operator has drained."""
        self._pacing = Pacing()
        self._held = 0
        self.held_back = 0
        """How many refusals have been answered later than at once."""
        self.under_way = 0
        """How many calls are being carried."""
        # Callers may use an id of theirs twice: the journal counts calls by numbers of its own.
        self._numbers = itertools.count(1)

    @property
    def engine(self) -> Engine:
        """The engine in force."""
        return self.deciding.engine

    @property
    def snapshot(self) -> Snapshot:
        """What this place believes of the fleet."""
        return self.deciding.snapshot

    @property
    def fleet(self) -> Fleet:
        """The fleet that calls are placed on."""
        return self.deciding.fleet

    def install(self, engine: Engine, shadow: Engine | None) -> None:
        """Decide by another engine from now on (see `Deciding.install`).

        Also where its text cannot be put beside the decision log, which is raised: what it forbids is forbidden.
        """
        try:
            self.deciding.install(engine, shadow)
        finally:
            self.attempts.turns.wake_all()
            self.cache.judge()

    def heard(self) -> None:
        """Take in that the snapshot's signals have changed: who waits may have a place now, or none any more."""
        self.attempts.turns.heard()

    def admit(self, request: Request) -> Choice | None:
        """Decide from metadata alone (see `Deciding.admit`). Raises Trouble."""
        return self.deciding.admit(request)

    def ready(self) -> None:
        """Raise Trouble where no call may begin, since the journal has no room for its line: it would be paid and not told."""
        if self._journal.full and not self._journal.retry():
            raise Trouble(Kind.UNAVAILABLE, f"the journal of {self.entry} has no room", "its operator makes some")

    async def call(
        self,
        request: Request,
        receive: Receive,
        hops: tuple[str, ...] = (),
        holder: str = "",
        control: str | None = None,
        *,
        arrived_us: int = 0,
        traceparent: bytes | None = None,
    ) -> Answered:
        """Carry one call to its end: decide, read the body only then, run, fall back. Raises Trouble.

        Exactly one `call` line is written for it, whatever happens; for a streamed answer, when the stream has ended:
        whoever gets one closes it. One that could not be written down is not begun (see `ready`). `hops` are the clusters that it has come through: the first of them settles it. `holder` and `control`: see `Carried`.
        `arrived_us` is when its headers were here, and `traceparent` what they say of a trace that it is part of.
        """
        self.ready()
        carrying = Carrying(request, f"{self.series}{next(self._numbers)}", clock.now_us(), hops)
        carrying.arrived_us = arrived_us
        if self._sight.traces:
            self._sight.began(carrying, traceparent)
        self.under_way += 1
        try:
            self._open(request)
            choice = self.admit(request)
            carrying.admitted_us = clock.now_us()
            if not self.cache.serves(request.tenant):  # else its limits are asked once no kept answer has ended it
                self._accounts.look(request)
            begun = Begun(receive())
            received = begun.value or await self._within(request, carrying.began_us, begun)
            call = received.carried(request, hops, carrying.number)
            call.holder, call.control = holder, control
            carrying.request, carrying.received_bytes, carrying.api = call.request, len(call.body), call.api
            if not begun.done:
                carrying.received_us = clock.now_us()
            if carrying.traced is not None:
                call.traceparent = self._sight.sent_on(carrying)
            # What was decided for the same metadata stands, where nothing else has run since.
            still = choice if begun.done and call.request is request else None
            if self.cache.covers(call):
                answered = await self.cache.through(call, carrying, still, partial(self._run, call, carrying))
            else:
                answered = await self._run(call, carrying, still)
        except BaseException as error:
            self._ended(carrying, None, error)
            if isinstance(error, Trouble) and error.kind is Kind.SATURATED:
                await self._hold_back(request)
            raise
        stream = answered.answer.stream
        if stream is not None:
            carrying.begun_us = clock.now_us()
        else:
            carrying.usage = answered.answer.usage
            self._ended(carrying, answered, None)
            return answered

        def ended(error: BaseException | None) -> None:
            carrying.usage = told.usage
            carrying.events = told.events
            if isinstance(error, Lost):
                index = self.fleet.deployment_index[answered.deployment]
                self.attempts.judging.broke_off(index, error, carrying.request.tenant)
            self._ended(carrying, answered, error)

        told = Watched(stream, ended)
        return replace(answered, answer=replace(answered.answer, stream=told))

    async def _run(self, call: Carried, carrying: Carrying, still: Choice | None) -> Answered:
        """Carry a call that no kept answer ends, inside its tenant's limits."""
        opened = self._accounts.open(call, carrying)
        if isinstance(opened, Awaitable):
            limit_us = self.deciding.limit_us(call.request)
            left_us = limit_us - (clock.now_us() - carrying.began_us)
            opened, still = await within(opened, left_us, too_late(limit_us, [])), None
        carrying.hold = hold = opened
        return await self.attempts.carry(call, carrying, hold, still)

    def _open(self, request: Request) -> None:
        """Raise Trouble where this entry is drained: it says where the call may enter instead."""
        if self.entry not in self.drained:
            return
        try:
            model = request.model or next(iter(self.engine.models_of(request.tenant)), "")
            entries = [site for site in self.engine.entries(replace(request, model=model)) if site not in self.drained]
        except Unknown as error:
            raise unknown(error) from error
        remedy = f"enter at {', '.join(entries)}" if entries else "no other site takes it now: come again later"
        message = f"{self.entry} is drained by its operator and takes no new calls"
        raise Trouble(Kind.UNAVAILABLE, message, remedy, {"entries": entries})

    async def _hold_back(self, request: Request) -> None:
        """Answer a flood's refusals more slowly than they are asked for; the call has ended, and nothing is held for it."""
        delay_us = self._pacing.delay_us(request.tenant, clock.now_us())
        if delay_us and self._held < HELD_MAX:
            self._held += 1
            self.held_back += 1
            try:
                await asyncio.sleep(delay_us / US_PER_S)
            finally:
                self._held -= 1

    async def beside(self, request: Request, received: Received, shut: Sequence[int], timeout_s: float) -> Answered:
        """Carry a call that this place itself makes on behalf of a tenant's, on none of the deployments that are `shut`.

        It is decided, counted in the tenant's limits, settled and written down as any; it is tried once, and not kept.
        Raises Trouble or Lost.
        """
        request = replace(request, deadline_us=int(timeout_s * US_PER_S))
        carrying = Carrying(request, f"{self.series}{next(self._numbers)}", clock.now_us())
        self.under_way += 1
        try:
            try:
                async with asyncio.timeout(timeout_s):
                    answered = await self._once(request, received, carrying, shut)
            except TimeoutError:
                raise too_late(int(timeout_s * US_PER_S), carrying.attempts) from None
        except BaseException as error:
            self._ended(carrying, None, error)
            raise
        self._ended(carrying, answered, None)
        return answered

    async def _once(self, request: Request, received: Received, carrying: Carrying, shut: Sequence[int]) -> Answered:
        call = received.carried(request, (), carrying.number)
        carrying.request, carrying.received_bytes, carrying.api = call.request, len(call.body), call.api
        carrying.admitted_us = clock.now_us()
        opened = self._accounts.open(call, carrying)
        carrying.hold = hold = opened if not isinstance(opened, Awaitable) else await opened
        answered = await self.attempts.once(call, carrying, hold, shut)
        carrying.usage = answered.answer.usage
        return answered

    async def _within(self, request: Request, began_us: int, receiving: Awaitable[Received]) -> Received:
        """Read the rest of the body inside the deadline: a caller who sends slowly holds no place for ever."""
        limit_us = self.deciding.limit_us(request) if request.model else request.deadline_us or DEADLINE_DEFAULT_US
        try:
            async with asyncio.timeout(max(0, limit_us - (clock.now_us() - began_us)) / US_PER_S):
                return await receiving
        except TimeoutError:
            said = f"the body was not here within {limit_us / 1000:.0f} ms"
            raise Trouble(Kind.SLOW, said, "send it at once, or ask for a longer deadline") from None

    def _ended(self, carrying: Carrying, answered: Answered | None, error: BaseException | None) -> None:
        """Settle a call and write it down, once."""
        self.under_way -= 1
        if carrying.turn is not None:
            self.attempts.turns.leave(carrying)
        cost_nusd = carrying.settle(self.attempts.prices)
        if answered is not None:
            answered.cost_usd = usd(cost_nusd)
        write(self._journal, self.entry, carrying, answered, error, cost_nusd, device=self._at_device)
        self._sight.ended(carrying, answered, error)


def series_of(entry: str) -> str:
    """Return a new beginning of the numbers that one process settles calls under.

    In a container every process has the same number: what is settled under it must not repeat after a restart.
    """
    return f"{entry}-{os.getpid()}-{secrets.token_hex(4)}-"
