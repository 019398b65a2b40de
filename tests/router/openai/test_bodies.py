"""OpenAI's calls as bytes: what is read of them, and what each wrong one is told."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infercast.router.errors import Kind, Trouble
from infercast.router.openai.bodies import (
    COMPLETION_TOKENS_DEFAULT,
    ChatCall,
    CompletionCall,
    EmbeddingCall,
    Message,
    Wishes,
    parse_chat,
    parse_completion,
    parse_embedding,
)
from infercast.router.openai.parameters import CHAT, HARMLESS, NEUTRAL

HELLO = [{"role": "user", "content": "hello"}]
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
WORDS = st.sampled_from(
    ["model", "messages", "prompt", "input", "stream", "stream_options", "stop", "seed", "max_tokens", "temperature"]
)


def raw(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def chat(**fields: Any) -> ChatCall:
    return parse_chat(raw(**{"model": "chat", "messages": HELLO, **fields}))


def completion(**fields: Any) -> CompletionCall:
    return parse_completion(raw(**{"model": "chat", "prompt": "once", **fields}))


def embedding(**fields: Any) -> EmbeddingCall:
    return parse_embedding(raw(**{"model": "embed", "input": "a text", **fields}))


def refused(parse: Any, **fields: Any) -> Trouble:
    """What the parser says of a call that it does not take."""
    with pytest.raises(Trouble) as caught:
        parse(**fields)
    assert caught.value.kind is Kind.BAD_REQUEST
    return caught.value


def test_the_least_that_a_call_may_say() -> None:
    assert chat() == ChatCall("chat", (Message("user", "hello"),), Wishes())
    assert completion() == CompletionCall("chat", ("once",), Wishes(tokens_max=COMPLETION_TOKENS_DEFAULT))
    assert embedding() == EmbeddingCall("embed", ("a text",), "float", None)


def test_everything_that_a_chat_may_say() -> None:
    call = chat(
        max_completion_tokens=7, temperature=0.5, top_p=1, stop=["a", "b"], seed=-3, stream=True,
        stream_options={"include_usage": True},
    )  # fmt: skip
    assert call.wishes == Wishes(7, 0.5, 1.0, ("a", "b"), -3, stream=True, include_usage=True)


def test_null_is_the_same_as_nothing() -> None:
    empty = dict.fromkeys(["max_tokens", "temperature", "stop", "seed", "stream", "stream_options", *CHAT])
    assert chat(**empty) == chat()


def test_the_old_and_the_new_name_of_a_limit() -> None:
    assert chat(max_tokens=5).wishes.tokens_max == 5
    assert chat(max_completion_tokens=5).wishes.tokens_max == 5
    assert refused(chat, max_tokens=5, max_completion_tokens=5).extra["param"] == "max_tokens"


def test_a_message_is_a_string_or_parts_of_text() -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    assert chat(messages=[{"role": "user", "content": parts}]).messages == (Message("user", "one\ntwo"),)


def test_a_developer_speaks_as_the_system() -> None:
    assert chat(messages=[{"role": "developer", "content": "be brief"}]).messages == (Message("system", "be brief"),)


def test_an_answer_can_be_sent_back_as_it_came() -> None:
    """The official client's `message.model_dump()` holds a null for everything that the answer did not have."""
    nothing: dict[str, Any] = {
        "refusal": None,
        "annotations": [],
        "audio": None,
        "function_call": None,
        "tool_calls": None,
    }
    turn = {"role": "assistant", "content": "hi", **nothing}
    assert chat(messages=[*HELLO, turn]).messages[1] == Message("assistant", "hi")


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ("hello", "messages is a string (send a list)"),
        ([], "messages holds 0 items (send 1 to 2048)"),
        (None, 'messages is missing (send [{"role": "user", "content": "…"}])'),
        ([1], "messages[0] is not an object (send role and content)"),
        ([{}], "messages[0].role is missing (send one of system, developer, user, assistant)"),
        ([{"role": "tool", "content": "x"}], 'messages[0].role is "tool" (send one of system, '),
        ([{"role": "user"}], "messages[0].content is missing (send a string, or a list of text parts)"),
        ([{"role": "user", "content": 7}], "messages[0].content is a whole number (send a string, or a list of text parts)"),
        ([{"role": "user", "content": []}], "messages[0].content holds 0 items (send 1 to 256)"),
        ([{"role": "user", "content": ["x"]}], "messages[0].content[0] is not an object"),
        ([*HELLO, {"role": "user", "content": [{"type": "text"}]}], "messages[1].content[0].text is missing"),
        ([{"role": "user", "content": [{"text": "x"}]}], "messages[0].content[0].type is missing (send text)"),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}],
            'messages[0].content[0].type is "image_url" (send text: this model reads nothing else)',
        ),
        ([{"role": "user", "content": "x", "name": 1}], "messages[0].name is a whole number (send a string)"),
        ([{"role": "assistant", "content": "x", "tool_calls": [{}]}], "messages[0].tool_calls is not supported here"),
        ([{"role": "user", "content": "x", "colour": 1}], "messages[0].colour is not a parameter of this call"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_conversation(messages: Any, said: str) -> None:
    assert str(refused(chat, messages=messages)).startswith(said)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("model", 3, "model is a whole number (send a string)"),
        ("model", "", "model is missing (name one of GET /v1/models)"),
        ("temperature", 2.1, "temperature is 2.1 (send a number from 0 to 2)"),
        ("temperature", "hot", "temperature is a string (send a number)"),
        ("temperature", True, "temperature is true or false (send a number)"),
        ("top_p", -1, "top_p is -1 (send a number from 0 to 1)"),
        ("seed", 1.5, "seed is a number (send a whole number)"),
        ("max_tokens", 0, "max_tokens is 0 (send a whole number from 1 to 1000000)"),
        ("stop", 5, "stop is a whole number (send a string, or a list of at most 4)"),
        ("stop", ["a", "b", "c", "d", "e"], "stop holds 5 items (send 1 to 4)"),
        ("stop", [""], "a stop has 0 characters (send 1 to 256)"),
        ("stop", [5], "stop is a list (send a string, or a list of at most 4)"),
        ("stream", "yes", "stream is a string (send true or false)"),
        ("stream_options", {"include_usage": True}, "stream_options goes with stream alone"),
    ],
)
def test_what_is_wrong_with_a_wish(field: str, value: Any, said: str) -> None:
    trouble = refused(chat, **{field: value})
    assert str(trouble).startswith(said)
    assert trouble.extra["param"] == field


