"""Calls that ask the same at once: one runs; whoever hangs up, fails or is late, none is lost and few run."""

import asyncio
import random
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infercast.policies import kernel
from infercast.policies.engine import Engine
from infercast.router.api import Api
from infercast.router.cache.flights import Flights
from infercast.router.conduct.endings import Answered
from infercast.router.conduct.ports import Carried, Received
from infercast.router.errors import Kind, Trouble
from infercast.router.runtime.host import Answer
from tests.router.cache.scenes import At, Numbering, at_entry, engine_with, policy_of, question
from tests.router.cache.test_store import key
from tests.router.fakes import WALL_S, ask

CALLERS = 40


@dataclass
class Slow(Numbering):
    """Lets each run wait until it is told to go on, or fails as told."""

    go: asyncio.Event = field(default_factory=asyncio.Event)
    fail_first: int = 0
    now: int = 0
    most: int = 0

    async def run(self, deployment: int, call: Carried, timeout_s: float) -> Answer:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.wait_for(self.go.wait(), timeout_s)
            if len(self.ran) < self.fail_first:
                self.ran.append(call)
                raise Trouble(Kind.BAD_REQUEST, "as told")
            return await super().run(deployment, call, timeout_s)
        finally:
            self.now -= 1


def slow(engine: Engine | None = None, **more: Any) -> tuple[At, Slow]:
    at = at_entry(engine, **more)
    runner = Slow(at.scene.caller.fleet)
    at.scene.caller.attempts.runner = runner
    return at, runner


async def call(at: At, body: bytes = b"", *, stream: bool = False, **more: Any) -> Answered:
    """One call through the caller itself, without the clock of fakes: these wait for real."""
    request = ask(tenant="t", origin="paris", classes=("plain",), at_s=WALL_S, **more)

    async def receive() -> Received:
        return Received(body or question(), None, Api.INFER, stream)

    return await at.scene.caller.call(request, receive, holder="k1")


def said(answered: Answered) -> str:
    return answered.freshness.how if answered.freshness else "none"


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_one_runs_and_the_others_get_its_answer() -> None:
    async def story() -> None:
        at, runner = slow()
        calls = [asyncio.create_task(call(at)) for _ in range(CALLERS)]
        await turns()
        assert (runner.now, len(at.cache.flights)) == (1, 1)
        runner.go.set()
        answers = await asyncio.gather(*calls)
        assert sorted(map(said, answers)) == ["hit"] * (CALLERS - 1) + ["miss"]
        assert (len(runner.ran), len(at.cache.flights)) == (1, 0)
        decisions = {answered.decision_id for answered in answers}
        assert decisions == {line["decision"] for line in at.scene.journal.of("call")}

    asyncio.run(story())


def test_whoever_waits_is_judged_by_the_policy_that_is_in_force_when_it_is_answered() -> None:
    """The answer comes from a variant that the new policy forbids: only who began it under the old one gets it."""

    async def story() -> None:
        at, runner = slow()
        calls = [asyncio.create_task(call(at)) for _ in range(5)]
        await turns()
        at.scene.caller.install(engine_with(policy_of(always={"accuracy_min": {"digits": 0.97}})), None)
        runner.go.set()
        answers = await asyncio.gather(*calls)
        first, others = answers[0].answer.variant, {answered.answer.variant for answered in answers[1:]}
        assert first not in others
        assert len(runner.ran) == 2

    asyncio.run(story())


def test_a_policy_that_forbids_storage_while_a_call_runs_has_nothing_kept() -> None:
    async def story() -> None:
        at, runner = slow()
        calls = [asyncio.create_task(call(at)) for _ in range(5)]
        await turns()
        at.scene.caller.install(engine_with(policy_of(classes={"plain": {"residency": {"storage": []}}})), None)
        runner.go.set()
        assert len({answered.answer.body for answered in await asyncio.gather(*calls)}) == 5
        assert (len(at.cache.store), len(at.cache.flights)) == (0, 0)

    asyncio.run(story())


