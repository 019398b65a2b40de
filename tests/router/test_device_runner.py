"""A device's way out: a real ingress listens on loopback, and what the device sends binds there as it bound here."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest
import uvicorn

from infercast.policies import kernel
from infercast.policies.snapshot import Snapshot
from infercast.policies.tables import one_way_us
from infercast.router.api import Api, Event, Usage
from infercast.router.conduct.ports import Carried, Lost
from infercast.router.device.runner import CONNECT_S, STALL_S, DeviceRunner
from infercast.router.errors import Kind, Trouble
from infercast.router.ingress.http import Reply
from infercast.router.ingress.openai_errors import openai_reply_of
from infercast.router.keys import Keys, hash_of, issue
from infercast.router.runtime.host import Host
from tests.router.digits import deployment_of, held_out, infer_body, read_answer
from tests.router.fakes import Clock, Door, ask, door, estimates_at, example_fleet

FRA = example_fleet().deployment_index["digits-medium@fra"]
HERE = example_fleet().deployment_index["digits-small@berlin-cam"]
App = Callable[[Any, Any, Any], Awaitable[None]]


@asynccontextmanager
async def listening(app: App) -> AsyncIterator[str]:
    """Serve an ASGI application on a port of loopback that is free."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical", lifespan="off"))
    task = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn offers no event
        await asyncio.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await task


def below_its_name(at: Door) -> App:
    """The ingress below `/fra`, as the sites' proxy serves it."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await at.ingress({**scope, "root_path": "/fra"}, receive, send)

    return app


def answering(status: int, body: bytes, *headers: tuple[bytes, bytes]) -> App:
    """An upstream that says the same to everyone."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": list(headers)})
        await send({"type": "http.response.body", "body": body})

    return app


def runner_of(upstream: str, secret: str = "ic-test", *, host: bool = False) -> tuple[DeviceRunner, Snapshot]:
    """The camera's runner."""
    fleet = example_fleet()
    hosted = [deployment_of("digits-small", "berlin-cam")] if host else []
    snapshot = Snapshot(fleet)
    estimates = estimates_at("berlin-cam")
    return DeviceRunner("berlin-cam", fleet, snapshot, estimates, Host(fleet, hosted), upstream, secret), snapshot


def carried(*classes: str, body: bytes = b"{}") -> Carried:
    return Carried(
        ask(tenant="hospital", entry="berlin-cam", origin="berlin-cam", classes=classes or ("personal",)), body, None
    )


async def sent(app: App, secret: str, call: Carried, timeout_s: float = 5.0) -> Any:
    """Send a call to an upstream."""
    async with listening(app) as upstream:
        runner, _ = runner_of(upstream, secret)
        try:
            with Clock().rules():
                return await runner.run(FRA, call, timeout_s), runner.sent_bytes
        finally:
            await runner._client.aclose()


def test_a_call_that_is_sent_is_answered_there() -> None:
    at = door()
    answer, sent_bytes = asyncio.run(sent(below_its_name(at), at.secrets["camera"], carried()))
    assert (answer.body, answer.site) == (b"answer", "fra")
    way = example_fleet().network.path("berlin-cam", "fra")
    assert answer.emulated_us == one_way_us(way, 2) + one_way_us(way, len(b"answer")) > way.rtt_us  # type: ignore[union-attr]
    assert sent_bytes == 2
    line = at.scene.journal.only()
    assert (line["tenant"], line["origin"], line["classes"], line["request"]) == (
        "hospital",
        "berlin-cam",
        ["personal"],
        "r1",
    )


def test_every_class_that_binds_here_binds_there() -> None:
    """The camera's key says `personal`; its caller had said `biometric`, which comes before it in the alphabet."""
    at = door()
    with pytest.raises(Trouble) as caught:
        asyncio.run(sent(below_its_name(at), at.secrets["camera"], carried("biometric", "personal")))
    assert caught.value.kind is Kind.WRONG_ENTRY
    assert at.scene.journal.only()["classes"] == ["biometric", "personal"]


def test_a_refusal_there_is_a_refusal_here() -> None:
    at = door()
    with pytest.raises(Trouble, match="may not enter at fra") as caught:
        asyncio.run(sent(below_its_name(at), at.secrets["camera"], carried("biometric")))
    assert caught.value.kind is Kind.WRONG_ENTRY


@pytest.mark.parametrize(
    ("trouble", "extra"),
    [
        (Trouble(Kind.LIMITED, "a", "b", {"limit": "calls", "retry_after_s": 37}), {"limit": "calls", "retry_after_s": 37}),
        (Trouble(Kind.FORBIDDEN, "a", "b"), {}),
        (Trouble(Kind.REFUSED, "a", "b", {"rule": "path", "more": {}}), {"rule": "path"}),
        (Trouble(Kind.BAD_REQUEST, "a", "b", {"param": "n", "code": "invalid_value"}), {"param": "n", "code": "invalid_value"}),
        (Trouble(Kind.LIMITED, "a", "b", {"retry_after_s": "1\r\nx: y"}), {}),
    ],
)  # fmt: skip
def test_what_a_site_tells_of_a_call_is_told_here(trouble: Trouble, extra: dict[str, Any]) -> None:
    app = answering(*_as_sent(openai_reply_of(trouble)))
    with pytest.raises(Trouble) as caught:
        asyncio.run(sent(app, "ic-test", carried()))
    assert (caught.value.kind, caught.value.message, caught.value.extra) == (trouble.kind, "a (b)", extra)