def test_options_of_a_stream_are_known_by_name() -> None:
    assert chat(stream=True, stream_options={"include_obfuscation": False}).wishes.stream
    trouble = refused(chat, stream=True, stream_options={"include_obfuscation": True})
    assert (trouble.extra["param"], trouble.extra["code"]) == (
        "stream_options.include_obfuscation",
        "unsupported_parameter",
    )
    trouble = refused(chat, stream=True, stream_options={"include_usge": True})
    assert str(trouble) == "stream_options.include_usge is not a parameter of this call (did you mean 'include_usage'?)"


@pytest.mark.parametrize(
    ("value", "remedy"),
    [
        ({"n": 2}, "leave it out, or send 1"),
        ({"n": True}, "leave it out, or send 1"),
        ({"tools": [{"type": "function"}]}, "leave it out, or send []"),
        ({"logprobs": True}, "leave it out, or send false"),
        ({"response_format": {"type": "json_object"}}, 'leave it out, or send {"type": "text"}'),
        ({"tool_choice": "required"}, "leave it out, or send none or auto"),
        ({"audio": {"voice": "x"}}, "leave it out"),
    ],
)
def test_what_would_change_the_answer_is_refused_by_name(value: dict[str, Any], remedy: str) -> None:
    (name,) = value
    trouble = refused(chat, **value)
    assert str(trouble) == f"{name} is not supported here ({remedy})"
    assert trouble.extra == {"param": name, "code": "unsupported_parameter"}


@pytest.mark.parametrize("name", [name for name in CHAT if name in NEUTRAL])
def test_what_asks_for_nothing_is_taken(name: str) -> None:
    for value in NEUTRAL[name]:
        assert chat(**{name: value}) == chat()


@pytest.mark.parametrize("name", HARMLESS)
def test_what_changes_nothing_is_taken_if_it_is_of_its_kind(name: str) -> None:
    assert chat(**{name: HARMLESS[name]()}) == chat()
    assert refused(chat, **{name: 7}).extra == {"param": name, "code": "invalid_type"}