def test_an_answer_that_was_to_be_the_whole_tenants_is_not_kept_so_once_it_is_a_keys_only() -> None:
    async def story() -> None:
        at, runner = slow()
        first = asyncio.create_task(call(at))
        await turns()
        at.scene.caller.install(engine_with(policy_of(cache={"scope": "key"})), None)
        runner.go.set()
        await first
        assert len(at.cache.store) == 0
        await call(at)
        assert len(at.cache.store) == 1

    asyncio.run(story())


def test_a_call_without_a_key_shares_no_answers_that_are_a_keys_own() -> None:
    async def receive() -> Received:
        return Received(question())

    async def story() -> None:
        at = at_entry(engine_with(policy_of(cache={"scope": "key"})))
        request = ask(tenant="t", origin="paris", classes=("plain",), at_s=WALL_S)
        answers = [await at.scene.caller.call(request, receive) for _ in range(2)]
        assert [answered.freshness for answered in answers] == [None, None]
        assert len(at.cache.store) == 0

    asyncio.run(story())


def test_when_the_first_hangs_up_the_next_runs() -> None:
    async def story() -> None:
        at, runner = slow()
        calls = [asyncio.create_task(call(at)) for _ in range(CALLERS)]
        await turns()
        for leader in calls[:3]:
            leader.cancel()
            await turns()
            assert runner.now == 1
        runner.go.set()
        answers = await asyncio.gather(*calls[3:])
        assert len({answered.answer.body for answered in answers}) == 1
        assert (len(runner.ran), runner.most) == (1, 1)

    asyncio.run(story())


def test_when_the_first_fails_the_next_runs_and_the_error_is_its_own() -> None:
    async def story() -> None:
        at, runner = slow()
        runner.fail_first = 2
        calls = [asyncio.create_task(call(at)) for _ in range(CALLERS)]
        await turns()
        runner.go.set()
        ends = await asyncio.gather(*calls, return_exceptions=True)
        assert sum(isinstance(end, Trouble) for end in ends) == 2
        assert sum(isinstance(end, Answered) for end in ends) == CALLERS - 2
        assert (len(runner.ran), runner.most) == (3, 1)

    asyncio.run(story())


def test_who_has_waited_is_decided_anew_before_it_runs() -> None:
    """What was chosen when it came is not healthy any more when its turn comes."""

    async def story() -> None:
        at, runner = slow()
        runner.fail_first = 1
        size = len(question())
        calls = [asyncio.create_task(call(at, payload_bytes=size)) for _ in range(2)]
        await turns()
        first = at.scene.caller.engine.choose(
            ask(tenant="t", origin="paris", classes=("plain",), at_s=WALL_S, payload_bytes=size), at.scene.snapshot
        ).deployment
        at.scene.snapshot.live[first, kernel.L_HEALTHY] = 0
        at.scene.snapshot.refresh()
        runner.go.set()
        ends = await asyncio.gather(*calls, return_exceptions=True)
        assert [isinstance(end, Answered) for end in ends] == [False, True]
        assert len(runner.on) == 1
        assert runner.on[0] != first

    asyncio.run(story())


def test_the_end_of_an_older_call_leaves_a_newer_one_to_be_waited_for() -> None:
    async def story() -> None:
        flights, asked = Flights(), key("a")
        older, newer = flights.begin(asked), flights.begin(asked)
        flights.end(asked, older)
        assert flights.get(asked) is newer
        flights.end(asked, newer)
        assert len(flights) == 0

    asyncio.run(story())


def test_what_cannot_be_kept_is_not_waited_for_twice() -> None:
    async def story() -> None:
        at, runner = slow(size_bytes=100)
        calls = [asyncio.create_task(call(at)) for _ in range(CALLERS)]
        await turns()
        runner.go.set()
        assert len({answered.answer.body for answered in await asyncio.gather(*calls)}) == CALLERS
        assert runner.most == CALLERS - 1, "those who have waited run side by side"

    asyncio.run(story())