def _as_sent(reply: Reply) -> tuple[Any, ...]:
    kept = [(name, value) for name, value in reply.headers if name == b"infercast-outcome"]
    return (reply.status, reply.body, *kept)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_place_that_fails_is_lost(status: int) -> None:
    with pytest.raises(Lost, match=str(status)):
        asyncio.run(sent(answering(status, b"<html>"), "ic-test", carried()))


@pytest.mark.parametrize(
    ("timeout_s", "stream", "waits_s"), [(60.0, False, 60.0), (4.0, False, CONNECT_S), (4.0, True, STALL_S)]
)
def test_what_takes_its_time_is_waited_for_as_long_as_the_call_is(
    timeout_s: float, stream: bool, waits_s: float
) -> None:
    asked: list[dict[str, float]] = []

    async def note(request: httpx.Request) -> None:
        asked.append(request.extensions["timeout"])

    async def scene() -> None:
        runner, _ = runner_of("http://127.0.0.1:9")
        runner._client.event_hooks["request"].append(note)
        try:
            with Clock().rules(), pytest.raises((Lost, TimeoutError)):
                await runner.run(FRA, replace(carried(), stream=stream), timeout_s)
        finally:
            await runner._client.aclose()

    asyncio.run(scene())
    assert asked == [{"connect": CONNECT_S, "read": waits_s, "write": waits_s, "pool": waits_s}]


def test_a_place_that_does_not_listen_is_lost() -> None:
    async def run() -> None:
        async with listening(answering(200, b"")) as upstream:
            pass
        runner, _ = runner_of(upstream)
        try:
            await runner.run(FRA, carried(), 5.0)
        finally:
            await runner._client.aclose()

    with pytest.raises(Lost):
        asyncio.run(run())


def test_a_place_that_hangs_is_given_up_in_time() -> None:
    async def hangs(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0.3)

    with pytest.raises((TimeoutError, Lost)):
        asyncio.run(sent(hangs, "ic-test", carried(), timeout_s=0.1))


def test_an_answer_of_somebody_else_is_a_loss() -> None:
    with pytest.raises(Lost):
        asyncio.run(
            sent(
                answering(200, b"<html>Accept our terms</html>", (b"content-type", b"text/html")), "ic-test", carried()
            )
        )


def test_what_runs_here_sends_nothing() -> None:
    image = held_out()[0][:1]
    body, header_bytes = infer_body(image, ("label",))
    runner, snapshot = runner_of("http://127.0.0.1:9", host=True)
    call = Carried(carried().request, body, header_bytes)
    answer = asyncio.run(runner.run(HERE, call, 1.0))
    assert (answer.site, answer.variant, runner.sent_bytes) == ("berlin-cam", "digits-small", 0)
    assert read_answer(answer.body, answer.header_bytes, "label").shape == (1,)
    assert snapshot.live[HERE, kernel.L_IN_FLIGHT] == 0


async def heard(app: App) -> Snapshot:
    """Hear an upstream once."""
    async with listening(app) as upstream:
        runner, snapshot = runner_of(upstream)
        try:
            await runner.hear_once("fra")
        finally:
            await runner._client.aclose()
        return snapshot


def test_what_the_nearest_site_says_is_believed_with_its_age() -> None:
    body = (
        b'{"signals": [{"deployment": "digits-medium@fra", "in_flight": 3, "p50_us": 400, "p95_us": 900,'
        b' "healthy": true, "age_us": 500000}, {"deployment": "unknown@fra", "in_flight": 1, "p50_us": 1,'
        b' "p95_us": 1, "healthy": true, "age_us": 1}]}'
    )
    snapshot = asyncio.run(heard(answering(200, body)))
    assert snapshot.live[FRA, [kernel.L_IN_FLIGHT, kernel.L_P50_US, kernel.L_HEALTHY]].tolist() == [3, 400, 1]
    assert 500_000 <= snapshot.age_us[FRA] < 3_000_000
    assert snapshot.live[HERE, kernel.L_HEALTHY] == 1


def test_a_key_of_the_devices_that_is_not_taken_there_is_a_loss_and_not_its_callers() -> None:
    with pytest.raises(Lost):
        asyncio.run(sent(answering(401, b'{"error":"no valid key"}'), "ic-test", carried()))


def test_an_id_of_any_letters_goes_along_as_far_as_a_header_holds_it() -> None:
    call = carried()
    named = replace(call, request=replace(call.request, id="Fähre \u2708"))
    answer, _ = asyncio.run(sent(answering(200, b"answer", *FACTS), "ic-test", named))
    assert answer.body == b"answer"


