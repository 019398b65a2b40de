"""Calls that wait for more than their turn: for money meanwhile, or while policies, places and other calls change."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from infercast.policies.engine import Engine
from infercast.policies.model import Request
from infercast.policies.record import request_from_json
from infercast.policies.snapshot import Snapshot
from infercast.router.conduct.breaker import FAILURES_IN_A_ROW, State
from infercast.router.conduct.endings import Carrying
from infercast.router.conduct.ports import Carried, Received
from infercast.router.errors import Kind, Trouble
from infercast.router.upstream.statuses import Full
from tests.router.test_waiting import CHEAP_USD, IAD, PAR, SLOTS, Scene, fleet, play, policies, scene, settled


@dataclass
class Slow:
    """A tenant's money that nobody has yet: it comes for all at once."""

    tenant: str = "flood"
    came: asyncio.Event = field(default_factory=asyncio.Event)

    def look(self, request: Request) -> None:
        """Let everybody in."""

    def open(self, call: Carried, carrying: Carrying) -> "Held":
        """Return what a call holds."""
        return Held(self, call.request.tenant == self.tenant)


@dataclass
class Held:
    """One call's part of it."""

    money: Slow
    pays: bool

    def reserve(self, aside_nusd: int) -> Awaitable[None] | None:
        """Wait for it, where it is not there yet."""
        return self._later() if self.pays and not self.money.came.is_set() else None

    async def _later(self) -> None:
        await self.money.came.wait()

    def lost(self, aside_nusd: int, cost_nusd: int) -> None:
        """Forget it."""

    def end(self, cost_nusd: int, tokens: int | None) -> None:
        """Forget it."""


def test_calls_that_waited_for_money_take_their_turns_like_others() -> None:
    """All of them found room before any had its money; once it is there, no more of them begin than there is room for."""
    money = Slow()

    async def story(at: Scene) -> None:
        at.caller._accounts = money
        await at.call("flood", 8)
        assert at.ran == []
        money.came.set()
        await settled()
        assert at.ran == ["flood0", "flood1"]
        await at.call("calm")
        await at.gate.let()
        assert at.ran == ["flood0", "flood1", "calm0"]

    assert play(story).gate.most == SLOTS


def test_a_call_that_is_decided_again_while_it_waits_does_not_stand_behind_those_that_came_after_it() -> None:
    async def story(at: Scene) -> None:
        await at.call("flood", 2)
        await at.call("flood", deadline_us=60_000)
        await at.call("flood", 8)
        at.caller.install(Engine(at.caller.fleet, policies()), None)
        await settled()
        assert not at.calls["flood2"].done()
        await at.gate.let()
        assert at.ran == ["flood0", "flood1", "flood2"]

    play(story)


def test_a_call_that_leaves_its_queue_for_another_place_is_written_down_as_it_was_decided() -> None:
    async def story(at: Scene) -> None:
        await at.call("flood", 11)
        await at.call("calm", 3)
        for most in (CHEAP_USD, None, CHEAP_USD):
            more = policies("FR", "US", price_max_usd=most, objective={"preference": "fastest"})
            at.caller.install(Engine(at.caller.fleet, more), None)
            await settled()
            await at.gate.let()

    at = play(story)
    engines = {}
    for most in (CHEAP_USD, None):
        engine = Engine(at.caller.fleet, policies("FR", "US", price_max_usd=most, objective={"preference": "fastest"}))
        engines[engine.policies["flood"].digest] = engine
        engines[engine.policies["calm"].digest] = engine
    again = 0
    for record in at.log.records:
        snapshot = Snapshot.restored(at.caller.fleet, at.log.states[record["epoch"]])
        snapshot.apply(record["patch"])
        request = request_from_json(record["request"])
        if record["policy"] in engines:
            choice = engines[record["policy"]].choose(request, snapshot, record["tried"])
            assert list(choice.deployments) == record["chosen"]
            again += 1
    assert again > 4


def test_a_call_that_is_made_on_behalf_of_another_takes_no_place_from_who_waits_and_is_seen_like_any() -> None:
    async def story(at: Scene) -> None:
        seen: list[Carrying] = []
        sight: Any = SimpleNamespace(traces=False, ended=lambda carrying, *_: seen.append(carrying))
        at.caller._sight = sight

        def beside(name: str) -> "asyncio.Task[Any]":
            request = Request(name, "calm", "digits", "par", "par", ("plain",))
            return asyncio.create_task(at.caller.beside(request, Received(b"{}"), (), 5.0))

        at.calls["calm-free"] = beside("calm-free")
        await settled()
        assert at.ran == ["calm-free"]
        await at.call("flood", 4)
        at.calls["calm-full"] = beside("calm-full")
        await settled()
        assert at.trouble("calm-full").kind is Kind.SATURATED
        await at.gate.let()
        (tried,) = next(carrying for carrying in seen if carrying.request.id == "calm-free").tries
        assert tried.ended_us >= tried.sent_us > 0

    assert play(story).gate.most == SLOTS


def test_a_call_on_behalf_of_another_opens_its_candidate_s_circuit_as_any_does() -> None:
    async def story(at: Scene) -> None:
        for turn in range(FAILURES_IN_A_ROW):
            request = Request(f"calm{turn}", "calm", "digits", "par", "par", ("plain",))
            task = asyncio.create_task(at.caller.beside(request, Received(b"{}"), (), 5.0))
            at.calls[request.id] = task
            await settled()
            await at.gate.let(0, Trouble(Kind.FAULT, "its own"))
        assert at.caller.attempts.circuits.state(0) is State.OPEN

    play(story)


def test_a_call_that_rests_before_it_is_made_once_more_holds_no_turn_elsewhere() -> None:
    """It waited for a turn in Virginia, its policy then took that away, and Paris says to come back in a second."""
    both = policies("FR", "US", objective={"preference": "fastest"}, behaviour={"retries_max": 1})
    only = policies("FR", objective={"preference": "fastest"}, behaviour={"retries_max": 1})
    calm = policies("FR", "US", price_max_usd=CHEAP_USD)["calm"]

    async def story(at: Scene) -> None:
        await at.call("flood")
        at.gate.snapshot.count(IAD, 6)  # others'
        await at.call("calm")
        await at.gate.let(0, Full("busy", 1))
        assert at.gate.ran == [("flood0", PAR), ("calm0", IAD)]
        place = at.caller.attempts.turns._places[IAD]
        assert place is not None
        assert place.waiting == 1
        await at.call("calm")
        at.caller.install(Engine(at.caller.fleet, {**only, "calm": calm}), None)
        await settled()
        assert not at.calls["flood0"].done()
        assert place.waiting == 1  # the calm one
        await at.gate.let(0)
        assert at.gate.ran[2:] == [("calm1", IAD)]
        at.gate.snapshot.count(IAD, -6)
        await at.gate.let(0)
        at.calls["flood0"].cancel()

    play(story, scene(fleet(1), {**both, "calm": calm}))
