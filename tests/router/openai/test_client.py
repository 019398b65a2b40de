"""OpenAI's own client against an entry with real models behind it, over real HTTP: its ordinary examples, unmodified."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import openai
import pytest

from infercast.policies import kernel
from infercast.policies.engine import Engine
from infercast.policies.policy_file import load_policies
from tests.router.fakes import ROOT
from tests.router.openai.tiny import CONTEXT_TOKENS, Entry, entry, fleet

HELLO: Any = [{"role": "user", "content": "hello"}]
GAME = {"infercast-class": "gameplay"}
PATIENT = {"infercast-class": "personal"}


def patient() -> Engine:
    """The example's policies, but for one deadline: what is asked here is not how fast this machine is."""
    policies = load_policies(ROOT / "policies" / "tenants", fleet())
    classes = policies["studio"].classes
    gameplay = classes["gameplay"].model_copy(update={"deadline_ms": 20_000})
    studio = policies["studio"].model_copy(update={"classes": {**classes, "gameplay": gameplay}})
    return Engine(fleet(), {**policies, "studio": studio})


@pytest.fixture(scope="module")
def running() -> Iterator[Entry]:
    with entry("fra", patient()) as found:
        yield found


@pytest.fixture
def fra(running: Entry) -> Iterator[Entry]:
    """Frankfurt, where each test sees only what it did itself."""
    running.journal.lines.clear()
    running.runner.ran.clear()
    running.runner.script.clear()
    yield running
    running.leave()


def studio(at: Entry, **more: Any) -> openai.OpenAI:
    return at.client("studio", default_headers=GAME, **more)


def long(**more: Any) -> dict[str, Any]:
    """A text that takes its time."""
    return {"model": "chat", "messages": HELLO, "max_tokens": CONTEXT_TOKENS - 100, "seed": 1,
            "extra_body": {"logit_bias": {}}, **more}  # fmt: skip


def test_a_chat(fra: Entry) -> None:
    answer = studio(fra).chat.completions.create(model="chat", messages=HELLO, max_completion_tokens=9)
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason in ("stop", "length")
    assert answer.model == "tiny-llama"
    assert answer.usage is not None
    assert answer.usage.completion_tokens <= 9


def test_a_chat_that_streams(fra: Entry) -> None:
    client = studio(fra)
    events = list(
        client.chat.completions.create(model="chat", messages=HELLO, temperature=0, max_tokens=9, stream=True)
    )
    whole = client.chat.completions.create(model="chat", messages=HELLO, temperature=0, max_tokens=9)
    text = "".join(event.choices[0].delta.content or "" for event in events)
    assert text == whole.choices[0].message.content
    assert events[0].choices[0].delta.role == "assistant"
    assert events[-1].choices[0].finish_reason == "length"
    assert len(events) >= 3


def test_the_clients_own_helper_for_streams(fra: Entry) -> None:
    """It checks more than plain iteration does: events must add up to a whole answer, which has ended by itself."""
    client, wishes = studio(fra), {"model": "chat", "messages": HELLO, "temperature": 0}
    text = client.chat.completions.create(**wishes, max_tokens=9).choices[0].message.content
    options: Any = {"include_usage": True}
    with client.chat.completions.stream(**wishes, stop=text[5], stream_options=options) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert final.choices[0].message.content == text.partition(text[5])[0]
    assert final.usage is not None
    assert final.usage.completion_tokens <= 6


def test_completions(fra: Entry) -> None:
    client = studio(fra)
    answer = client.completions.create(model="chat", prompt=["a", "b"], temperature=0)
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 32
    events = client.completions.create(model="chat", prompt="a", temperature=0, stream=True)
    assert "".join(event.choices[0].text for event in events if event.choices) == answer.choices[0].text


def test_embeddings_in_both_encodings(fra: Entry) -> None:
    client = studio(fra)
    packed = client.embeddings.create(model="embedding", input=["one", "two"])
    plain = client.embeddings.create(model="embedding", input=["one", "two"], encoding_format="float")
    assert np.allclose([one.embedding for one in packed.data], [one.embedding for one in plain.data], atol=1e-6)
    assert packed.usage.prompt_tokens == 6


def test_the_models_that_a_key_may_call(fra: Entry) -> None:
    client = studio(fra)
    assert [model.id for model in client.models.list()] == ["chat", "embedding"]
    assert client.models.retrieve("chat").owned_by == "infercast"
    assert list(fra.client("bank").models.list()) == []
    for tenant, model in (("bank", "chat"), ("studio", "digits"), ("studio", "nothing")):
        with pytest.raises(openai.NotFoundError) as caught:
            fra.client(tenant).models.retrieve(model)
        assert (caught.value.param, caught.value.code) == ("model", "model_not_found")


