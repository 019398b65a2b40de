"""Law 8, the part of the conduct: every call ends exactly once, in time, and runs nowhere that its policy forbids."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infercast.policies import kernel
from infercast.policies.fleet import Fleet
from infercast.policies.model import Request
from infercast.policies.patience import DEADLINE_DEFAULT_US
from infercast.policies.units import usd
from infercast.router.conduct.ports import Received
from infercast.router.errors import Kind, Trouble
from tests.laws.oracle import may_enter, may_run
from tests.laws.worlds import World, worlds
from tests.router.fakes import Clock, Scene, ask, example_engine, scene

WORDS = ["ok", "lost", "hang", "trouble", "fault", "broken", "cancelled", "saturated", "unavailable"]
LOSSES = ("lost", "hang", "saturated", "unavailable", "fault")
PAID = ("lost", "hang", "broken", "cancelled")
"""What a try may end in that has perhaps run: the place said nothing of it."""
scripts = st.lists(st.sampled_from([*WORDS, "lost", "lost", "hang"]), max_size=9)
# How much of its patience a lost attempt takes: nothing, some, nearly all of it.
slowness = st.sampled_from([0, 0, 300, 990, 1000])
calls = st.sampled_from([
    ask(),
    ask(classes=("minors",)),
    ask(classes=()),
    ask(deadline_us=60_000),
    ask(deadline_us=4_000),
    ask(model="vision", payload_bytes=602_112),
    ask(tenant="hospital", origin="paris", classes=("personal",)),
    ask(tenant="hospital", origin="paris", classes=("personal",), entry="dub"),
    ask(tenant="hospital", origin="paris", classes=("personal",), entry="iad"),
    ask(tenant="hospital", origin="berlin-cam", classes=("personal",), entry="berlin-cam"),
    ask(tenant="hospital", origin="berlin-cam", classes=("biometric",), entry="berlin-cam"),
    ask(tenant="bank", classes=("ledger",)),
    ask(tenant="bank", classes=("identity",)),
    ask(tenant="annotator", classes=("images",), origin="newyork", entry="iad"),
    ask(tenant="annotator", classes=("sealed",), model="vision"),
])  # fmt: skip


def carried(at: Scene, request: Request) -> BaseException | None:
    """Carry a call to its end; return what it ended in, None for an answer."""
    try:
        asyncio.run(at.caller.call(request, at.body))
    except (Trouble, RuntimeError, asyncio.CancelledError) as error:
        return error
    return None


def ended(at: Scene, error: BaseException | None) -> None:
    """Hold the one line that a call leaves against how it ended."""
    (line,) = at.journal.lines
    assert line["kind"] == "call"
    assert line["attempts"] == at.runner.tried
    assert at.body.reads == int(bool(at.runner.tried) or line["received_bytes"] > 0)
    paid_for(at, line)
    if error is None:
        assert (line["outcome"], line["reason"]) == ("answered", "")
        assert line["deployment"] == at.runner.tried[-1]
        return
    assert line["deployment"] is None
    if not isinstance(error, Trouble):
        expected = ("failed", "cancelled" if isinstance(error, asyncio.CancelledError) else "fault")
    else:
        ours = error.kind in (Kind.FAULT, Kind.DEADLINE)
        expected = ("failed" if ours else "refused", str(error.kind))
    assert (line["outcome"], line["reason"]) == expected


def paid_for(at: Scene, line: dict[str, Any]) -> None:
    """Each try that may have run is paid for once, the answer first; what surely did not run costs nothing."""
    script = at.runner.script
    words = [script[turn] if turn < len(script) else "ok" for turn in range(len(at.runner.tried))]
    tries = list(zip(words, at.runner.tried, strict=True))
    answer = [place for word, place in tries if word == "ok"]
    assert [place for place, _ in line["spent"]] == [*answer, *(place for word, place in tries if word in PAID)]
    assert line["cost_usd"] == usd(sum(cost_nusd for _, cost_nusd in line["spent"]))
    assert all(cost_nusd >= 0 for _, cost_nusd in line["spent"])


def in_time(at: Scene, clock: Clock, request: Request) -> None:
    """No attempt outlives what was left when it began, and the whole ends inside the deadline."""
    policy_us = at.caller.engine.compiled(request).deadline_us
    limit_us = min(value for value in (policy_us, request.deadline_us, DEADLINE_DEFAULT_US) if value)
    assert clock.now_us <= limit_us
    assert all(0 < timeout_s * 1_000_000 <= limit_us for _, _, timeout_s in at.runner.calls)
    assert at.journal.only()["took_us"] == clock.now_us


@given(calls, scripts, slowness)
def test_every_call_ends_once_in_time_and_leaves_no_mark(request: Request, script: list[str], slow: int) -> None:
    with Clock().rules() as clock:
        at = scene(*script, entry=request.entry, clock=clock, slow=slow)
        error = carried(at, request)
        ended(at, error)
        in_time(at, clock, request)
    assert at.tried_marks == 0
    fallbacks_max = at.caller.engine.policies[request.tenant].behaviour.fallbacks_max
    assert len(at.runner.tried) <= fallbacks_max + 1
    assert len(set(at.runner.tried)) == len(at.runner.tried)


@given(calls, scripts, slowness)
def test_a_call_goes_on_after_a_loss_and_after_nothing_else(request: Request, script: list[str], slow: int) -> None:
    with Clock().rules() as clock:
        at = scene(*script, entry=request.entry, clock=clock, slow=slow)
        error = carried(at, request)
    words = [script[turn] if turn < len(script) else "ok" for turn in range(len(at.runner.calls))]
    assert all(word in LOSSES for word in words[:-1])
    if words and words[-1] not in LOSSES:
        assert (error is None) == (words[-1] == "ok")
    elif words:
        assert isinstance(error, Trouble)
        expected = {"saturated": Kind.SATURATED, "fault": Kind.FAULT}.get(words[-1], Kind.DEADLINE)
        assert error.kind is expected, "a call that was accepted and lost is not refused"


@given(calls, scripts, slowness)
def test_a_fallback_is_allowed_by_the_files(request: Request, script: list[str], slow: int) -> None:
    """Law 2 on this path, told by the tables that the files alone give: no signal and no deadline in them."""
    with Clock().rules() as clock:
        at = scene(*script, entry=request.entry, clock=clock, slow=slow)
        carried(at, request)
    compiled = example_engine().compiled(request)
    rules = dict(zip(compiled.deployments, compiled.codes.tolist(), strict=True))
    assert all(rules[index] == 0 for index, _, _ in at.runner.calls)


def world_scene(world: World, script: list[str], clock: Clock, slow: int) -> tuple[Scene, Fleet]:
    engine = world.engine()
    snapshot = world.snapshot(engine.fleet)
    at = scene(*script, entry=world.call["entry"], engine=engine, snapshot=snapshot, clock=clock, slow=slow)
    return at, engine.fleet


@given(worlds(), scripts, slowness)
def test_in_any_world_a_call_ends_once_and_runs_where_it_may(world: World, script: list[str], slow: int) -> None:
    with Clock().rules() as clock:
        at, fleet = world_scene(world, script, clock, slow)
        ended(at, carried(at, world.request()))
        in_time(at, clock, world.request())
    assert at.tried_marks == 0
    assert len(set(at.runner.tried)) == len(at.runner.tried)
    for name in at.runner.tried:
        assert may_run(world, fleet, name), name
    if not may_enter(world, fleet, world.call["entry"]):
        assert (at.body.reads, at.runner.calls) == (0, [])


@given(worlds(), scripts, st.lists(st.booleans(), min_size=9, max_size=9))
def test_no_news_brings_a_tried_candidate_back(world: World, script: list[str], news: list[bool]) -> None:
    """While an attempt runs, everything may be heard of again as healthy and idle; what was tried stays tried."""
    with Clock().rules() as clock:
        at, fleet = world_scene(world, script, clock, 0)

        def hear(_: int) -> None:
            if news[len(at.runner.calls) % len(news)]:
                at.snapshot.live[:, kernel.L_HEALTHY] = 1
                at.snapshot.live[:, kernel.L_IN_FLIGHT] = 0
                at.snapshot.refresh()

        at.runner.each = hear
        ended(at, carried(at, world.request()))
    assert len(set(at.runner.tried)) == len(at.runner.tried)
    assert all(may_run(world, fleet, name) for name in at.runner.tried)


@given(st.lists(st.tuples(calls, scripts), min_size=2, max_size=5))
def test_calls_at_the_same_time_end_once_each(pairs: list[tuple[Request, list[str]]]) -> None:
    """They share a snapshot and take turns; each leaves one line, and none runs where its own policy forbids."""
    engine = example_engine()
    snapshot = scene().snapshot
    scenes = [scene(*script, entry=request.entry, snapshot=snapshot) for request, script in pairs]

    async def all_of_them() -> list[Any]:
        for at in scenes:
            at.runner.each = lambda index: None
        together = [at.caller.call(request, _takes_turns(at)) for at, (request, _) in zip(scenes, pairs, strict=True)]
        return await asyncio.gather(*(asyncio.ensure_future(call) for call in together), return_exceptions=True)

    with Clock().rules() as clock:
        for at in scenes:
            at.runner.clock = clock
        asyncio.run(all_of_them())
    for at, (request, _) in zip(scenes, pairs, strict=True):
        assert at.journal.only()["attempts"] == at.runner.tried
        compiled = engine.compiled(request)
        rules = dict(zip(compiled.deployments, compiled.codes.tolist(), strict=True))
        assert all(rules[index] == 0 for index, _, _ in at.runner.calls)
        assert at.tried_marks == 0


def _takes_turns(at: Scene) -> Any:
    async def read() -> Received:
        await asyncio.sleep(0)
        return await at.body()

    return read


@given(st.integers(0, 6))
def test_a_call_cancelled_at_any_moment_is_written_down_once(turns: int) -> None:
    at = scene("hang")

    async def hang_up() -> None:
        task = asyncio.create_task(at.caller.call(ask(), _takes_turns(at)))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(hang_up())
    lines = [(line["outcome"], line["reason"]) for line in at.journal.lines]
    assert lines == ([("failed", "cancelled")] if turns else []), "a task cancelled before it began was no call yet"
    assert at.tried_marks == 0
