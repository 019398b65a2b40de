"""What a call asks, as a digest: the same for whatever means the same, another for whatever means something else."""

import json
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infercast.router.api import Api
from infercast.router.cache.questions import BODY_BYTES_MAX, Question, question_of
from infercast.router.conduct.ports import Carried
from infercast.router.oip import blob_of
from infercast.router.runtime.session import DTYPES
from tests.router.fakes import ask

Raw = dict[str, Any]


def asked(
    body: bytes | Raw, header_bytes: int | None = None, api: Api = Api.INFER, *, stream: bool = False
) -> Question:
    found = question_of(Carried(ask(), _bytes(body), header_bytes, api, stream))
    assert found is not None
    return found


def _bytes(body: bytes | Raw) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()


def tensor(
    name: str = "a", datatype: str = "FP32", shape: list[int] | None = None, data: Any = (1, 2), **more: Any
) -> Raw:
    return {"name": name, "datatype": datatype, "shape": shape or [len(data)], "data": list(data), **more}


def infer(*tensors: Raw, **more: Any) -> Raw:
    return {"inputs": list(tensors) or [tensor()], **more}


def binary(datatype: str, shape: list[int], blob: bytes, **more: Any) -> tuple[bytes, int]:
    head = orjson.dumps(
        {
            "inputs": [
                {"name": "a", "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": len(blob)}}
            ],
            **more,
        }
    )
    return head + blob, len(head)


BASE = asked(infer())
ALIKE: list[Raw] = [
    infer(id="x"),
    infer(tensor(data=[1.0, 2.0])),
    infer(tensor(data=[1e0, 0.2e1])),
    infer(tensor(shape=[2], data=[1, 2])),
    {**infer(), "outputs": []},
    infer(parameters={}),
    infer(tensor(parameters={})),
]
OTHER: list[Raw] = [
    infer(tensor(name="b")),
    infer(tensor(data=[2, 1])),
    infer(tensor(data=[1, 2.0000005])),
    infer(tensor(datatype="FP64")),
    infer(tensor(datatype="INT32")),
    infer(tensor(shape=[1, 2])),
    infer(tensor(shape=[2, 1])),
    infer(tensor(), tensor("b")),
    infer(tensor(data=[1, 2, 0])),
    infer(tensor(data=[1, -2])),
    infer(outputs=[{"name": "label"}]),
    infer(outputs=[{"name": "label", "parameters": {"binary_data": True}}]),
    infer(parameters={"binary_data_output": True}),
    infer(parameters={"priority": 1}),
    infer(tensor(parameters={"scale": 2})),
    infer(outputs=[{"name": "label", "parameters": {"top": 3}}]),
    infer(somebodys_own=True),
]


@pytest.mark.parametrize("body", ALIKE)
def test_tensors_that_mean_the_same_have_the_same_digest(body: Raw) -> None:
    assert asked(body).digest == BASE.digest


@pytest.mark.parametrize("body", OTHER)
def test_tensors_that_mean_something_else_have_another(body: Raw) -> None:
    assert asked(body).digest != BASE.digest


def test_no_two_of_those_are_the_same() -> None:
    assert len({asked(body).digest for body in OTHER}) == len(OTHER)


def test_the_order_of_keys_and_of_inputs_and_the_space_between_do_not_matter() -> None:
    one, other = tensor("a"), tensor("b", data=[3])
    first = asked(infer(one, other))
    turned = {"inputs": [dict(reversed(other.items())), one]}
    assert asked(turned).digest == first.digest
    assert asked(json.dumps(infer(one, other), indent=3).encode()).digest == first.digest


def test_the_order_of_outputs_is_that_of_the_answer() -> None:
    names = [{"name": "label"}, {"name": "score"}]
    assert asked(infer(outputs=names)).digest != asked(infer(outputs=names[::-1])).digest


def test_values_as_bytes_are_the_same_question_as_in_json() -> None:
    assert asked(*binary("FP32", [2], np.array([1, 2], "<f4").tobytes())).digest == BASE.digest


def test_what_is_no_number_and_which_zero_it_is_matters() -> None:
    nan, other_nan, zero, minus = (
        np.array([bits], "<u4").tobytes() for bits in (0x7FC00000, 0x7FC00001, 0, 0x80000000)
    )
    found = {asked(*binary("FP32", [1], value)).digest for value in (nan, other_nan, zero, minus)}
    assert len(found) == 4
    assert asked(*binary("FP32", [1], nan)).digest == asked(*binary("FP32", [1], nan)).digest


