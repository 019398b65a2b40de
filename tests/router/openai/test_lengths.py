"""How long an answer may become: read from the body, held against the policy's most."""

import json
from typing import Any

import pytest

from infercast.router.api import Api
from infercast.router.errors import Trouble
from infercast.router.openai.envelope import Envelope, read_envelope


def read(api: Api = Api.CHAT, cap: int | None = None, **fields: Any) -> Envelope:
    return read_envelope(api, json.dumps({"model": "chat", **fields}).encode(), lambda model: cap)


@pytest.mark.parametrize(
    ("fields", "most"),
    [
        ({}, None),
        ({"max_tokens": 7}, 7),
        ({"max_completion_tokens": 8}, 8),
        ({"max_tokens": 7, "max_completion_tokens": 8}, 8),
        ({"max_tokens": 7.0}, 7),
        ({"max_tokens": 7, "n": 3}, 21),
        ({"max_tokens": None}, None),
        ({"max_tokens": "many"}, None),
        ({"max_tokens": -1}, None),
        ({"max_tokens": True}, None),
    ],
)
def test_a_chat_may_become_as_long_as_it_says(fields: dict[str, Any], most: int | None) -> None:
    found = read(**fields)
    assert found.tokens_max == most
    assert json.loads(found.body) == {"model": "chat", **fields}


@pytest.mark.parametrize(
    ("fields", "most"),
    [
        ({"prompt": "a"}, 16),
        ({"prompt": "a", "max_tokens": 5}, 5),
        ({"prompt": ["a", "b"], "max_tokens": 5}, 10),
        ({"prompt": [1, 2, 3], "max_tokens": 5}, 5),
        ({"prompt": [[1, 2], [3]], "max_tokens": 5}, 10),
        ({"prompt": "a", "max_tokens": 5, "n": 1, "best_of": 4}, 20),
    ],
)
def test_a_completion_answers_each_prompt_in_sixteen_tokens_unless_it_says(fields: dict[str, Any], most: int) -> None:
    assert read(Api.COMPLETION, **fields).tokens_max == most


def test_a_body_that_names_no_most_is_given_the_policys() -> None:
    found = read(cap=100)
    assert (found.tokens_max, json.loads(found.body)) == (100, {"model": "chat", "max_tokens": 100})
    assert read(cap=100, max_tokens=40).tokens_max == 40
    assert json.loads(read(Api.COMPLETION, cap=100, prompt="a").body)["max_tokens"] == 16
    assert json.loads(read(Api.COMPLETION, cap=9, prompt="a").body)["max_tokens"] == 9
    assert json.loads(read(Api.EMBEDDING, cap=9, input="a").body) == {"model": "chat", "input": "a"}


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_a_body_that_asks_for_more_than_the_policy_lets_it_is_refused(name: str) -> None:
    with pytest.raises(Trouble) as caught:
        read(Api.CHAT, 100, **{name: 101})
    said = f"{name} is 101, and this tenant's policy lets an answer have 100 tokens (send at most 100)"
    assert str(caught.value) == said
    assert caught.value.extra["param"] == name


@pytest.mark.parametrize("value", ["many", 0, 1.5, True])
def test_what_cannot_be_held_against_the_policy_is_refused(value: Any) -> None:
    with pytest.raises(Trouble):
        read(cap=100, max_tokens=value)
