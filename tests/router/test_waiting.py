"""Calls that wait for a place: decided again when their turn comes, fair between tenants, and nothing of them left behind."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from infercast.policies import kernel
from infercast.policies.engine import Engine
from infercast.policies.fleet import Fleet
from infercast.policies.model import Request
from infercast.policies.policy import Policy
from infercast.policies.record import request_from_json
from infercast.policies.snapshot import Snapshot
from infercast.router.conduct.caller import Caller
from infercast.router.conduct.endings import Answered
from infercast.router.conduct.pacing import BURST, LATEST_US, STEP_US, Pacing
from infercast.router.conduct.ports import Carried, Lost, Received
from infercast.router.conduct.recorder import Recorder
from infercast.router.conduct.turns import Place
from infercast.router.errors import Kind, Trouble
from infercast.router.runtime.host import Answer
from tests.router.fakes import Clock, FakeJournal, FakeLog
from tests.support import card, fleet_of, raw_fleet, raw_policy

SERVICE_MS = 20.0
SLOTS, QUEUE_MAX = 2, 12
PAR, IAD = 0, 1
"""The deployments: both places have the same model, and Paris is nearer."""
CHEAP_USD = 5e-6
"""What a call in Paris costs more than, and one in Virginia less."""


def fleet(slots: int = SLOTS, **more: Any) -> Fleet:
    raw = raw_fleet(cards={"small": card("small", 0.9, 1.0), "large": card("large", 0.98, SERVICE_MS, SERVICE_MS + 1)})
    raw["sites"][2]["accelerators"]["cpu"]["usd_per_hour"] = 3.6
    place = {"variant": "large", "hosted": "own", "concurrency": slots, "queue_max": QUEUE_MAX}
    raw["deployments"] = [{**place, "site": "par", **more}, {**place, "site": "iad", **more}]
    return fleet_of(raw)


def policies(
    *only: str, weights: dict[str, int] | None = None, price_max_usd: float | None = None, **parts: Any
) -> dict[str, Policy]:
    """Two tenants whose calls may run in France only, unless told otherwise."""
    always: dict[str, Any] = {"residency": {"processing": list(only or ("FR",))}, "deadline_ms": 120_000}
    always["price_max_usd"] = price_max_usd
    weights = weights or {}
    return {
        tenant: Policy.model_validate(
            raw_policy(always, tenant=tenant, limits={"weight": weights.get(tenant, 1)}, **parts)
        )
        for tenant in ("calm", "flood")
    }


@dataclass
class Gate:
    """Runs calls until they are let through, counting them in flight as the real runners do."""

    snapshot: Snapshot
    at: list[tuple[int, Carried, "asyncio.Future[Answer]"]] = field(default_factory=list)
    ran: list[tuple[str, int]] = field(default_factory=list)
    most: int = 0

    async def run(self, deployment: int, call: Carried, timeout_s: float) -> Answer:
        """Count the call, and wait to be let through."""
        self.snapshot.count(deployment, 1)
        self.ran.append((call.request.id, deployment))
        self.most = max(self.most, int(self.snapshot.live[deployment, kernel.L_IN_FLIGHT]))
        waits: tuple[int, Carried, asyncio.Future[Answer]]
        waits = (deployment, call, asyncio.get_running_loop().create_future())
        self.at.append(waits)
        try:
            return await waits[2]
        finally:
            self.at.remove(waits)
            self.snapshot.count(deployment, -1)

    async def let(self, which: int = 0, error: Exception | None = None, **parts: Any) -> None:
        """Let one through, oldest first."""
        future = self.at[which][2]
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(Answer(b"x", None, "large", "par", 1000, **parts))
        await settled()


@dataclass
class Scene:
    """A caller in Paris, and the calls that were made."""

    caller: Caller
    gate: Gate
    journal: FakeJournal
    log: FakeLog
    calls: dict[str, "asyncio.Task[Answered]"] = field(default_factory=dict)
    reads: int = 0

    async def call(self, tenant: str, count: int = 1, **parts: Any) -> None:
        """Make calls; they are numbered by tenant."""
        for _ in range(count):
            number = sum(name.startswith(tenant) for name in self.calls)
            request = Request(f"{tenant}{number}", tenant, "digits", "par", "par", ("plain",), **parts)
            self.calls[request.id] = asyncio.create_task(self.caller.call(request, self._body))
        await settled()

    async def _body(self) -> Received:
        self.reads += 1
        return Received(b"{}")

    def trouble(self, name: str) -> Trouble:
        """The trouble that a call has ended in."""
        error = self.calls[name].exception()
        assert isinstance(error, Trouble)
        return error

    @property
    def ran(self) -> list[str]:
        """The calls that have begun to run, in that order."""
        return [name for name, _ in self.gate.ran]

    async def end(self) -> None:
        """Let all go to their ends, and see that nothing is left of them."""
        while self.gate.at:
            await self.gate.let()
        await asyncio.gather(*self.calls.values(), return_exceptions=True)
        turns = self.caller.attempts.turns
        assert not turns.any
        for place in turns._places:
            assert place is None or (place.waiting, place.promised, place.running) == (0, 0, 0)
            assert place is None or all(line.has == line.waiting == 0 for line in place.lines.values())
        assert self.gate.snapshot.live[:, kernel.L_IN_FLIGHT].tolist() == [0, 0]
        assert sorted(line["request"] for line in self.journal.of("call")) == sorted(self.calls)


async def settled() -> None:
    """Let everything run that can."""
    for _ in range(50):
        await asyncio.sleep(0)


def scene(of: Fleet | None = None, by: dict[str, Policy] | None = None) -> Scene:
    from tests.router.fakes import estimates_at

    of = of or fleet()
    snapshot = Snapshot.declared(of)
    gate, journal, log = Gate(snapshot), FakeJournal(), FakeLog()
    recorder = Recorder("par", of, snapshot, log, journal)
    engine = Engine(of, by or policies())
    return Scene(Caller("par", engine, snapshot, estimates_at("par", of), gate, recorder, journal), gate, journal, log)


def play(story: Callable[[Scene], Awaitable[None]], at: Scene | None = None) -> Scene:
    """Play a story to its end."""
    at = at or scene()

    async def whole() -> None:
        await story(at)
        await at.end()

    asyncio.run(whole())
    return at


def test_no_more_calls_run_at_a_place_than_it_has_slots_and_the_others_follow_as_they_end() -> None:
    async def story(at: Scene) -> None:
        await at.call("flood", 6)
        assert at.ran == ["flood0", "flood1"]
        await at.gate.let()
        assert at.ran == ["flood0", "flood1", "flood2"]

    at = play(story)
    assert (len(at.ran), at.gate.most) == (6, SLOTS)
    assert all(line["outcome"] == "answered" for line in at.journal.of("call"))
    assert {line["queued_us"] > 0 for line in at.journal.of("call")} == {False, True}


def test_a_calm_tenant_s_call_goes_before_all_of_a_flood_that_waits() -> None:
    async def story(at: Scene) -> None:
        await at.call("flood", 10)
        await at.call("calm")
        await at.gate.let()
        assert at.ran == ["flood0", "flood1", "calm0"]

    play(story)


def test_who_was_here_lately_finds_a_place_kept() -> None:
    async def story(at: Scene) -> None:
        await at.call("calm")
        await at.gate.let()
        await at.call("flood", 8)
        assert at.ran == ["calm0", "flood0"]
        await at.call("calm")
        assert at.ran == ["calm0", "flood0", "calm1"]

    play(story)


def test_places_are_kept_also_where_all_were_modest_when_their_standing_was_looked_at_last() -> None:
    async def story(at: Scene) -> None:
        place, turns = known(at, "calm", 1.0), at.caller.attempts.turns
        await at.call("flood", 2)
        turns.heard()
        assert (place.kept, place.may_keep, place.free(2)) == (0, 2, 2)  # it has its share, and no more
        await at.call("flood")
        assert at.ran == ["flood0", "flood1"]
        await at.call("calm", 2)
        assert at.ran[2:] == ["calm0", "calm1"]

    with Clock().rules():
        play(story, scene(fleet(slots=4)))


def test_places_that_are_kept_from_a_tenant_are_taken_in_the_eyes_of_its_own_decisions_and_of_no_other() -> None:
    async def story(at: Scene) -> None:
        place = known(at, "calm", 1.0)
        await at.call("flood", 2)
        at.caller.heard()
        await at.call("flood")
        assert [index for _, index in at.gate.ran] == [PAR, PAR, IAD]
        assert (place.kept, place.waiting, at.caller.attempts.turns.any) == (2, 0, False)
        await at.call("calm", 2)
        assert at.gate.ran[3:] == [("calm0", PAR), ("calm1", PAR)]

    with Clock().rules():
        at = play(story, scene(fleet(4, queue_max=4), policies("FR", "US", objective={"preference": "fastest"})))
    decide_again(at)


def known(at: Scene, tenant: str, asked: float) -> Place:
    """The place in Paris, where a tenant was at the clock's beginning and is known to have asked for so many places on average."""
    place = at.caller.attempts.turns._places[PAR]
    assert place is not None
    line = place.line(tenant, 1, 0)
    line.asked = asked
    return place