def test_the_request_is_told_its_id() -> None:
    assert asked(infer(id="x")).id == "x"


def test_a_parameter_is_found_however_its_name_is_spelt() -> None:
    spelt = json.dumps(infer(tensor(parameters={"scale": 2}))).encode()
    assert asked(spelt.replace(b'"parameters"', b'"p\\u0061rameters"')).digest == asked(spelt).digest != BASE.digest


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"inputs": 3}', b'{"inputs": []}', b"\xff", b" " * (BODY_BYTES_MAX + 1)]
)
@pytest.mark.parametrize("api", [Api.INFER, Api.CHAT])
def test_what_is_not_understood_or_too_large_is_no_question(body: bytes, api: Api) -> None:
    found = question_of(Carried(ask(), body, None, api))
    assert found is None or (api is Api.CHAT and body.startswith(b"{"))


SHAPES = st.lists(st.integers(0, 3), min_size=1, max_size=3)


@st.composite
def arrays(draw: st.DrawFn) -> tuple[str, Any]:
    """A tensor of any datatype."""
    name = draw(st.sampled_from(sorted(set(DTYPES) - {"BYTES"})))
    shape = draw(SHAPES)
    count = int(np.prod(shape)) * DTYPES[name].itemsize
    blob = draw(st.binary(min_size=count, max_size=count))
    if name == "BOOL":
        blob = bytes(byte & 1 for byte in blob)
    return name, np.frombuffer(blob, DTYPES[name]).reshape(shape)


@given(arrays(), arrays())
def test_two_tensors_have_one_digest_only_if_they_are_one(one: tuple[str, Any], other: tuple[str, Any]) -> None:
    first, second = (asked(*binary(name, list(value.shape), blob_of(value))).digest for name, value in (one, other))
    same = one[0] == other[0] and one[1].shape == other[1].shape and one[1].tobytes() == other[1].tobytes()
    assert (first == second) == same


def chat(*messages: Raw, **more: Any) -> Raw:
    return {"model": "chat", "messages": list(messages) or [{"role": "user", "content": "hello"}], **more}


def of_chat(body: Raw, *, stream: bool = False) -> Question:
    return asked(body, api=Api.CHAT, stream=stream)


UNMEANT: list[Raw] = [
    {"user": "somebody"},
    {"store": True},
    {"metadata": {"a": "b"}},
    {"safety_identifier": "x"},
    {"prompt_cache_key": "x"},
    {"stream": False},
    {"infercast": {"class": "a"}},
    {"temperature": None},
    {"model": "another, which is told apart elsewhere"},
    {"stream_options": {"include_usage": True}},
]
MEANT: list[Raw] = [
    {"temperature": 0},
    {"temperature": 0.5},
    {"top_p": 0.5},
    {"seed": 1},
    {"max_tokens": 3},
    {"max_completion_tokens": 3},
    {"stop": ["x"]},
    {"stop": ["x", "y"]},
    {"tools": [{"type": "function"}]},
    {"parallel_tool_calls": False},
    {"logit_bias": {"5": 1}},
    {"response_format": {"type": "json_object"}},
    {"nobody_knows": 1},
]


@pytest.mark.parametrize("more", UNMEANT)
def test_what_changes_nothing_in_an_answer_is_left_out(more: Raw) -> None:
    assert of_chat(chat(**more)).digest == of_chat(chat()).digest


def test_whatever_else_is_said_counts() -> None:
    assert len({of_chat(chat(**more)).digest for more in [{}, *MEANT]}) == len(MEANT) + 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"temperature": 1}, {"temperature": 1.0}),
        ({"stop": "x"}, {"stop": ["x"]}),
        ({"logit_bias": {"5": 1, "6": 2}}, {"logit_bias": {"6": 2.0, "5": 1e0}}),
    ],
)
def test_spellings_of_one_wish_are_one(one: Raw, other: Raw) -> None:
    assert of_chat(chat(**one)).digest == of_chat(chat(**other)).digest


def test_true_is_not_one() -> None:
    assert of_chat(chat(logprobs=True)).digest != of_chat(chat(logprobs=1)).digest


