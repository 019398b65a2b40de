"""What placement reads of a call's body, and what goes on."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infercast.router.api import Api
from infercast.router.errors import Kind, Trouble
from infercast.router.openai.envelope import Envelope, read_envelope
from infercast.router.openai.fields import shown


def envelope(api: Api = Api.CHAT, **fields: Any) -> Envelope:
    return read_envelope(api, json.dumps({"model": "chat", **fields}).encode())


def refused(**fields: Any) -> Trouble:
    with pytest.raises(Trouble) as caught:
        envelope(**fields)
    assert caught.value.kind is Kind.BAD_REQUEST
    return caught.value


def test_the_model_and_whether_it_streams() -> None:
    assert envelope() == Envelope(b'{"model":"chat"}', "chat")
    assert envelope(stream=True).stream
    assert not envelope(stream=None).stream


def test_what_is_ours_is_read_and_taken_out() -> None:
    found = envelope(infercast={"class": "personal", "deadline_ms": 300, "id": "call-1"}, messages=[])
    assert found == Envelope(b'{"model":"chat","messages":[]}', "chat", False, ("personal",), 300.0, "call-1")


@pytest.mark.parametrize(
    ("named", "classes"),
    [
        ("personal", ("personal",)),
        ("b, a,,b", ("a", "b")),
        (["b", " a "], ("a", "b")),
        ("", ()),
        ([], ()),
        (None, ()),
    ],
)
def test_classes_are_named_as_in_the_header_or_in_a_list(named: Any, classes: tuple[str, ...]) -> None:
    assert envelope(infercast={"class": named}).classes == classes


@pytest.mark.parametrize(
    ("ours", "said"),
    [
        ("personal", "infercast is a string (send an object)"),
        ({"klass": "x"}, "infercast.klass is not known (did you mean 'class'?)"),
        ({"class": 3}, "infercast.class is a whole number (send a string)"),
        ({"class": [3]}, "infercast.class is a list (send a class, or a list of at most 64)"),
        ({"deadline_ms": 0}, "infercast.deadline_ms is 0 (send a number of milliseconds up to 600000)"),
        ({"deadline_ms": -1}, "infercast.deadline_ms is -1"),
        ({"deadline_ms": "300"}, "infercast.deadline_ms is a string (send a number)"),
        ({"id": ""}, 'infercast.id is "" (send 1 to 128 printable ASCII characters)'),
        ({"id": "a\r\nset-cookie: b"}, "infercast.id is"),
        ({"id": "x" * 129}, "infercast.id is"),
    ],
)
def test_what_is_wrong_with_our_part(ours: Any, said: str) -> None:
    trouble = refused(infercast=ours)
    assert str(trouble).startswith(said)
    assert trouble.extra["param"].startswith("infercast")


@pytest.mark.parametrize("model", [None, "", 3, ["chat"], "m" * 257])
def test_a_model_is_named(model: Any) -> None:
    assert refused(model=model).extra["param"] == "model"


def test_embeddings_are_not_streamed() -> None:
    with pytest.raises(Trouble, match="embeddings are not streamed"):
        envelope(Api.EMBEDDING, stream=True)


def test_a_name_that_stands_twice_means_one_thing_to_everybody() -> None:
    """The last one counts here; another reader might take the first, and run what the policy did not decide on."""
    found = read_envelope(Api.CHAT, b'{"model": "a", "model": "b", "stream": true, "stream": false}')
    assert found == Envelope(b'{"model":"b","stream":false}', "b")


FREE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=8).filter(lambda name: name not in ("model", "stream", "infercast")), FREE))
def test_the_rest_goes_on_as_it_was(rest: dict[str, Any]) -> None:
    whole = {"model": "chat", "infercast": {"class": "x"}, **rest}
    found = read_envelope(Api.CHAT, json.dumps(whole).encode())
    assert json.loads(found.body) == {"model": "chat", **rest}
    assert read_envelope(Api.CHAT, found.body).body == found.body


@given(st.binary(max_size=64), st.sampled_from([Api.CHAT, Api.COMPLETION, Api.EMBEDDING]))
def test_whatever_bytes_come_are_a_trouble(body: bytes, api: Api) -> None:
    with pytest.raises(Trouble):
        read_envelope(api, body)


@pytest.mark.parametrize("levels", [200, 300, 900, 1100])
def test_what_can_be_read_and_not_written_again_is_the_callers_fault(levels: int) -> None:
    body = b'{"model":"chat","x":%s%s}' % (b"[" * levels, b"]" * levels)
    if levels == 200:
        assert read_envelope(Api.CHAT, body).body == body
        return
    with pytest.raises(Trouble) as caught:
        read_envelope(Api.CHAT, body)
    assert caught.value.kind is Kind.BAD_REQUEST


def test_a_value_that_cannot_be_shown_is_the_callers_fault() -> None:
    with pytest.raises(Trouble) as caught:
        shown(json.loads("[" * 300 + "]" * 300))
    assert caught.value.kind is Kind.BAD_REQUEST
