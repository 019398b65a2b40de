"""Calls at upstreams that really answer, really fail, really hang: what goes there, what comes back, what is made of it."""

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import pytest

from infercast.policies.fleet import Fleet
from infercast.policies.model import Request
from infercast.router.api import Api, Usage
from infercast.router.conduct.ports import Carried, Lost
from infercast.router.errors import Kind, Trouble
from infercast.router.runtime.host import Answer
from infercast.router.upstream.runner import Upstreams
from tests.router.upstreams import (
    answer,
    answering,
    as_json,
    request_on,
    reset,
    run_async,
    scripted,
    served,
    upstream_fleet,
)

Raw = dict[str, Any]
HERE = "a" * 16
CHAT: Raw = {"model": "talk", "messages": [{"role": "user", "content": "hé"}], "infercast": {"class": "plain"}}
SAID: Raw = {"id": "c1", "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}}  # fmt: skip
INFER: Raw = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [0.5]}]}


def index_of(fleet: Fleet, variant: str) -> int:
    return fleet.deployment_index[f"{variant}@far"]


def call_of(api: Api = Api.CHAT, body: Raw | bytes | None = None, *, stream: bool = False, **more: Any) -> Carried:
    given = CHAT if body is None else body
    asked = Request("call-7", "t", "talk", "ber", "berlin", ("plain", "secret"))
    return Carried(
        asked,
        given if isinstance(given, bytes) else as_json(given),
        api=api,
        stream=stream,
        **{"header_bytes": None, **more},
    )


VARIANT = {Api.CHAT: "llama", Api.COMPLETION: "llama", Api.EMBEDDING: "bge", Api.INFER: "small"}


def upon(port: int, work: Callable[[Upstreams, Fleet], Awaitable[Any]], api: str = "openai", **more: Any) -> Any:
    """Do something with the upstream at a port."""
    path = "/v1" if api == "openai" else ""

    async def whole() -> Any:
        fleet = upstream_fleet(f"http://127.0.0.1:{port}{path}", api, **more)
        upstreams = Upstreams(fleet, HERE)
        try:
            return await work(upstreams, fleet)
        finally:
            await upstreams.aclose()

    return run_async(whole())


def ran(port: int, call: Carried, timeout_s: float = 5.0, **more: Any) -> Answer:
    """One call's answer."""

    async def work(upstreams: Upstreams, fleet: Fleet) -> Any:
        return await upstreams.run(index_of(fleet, VARIANT[call.api]), call, timeout_s)

    found: Answer = upon(port, work, **more)
    return found


def events_of(port: int, call: Carried, timeout_s: float = 5.0, **more: Any) -> list[Any]:
    """All events of one streamed call; what cut it short stands last."""

    async def work(upstreams: Upstreams, fleet: Fleet) -> list[Any]:
        came = await upstreams.run(index_of(fleet, VARIANT[call.api]), call, timeout_s)
        assert came.stream is not None
        found: list[Any] = []
        try:
            async for event in came.stream:
                found.append(event)  # noqa: PERF401 - what came before a break counts, too
        except Lost as lost:
            found.append(lost)
        return found

    events: list[Any] = upon(port, work, **more)
    return events


def recording(text: bytes, seen: list[bytes]) -> Callable[[socket.socket], None]:
    """A script that answers alike, and keeps what it was asked."""

    def script(connection: socket.socket) -> None:
        while asked := request_on(connection):
            seen.append(asked)
            connection.sendall(text)

    return script


def asked_in(text: bytes) -> tuple[str, dict[str, str], Any]:
    """A request as (its first line, its headers, its body)."""
    head, _, body = text.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return first, headers, orjson.loads(body) if body else None


JSON = "content-type: application/json"


def test_a_chat_goes_with_the_upstreams_name_and_nothing_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAR_KEY", "sk-far")
    seen: list[bytes] = []
    with scripted(recording(answer(as_json(SAID), "200 OK", JSON), seen)) as port:
        came = ran(port, call_of(), key_env="FAR_KEY", models={"llama": "meta/llama-3.1"})
    first, headers, body = asked_in(seen[0])
    assert first == "POST /v1/chat/completions HTTP/1.1"
    assert headers["authorization"] == "Bearer sk-far"
    assert headers["content-type"] == "application/json"
    assert not [name for name in headers if name.startswith("infercast")]
    assert body == {"model": "meta/llama-3.1", "messages": CHAT["messages"], "stream": False}
    assert orjson.loads(came.body) == SAID
    assert (came.usage, came.variant, came.site, came.emulated_us) == (Usage(3, 2), "llama", "far", 0)


