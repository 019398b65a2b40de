"""Traces: one span for each stage, as a real receiver of OpenTelemetry's protocol gets them."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from infercast.router.api import Api, Usage
from infercast.router.conduct import clock
from infercast.router.conduct.ports import Carried, Received
from infercast.router.errors import Trouble
from infercast.router.runtime.host import Answer
from tests.router import test_waiting as waiting
from tests.router.cache.scenes import at_entry
from tests.router.cache.test_answers import how
from tests.router.fakes import Scene, ask, scene
from tests.router.otlp import receiver, traced
from tests.router.test_caller_streams import Events

STAGES = ["auth", "decide"]
OURS = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def carry(at: Scene, traceparent: bytes | None = None, **parts: Any) -> None:
    """Carry one call to its end, whatever that is; a streamed answer is read."""

    async def play() -> None:
        arrived_us = clock.now_us()
        await asyncio.sleep(0.001)
        answered = await at.caller.call(ask(**parts), at.body, arrived_us=arrived_us, traceparent=traceparent)
        if answered.answer.stream is not None:
            assert [event async for event in answered.answer.stream]

    with suppress(Trouble, asyncio.CancelledError):
        asyncio.run(play())


def text(at: Scene, *script: Any, usage: Usage | None = None) -> None:
    """Let a scene's runner answer chats: in the events of a script, or at once."""
    plain = at.runner.run

    async def run(deployment: int, call: Carried, timeout_s: float) -> Answer:
        answer = await plain(deployment, call, timeout_s)
        if script:
            return replace(answer, body=b"", stream=Events(*script))
        return replace(answer, usage=usage)

    at.runner.run = run  # type: ignore[method-assign]

    async def receive() -> Received:
        return Received(b"{}", api=Api.CHAT, stream=bool(script))

    at.body = receive  # type: ignore[assignment]


def test_an_answered_call_has_a_span_for_each_stage() -> None:
    at = scene()
    with receiver() as received:
        with traced(at, received.url):
            carry(at)
        assert received.tree() == {"infer digits": ["auth", "decide", "queue", "inference"]}
        root, line = received.root, at.journal.only()
        assert root.kind == "SERVER"
        assert not root.failed
        assert root.parent_id == ""
        assert root.ended_ns - root.began_ns >= 1_000_000
        facts = root.facts
        assert f"{facts['infercast.variant']}@{facts['infercast.site']}" == line["deployment"]
        assert facts["infercast.decision"] == line["decision"]
        assert facts["infercast.cost_usd"] == line["cost_usd"]
        assert facts["infercast.call"] == line["number"]
        assert (facts["infercast.tenant"], facts["infercast.classes"]) == ("studio", ["gameplay"])
        assert (facts["infercast.outcome"], facts["infercast.attempts"]) == ("answered", 1)
        (decided,) = received.named("decide")
        assert decided.facts["infercast.deployment"] == line["deployment"]
        assert decided.facts["infercast.expected_cost_usd"] == line["cost_usd"]
        assert decided.facts["infercast.candidates"] >= 1
        (queue,), (inference,) = received.named("queue"), received.named("inference")
        assert (queue.ended_ns - queue.began_ns, inference.ended_ns - inference.began_ns) == (500_000, 1_000_000)
        assert received.resources[0]["service.name"] == "infercast"
        assert received.resources[0]["infercast.entry"] == "fra"


def test_the_time_on_the_wire_is_a_span_around_what_happens_at_the_other_site() -> None:
    at = scene("lost", entry="sin")  # where nobody has this model
    with receiver() as received:
        with traced(at, received.url, "sin"):
            carry(at, model="vision", entry="sin", origin="singapore")
        first, second = at.runner.tried
        assert received.tree() == {
            "infer vision": ["auth", "decide", "network", "decide", {"network": ["queue", "inference"]}]
        }
        lost, network = received.named("network")
        assert (lost.failed, network.failed) == (True, False)
        assert (lost.facts["error.type"], lost.facts["infercast.deployment"]) == ("lost", first)
        assert (network.kind, network.facts["infercast.deployment"]) == ("CLIENT", second)
        one, other = received.named("decide")
        assert [one.facts["infercast.deployment"], other.facts["infercast.deployment"]] == [first, second]
        assert one.facts["infercast.decision"] != other.facts["infercast.decision"]
        assert received.root.facts["infercast.attempts"] == 2


def test_a_refused_call_ends_with_its_decision() -> None:
    at = scene(entry="iad")
    with receiver() as received:
        with traced(at, received.url, "iad"):
            carry(at, tenant="hospital", entry="iad", origin="paris", classes=("personal",))
        assert received.tree() == {"infer digits": STAGES}
        assert received.root.facts["infercast.outcome"] == "refused"
        assert received.root.facts["error.type"] == at.journal.only()["reason"] == "wrong_entry"
        assert received.named("decide")[0].facts["error.type"] == "wrong_entry"
        assert not received.root.failed  # it is what the policy wants
        assert at.body.reads == 0


@pytest.mark.parametrize(
    ("word", "outcome", "reason"), [("broken", "failed", "fault"), ("cancelled", "failed", "cancelled")]
)
def test_a_call_that_fails_has_its_stages_so_far(word: str, outcome: str, reason: str) -> None:
    at = scene(word)
    with receiver() as received:
        with traced(at, received.url), suppress(RuntimeError):
            carry(at)
        assert received.tree() == {"infer digits": [*STAGES, "inference"]}
        assert received.root.failed
        assert (received.root.facts["infercast.outcome"], received.root.facts["error.type"]) == (outcome, reason)