def test_the_options_of_a_stream_count_where_it_streams() -> None:
    options = {"stream_options": {"include_usage": True}}
    assert of_chat(chat(**options), stream=True).digest != of_chat(chat(), stream=True).digest


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from([0.5, 2.0, -1.5]) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def spelt(value: Any) -> Any:
    """A value as two spellings of it are compared: JSON has one kind of number, and an object no order."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value, type(value).__name__
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, list):
        return [spelt(one) for one in value]
    return {name: spelt(one) for name, one in value.items()}


@given(
    st.dictionaries(st.text(max_size=3).map("x-{}".format), JSON.filter(lambda one: one is not None), max_size=4),
    JSON,
    st.randoms(),
)
def test_order_and_spelling_never_matter_and_all_else_always_does(body: Raw, other: Any, dice: Any) -> None:
    def shuffled(value: Any) -> Any:
        if isinstance(value, dict):
            names = list(value)
            dice.shuffle(names)
            return {name: shuffled(value[name]) for name in names}
        if isinstance(value, list):
            return [shuffled(one) for one in value]
        return float(value) if type(value) is int else value

    plain = of_chat(chat(**body)).digest
    assert of_chat(shuffled(chat(**body))).digest == plain
    for name, value in body.items():
        changed = of_chat(chat(**{**body, name: other})).digest
        assert (changed == plain) == (spelt(value) == spelt(other))


def test_of_a_chat_the_last_thing_said_may_be_compared() -> None:
    first = of_chat(chat({"role": "system", "content": "be brief"}, {"role": "user", "content": "hello there"})).text
    second = of_chat(chat({"role": "system", "content": "be brief"}, {"role": "user", "content": "good morning"})).text
    assert first is not None
    assert second is not None
    assert (first.said, second.said) == ("hello there", "good morning")
    assert first.rest == second.rest


@pytest.mark.parametrize(
    "other",
    [
        chat({"role": "system", "content": "be long"}, {"role": "user", "content": "hello"}),
        chat({"role": "user", "content": "hello"}),
        chat({"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}, temperature=0),
        chat({"role": "system", "content": "be brief"}, {"role": "user", "content": "hello", "name": "bob"}),
        chat({"role": "system", "content": "be brief"}, {"role": "user", "content": "hello 2"}),
    ],
)
def test_all_else_must_be_equal(other: Raw) -> None:
    first = of_chat(chat({"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"})).text
    second = of_chat(other).text
    assert first is not None
    assert second is not None
    assert first.rest != second.rest


@pytest.mark.parametrize(
    ("one", "other"), [("2 and 3", "2 and 4"), ("1,5", "15"), ("in 1999", "in 19 99"), ("x", "x 0")]
)
def test_questions_that_differ_in_a_number_are_not_compared(one: str, other: str) -> None:
    texts = [of_chat(chat({"role": "user", "content": said})).text for said in (one, other)]
    assert texts[0] is not None
    assert texts[1] is not None
    assert texts[0].rest != texts[1].rest


@pytest.mark.parametrize(
    "body",
    [
        chat({"role": "assistant", "content": "hello"}),
        chat({"role": "user", "content": [{"type": "text", "text": "hello"}]}),
        chat({"role": "user", "content": " "}),
        {"model": "chat"},
        {"model": "chat", "messages": []},
        {"model": "chat", "messages": "x"},
        {"model": "chat", "messages": [3]},
    ],
)
def test_what_ends_in_no_plain_text_is_not_compared(body: Raw) -> None:
    assert of_chat(body).text is None


def test_one_text_to_embed_may_be_compared_and_several_may_not() -> None:
    one, listed, several = (
        asked({"model": "e", "input": given}, api=Api.EMBEDDING).text for given in ("a", ["a"], ["a", "b"])
    )
    assert one == listed
    assert one is not None
    assert several is None
    assert asked({"model": "c", "prompt": "a"}, api=Api.COMPLETION).text is None


TWINS = [
    b'{"inputs": [], "inputs": [%s]}',
    b'{"inputs": [%s], "parameters": {"a": 1, "a": 2}}',
    b'{"inputs": [%s], "parameters": {"a": [{"b": 1, "\\u0062": 2}]}}',
]


@pytest.mark.parametrize("shape", TWINS)
def test_a_name_that_stands_twice_makes_no_question_where_others_may_read_it_otherwise(shape: bytes) -> None:
    call = Carried(ask(), shape % orjson.dumps(tensor()), None)
    assert question_of(call) is not None  # here the last one counts, for whoever runs it
    assert question_of(call, goes_on=True) is None


def test_other_calls_are_the_same_question_wherever_they_may_run() -> None:
    body, header_bytes = binary("FP32", [2], b"\x00" * 8, id="x")
    for call in (Carried(ask(), _bytes(infer(tensor(), id="x")), None), Carried(ask(), body, header_bytes)):
        assert question_of(call, goes_on=True) == question_of(call)