@pytest.mark.parametrize(
    "told",
    [
        b'{"model" : "meta/llama-3.1", "big": 123456789012345678901234567890, "note": "\\"model\\": \\"x\\""}',
        b'{"note": {"model": "meta/llama-3.1"}, "model": "meta/llama-3.1"}',
        b'{"note": {"model": "other"}, "mod\\u0065l": "meta\\/llama-3.1"}',
    ],
)
def test_an_answer_says_what_ran_by_our_name_for_it(told: bytes) -> None:
    with scripted(answering(answer(told, "200 OK", JSON))) as port:
        came = ran(port, call_of(), models={"llama": "meta/llama-3.1"})
    assert orjson.loads(came.body) == {**orjson.loads(told), "model": "llama"}
    assert b"meta/llama-3.1" not in came.body or b'{"model": "meta/llama-3.1"}' in told
    assert (b"123456789012345678901234567890" in told) == (b"123456789012345678901234567890" in came.body)


def test_an_answer_that_names_no_model_is_left_alone() -> None:
    with scripted(answering(answer(b'{"choices" : []}', "200 OK", JSON))) as port:
        assert ran(port, call_of()).body == b'{"choices" : []}'


@pytest.mark.parametrize(("api", "path"), [(Api.COMPLETION, "/v1/completions"), (Api.EMBEDDING, "/v1/embeddings")])
def test_the_other_apis_have_their_paths(api: Api, path: str) -> None:
    seen: list[bytes] = []
    told: Raw = {"object": "list", "data": [], "usage": {"prompt_tokens": 9, "total_tokens": 9}}
    with scripted(recording(answer(as_json(told)), seen)) as port:
        came = ran(port, call_of(api, {"input": "x"}))
    assert asked_in(seen[0])[0] == f"POST {path} HTTP/1.1"
    assert came.usage == Usage(9, 0)


def test_tensors_go_as_they_came_and_come_back_under_our_names() -> None:
    header = as_json(
        {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "parameters": {"binary_data_size": 4}}]}
    )
    body = header + b"\x00\x01\xff\n"
    told = as_json({"model_name": "theirs", "outputs": [{"name": "y", "parameters": {"binary_data_size": 3}}]})
    text = answer(told + b"\x00\xff\r", "200 OK", f"Inference-Header-Content-Length: {len(told)}")
    seen: list[bytes] = []
    with scripted(recording(text, seen)) as port:
        call = call_of(Api.INFER, body, header_bytes=len(header))
        came = ran(port, call, api="oip", models={"small": "digits v2/x".replace(" ", "-")})
    assert seen[0].startswith(b"POST /v2/models/digits-v2%2Fx/infer HTTP/1.1\r\n")
    assert b"content-type: application/octet-stream\r\n" in seen[0]
    assert seen[0].count(b"content-type") == 1
    assert f"inference-header-content-length: {len(header)}".encode() in seen[0]
    assert seen[0].endswith(body)
    assert came.header_bytes is not None
    value = orjson.loads(came.body[: came.header_bytes])
    assert (value["model_name"], value["model_version"]) == ("digits", "small")
    assert came.body[came.header_bytes :] == b"\x00\xff\r"


def test_an_answer_that_is_nested_too_deeply_is_lost() -> None:
    deep = b'{"outputs":[],"x":%s%s}' % (b"[" * 300, b"]" * 300)
    with scripted(answering(answer(deep))) as port, pytest.raises(Lost, match="too deeply"):
        ran(port, call_of(Api.INFER, INFER), api="oip")


def test_to_a_peer_go_class_deadline_id_and_the_way_so_far() -> None:
    told: Raw = {"outputs": []}
    text = answer(as_json(told), "200 OK", "infercast-emulated-ms: 12.5", "infercast-at-site-ms: 3")
    seen: list[bytes] = []
    with scripted(recording(text, seen)) as port:
        call = call_of(Api.INFER, INFER, hops=(f"{'b' * 16}/x-1-1",), number="ber-5-9")
        came = ran(port, call, timeout_s=1.25, api="infercast", classes={"plain": "ordinary"})
    first, headers, _ = asked_in(seen[0])
    assert first == "POST /v2/models/digits/versions/small/infer HTTP/1.1"  # the variant that was decided on, or none
    assert headers["infercast-class"] == "ordinary, secret"
    assert headers["infercast-deadline-ms"] == "1250.000"
    assert headers["infercast-id"] == "call-7"
    assert headers["infercast-hops"] == f"{'b' * 16}/x-1-1, {HERE}/ber-5-9"
    assert came.emulated_us == 12_500