def test_the_asynchronous_client(fra: Entry) -> None:
    async def talk() -> list[str]:
        async with openai.AsyncOpenAI(
            api_key=fra.secrets["studio"], base_url=f"{fra.url}/v1", default_headers=GAME, max_retries=0
        ) as client:
            streams = [
                client.chat.completions.create(model="chat", messages=HELLO, temperature=0, max_tokens=8, stream=True)
                for _ in range(8)
            ]

            async def text(stream: Any) -> str:
                return "".join([event.choices[0].delta.content or "" async for event in await stream])

            return await asyncio.gather(*map(text, streams))

    texts = asyncio.run(talk())
    assert len(set(texts)) == 1
    assert texts[0]


def test_an_answer_says_where_it_ran_and_why(fra: Entry) -> None:
    client = studio(fra)
    for stream in (False, True):
        raw = client.chat.completions.with_raw_response.create(
            model="chat", messages=HELLO, max_tokens=3, stream=stream, extra_headers={"infercast-id": "call-7"}
        )
        told = raw.headers
        assert list(raw.parse())
        assert (told["infercast-variant"], told["infercast-tier"], told["infercast-attempts"]) == (
            "tiny-llama",
            "edge",
            "1",
        )
        assert told["infercast-site"] in {site.id for site in fleet().sites}
        assert len(told["infercast-decision"]) == 24
        assert (told["infercast-id"], told["x-request-id"]) == ("call-7", "call-7")
        assert told["content-type"] == ("text/event-stream; charset=utf-8" if stream else "application/json")


def test_what_is_ours_does_not_go_on(fra: Entry) -> None:
    ours = {"infercast": {"class": "gameplay", "deadline_ms": 250, "id": "mine"}}
    answer = fra.client("player").chat.completions.create(model="chat", messages=HELLO, max_tokens=3, extra_body=ours)
    assert answer._request_id == "mine"
    (ran,) = fra.runner.ran
    assert set(json.loads(ran.body)) == {"model", "messages", "max_tokens"}
    assert (ran.request.id, ran.request.model, ran.request.classes) == ("mine", "chat", ("gameplay",))
    assert ran.request.deadline_us == 250_000
    (call,) = fra.calls(1)
    assert (call["request"], call["model"], call["tokens"][1]) == ("mine", "chat", 3)
    assert fra.journal.only("received")["request"] == "mine"


def test_headers_and_body_tighten_together(fra: Entry) -> None:
    client = fra.client(default_headers={**GAME, "infercast-deadline-ms": "280", "infercast-id": "head"})
    for body_ms, counts_us in ((250, 250_000), (500, 280_000)):
        fra.runner.ran.clear()
        ours = {"infercast": {"class": ["minors"], "deadline_ms": body_ms, "id": "body"}}
        client.chat.completions.create(model="chat", messages=HELLO, max_tokens=3, extra_body=ours)
        (ran,) = fra.runner.ran
        assert ran.request.classes == ("gameplay", "minors")
        assert (ran.request.deadline_us, ran.request.id) == (counts_us, "head")


def test_a_class_in_the_body_can_refuse_the_call(fra: Entry) -> None:
    """Faces and fingerprints stay on the device: no site may take them."""
    ours = {"infercast": {"class": "biometric"}}
    with pytest.raises(openai.APIStatusError) as caught:
        fra.client("hospital", default_headers=PATIENT).chat.completions.create(
            model="chat", messages=HELLO, extra_body=ours
        )
    assert (caught.value.status_code, caught.value.code, caught.value.type) == (421, "wrong_entry", "permission_error")
    assert fra.runner.ran == []
    assert fra.journal.only()["classes"] == ["biometric", "personal"]


def test_a_class_that_only_the_body_names_is_every_class_until_it_is_read(fra: Entry) -> None:
    """One of the studio's classes may not enter here, so what may be of that class is not read."""
    with pytest.raises(openai.APIStatusError) as caught:
        fra.client().chat.completions.create(
            model="chat", messages=HELLO, extra_body={"infercast": {"class": "gameplay"}}
        )
    assert caught.value.code == "wrong_entry"
    assert fra.journal.only("received")["payload_bytes"] == 0


def test_a_call_that_may_not_enter_is_refused_unread() -> None:
    with entry("iad") as iad, pytest.raises(openai.APIStatusError) as caught:
        iad.client("hospital", default_headers=PATIENT).chat.completions.create(model="chat", messages=HELLO)
    assert (caught.value.status_code, caught.value.code) == (421, "wrong_entry")
    body: Any = caught.value.body
    assert "fra" in body["infercast"]["entries"]
    assert iad.journal.only("received")["payload_bytes"] == 0
    assert iad.journal.only()["model"] == "" or iad.journal.only()["reason"] == "wrong_entry"


