"""A real language model behind OpenAI's JSON: whole answers, streams, and what ends early."""

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson
import pytest

from infercast.router.api import Api, Usage
from infercast.router.errors import Kind, Trouble
from infercast.router.language.model import Embedder, TextModel
from infercast.router.openai.host import INLINE_BYTES_MAX, LanguageHost
from infercast.router.runtime.host import Answer
from tests.router.openai.tiny import CONTEXT_TOKENS, embedder, text_model

HELLO = [{"role": "user", "content": "hello"}]


@pytest.fixture(scope="module")
def model() -> Iterator[TextModel]:
    with text_model() as found:
        yield found


@pytest.fixture(scope="module")
def vectors() -> Iterator[Embedder]:
    with embedder() as found:
        yield found


def raw(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def whole(model: TextModel | Embedder, api: Api, **fields: Any) -> tuple[Any, Answer]:
    """The answer in one piece, read, and all that is said of it."""
    answer = asyncio.run(LanguageHost("v", "fra", model).run(api, raw(model="m", **fields), stream=False))
    assert answer.stream is None
    return orjson.loads(answer.body), answer


def chat(model: TextModel, **fields: Any) -> Any:
    return whole(model, Api.CHAT, messages=HELLO, **fields)[0]


async def events_of(answer: Answer) -> tuple[list[Any], list[Usage]]:
    """The events of a stream, read, and what it says was used."""
    assert answer.stream is not None
    assert answer.body == b""
    events, used = [], []
    async for event in answer.stream:
        if isinstance(event, Usage):
            used.append(event)
        else:
            assert used == []
            events.append(orjson.loads(event))
    return events, used


def streamed(model: TextModel, api: Api, **fields: Any) -> tuple[list[Any], list[Usage]]:
    async def read() -> tuple[list[Any], list[Usage]]:
        body = raw(model="m", stream=True, **fields)
        return await events_of(await LanguageHost("v", "fra", model).run(api, body, stream=True))

    return asyncio.run(read())


def test_a_chat_says_what_was_made_and_how_much(model: TextModel) -> None:
    read, answer = whole(model, Api.CHAT, messages=HELLO, max_tokens=12, temperature=0)
    assert (answer.variant, answer.site, answer.service_us > 0) == ("v", "fra", True)
    (choice,) = read["choices"]
    assert choice["message"]["role"] == "assistant"
    assert choice["message"]["content"]
    assert (choice["finish_reason"], read["model"]) == ("length", "v")
    prompt = model.chat_prompt(HELLO)
    assert answer.usage == Usage(len(prompt), 12)
    assert read["usage"] == {"prompt_tokens": len(prompt), "completion_tokens": 12, "total_tokens": len(prompt) + 12}


def test_wishes_reach_the_model(model: TextModel) -> None:
    def text(**wishes: Any) -> str:
        found: str = chat(model, max_tokens=24, **wishes)["choices"][0]["message"]["content"]
        return found

    likeliest = text(temperature=0)
    assert text(temperature=0) == likeliest
    assert text(top_p=0) == likeliest
    assert text(seed=1) == text(seed=1)
    assert len({text(seed=seed) for seed in range(5)}) > 1
    letter = likeliest[3]
    assert text(temperature=0, stop=letter) == likeliest.partition(letter)[0]


def test_an_unseeded_text_is_drawn_afresh(model: TextModel) -> None:
    assert len({chat(model, max_tokens=24)["choices"][0]["message"]["content"] for _ in range(5)}) > 1


def test_the_role_and_the_order_of_turns_reach_the_model(model: TextModel) -> None:
    turns = [{"role": "developer", "content": "be brief"}, *HELLO]
    _, answer = whole(model, Api.CHAT, messages=turns, max_tokens=1)
    as_system = model.chat_prompt([{"role": "system", "content": "be brief"}, *HELLO])
    assert answer.usage == Usage(len(as_system), 1)


def test_the_time_of_a_text_is_that_until_its_first_part(model: TextModel) -> None:
    """Whoever asks for a long text makes the model look no slower. A busy machine may need several goes to show it."""

    def mostly_before() -> bool:
        began_ns = time.perf_counter_ns()
        _, answer = whole(model, Api.COMPLETION, prompt="x", max_tokens=400, temperature=0)
        assert answer.service_us > 0
        return answer.service_us * 2000 > time.perf_counter_ns() - began_ns

    assert not all(mostly_before() for _ in range(5))


def test_a_stream_says_in_parts_what_the_whole_says(model: TextModel) -> None:
    wishes = {"max_tokens": 16, "temperature": 0}
    events, used = streamed(model, Api.CHAT, messages=HELLO, **wishes)
    said = chat(model, **wishes)
    first, *_, last = events
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    text = "".join(event["choices"][0]["delta"].get("content", "") for event in events)
    assert text == said["choices"][0]["message"]["content"]
    assert [event["choices"][0]["finish_reason"] for event in events] == [None] * (len(events) - 1) + ["length"]
    assert last["choices"][0]["delta"] == {}
    assert used == [Usage(len(model.chat_prompt(HELLO)), 16)]
    assert all("usage" not in event for event in events)


def test_a_stream_tells_its_tokens_where_asked(model: TextModel) -> None:
    options = {"include_usage": True}
    events, used = streamed(model, Api.CHAT, messages=HELLO, max_tokens=4, stream_options=options)
    *others, last = events
    assert all(event["usage"] is None for event in others)
    assert (last["choices"], last["usage"]["completion_tokens"]) == ([], 4)
    assert used == [Usage(last["usage"]["prompt_tokens"], 4)]


def test_several_prompts_have_each_its_place(model: TextModel) -> None:
    wishes = {"max_tokens": 6, "temperature": 0}
    read, answer = whole(model, Api.COMPLETION, prompt=["once", "twice"], **wishes)
    alone = [whole(model, Api.COMPLETION, prompt=one, **wishes)[0]["choices"][0]["text"] for one in ("once", "twice")]
    assert [choice["text"] for choice in read["choices"]] == alone
    assert [choice["index"] for choice in read["choices"]] == [0, 1]
    assert answer.usage == Usage(sum(len(model.encode(one)) for one in ("once", "twice")), 12)
    events, used = streamed(model, Api.COMPLETION, prompt=["once", "twice"], **wishes)
    for index, text in enumerate(alone):
        mine = [event["choices"][0] for event in events if event["choices"][0]["index"] == index]
        assert "".join(choice["text"] for choice in mine) == text
        assert mine[-1]["finish_reason"] == "length"
    assert used == [answer.usage]


def test_a_prompt_may_come_as_tokens(model: TextModel) -> None:
    wishes = {"max_tokens": 6, "temperature": 0}
    tokens, text = (
        whole(model, Api.COMPLETION, prompt=prompt, **wishes)[0] for prompt in (model.encode("once"), "once")
    )
    assert tokens["choices"] == text["choices"]
    assert tokens["usage"] == text["usage"]


def test_vectors_of_texts_and_of_tokens(vectors: Embedder) -> None:
    read, answer = whole(vectors, Api.EMBEDDING, input=["one", "another"])
    found = np.array([one["embedding"] for one in read["data"]])
    assert found.shape == (2, vectors.dimensions)
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert answer.usage == Usage(len("one") + len("another"))
    again, _ = whole(vectors, Api.EMBEDDING, input=[list(b"one")], dimensions=vectors.dimensions)
    assert np.allclose(again["data"][0]["embedding"], found[0], atol=1e-6)


def test_vectors_are_not_cut_short(vectors: Embedder) -> None:
    with pytest.raises(Trouble, match=f"dimensions is 3 .leave it out, or send {vectors.dimensions}."):
        whole(vectors, Api.EMBEDDING, input="x", dimensions=3)


def test_a_model_is_called_for_what_it_makes(model: TextModel, vectors: Embedder) -> None:
    with pytest.raises(Trouble, match="v makes text: POST /v1/chat/completions"):
        whole(model, Api.EMBEDDING, input="x")
    with pytest.raises(Trouble, match="v makes embeddings: POST /v1/embeddings"):
        whole(vectors, Api.CHAT, messages=HELLO)


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": [10_000]},
        {"prompt": "x" * CONTEXT_TOKENS},
        {"prompt": "x", "max_tokens": CONTEXT_TOKENS},
        {"prompt": ["x", [1]]},
        {"prompt": [[97], [999_999]]},
        {"prompt": "x", "temprature": 1},
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_the_model_cannot_take_is_the_callers(model: TextModel, fields: dict[str, Any], stream: bool) -> None:
    with pytest.raises(Trouble) as caught:
        (streamed if stream else whole)(model, Api.COMPLETION, **fields)
    assert caught.value.kind is Kind.BAD_REQUEST


def test_a_long_prompt_is_read_beside_the_loop(model: TextModel) -> None:
    """It is refused for its length only once it was tokenised."""
    with pytest.raises(Trouble, match="tokens"):
        whole(model, Api.CHAT, messages=[{"role": "user", "content": "x" * INLINE_BYTES_MAX}])


def test_a_stream_that_is_closed_early_frees_its_place(model: TextModel) -> None:
    async def leave() -> None:
        answer = await LanguageHost("v", "fra", model).run(
            Api.CHAT, raw(model="m", messages=HELLO, stream=True), stream=True
        )
        assert answer.stream is not None
        await anext(answer.stream)
        assert model.streams == 1
        await answer.stream.aclose()
        await _idle(model)

    asyncio.run(leave())


def test_a_call_that_is_cancelled_frees_its_place(model: TextModel) -> None:
    async def leave() -> None:
        body = raw(model="m", prompt=["one", "two", "three"], max_tokens=CONTEXT_TOKENS - 5, stop="\x00")
        working = asyncio.create_task(LanguageHost("v", "fra", model).run(Api.COMPLETION, body, stream=False))
        while model.streams < 3:  # noqa: ASYNC110 - a model tells nobody of its streams
            await asyncio.sleep(0.001)
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working
        await _idle(model)

    asyncio.run(leave())


async def _idle(model: TextModel) -> None:
    """Wait until nothing runs in a model."""
    async with asyncio.timeout(20):
        while model.streams:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_whose_prompts_do_not_all_fit_starts_none_of_them(stream: bool) -> None:
    with text_model(running_max=1, streams_max=2) as model:
        body = raw(model="m", prompt=["a", "b", "c"], max_tokens=500, stream=stream)
        with pytest.raises(Trouble) as caught:
            asyncio.run(LanguageHost("v", "fra", model).run(Api.COMPLETION, body, stream))
        assert caught.value.kind is Kind.SATURATED
        assert model.streams == 0


def test_a_stream_of_several_prompts_that_is_closed_early_frees_all_places(model: TextModel) -> None:
    async def leave() -> None:
        body = raw(model="m", prompt=["one", "two", "three"], max_tokens=CONTEXT_TOKENS - 5, stop="\x00", stream=True)
        answer = await LanguageHost("v", "fra", model).run(Api.COMPLETION, body, stream=True)
        assert answer.stream is not None
        assert model.streams == 3
        await answer.stream.aclose()
        await _idle(model)

    asyncio.run(leave())


def test_a_model_that_is_taken_down_is_not_well(vectors: Embedder) -> None:
    with text_model() as model:
        host = LanguageHost("v", "fra", model)
        assert host.lives
        model.close()
        assert not host.lives
    assert LanguageHost("v", "fra", vectors).lives