def test_a_chat_at_a_peer_names_the_model() -> None:
    seen: list[bytes] = []
    with scripted(recording(answer(as_json(SAID)), seen)) as port:
        ran(port, call_of(), api="infercast")
    first, headers, body = asked_in(seen[0])
    assert first == "POST /v1/chat/completions HTTP/1.1"
    assert body["model"] == "talk"
    assert headers["infercast-class"] == "plain, secret"


@pytest.mark.parametrize("api", ["openai", "infercast"])
def test_a_trace_goes_on_with_the_call_where_there_is_one(api: str) -> None:
    here = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    for traceparent in (here, b""):
        seen: list[bytes] = []
        with scripted(recording(answer(as_json({"choices": []})), seen)) as port:
            ran(port, call_of(traceparent=traceparent), api=api)
        _, headers, _ = asked_in(seen[0])
        assert headers.get("traceparent", "").encode() == traceparent


def test_an_id_cannot_add_headers() -> None:
    seen: list[bytes] = []
    with scripted(recording(answer(as_json({"outputs": []})), seen)) as port:
        asked = Request("x\r\nauthorization: Bearer stolen", "t", "digits", "ber", "berlin", ("plain",))
        ran(port, Carried(asked, as_json(INFER), None), api="infercast")
    assert asked_in(seen[0])[1]["infercast-id"] == "x??authorization: Bearer stolen"


DEEP = b'{"x":%s%s}' % (b"[" * 300, b"]" * 300)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'"x"', b"\xff", DEEP])
def test_a_body_that_is_no_json_object_or_too_deep_goes_nowhere(body: bytes) -> None:
    seen: list[bytes] = []
    with scripted(recording(answer(b"{}"), seen)) as port, pytest.raises(Trouble) as caught:
        ran(port, call_of(body=body))
    assert caught.value.kind is Kind.BAD_REQUEST
    assert seen == []


def test_a_model_is_not_called_in_words_that_it_does_not_speak() -> None:
    async def work(upstreams: Upstreams, fleet: Fleet) -> None:
        with pytest.raises(Trouble, match="does not speak infer"):
            await upstreams.run(index_of(fleet, "llama"), call_of(Api.INFER, INFER), 1.0)

    upon(1, work)


def chunk(text: str | None = None, finish: str | None = None, **more: Any) -> bytes:
    choices = (
        [] if text is None and finish is None else [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]
    )
    return as_json({"id": "c1", "object": "chat.completion.chunk", "choices": choices, **more})


USED = chunk(usage={"prompt_tokens": 3, "completion_tokens": 2})


def stream_of(
    *events: bytes, then: Callable[[socket.socket], None] = lambda _: None, done: bool = True
) -> Callable[[socket.socket], None]:
    """A script that answers in events, each in a chunk of its own."""

    def script(connection: socket.socket) -> None:
        while request_on(connection):
            connection.sendall(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
            )
            for event in (*events, *([b"[DONE]"] if done else [])):
                framed = b"data: " + event + b"\n\n"
                connection.sendall(b"%x\r\n%s\r\n" % (len(framed), framed))
            then(connection)
            connection.sendall(b"0\r\n\r\n")

    return script


@pytest.mark.parametrize("wanted", [True, False])
def test_a_stream_comes_event_by_event_and_the_usage_last(wanted: bool) -> None:
    body = {**CHAT, "stream": True, **({"stream_options": {"include_usage": True}} if wanted else {})}
    parts = [chunk("h", usage=None), chunk("i"), chunk(finish="stop"), USED]
    with scripted(stream_of(*parts)) as port:
        found = events_of(port, call_of(body=body, stream=True))
    assert found == [*(parts if wanted else parts[:-1]), Usage(3, 2)]


