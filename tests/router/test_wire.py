"""What travels between workers arrives as it was sent."""

import asyncio
import pickle
from collections.abc import Awaitable
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infercast.policies.model import Request
from infercast.router.api import Api, Usage
from infercast.router.conduct.ports import Lost
from infercast.router.errors import Kind, Trouble
from infercast.router.runtime.host import Answer
from infercast.router.serving.wire import Away, Came, Item, answer_in, came_of, items_of

WORDS = st.text(max_size=8)
REQUESTS = st.builds(
    Request, WORDS, WORDS, WORDS, WORDS, WORDS, st.lists(WORDS, max_size=3).map(tuple),
    st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 2**33), WORDS,
)  # fmt: skip
LENGTHS = st.none() | st.integers(0, 99)
ANSWERS = st.builds(
    Answer, st.binary(max_size=9), LENGTHS, WORDS, WORDS, st.integers(0, 9), st.integers(0, 9), st.integers(0, 9),
    st.none() | st.builds(Usage, st.integers(0, 9), st.integers(0, 9)),
)  # fmt: skip
AWAYS = st.builds(
    Away,
    REQUESTS,
    st.integers(0, 9),
    st.binary(max_size=9),
    LENGTHS,
    st.floats(0, 9),
    st.sampled_from(Api),
    st.booleans(),
)
TROUBLES = st.builds(
    Came, st.none(), st.booleans(), st.sampled_from(Kind), WORDS, WORDS, st.dictionaries(WORDS, WORDS, max_size=2)
)


@given(REQUESTS | AWAYS | ANSWERS | TROUBLES | st.builds(Came, ANSWERS))
def test_what_arrives_is_what_was_sent(sent: Any) -> None:
    came = pickle.loads(pickle.dumps(sent))
    assert type(came) is type(sent)
    assert [getattr(came, each.name) for each in fields(came)] == [getattr(sent, each.name) for each in fields(sent)]


async def _unforeseen() -> Answer:
    raise KeyError("7e-the-patients-name-7e")


async def _breaking() -> Answer:
    async def events() -> Any:
        yield b"a"
        raise KeyError("7e-the-patients-name-7e")

    return Answer(b"", None, "small", "par", 1, stream=events())


def test_what_nobody_foresaw_is_the_replicas_fault_and_no_lost_place_and_says_nothing_of_the_call(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def items(running: Awaitable[Answer]) -> list[Item]:
        return [item async for item in items_of(running)]

    came = [
        asyncio.run(came_of(_unforeseen())),
        *asyncio.run(items(_unforeseen())),
        asyncio.run(items(_breaking()))[-1],
    ]
    for one in came:
        assert isinstance(one, Came)
        with pytest.raises(Trouble) as met:
            answer_in(one)
        assert met.value.kind is Kind.FAULT
        assert "patient" not in str(one)
    assert len(caplog.records) == 3


def test_what_is_lost_or_late_stays_so() -> None:
    async def gone(error: Exception) -> Answer:
        raise error

    for error in (Lost("gone"), TimeoutError()):
        with pytest.raises(type(error)):
            asyncio.run(came_of(gone(error)))