@pytest.mark.parametrize(("weights", "calm"), [({}, 5), ({"calm": 4}, 8), ({"flood": 4}, 2)])
def test_turns_go_by_weight(weights: dict[str, int], calm: int) -> None:
    async def story(at: Scene) -> None:
        await at.call("flood", 11)
        await at.call("calm", 11)
        for _ in range(10):
            await at.gate.let()
        assert sum(name.startswith("calm") for name in at.ran[1:]) == pytest.approx(calm, abs=1)

    play(story, scene(fleet(1, queue_max=40), policies(weights=weights)))


def test_a_policy_that_comes_while_a_call_waits_decides_it() -> None:
    async def story(at: Scene) -> None:
        await at.call("flood", 4)
        at.caller.install(Engine(at.caller.fleet, policies("FR", "US", price_max_usd=CHEAP_USD)), None)
        await settled()
        assert at.gate.ran[2:] == [("flood2", IAD), ("flood3", IAD)]  # at once: Paris is too dear to wait for now

    play(story)


def test_a_call_is_refused_at_its_turn_where_its_policy_has_become_stricter() -> None:
    async def story(at: Scene) -> None:
        await at.call("flood", 4)
        at.caller.install(Engine(at.caller.fleet, policies("CH")), None)
        await settled()
        assert [at.trouble(name).kind for name in ("flood2", "flood3")] == [Kind.WRONG_ENTRY] * 2
        await at.gate.let()
        assert len(at.ran) == SLOTS

    at = play(story)
    assert [line["reason"] for line in at.journal.of("call")[:2]] == ["wrong_entry"] * 2