def test_the_events_of_a_stream_say_what_runs_by_our_name_for_it() -> None:
    parts = [chunk('"model": "x"', model="meta/llama"), chunk(finish="stop", model="meta/llama")]
    with scripted(stream_of(*parts)) as port:
        found = events_of(port, call_of(stream=True), models={"llama": "meta/llama"})
    assert [orjson.loads(event) for event in found] == [{**orjson.loads(part), "model": "llama"} for part in parts]


def test_the_upstream_is_asked_to_stream_and_to_say_what_was_used() -> None:
    seen: list[bytes] = []

    def script(connection: socket.socket) -> None:
        seen.append(request_on(connection))
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: [DONE]\n\n")

    with scripted(script) as port, pytest.raises(Lost, match="holds no event"):
        ran(port, call_of(stream=True))
    assert asked_in(seen[0])[2]["stream_options"] == {"include_usage": True}
    assert asked_in(seen[0])[2]["stream"] is True


def test_streams_use_their_connection_again() -> None:
    connections: list[int] = []
    script = stream_of(chunk("h"), chunk(finish="stop"))

    def counted(connection: socket.socket) -> None:
        connections.append(1)
        script(connection)

    async def work(upstreams: Upstreams, fleet: Fleet) -> None:
        for _ in range(3):
            came = await upstreams.run(index_of(fleet, "llama"), call_of(stream=True), 5.0)
            assert came.stream is not None
            assert len([event async for event in came.stream]) == 2

    with scripted(counted) as port:
        upon(port, work)
    assert len(connections) == 1


def _silent(connection: socket.socket) -> None:
    connection.recv(1)