@pytest.mark.parametrize("status", [401, 500])
def test_a_device_knows_itself_where_the_nearest_site_says_no(status: int) -> None:
    snapshot = asyncio.run(heard(answering(status, b"{}")))
    assert (snapshot.live[HERE, kernel.L_HEALTHY], snapshot.live[FRA, kernel.L_HEALTHY]) == (1, 0)


@pytest.mark.parametrize("body", [b"<html>Accept our terms</html>", b"{}", b'{"signals": [{}]}', b"[]"])
def test_a_device_knows_itself_where_somebody_else_answers(body: bytes) -> None:
    """A captive portal answers 200 to everything; the camera goes on by itself."""
    snapshot = asyncio.run(heard(answering(200, body)))
    assert (snapshot.live[HERE, kernel.L_HEALTHY], snapshot.live[FRA, kernel.L_HEALTHY]) == (1, 0)


def test_a_new_secret_is_used_once_a_site_takes_it() -> None:
    """Until then, the old one is: sites learn of a new one a moment after the device."""
    at = door()
    old, new = at.secrets["camera"], "ic-new"
    shown: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        shown.append(dict(scope["headers"])[b"authorization"].decode())
        await below_its_name(at)(scope, receive, send)

    async def told() -> list[bool]:
        async with listening(app) as upstream:
            runner, _ = runner_of(upstream, old)
            try:
                early = await runner.take_secret(new, "fra")
                await runner.hear_once("fra")
                camera, _ = issue("camera", "hospital", "berlin-cam")
                at.ingress.take_keys(Keys([replace(camera, sha256=hash_of(new))]))
                late = await runner.take_secret(new, "fra")
                await runner.hear_once("fra")
                return [early, late, await runner.take_secret(new, "fra")]
            finally:
                await runner._client.aclose()

    assert asyncio.run(told()) == [False, True, True]
    assert shown == [f"Bearer {secret}" for secret in (new, old, new, new)]


def test_without_an_upstream_the_old_secret_stays() -> None:
    async def told() -> bool:
        runner, _ = runner_of("http://127.0.0.1:9", "ic-old")
        try:
            return await runner.take_secret("ic-new", "fra")
        finally:
            await runner._client.aclose()

    assert not asyncio.run(told())


FACTS = ((b"infercast-variant", b"tiny-llama"), (b"infercast-site", b"fra"), (b"infercast-at-site-ms", b"1.0"))
CHAT = b'{"model":"chat","messages":[{"role":"user","content":"hello"}]}'


def streaming(*events: bytes, paths: list[str]) -> App:
    """An upstream that answers in events, and says on which path it was asked."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        paths.append(scope["path"])
        headers = [(b"content-type", b"text/event-stream"), *FACTS]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for event in events:
            await send({"type": "http.response.body", "body": b"data: " + event + b"\n\n", "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    return app


async def events_of(app: App, call: Carried) -> tuple[list[Event], int]:
    """The events of a call that is sent, and how many calls are at the place while they come."""
    async with listening(app) as upstream:
        runner, snapshot = runner_of(upstream)
        try:
            answer = await runner.run(FRA, call, 5.0)
            assert answer.stream is not None
            found = [event async for event in answer.stream]
            await answer.stream.aclose()
            return found, int(snapshot.live[FRA, kernel.L_IN_FLIGHT])
        finally:
            await runner._client.aclose()


def test_a_text_comes_to_a_device_in_events() -> None:
    paths: list[str] = []
    last = b'{"choices":[{"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2}}'
    app = streaming(b'{"choices":[{"n":1}]}', last, b"[DONE]", paths=paths)
    call = replace(carried(body=CHAT), api=Api.CHAT, stream=True)
    assert asyncio.run(events_of(app, call)) == ([b'{"choices":[{"n":1}]}', last, Usage(3, 2)], 0)
    assert paths == ["/fra/v1/chat/completions"]


def test_a_stream_without_an_event_is_a_loss() -> None:
    call = replace(carried(body=CHAT), api=Api.CHAT, stream=True)
    with pytest.raises(Lost):
        asyncio.run(events_of(streaming(paths=[]), call))


def test_what_a_text_used_is_in_its_answer() -> None:
    body = b'{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}'
    call = replace(carried(body=CHAT), api=Api.CHAT)
    answer, _ = asyncio.run(sent(answering(200, body, *FACTS), "ic-test", call))
    assert (answer.body, answer.usage) == (body, Usage(3, 2))


def test_a_named_variant_is_named_there_too() -> None:
    paths: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        paths.append(scope["path"])
        await answering(200, b"answer", *FACTS)(scope, receive, send)

    call = carried()
    asyncio.run(sent(app, "ic-test", replace(call, request=replace(call.request, variant="digits-large"))))
    assert paths == ["/fra/v2/models/digits/versions/digits-large/infer"]