def test_a_call_that_waits_leaves_a_place_that_is_gone() -> None:
    async def story(at: Scene) -> None:
        await at.call("flood", 3, deadline_us=3_000_000)
        at.gate.snapshot.distrust(PAR, 1)
        at.caller.heard()
        await settled()
        assert at.trouble("flood2").kind is Kind.UNAVAILABLE

    play(story)


def test_room_that_signals_tell_of_is_given() -> None:
    async def story(at: Scene) -> None:
        at.gate.snapshot.count(PAR, 5)  # others'
        await at.call("flood", 3)
        assert at.ran == ["flood0"]  # its share, whatever is heard of others
        at.gate.snapshot.count(PAR, -5)
        at.caller.heard()
        await settled()
        assert at.ran == ["flood0", "flood1"]

    play(story)


def test_who_waits_counts_as_in_flight_for_its_own_tenant_which_is_refused_at_queue_max_and_no_other_is() -> None:
    async def story(at: Scene) -> None:
        await at.call("flood", QUEUE_MAX + 3)
        assert at.trouble(f"flood{QUEUE_MAX}").kind is Kind.SATURATED
        reads = at.reads
        await at.call("flood")
        assert at.reads == reads  # its body was not read
        refused = at.trouble(f"flood{QUEUE_MAX + 3}")
        assert refused.extra["rule"] == "capacity"
        assert refused.extra["retry_after_s"] == 1
        await at.call("calm")
        assert not at.calls["calm0"].done()
        await at.gate.let()
        assert at.ran[-1] == "calm0"

    at = play(story)
    outcomes = [line["outcome"] for line in at.journal.of("call") if line["tenant"] == "flood"]
    assert (outcomes.count("refused"), outcomes.count("answered")) == (4, QUEUE_MAX)