BREAKS: dict[str, Callable[[socket.socket], None]] = {
    "reset": reset,
    "closed": lambda c: c.close(),
    "not JSON": lambda c: c.sendall(b"9\r\ndata: {\n\n\r\n"),
    "not events": lambda c: c.sendall((b"10000\r\n" + b"x" * 65536 + b"\r\n") * 40),
    "its own error": lambda c: c.sendall(b'1d\r\ndata: {"error": {"m": "x"}}\n\n\r\n'),
    "ended early": lambda _: None,
    "silence": _silent,
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_stream_that_breaks_off_says_so_behind_what_had_come(name: str) -> None:
    script = stream_of(chunk("h"), chunk("i"), then=BREAKS[name], done=False)
    with scripted(script) as port:
        found = events_of(port, call_of(stream=True), stall_s=1.5)
    assert found[:-1] == [chunk("h"), chunk("i")]
    assert isinstance(found[-1], Lost)


@pytest.mark.parametrize("name", BREAKS)
def test_one_that_breaks_off_before_its_first_event_can_be_decided_again(name: str) -> None:
    with scripted(stream_of(then=BREAKS[name], done=False)) as port, pytest.raises(Lost):
        events_of(port, call_of(stream=True), stall_s=0.5)


def test_an_answer_without_events_to_a_call_for_a_stream_is_lost() -> None:
    with (
        scripted(answering(answer(as_json(SAID), "200 OK", JSON))) as port,
        pytest.raises(Lost, match="does not come in events"),
    ):
        ran(port, call_of(stream=True))


def test_the_first_event_has_the_deadline_and_those_after_it_have_not() -> None:
    def slowly(connection: socket.socket) -> None:
        threading.Event().wait(2.5)
        framed = b"data: " + chunk(finish="stop") + b"\n\n"
        connection.sendall(b"%x\r\n%s\r\n" % (len(framed), framed))

    with scripted(stream_of(chunk("h"), then=slowly, done=False)) as port:
        assert len(events_of(port, call_of(stream=True), timeout_s=2.0)) == 2
    with scripted(stream_of(then=slowly, done=False)) as port, pytest.raises(TimeoutError):
        events_of(port, call_of(stream=True), timeout_s=0.3)


def test_closing_our_stream_closes_the_upstreams_connection() -> None:
    gone = threading.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        await send({"type": "http.response.body", "body": b"data: " + chunk("h") + b"\n\n", "more_body": True})
        assert (await receive())["type"] == "http.disconnect"
        gone.set()

    async def work(upstreams: Upstreams, fleet: Fleet) -> None:
        came = await upstreams.run(index_of(fleet, "llama"), call_of(stream=True), 5.0)
        assert came.stream is not None
        await anext(came.stream)
        await came.stream.aclose()
        await came.stream.aclose()
        assert await asyncio.to_thread(gone.wait, 10)

    with served(app) as port:
        upon(port, work)


def test_giving_up_a_call_closes_the_upstreams_connection() -> None:
    gone = threading.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        assert (await receive())["type"] == "http.disconnect"
        gone.set()

    with served(app) as port, pytest.raises(TimeoutError):
        ran(port, call_of(), timeout_s=2.0)  # by then it has come there, also on a busy machine
    assert gone.wait(10)


def test_an_answer_that_is_too_large_is_lost_and_the_upstream_still_well() -> None:
    async def work(upstreams: Upstreams, fleet: Fleet) -> None:
        assert await upstreams.check("far") is not None
        with pytest.raises(Lost, match="more than 2000 bytes"):
            await upstreams.run(index_of(fleet, "llama"), call_of(), 5.0)
        assert upstreams.healthy(index_of(fleet, "llama"))

    def script(connection: socket.socket) -> None:
        while asked := request_on(connection):
            connection.sendall(answer(b"{}" if asked.startswith(b"GET") else b" " * 5000))

    with scripted(script) as port:
        upon(port, work, answer_bytes_max=2000)


def test_what_one_callers_body_breaks_is_no_reason_to_spare_the_upstream_everybodys_calls() -> None:
    def script(connection: socket.socket) -> None:
        while asked := request_on(connection):
            if b"poison" in asked:
                reset(connection)
                return
            connection.sendall(answer(as_json(SAID)))

    async def work(upstreams: Upstreams, fleet: Fleet) -> None:
        index, poison = index_of(fleet, "llama"), call_of(body={"messages": "poison"})

        async def lost() -> bool:
            with pytest.raises(Lost) as caught:
                await upstreams.run(index, poison, 5.0)
            assert upstreams.healthy(index)
            return not caught.value.alive

        assert await upstreams.check("far") is not None
        assert [await lost() for _ in range(2)] == [False, False]
        await upstreams.run(index, call_of(), 5.0)
        assert [await lost() for _ in range(3)] == [False, False, True]  # nothing else came back: it may be the site

    with scripted(script) as port:
        upon(port, work)


def test_an_upstream_that_takes_no_connection_does_not_live() -> None:
    async def work(upstreams: Upstreams, fleet: Fleet) -> None:
        index = index_of(fleet, "llama")
        upstreams.standings["far"].lives = True
        with pytest.raises(Lost) as caught:
            await upstreams.run(index, call_of(), 5.0)
        assert not caught.value.alive
        assert not upstreams.healthy(index)

    upon(1, work)


def test_what_is_asked_to_see_whether_it_lives_may_answer_at_any_length() -> None:
    async def work(upstreams: Upstreams, fleet: Fleet) -> None:
        assert await upstreams.check("far") is not None
        assert upstreams.healthy(index_of(fleet, "llama"))

    with scripted(answering(answer(b" " * 5000))) as port:
        upon(port, work, answer_bytes_max=2000)


def test_what_nobody_foresaw_is_an_upstream_that_does_not_live_and_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        fleet = upstream_fleet(
            f"http://{'a' * 64}.example"
        )  # no name may be so long, and Python raises what is no OSError
        upstreams = Upstreams(fleet, HERE)
        upstreams.standings["far"].lives = True
        assert [await upstreams.check("far") for _ in range(2)] == [None, None]
        assert not upstreams.healthy(index_of(fleet, "llama"))
        await upstreams.aclose()

    run_async(work())
    assert [record.exc_info is not None for record in caplog.records] == [True]


def test_a_hundred_streams_at_once_all_come_whole() -> None:
    parts = [chunk(str(number)) for number in range(20)] + [chunk(finish="stop"), USED]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        for part in (*parts, b"[DONE]"):
            await send({"type": "http.response.body", "body": b"data: " + part + b"\r\n\r\n", "more_body": True})
            await asyncio.sleep(0)
        await send({"type": "http.response.body"})

    async def work(upstreams: Upstreams, fleet: Fleet) -> list[Any]:
        async def one() -> list[Any]:
            came = await upstreams.run(index_of(fleet, "llama"), call_of(stream=True), 15.0)
            assert came.stream is not None
            return [event async for event in came.stream]

        return list(await asyncio.gather(*(one() for _ in range(100))))

    with served(app) as port:
        for found in upon(port, work):
            assert found == [*parts[:-1], Usage(3, 2)]
