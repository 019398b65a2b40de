"""Answers in events: each such call ends once, when its stream does; and texts that are asked for whole."""

import asyncio
from dataclasses import replace

import pytest

from infercast.policies import kernel
from infercast.router.api import Api, Event, Stream, Usage
from infercast.router.conduct.ports import Carried, Lost, Received
from infercast.router.errors import Kind, Trouble
from infercast.router.runtime.host import Answer
from infercast.router.upstream.statuses import Broken
from tests.router.fakes import Clock, Scene, ask, scene


class Events:
    """A streamed answer that plays a script."""

    def __init__(self, *script: Event | Exception) -> None:
        self.script = list(script)
        self.closed = False

    def __aiter__(self) -> "Events":
        return self

    async def __anext__(self) -> Event:
        if not self.script:
            raise StopAsyncIteration
        event = self.script.pop(0)
        if isinstance(event, Exception):
            raise event
        return event

    async def aclose(self) -> None:
        self.closed = True


def streamed(*script: Event | Exception) -> tuple[Scene, Events]:
    """A scene whose runner answers in events."""
    at, events = scene(), Events(*script)
    plain = at.runner.run

    async def run(deployment: int, call: Carried, timeout_s: float) -> Answer:
        return replace(await plain(deployment, call, timeout_s), body=b"", stream=events)

    at.runner.run = run  # type: ignore[method-assign]
    return at, events


async def stream_of(at: Scene) -> Stream:
    answered = await at.caller.call(ask(), at.body)
    assert at.journal.of("call") == []
    assert answered.answer.stream is not None
    return answered.answer.stream


def test_a_streamed_call_has_its_one_line_when_the_stream_has_ended() -> None:
    at, _ = streamed(b"a", b"b", Usage(7, 2))

    async def play() -> list[Event]:
        return [event async for event in await stream_of(at)]

    assert asyncio.run(play()) == [b"a", b"b", Usage(7, 2)]
    line = at.journal.only()
    assert (line["outcome"], line["reason"], line["tokens"]) == ("answered", "", [7, 2])


@pytest.mark.parametrize(
    ("cut", "reason"), [(Lost("gone"), "lost"), (Trouble(Kind.SATURATED, "full"), "saturated"), (ValueError(), "fault")]
)
def test_a_stream_that_is_cut_short_is_no_answered_call(cut: Exception, reason: str) -> None:
    at, _ = streamed(b"a", cut)

    async def play() -> None:
        stream = await stream_of(at)
        assert await anext(stream) == b"a"
        with pytest.raises(type(cut)):
            await anext(stream)
        await stream.aclose()

    asyncio.run(play())
    line = at.journal.only()
    assert line["outcome"] != "answered"
    assert line["reason"] == reason


@pytest.mark.parametrize(("cut", "distrusted"), [(Lost("gone"), True), (Broken("one call's affair"), False)])
def test_a_site_whose_stream_broke_is_distrusted_unless_it_is_well(cut: Lost, distrusted: bool) -> None:
    at, _ = streamed(b"a", cut)

    async def play() -> str:
        answered = await at.caller.call(ask(), at.body)
        assert answered.answer.stream is not None
        with pytest.raises(Lost):
            async for _ in answered.answer.stream:
                pass
        return answered.deployment

    lost = asyncio.run(play())
    assert bool(at.snapshot.live[at.caller.fleet.deployment_index[lost], kernel.L_HEALTHY]) is not distrusted


def test_a_caller_that_hangs_up_in_mid_stream_is_gone_and_ends_the_work() -> None:
    at, events = streamed(b"a", b"b")

    async def play() -> None:
        stream = await stream_of(at)
        await anext(stream)
        await stream.aclose()

    asyncio.run(play())
    assert events.closed
    assert (at.journal.only()["outcome"], at.journal.only()["reason"]) == ("failed", "gone")


def test_a_text_that_is_asked_for_whole_is_not_given_up_for_its_length() -> None:
    """It is waited for as long as there is time, and what it teaches is when it began."""
    clock = Clock()
    at = scene("hang", clock=clock)

    async def receive() -> Received:
        return Received(b"{}", api=Api.CHAT)

    with clock.rules(), pytest.raises(Trouble):
        asyncio.run(at.caller.call(ask(deadline_us=250_000), receive))
    assert at.runner.calls[0][2] == 0.25


def test_a_text_too_long_for_its_deadline_says_nothing_of_who_makes_it() -> None:
    clock = Clock()
    at = scene("hang", clock=clock)
    before = at.snapshot.live.copy()

    async def receive() -> Received:
        return Received(b"{}", api=Api.CHAT)

    with clock.rules(), pytest.raises(Trouble) as caught:
        asyncio.run(at.caller.call(ask(deadline_us=250_000), receive))
    assert caught.value.kind is Kind.DEADLINE
    assert (at.snapshot.live[:, kernel.L_HEALTHY] == before[:, kernel.L_HEALTHY]).all()
    assert len(at.runner.calls) == 1