def test_the_words_of_a_refusal_are_found_once_until_anything_changes() -> None:
    async def story(at: Scene) -> None:
        explained = 0
        explain = at.caller.engine.explain

        def counting(*given: Any) -> Any:
            nonlocal explained
            explained += 1
            return explain(*given)

        at.caller.engine.explain = counting  # type: ignore[assignment, method-assign]
        await at.call("flood", QUEUE_MAX + 5)
        assert explained == 1
        refused = [at.trouble(f"flood{QUEUE_MAX + number}") for number in range(5)]
        assert len({trouble.extra["decision"] for trouble in refused}) == 5
        assert len({trouble.message for trouble in refused}) == 1
        await at.gate.let()
        await at.call("flood", 2)
        assert at.trouble(f"flood{QUEUE_MAX + 6}").kind is Kind.SATURATED
        assert explained == 2
        at.caller.install(Engine(at.caller.fleet, policies("CH")), None)
        await at.call("flood")
        assert at.trouble(f"flood{QUEUE_MAX + 7}").kind is Kind.WRONG_ENTRY

    play(story)


def test_a_tenant_s_refusals_are_held_back_once_they_are_a_flood_and_nobody_else_s() -> None:
    pacing = Pacing()
    at_once = [pacing.delay_us("flood", 0) for _ in range(BURST)]
    assert at_once == [0] * BURST
    later = [pacing.delay_us("flood", 0) for _ in range(1000)]
    assert later[0] == STEP_US
    assert later == sorted(later)
    assert later[-1] == LATEST_US
    assert pacing.delay_us("calm", 0) == 0
    assert pacing.delay_us("flood", 10 * LATEST_US) == 0  # what is over is forgiven


def test_a_refusal_that_is_held_back_has_ended_and_holds_nothing() -> None:
    async def story(at: Scene) -> None:
        with Clock().rules():
            await at.call("flood", QUEUE_MAX + BURST + 100)
        assert not at.calls[f"flood{QUEUE_MAX + BURST + 99}"].done()  # for a second
        assert len(at.journal.of("call")) == BURST + 100
        assert at.caller.under_way == QUEUE_MAX
        await at.call("calm")
        await at.gate.let()
        assert at.ran[-1] == "calm0"

    play(story)


def test_a_call_whose_turn_would_come_too_late_is_refused_at_once_and_told_when_to_come_again() -> None:
    async def story(at: Scene) -> None:
        await at.call("flood", 8)
        await at.call("flood", deadline_us=60_000)
        assert at.trouble("flood8").kind is Kind.SATURATED
        assert at.trouble("flood8").extra["rule"] == "deadline.load"
        await at.call("calm", deadline_us=60_000)
        assert not at.calls["calm0"].done()

    play(story)


def test_what_waits_in_one_place_goes_elsewhere_where_that_is_sooner() -> None:
    """The queue counts for who made it: a flood spreads as before there were turns, and others stay where they are."""

    async def story(at: Scene) -> None:
        await at.call("flood", 12)
        there = [index for _, index in at.gate.ran]
        assert (there.count(PAR), there.count(IAD) > 0) == (SLOTS, True)
        await at.call("calm")
        await at.gate.let()
        assert at.gate.ran[-1] == ("calm0", PAR)

    play(story, scene(fleet(), policies("FR", "US", objective={"preference": "fastest"})))


def test_a_call_that_is_cancelled_while_it_waits_leaves_nothing() -> None:
    async def story(at: Scene) -> None:
        await at.call("flood", 5)
        at.calls["flood2"].cancel()
        await settled()
        await at.gate.let()
        assert at.ran == ["flood0", "flood1", "flood3"]

    at = play(story)
    (line,) = (line for line in at.journal.of("call") if line["request"] == "flood2")
    assert (line["outcome"], line["reason"]) == ("failed", "cancelled")


