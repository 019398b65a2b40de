"""What travels between workers arrives as it was sent."""

import pickle
from dataclasses import fields
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from infercast.policies.model import Request
from infercast.router.api import Api, Usage
from infercast.router.errors import Kind
from infercast.router.runtime.host import Answer
from infercast.router.serving.wire import Away, Came

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