def test_a_streamed_text_is_in_opentelemetrys_words_for_it() -> None:
    at = scene()
    text(at, b"a", b"b", Usage(7, 3))
    with receiver() as received:
        with traced(at, received.url):
            carry(at, model="chat", tenant="studio", classes=("gameplay",))
        assert at.journal.only()["outcome"] == "answered", at.journal.only()
        root = received.root
        assert root.name == "chat chat"
        facts = root.facts
        assert (facts["gen_ai.operation.name"], facts["gen_ai.request.model"]) == ("chat", "chat")
        assert facts["gen_ai.response.model"] == at.journal.only()["deployment"].split("@")[0]
        assert (facts["gen_ai.usage.input_tokens"], facts["gen_ai.usage.output_tokens"]) == (7, 3)
        assert facts["infercast.time_to_first_token_us"] >= 1000


def test_a_callers_trace_goes_on_here_and_is_sent_on() -> None:
    at = scene()
    with receiver() as received:
        with traced(at, received.url):
            carry(at, traceparent=OURS.encode())
        root = received.root
        assert (root.trace_id, root.parent_id) == (OURS[3:35], OURS[36:52])
        (_, carried, _) = at.runner.calls[0]
        assert carried.traceparent == f"00-{OURS[3:35]}-{root.span_id}-01".encode()


def test_a_call_that_is_not_traced_sends_no_trace_on() -> None:
    at = scene()
    with receiver() as received:
        with traced(at, received.url, OTEL_TRACES_SAMPLER="always_off"):
            carry(at, traceparent=OURS.encode())
        assert received.spans == []
        assert at.runner.calls[0][1].traceparent == b""


def test_spans_that_nobody_takes_are_dropped_and_counted() -> None:
    at = scene()
    with receiver(status=400) as received:
        with traced(at, received.url) as seeing:
            carry(at)
        assert received.raw
        told = {
            sample.labels[1]: sample.value for sample in seeing.samples() if sample.metric == "infercast_spans_total"
        }
        assert told == {"exported": 0, "dropped": len(received.spans)}


def test_a_receiver_that_is_away_makes_nothing_grow() -> None:
    at = scene()
    settings = {"OTEL_BSP_MAX_QUEUE_SIZE": "16", "OTEL_BSP_SCHEDULE_DELAY": "600000"}
    with traced(at, "http://127.0.0.1:9", **settings) as seeing:
        for _ in range(40):
            carry(at)
        exporting = seeing._exporting
        assert exporting is not None
        assert sum(len(spans) for spans in exporting._waiting) <= 16
        assert exporting.dropped >= 40 * 5 - 16
    assert len(at.journal.of("call")) == 40


def test_a_call_that_waited_for_its_turn_has_a_span_for_that() -> None:
    at = waiting.scene()

    async def story(at: waiting.Scene) -> None:
        await at.call("flood", 3)
        await asyncio.sleep(0.005)
        for _ in range(3):
            await at.gate.let(at_site_us=1500)

    with receiver() as received:
        with traced(at, received.url, "par"):
            waiting.play(story, at)
        lines = {line["number"]: line for line in at.journal.of("call")}
        roots = [span for span in received.spans if span.kind == "SERVER"]
        waited = [root for root in roots if lines[root.facts["infercast.call"]]["queued_us"]]
        assert (len(roots), len(waited)) == (3, 1)
        root = waited[0]
        assert received.below(root) == ["decide", "queue", "decide", "queue", "inference"]
        below = sorted((s for s in received.spans if s.parent_id == root.span_id), key=lambda s: s.began_ns)
        first, turn, second, here, _ = below
        queued_us = lines[root.facts["infercast.call"]]["queued_us"]
        assert queued_us >= 5000
        assert turn.ended_ns - turn.began_ns == queued_us * 1000
        assert here.ended_ns - here.began_ns == 500_000  # that it waited where it ran: not told twice
        assert first.ended_ns <= turn.began_ns
        assert turn.ended_ns <= second.began_ns
        assert "infercast.deployment" not in first.facts
        assert second.facts["infercast.deployment"] == lines[root.facts["infercast.call"]]["deployment"]
        for other in roots:
            if other is not root:
                assert received.below(other) == ["decide", "queue", "inference"]


def test_a_call_whose_turn_never_came_has_its_wait_all_the_same() -> None:
    at = waiting.scene()

    async def story(at: waiting.Scene) -> None:
        await at.call("flood", 2)
        await at.call("flood", deadline_us=50_000)
        await asyncio.wait([at.calls["flood2"]])

    with receiver() as received:
        with traced(at, received.url, "par"):
            waiting.play(story, at)
        (root,) = [
            span for span in received.spans if span.facts.get("error.type") == "saturated" and not span.parent_id
        ]
        assert received.below(root) == ["decide", "queue"]
        (queue,) = [span for span in received.named("queue") if span.parent_id == root.span_id]
        (line,) = [line for line in at.journal.of("call") if line["reason"] == "saturated"]
        assert queue.ended_ns - queue.began_ns == line["queued_us"] * 1000 > 0


def test_what_the_cache_says_stands_at_the_call() -> None:
    at = at_entry()
    with receiver() as received:
        with traced(at.scene, received.url):
            assert how(at.infer()) == "miss"
            at.pass_s(7)
            assert how(at.infer()) == "hit"
        roots = sorted((s for s in received.spans if s.kind == "SERVER"), key=lambda span: span.began_ns)
        assert [root.facts["infercast.cache"] for root in roots] == ["miss", "hit"]
        assert [root.facts["infercast.cache_age_s"] for root in roots] == [0, 7]
        assert set(received.below(roots[1])) == {"auth", "decide"}  # nothing ran
        assert roots[1].facts["infercast.cost_usd"] == 0.0