ERRORS: list[tuple[type[openai.APIStatusError], dict[str, Any], str | None, str | None]] = [
    (openai.NotFoundError, {"model": "chta"}, "model", "model_not_found"),
    (openai.BadRequestError, {"model": "digits"}, "model", None),
    (openai.BadRequestError, {"model": "embedding"}, "model", None),
    (openai.BadRequestError, {"n": 2}, "n", "unsupported_parameter"),
    (openai.BadRequestError, {"temperature": 3}, "temperature", "invalid_value"),
    (openai.BadRequestError, {"extra_body": {"tempratur": 1}}, "tempratur", "unknown_parameter"),
    (openai.BadRequestError, {"extra_body": {"infercast": {"class": "nobody"}}}, None, None),
    (openai.BadRequestError, {"extra_body": {"infercast": {"klass": "x"}}}, "infercast.klass", "unknown_parameter"),
    (openai.BadRequestError, {"max_tokens": CONTEXT_TOKENS}, None, "context_length_exceeded"),
    (openai.BadRequestError, {"messages": []}, "messages", "invalid_value"),
]


@pytest.mark.parametrize(("error", "more", "param", "code"), ERRORS)
@pytest.mark.parametrize("stream", [False, True])
def test_errors_are_those_of_the_client(
    fra: Entry,
    error: type[openai.APIStatusError],
    more: dict[str, Any],
    param: str | None,
    code: str | None,
    stream: bool,
) -> None:
    with pytest.raises(error) as caught:
        studio(fra).chat.completions.create(**{"model": "chat", "messages": HELLO, "stream": stream, **more})
    assert (caught.value.param, caught.value.code) == (param, code)
    assert caught.value.request_id
    assert caught.value.response.headers["x-should-retry"] == "false"


def test_the_message_holds_the_remedy(fra: Entry) -> None:
    with pytest.raises(openai.NotFoundError, match=r"no model is called 'chta' .did you mean 'chat'."):
        studio(fra).chat.completions.create(model="chta", messages=HELLO)
    with pytest.raises(openai.BadRequestError, match="POST /v2/models/digits/infer"):
        studio(fra).chat.completions.create(model="digits", messages=HELLO)


def test_without_a_valid_key(fra: Entry) -> None:
    client = fra.client("ic-nobody")
    calls: list[Any] = [
        client.models.list,
        lambda: client.models.retrieve("chat"),
        lambda: client.chat.completions.create(model="chat", messages=HELLO),
        lambda: client.completions.create(model="chat", prompt="x"),
        lambda: client.embeddings.create(model="embedding", input="x"),
    ]
    for call in calls:
        with pytest.raises(openai.AuthenticationError) as caught:
            call()
        assert caught.value.code == "invalid_api_key"
    assert fra.journal.lines == []


def test_what_is_not_served_is_told_in_the_clients_words(fra: Entry) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        studio(fra).responses.create(model="chat", input="x")
    assert caught.value.code == "not_found"
    assert "POST /v1/responses is not served here (POST /v1/chat/completions takes conversations)" in str(caught.value)


def test_the_client_is_told_what_to_repeat_and_when() -> None:
    with entry("fra") as fra:
        client = studio(fra, max_retries=1)
        fra.runner.script[:] = ["lost"] * 12
        with pytest.raises(openai.InternalServerError) as caught:
            client.completions.create(model="chat", prompt="x")
        # Nobody had an answer in time; whether that is worth another call, its caller knows.
        assert (caught.value.status_code, caught.value.code) == (504, "deadline")
        assert len(fra.calls(1)) == 1
        # Where nobody is well, which passes, the client would wait and repeat by itself.
        fra.caller.snapshot.live[:, kernel.L_HEALTHY] = 0
        fra.caller.snapshot.refresh()
        with pytest.raises(openai.InternalServerError) as caught:
            client.with_options(max_retries=0).completions.create(model="chat", prompt="x")
        assert (caught.value.status_code, caught.value.code) == (503, "unavailable")
        told = caught.value.response.headers
        assert (told["x-should-retry"], told["retry-after"]) == ("true", "5")


def test_a_client_that_hangs_up_ends_the_stream(fra: Entry) -> None:
    stream = studio(fra).chat.completions.create(**long(stream=True))
    next(iter(stream))
    assert fra.streams(1) == 1  # its hedge, where one was made, has ended by now or soon does
    stream.close()
    (call,) = fra.calls(1)
    assert (call["outcome"], call["reason"] in ("gone", "cancelled")) == ("failed", True)
    assert fra.streams(0) == 0


def test_a_client_that_gives_up_ends_the_work(fra: Entry) -> None:
    with pytest.raises(openai.APITimeoutError):
        studio(fra, timeout=httpx.Timeout(20.0, read=0.05)).completions.create(
            model="chat", prompt=["x"] * 16, max_tokens=CONTEXT_TOKENS - 8
        )
    (call,) = fra.calls(1)
    assert call["outcome"] == "failed"
    assert fra.streams(0) == 0


def test_a_stream_is_framed_as_events_and_ends_in_done(fra: Entry) -> None:
    body = {"model": "chat", "messages": HELLO, "max_tokens": 2, "stream": True}
    headers = {"authorization": f"Bearer {fra.secrets['studio']}", **GAME}
    lines = httpx.post(f"{fra.url}/v1/chat/completions", json=body, headers=headers, timeout=20).text.split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    assert all(line.startswith("data: {") for line in lines[:-2])