def test_a_parameter_of_another_call_is_unknown_to_this_one() -> None:
    """As at OpenAI: a misspelt parameter would otherwise be believed to be in force."""
    trouble = refused(chat, temprature=1)
    assert str(trouble) == "temprature is not a parameter of this call (did you mean 'temperature'?)"
    assert trouble.extra == {"param": "temprature", "code": "unknown_parameter"}
    assert refused(chat, echo=False).extra["code"] == "unknown_parameter"
    assert refused(completion, messages=HELLO).extra["code"] == "unknown_parameter"
    assert refused(embedding, temperature=0).extra["code"] == "unknown_parameter"


def test_prompts_are_texts_or_tokens() -> None:
    assert completion(prompt=["a", "b"]).prompts == ("a", "b")
    assert completion(prompt=[1, 2]).prompts == ((1, 2),)
    assert completion(prompt=[[1], [2, 3]]).prompts == ((1,), (2, 3))
    assert embedding(input=["a", "b"]).inputs == ("a", "b")


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        (None, "prompt is missing"),
        (7, "prompt is a whole number (send a string, or a list of them)"),
        ("", "prompt holds an empty text (send at least one character)"),
        ([""], "prompt holds an empty text"),
        ([], "prompt holds 0 items (send 1 to "),
        ([[]], "prompt holds what are no tokens"),
        ([-1], "prompt holds what are no tokens"),
        ([1, "a"], "prompt holds what are no tokens"),
        ([1, True], "prompt holds what are no tokens"),
        ([[2**31]], "prompt holds what are no tokens"),
        (["a", [1]], "prompt is a list (send a string, a list of strings, tokens, or a list of lists of tokens)"),
        ([None], "prompt is a list"),
        (["x"] * 17, "prompt holds 17 items (send 1 to 16)"),
    ],
)
def test_what_is_wrong_with_a_prompt(prompt: Any, said: str) -> None:
    assert str(refused(completion, prompt=prompt)).startswith(said)


def test_embeddings_come_as_floats_or_as_base64() -> None:
    assert embedding(encoding_format="base64", dimensions=64) == EmbeddingCall("embed", ("a text",), "base64", 64)
    assert str(refused(embedding, encoding_format="hex")) == 'encoding_format is "hex" (send float or base64)'
    assert str(refused(embedding, dimensions=0)).startswith("dimensions is 0 (send a whole number from 1")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "the body is not JSON"),
        (b"{", "the body is not JSON"),
        (b"[]", "the body is a list (send one JSON object)"),
        (b"null", "the body is null (send one JSON object)"),
        (b'"\\ud800"', "the body is not JSON"),
        (b'{"model": NaN}', "the body is not JSON"),
        (b"[" * 100_000, "the body is not JSON"),
        (b'{"model": "\xff"}', "the body is not JSON"),
    ],
)
def test_a_body_is_one_json_object(body: bytes, said: str) -> None:
    for parse in (parse_chat, parse_completion, parse_embedding):
        with pytest.raises(Trouble) as caught:
            parse(body)
        assert str(caught.value).startswith(said)


@given(
    st.sampled_from([parse_chat, parse_completion, parse_embedding]), st.dictionaries(WORDS | st.text(max_size=8), JSON)
)
def test_whatever_comes_is_read_or_told_which_field_is_wrong(parse: Any, fields: dict[str, Any]) -> None:
    """Never anything but a call or one clear trouble."""
    try:
        found: Any = parse(json.dumps(fields).encode())
    except Trouble as trouble:
        found = trouble
    assert isinstance(found, ChatCall | CompletionCall | EmbeddingCall) or (
        (found.kind, set(found.extra)) == (Kind.BAD_REQUEST, {"param", "code"})
    )


@given(st.binary(max_size=64))
def test_whatever_bytes_come_are_a_call_or_a_trouble(body: bytes) -> None:
    for parse in (parse_chat, parse_completion, parse_embedding):
        with pytest.raises(Trouble):
            parse(body)


@given(st.text(min_size=1))
def test_a_persons_words_are_in_no_message(words: str) -> None:
    secret = f"«{words}»"
    for wrong in ({"role": "user", "content": {secret: secret}}, {"role": "user", "content": [secret]}):
        assert secret not in str(refused(chat, messages=[wrong]))
    assert secret not in str(refused(completion, prompt=[1, secret]))