def test_a_call_that_is_cancelled_as_its_turn_comes_gives_it_to_the_next() -> None:
    async def story(at: Scene) -> None:
        await at.call("flood", 4)
        at.gate.at[0][2].set_result(Answer(b"x", None, "large", "par", 1000))
        turns = at.caller.attempts.turns
        place = turns._places[PAR]
        assert place is not None
        for _ in range(20):
            if place.promised:
                break
            await asyncio.sleep(0)
        assert place.promised == 1
        at.calls["flood2"].cancel()
        await settled()
        assert at.ran == ["flood0", "flood1", "flood3"]

    play(story)


def test_a_call_whose_turn_does_not_come_in_time_is_let_go() -> None:
    async def story(at: Scene) -> None:
        await at.call("flood", 2)
        await at.call("flood", deadline_us=100_000)
        await asyncio.wait([at.calls["flood2"]])
        assert at.trouble("flood2").kind is Kind.SATURATED
        assert "did not come" in at.trouble("flood2").message
        assert at.ran == ["flood0", "flood1"]

    play(story)


def test_a_call_that_was_lost_takes_a_turn_before_it_is_tried_again() -> None:
    async def story(at: Scene) -> None:
        await at.call("flood")
        at.gate.snapshot.count(IAD, 6)  # others'
        await at.call("calm")
        assert at.gate.ran == [("flood0", PAR), ("calm0", IAD)]
        await at.gate.let(0, Lost("gone"))
        assert (len(at.ran), at.calls["flood0"].done()) == (2, False)
        await at.gate.let(0)
        assert at.gate.ran[-1] == ("flood0", IAD)
        at.gate.snapshot.count(IAD, -6)

    both = policies("FR", "US", objective={"preference": "fastest"})
    play(story, scene(fleet(1), {**both, "calm": policies("FR", "US", price_max_usd=CHEAP_USD)["calm"]}))


def test_a_stream_keeps_its_place_until_its_end() -> None:
    async def events() -> Any:
        yield b"a"
        yield b"b"

    async def story(at: Scene) -> None:
        await at.call("flood", 2)
        await at.gate.let(0, stream=events())
        answered = await at.calls["flood0"]
        assert at.ran == ["flood0"]  # in the snapshot its runner counts it no more; its turn has not ended
        assert answered.answer.stream is not None
        assert [event async for event in answered.answer.stream] != []
        await settled()
        assert at.ran == ["flood0", "flood1"]

    play(story, scene(fleet(1)))


def test_what_is_written_down_of_a_call_that_waited_decides_the_same_again() -> None:
    async def story(at: Scene) -> None:
        await at.call("flood", 40)
        await at.call("calm", 2)
        kept = Request("kept", "flood", "digits", "par", "par", ("plain",))
        choice = at.caller.deciding.again(kept, PAR)  # an answer that is kept is given on a decision, too
        assert choice is not None
        at.caller.deciding.record(kept, choice, ())
        for _ in range(4):
            await at.gate.let()
        await at.call("flood", 8)

    at = play(story, scene(fleet(), policies("FR", "US", objective={"preference": "fastest"})))
    assert {record["outcome"] for record in at.log.records} == {"chosen", "saturated"}
    assert len({record["id"] for record in at.log.records}) == len(at.log.records)
    decide_again(at)


def decide_again(at: Scene) -> None:
    """See that what was written down of each decision decides the same."""
    for record in at.log.records:
        snapshot = Snapshot.restored(at.caller.fleet, at.log.states[record["epoch"]])
        snapshot.apply(record["patch"])
        request = request_from_json(record["request"])
        assert list(at.caller.engine.choose(request, snapshot, record["tried"]).deployments) == record["chosen"]
        assert at.caller.engine.decision_id(request, snapshot, record["tried"]) == record["id"]


def test_what_is_short_enough_to_run_at_once_never_waits() -> None:
    raw = raw_fleet(cards={"small": card("small", 0.9, 0.1), "large": card("large", 0.98, 0.2, 0.3)})
    at = scene(fleet_of(raw), policies("DE", "FR"))
    assert at.caller.attempts.turns._places == [None] * 4