def test_who_has_waited_for_half_of_its_time_runs_itself_and_only_one_does() -> None:
    async def story() -> None:
        at, runner = slow()
        first = asyncio.create_task(call(at))
        await turns()
        hurried = [asyncio.create_task(call(at, deadline_us=400_000)) for _ in range(CALLERS)]
        while runner.now < 2:  # noqa: ASYNC110 - it is a count that a fake keeps
            await asyncio.sleep(0.01)
        assert runner.now == 2
        runner.go.set()
        answers = await asyncio.gather(first, *hurried)
        assert sorted(map(said, answers)).count("miss") <= 3
        assert runner.most <= 3

    asyncio.run(story())


def test_no_cache_waits_for_nobody() -> None:
    async def story() -> None:
        at, runner = slow()

        async def anew() -> Answered:
            request = ask(tenant="t", origin="paris", classes=("plain",), at_s=WALL_S)

            async def receive() -> Received:
                return Received(question())

            return await at.scene.caller.call(request, receive, control="no-cache")

        calls = [asyncio.create_task(call(at)), *(asyncio.create_task(anew()) for _ in range(2))]
        await turns()
        assert runner.now == 3
        runner.go.set()
        await asyncio.gather(*calls)
        assert len(at.cache.flights) == 0

    asyncio.run(story())


def test_a_stream_is_waited_for_until_it_has_ended_and_then_played_to_all() -> None:
    async def story() -> None:
        at, runner = slow()
        runner.go.set()
        leader = await call(at, question(), stream=True)
        others = [asyncio.create_task(call(at, question(), stream=True)) for _ in range(3)]
        await turns()
        assert not any(other.done() for other in others)
        assert leader.answer.stream is not None
        events = [event async for event in leader.answer.stream if isinstance(event, bytes)]
        for answered in await asyncio.gather(*others):
            assert answered.answer.stream is not None
            assert [event async for event in answered.answer.stream] == events

    asyncio.run(story())


def test_a_stream_that_is_closed_early_is_not_kept_and_the_next_runs() -> None:
    async def story() -> None:
        at, runner = slow()
        runner.go.set()
        leader = await call(at, question(), stream=True)
        other = asyncio.create_task(call(at, question(), stream=True))
        await turns()
        assert leader.answer.stream is not None
        await anext(leader.answer.stream)
        await leader.answer.stream.aclose()
        answered = await other
        assert (said(answered), len(runner.ran)) == ("miss", 2)
        assert len(at.cache.store) == 0

    asyncio.run(story())


@pytest.mark.parametrize("fails", [0, 3])
@given(seed=st.integers(0, 2**32))
def test_under_any_comings_goings_and_failures_each_call_ends_once_and_one_runs_at_a_time(
    fails: int, seed: int
) -> None:
    async def story() -> None:
        dice = random.Random(seed)
        at, runner = slow()
        runner.fail_first = fails
        calls: list[asyncio.Task[Answered]] = []
        for _ in range(60):
            step = dice.random()
            if step < 0.5:
                calls.append(asyncio.create_task(call(at, id=f"c{len(calls)}")))
            elif step < 0.7 and calls:
                dice.choice(calls).cancel()
            elif step < 0.8:
                runner.go.set()
            await turns(dice.randint(0, 4))
        runner.go.set()
        ends = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(end, Answered | Trouble | asyncio.CancelledError) for end in ends)
        assert runner.most <= 1
        assert len({end.answer.body for end in ends if isinstance(end, Answered)}) <= 1
        assert (len(at.cache.flights), runner.now) == (0, 0)
        lines = at.scene.journal.of("call")
        assert len({line["request"] for line in lines}) == len(lines)
        # One that was cancelled before its first step has not begun.
        answered = {f"c{number}" for number, end in enumerate(ends) if not isinstance(end, asyncio.CancelledError)}
        assert answered <= {line["request"] for line in lines}

    asyncio.run(story())
