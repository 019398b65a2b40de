"""OpenAI's answers: as the official client's own types read them, and the two encodings of vectors."""

import base64
from typing import Any

import numpy as np
import openai.types as shapes
import openai.types.chat as chat_shapes
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from infercast.router.api import Api, Usage
from infercast.router.openai.render import Text, Writer, render_embeddings, usage_of

CHAT = Writer(Api.CHAT, "small-q8", id="1", created_s=7)
TEXT = Writer(Api.COMPLETION, "small-q8", id="1", created_s=7)


def strictly(shape: Any, body: bytes) -> Any:
    """Read with the client's type, every field checked: the client itself lets wrong kinds pass."""
    return shape.model_validate_json(body, strict=True)


def test_a_chat_in_one_piece() -> None:
    read = strictly(chat_shapes.ChatCompletion, CHAT.whole([Text("hello", "stop")], Usage(3, 2)))
    (choice,) = read.choices
    assert (read.id, read.object, read.created, read.model) == ("chatcmpl-1", "chat.completion", 7, "small-q8")
    assert (choice.message.role, choice.message.content, choice.finish_reason) == ("assistant", "hello", "stop")
    assert (read.usage.prompt_tokens, read.usage.completion_tokens, read.usage.total_tokens) == (3, 2, 5)


def test_completions_in_one_piece_each_with_its_place() -> None:
    read = strictly(shapes.Completion, TEXT.whole([Text("a", "stop"), Text("b", "length")], Usage(3, 2)))
    assert (read.id, read.object, read.model) == ("cmpl-1", "text_completion", "small-q8")
    assert [(choice.index, choice.text, choice.finish_reason) for choice in read.choices] == [
        (0, "a", "stop"),
        (1, "b", "length"),
    ]


def test_the_events_of_a_chat() -> None:
    events = [CHAT.opening(), CHAT.piece("hi"), CHAT.end("length"), CHAT.used(Usage(3, 2))]
    first, text, end, used = (strictly(chat_shapes.ChatCompletionChunk, event) for event in events)
    assert (first.choices[0].delta.role, first.choices[0].delta.content) == ("assistant", "")
    assert (text.choices[0].delta.content, text.choices[0].finish_reason) == ("hi", None)
    assert (end.choices[0].delta.content, end.choices[0].finish_reason) == (None, "length")
    assert (used.choices, used.usage.total_tokens) == ([], 5)
    assert {event.id for event in (first, text, end, used)} == {"chatcmpl-1"}


def test_the_events_of_a_completion() -> None:
    events = [TEXT.piece("hi", 1), TEXT.end("stop", 1)]
    text, end = (
        strictly(shapes.Completion, event.replace(b'"finish_reason":null', b'"finish_reason":"stop"'))
        for event in events
    )
    assert (text.choices[0].text, text.choices[0].index, end.choices[0].text) == ("hi", 1, "")


def test_usage_is_null_until_the_last_event_where_it_was_asked_for() -> None:
    asked = Writer(Api.CHAT, "small-q8", include_usage=True)
    assert orjson.loads(asked.piece("x"))["usage"] is None
    assert "usage" not in orjson.loads(CHAT.piece("x"))


def test_two_answers_have_two_names() -> None:
    assert Writer(Api.CHAT, "m").id != Writer(Api.CHAT, "m").id


@given(st.integers(0, 2**40), st.integers(0, 2**40))
def test_tokens_add_up(prompt: int, completion: int) -> None:
    usage = usage_of(Usage(prompt, completion))
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


VECTORS = arrays.arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 8)),
                        elements=st.floats(-1, 1, width=32))  # fmt: skip


@given(VECTORS)
def test_both_encodings_say_the_same_vectors(vectors: Any) -> None:
    plain = strictly(shapes.CreateEmbeddingResponse, render_embeddings("m", vectors, "float", Usage(9)))
    packed = orjson.loads(render_embeddings("m", vectors, "base64", Usage(9)))
    assert [one.index for one in plain.data] == list(range(len(vectors)))
    assert np.array_equal(np.array([one.embedding for one in plain.data], np.float32), vectors)
    for one, vector in zip(packed["data"], vectors, strict=True):
        assert np.array_equal(np.frombuffer(base64.b64decode(one["embedding"]), "<f4"), vector)
    assert packed["usage"] == {"prompt_tokens": 9, "total_tokens": 9}


@pytest.mark.parametrize("text", ["", "é", "\u2028", '"\\', "\x00", "🙂"])
def test_any_text_comes_through(text: str) -> None:
    assert orjson.loads(CHAT.piece(text))["choices"][0]["delta"]["content"] == text
    assert b"\n" not in CHAT.piece(text)
