"""Bodies of the Open Inference Protocol, against the encoder and decoder of a client that others wrote."""

import json
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput

from infercast.router.errors import Kind, Trouble
from infercast.router.oip import Infer, parse_infer, render_infer
from infercast.router.runtime.session import DTYPES, Array

Raw = dict[str, Any]
WAYS = [(datatype, as_bytes) for datatype in DTYPES for as_bytes in (True, False)]
SENT = [way for way in WAYS if way != ("FP16", False)]  # the client sends half floats as bytes only


def values(datatype: str, *shape: int) -> Array:
    """Some values of a datatype."""
    if datatype == "BYTES":
        texts = np.array(["", "a", "é", "日本", "x" * 300], dtype=object)
        picked: Array = texts[np.arange(np.prod(shape, dtype=int)) % 5].reshape(shape)
        return picked
    many = 2 if datatype == "BOOL" else 128
    return (np.arange(np.prod(shape, dtype=int)) % many).astype(DTYPES[datatype]).reshape(shape)


def as_texts(value: Array) -> Array:
    """The client leaves strings that came as bytes undecoded."""
    texts = [text.decode() if isinstance(text, bytes) else text for text in value.ravel().tolist()]
    return np.array(texts, dtype=object).reshape(value.shape)


def told(body: Raw | bytes, blob: bytes | None = None) -> Infer:
    """Parse a body; with a `blob` behind it, the header's length is told as a client tells it."""
    header = body if isinstance(body, bytes) else json.dumps(body).encode()
    return parse_infer(header + (blob or b""), None if blob is None else len(header))


def refused(body: Raw | bytes, blob: bytes | None = None) -> str:
    """What is said of a bad body."""
    with pytest.raises(Trouble) as caught:
        told(body, blob)
    assert caught.value.kind is Kind.BAD_REQUEST
    return str(caught.value)


def tensor(**parts: Any) -> Raw:
    """A request for one good tensor, parts of which are overwritten or, when None, left out."""
    whole = {"name": "x", "datatype": "FP32", "shape": [2], "data": [1.0, 2.0], **parts}
    return {"inputs": [{name: value for name, value in whole.items() if value is not None}]}


def binary(size: Any, **parts: Any) -> Raw:
    """A request for one tensor that is sent as bytes."""
    return tensor(data=None, parameters={"binary_data_size": size}, **parts)


@pytest.mark.parametrize(("datatype", "as_bytes"), SENT)
def test_what_the_client_sends_is_what_arrives(datatype: str, as_bytes: bool) -> None:
    sent = {"a": values(datatype, 3, 2), "b": values(datatype, 1)}
    inputs = [InferInput(name, list(value.shape), datatype) for name, value in sent.items()]
    for asked in inputs:
        asked.set_data_from_numpy(sent[asked.name()], binary_data=as_bytes)
    body, header_bytes = InferenceServerClient.generate_request_body(inputs, request_id="call 7")
    got = parse_infer(body, header_bytes)
    assert (got.id, got.outputs) == ("call 7", ())
    assert list(got.inputs) == ["a", "b"]
    for name, value in sent.items():
        assert got.inputs[name].dtype == DTYPES[datatype]
        np.testing.assert_array_equal(got.inputs[name], value)


@pytest.mark.parametrize(("datatype", "as_bytes"), WAYS)
def test_what_is_answered_is_what_the_client_reads(datatype: str, as_bytes: bool) -> None:
    outputs = {"p": values(datatype, 2, 2), "q": values(datatype, 0, 4), "r": values(datatype, 3)}
    call = Infer("call 7", {}, (), None if as_bytes else frozenset())
    body, header_bytes = render_infer("digits", "digits-small", call, outputs)
    assert (header_bytes is not None) is as_bytes
    read = InferenceServerClient.parse_response_body(body, header_length=header_bytes)
    for name, value in outputs.items():
        got = as_texts(read.as_numpy(name)) if datatype == "BYTES" else read.as_numpy(name)
        np.testing.assert_array_equal(got, value)
        assert got.dtype == value.dtype
    assert read.get_response()["id"] == "call 7"
    assert read.get_response()["model_version"] == "digits-small"


@pytest.mark.parametrize(("p", "q"), [(True, False), (False, True), (True, True), (False, False)])
def test_each_output_comes_as_it_was_asked_for(p: bool, q: bool) -> None:
    image = InferInput("x", [1], "FP32")
    image.set_data_from_numpy(values("FP32", 1))
    asked = [InferRequestedOutput("p", binary_data=p), InferRequestedOutput("q", binary_data=q)]
    call = parse_infer(*InferenceServerClient.generate_request_body([image], asked))
    assert call.outputs == ("p", "q")
    outputs = {"p": values("FP32", 2), "q": values("INT64", 3)}
    body, header_bytes = render_infer("m", "v", call, outputs)
    header = orjson.loads(body[:header_bytes])
    assert ["parameters" in output for output in header["outputs"]] == [p, q]
    read = InferenceServerClient.parse_response_body(body, header_length=header_bytes)
    for name, value in outputs.items():
        np.testing.assert_array_equal(read.as_numpy(name), value)


def test_all_outputs_come_as_bytes_where_the_call_says_so() -> None:
    body = {**tensor(), "parameters": {"binary_data_output": True}}
    assert told(body).binary is None
    assert told(tensor()).binary == frozenset()
    named = {**body, "outputs": [{"name": "p"}, {"name": "q", "parameters": {"binary_data": False}}]}
    assert told(named).binary == frozenset({"p"})


def test_data_may_be_nested_or_flat() -> None:
    flat = told(tensor(shape=[2, 2], data=[1, 2, 3, 4])).inputs["x"]
    nested = told(tensor(shape=[2, 2], data=[[1, 2], [3, 4]])).inputs["x"]
    np.testing.assert_array_equal(flat, nested)
    assert flat.dtype == np.float32


def test_bytes_and_json_may_be_mixed_and_bytes_follow_in_order() -> None:
    one, two = values("INT32", 2), values("UINT8", 3)
    body = binary(8, datatype="INT32")
    body["inputs"] += [*tensor(name="y")["inputs"], *binary(3, name="z", datatype="UINT8", shape=[3])["inputs"]]
    got = told(body, one.tobytes() + two.tobytes()).inputs
    np.testing.assert_array_equal(got["x"], one)
    np.testing.assert_array_equal(got["z"], two)
    np.testing.assert_array_equal(got["y"], [1.0, 2.0])


BAD: dict[str, tuple[Raw | bytes, str]] = {
    "nothing": (b"", "not JSON"),
    "no JSON": (b"image=7", "not JSON"),
    "no UTF-8": (b'{"inputs": "\xff"}', "not JSON"),
    "NaN": (b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [NaN]}]}', "not JSON"),
    "too deep": (b'{"inputs": ' + b"[" * 5000 + b"]" * 5000 + b"}", "not JSON"),
    "a list": (b"[]", "not a JSON object"),
    "no inputs": ({}, "inputs holds 0 tensors"),
    "inputs is an object": ({"inputs": {}}, "inputs is not a list"),
    "a null input": ({"inputs": [None]}, "inputs[0] is not an object"),
    "too many inputs": ({"inputs": tensor()["inputs"] * 65}, "inputs holds 65 tensors"),
    "twice the same": ({"inputs": tensor()["inputs"] * 2}, "inputs[1].name"),
    "no name": (tensor(name=None), "inputs[0].name"),
    "a number for a name": (tensor(name=7), "inputs[0].name"),
    "no datatype": (tensor(datatype=None), "inputs[0].datatype"),
    "unknown datatype": (tensor(datatype="FP8"), "known: BOOL"),
    "numbers for strings": (tensor(datatype="BYTES", data=["a", 1]), "inputs[0].data is not BYTES"),
    "bfloat16": (tensor(datatype="BF16"), "send FP16 or FP32"),
    "an id that is a number": ({**tensor(), "id": 7}, "id is 7"),
    "shared memory": (tensor(parameters={"shared_memory_region": "x"}), "inputs[0].parameters.shared_memory_region"),
    "classes of an output": (
        {**tensor(), "outputs": [{"name": "p", "parameters": {"classification": 3}}]},
        "outputs[0].parameters.classification is not served",
    ),
    "a sequence": ({**tensor(), "parameters": {"sequence_id": 7}}, "parameters.sequence_id is not served"),
    "a list for a datatype": (tensor(datatype=["FP32"]), "inputs[0].datatype"),
    "no shape": (tensor(shape=None), "inputs[0].shape"),
    "a number for a shape": (tensor(shape=2), "inputs[0].shape"),
    "negative": (tensor(shape=[-1]), "inputs[0].shape"),
    "negative twice": (tensor(shape=[-1, -2]), "inputs[0].shape"),
    "a fraction": (tensor(shape=[2.0]), "inputs[0].shape"),
    "true for 1": (tensor(shape=[True, 2]), "inputs[0].shape"),
    "a huge size": (tensor(shape=[2**31]), "inputs[0].shape"),
    "a huge shape": (tensor(shape=[2**31 - 1] * 8), "inputs[0].data holds 2 values"),
    "too many dimensions": (tensor(shape=[1] * 9), "inputs[0].shape"),
    "fewer values": (tensor(shape=[3]), "inputs[0].data holds 2 values"),
    "more values": (tensor(shape=[1]), "inputs[0].data holds 2 values"),
    "no data": (tensor(data=None), "inputs[0].data"),
    "a number for data": (tensor(data=5), "inputs[0].data"),
    "words for numbers": (tensor(data=["one", "two"]), "inputs[0].data"),
    "objects for numbers": (tensor(data=[{}, {}]), "inputs[0].data"),
    "ragged data": (tensor(data=[[1], [2, 3]]), "inputs[0].data"),
    "data nested too deep": (tensor(data=json.loads("[" * 200 + "]" * 200)), "inputs[0].data"),
    "too large for its type": (tensor(datatype="UINT8", data=[1, 300]), "inputs[0].data"),
    "below its type": (tensor(datatype="UINT8", data=[1, -1]), "inputs[0].data"),
    "parameters is a list": (tensor(parameters=[]), "inputs[0].parameters"),
    "outputs is an object": ({**tensor(), "outputs": {}}, "outputs is not a list"),
    "an output without a name": ({**tensor(), "outputs": [{"name": "y"}, {}]}, "outputs[1].name"),
    "bytes that were never sent": (binary(8), "inputs[0]: the body ends 8 bytes short"),
}


@pytest.mark.parametrize(("body", "said"), BAD.values(), ids=BAD)
def test_a_bad_body_is_told_which_field(body: Raw | bytes, said: str) -> None:
    assert said in refused(body)


@pytest.mark.parametrize(
    ("size", "blob", "said"),
    [
        (8, b"1234", "ends 4 bytes short"),
        (8, b"123456789", "1 bytes are left"),
        (4, b"1234", "FP32 [2] takes 8 bytes"),
        (-8, b"12345678", "binary_data_size is -8"),
        (8.0, b"12345678", "binary_data_size is 8.0"),
        ("8", b"12345678", "binary_data_size is '8'"),
        (None, b"12345678", "binary_data_size is None"),
        (2**70, b"12345678", "binary_data_size"),
    ],
)
def test_bytes_that_are_not_as_told_are_refused(size: Any, blob: bytes, said: str) -> None:
    assert said in refused(binary(size), blob)


@pytest.mark.parametrize(
    ("blob", "said"),
    [
        (b"", "takes at least 8 bytes"),
        (b"\1\0\0\0a\1\0\0\0", "are not 2 values"),
        (b"\1\0\0\0a\1\0\0\0bc", "are not 2 values"),
        (b"\xff\xff\xff\xffabcd", "are not 2 values"),
        (b"\0\0\0\0\1\0\0\0\xff", "value 1 is not UTF-8"),
    ],
)
def test_strings_that_are_not_as_told_are_refused(blob: bytes, said: str) -> None:
    assert said in refused(binary(len(blob), datatype="BYTES"), blob)


def test_true_is_no_byte_count() -> None:
    assert "binary_data_size is True" in refused(binary(True, datatype="UINT8", shape=[1]), b"1")


@pytest.mark.parametrize("header_bytes", [-1, 3, 10**15])
def test_a_header_length_outside_the_body_is_refused(header_bytes: int) -> None:
    with pytest.raises(Trouble, match="Inference-Header-Content-Length") as caught:
        parse_infer(b"{}", header_bytes)
    assert caught.value.kind is Kind.BAD_REQUEST


NO_VALUE: dict[str, tuple[str, Any]] = {
    "true for 1.0": ("FP32", True),
    "true for 1": ("INT64", True),
    "true among numbers": ("UINT8", True),
    "null for a float": ("FP32", None),
    "digits in quotes": ("FP32", "1.5"),
    "not a number, in quotes": ("FP64", "nan"),
    "an integer in quotes": ("INT64", "7"),
    "half an integer": ("INT64", 1.5),
    "a word for a truth": ("BOOL", "no"),
    "an object for a truth": ("BOOL", {}),
    "2 for a truth": ("BOOL", 2),
    "over the half floats": ("FP16", 1e6),
    "over the floats": ("FP32", 1e300),
}


@pytest.mark.parametrize(("datatype", "value"), NO_VALUE.values(), ids=NO_VALUE)
def test_a_value_of_another_type_is_no_value(datatype: str, value: Any) -> None:
    good = datatype == "BOOL" or 1
    assert "inputs[0].data" in refused(tensor(datatype=datatype, data=[good, value]))


@given(
    st.sampled_from(["FP16", "FP32", "FP64"]),
    st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**64), 2**64 - 1),
)
@example("FP16", 65519.99)
@example("FP16", 65520.0)
@example("FP32", 3.4028235677973362e38)
@example("FP32", 3.4028235677973366e38)
def test_a_number_is_rounded_as_numpy_does_or_refused_where_that_would_make_it_infinite(
    datatype: str, number: float
) -> None:
    with np.errstate(over="ignore"):
        rounded = np.asarray([number], dtype=DTYPES[datatype])
    body = tensor(datatype=datatype, shape=[1], data=[number])
    if np.isinf(rounded[0]):
        assert "inputs[0].data" in refused(body)
    else:
        assert told(body).inputs["x"].tobytes() == rounded.tobytes()


@pytest.mark.parametrize("body", [tensor(data=[], shape=[0, *[2**31 - 1] * 4]), binary(0, shape=[0, *[2**31 - 1] * 4])])
def test_an_empty_tensor_of_a_huge_shape_is_refused(body: Raw) -> None:
    assert "inputs[0].shape" in refused(body, b"")


def test_an_answer_that_json_cannot_say_is_not_made_up() -> None:
    outputs = {"y": np.array([np.nan, np.inf], np.float32)}
    body, header_bytes = render_infer("m", "v", Infer("", {}, (), frozenset()), outputs)
    read = InferenceServerClient.parse_response_body(body, header_length=header_bytes)
    np.testing.assert_array_equal(read.as_numpy("y"), outputs["y"])


def check_only_bad_request(body: bytes, header_bytes: int | None) -> None:
    """Whatever the bytes, they are parsed or refused as the caller's fault."""
    found: Infer | Trouble
    try:
        found = parse_infer(body, header_bytes)
    except Trouble as trouble:
        found = trouble
    if isinstance(found, Trouble):
        assert found.kind is Kind.BAD_REQUEST
        assert found.message
    else:
        assert found.inputs
        assert all(isinstance(value, np.ndarray) for value in found.inputs.values())


@given(st.binary(max_size=200), st.none() | st.integers(-5, 300))
@example(b"null", None)
@example(b'{"inputs":[[]]}', 15)
def test_any_bytes_are_parsed_or_refused(body: bytes, header_bytes: int | None) -> None:
    check_only_bad_request(body, header_bytes)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(-1e6, 1e6) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "shape", "data"]), inner),
    max_leaves=5,
)
PLACES: list[tuple[Any, ...]] = [
    ("inputs",), ("inputs", 0), ("outputs",), ("parameters",), ("id",), ("inputs", 0, "name"), ("inputs", 0, "shape"),
    ("inputs", 0, "datatype"), ("inputs", 0, "parameters"), ("inputs", 0, "parameters", "binary_data_size"),
    ("inputs", 1, "shape"), ("inputs", 1, "parameters"), ("outputs", 0), ("outputs", 0, "name"), ("outputs", 0, "parameters"),
]  # fmt: skip


@given(st.sampled_from(PLACES), JSON, st.binary(max_size=20), st.integers(-2, 2))
def test_a_good_body_with_one_part_changed_is_parsed_or_refused(
    place: tuple[Any, ...], part: Any, blob: bytes, off: int
) -> None:
    body: Any = {**binary(8), "outputs": [{"name": "y", "parameters": {}}], "parameters": {}, "id": "1"}
    body["inputs"] += tensor(name="y")["inputs"]
    at = body
    for step in place[:-1]:
        at = at[step]
    at[place[-1]] = part
    header = json.dumps(body).encode("utf-8", "replace")
    check_only_bad_request(header + blob, len(header))
    check_only_bad_request(header + b"12345678", len(header) + off)


@given(st.data())
def test_a_good_body_with_some_bytes_changed_is_parsed_or_refused(data: st.DataObject) -> None:
    header = json.dumps(binary(8)).encode()
    whole = bytearray(header + b"12345678")
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    check_only_bad_request(bytes(whole[:cut]), len(header))
    check_only_bad_request(bytes(whole), len(header))


@given(st.data())
def test_what_was_rendered_is_read_back(data: st.DataObject) -> None:
    datatype = data.draw(st.sampled_from(sorted(DTYPES)))
    shape = data.draw(st.lists(st.integers(0, 4), max_size=3))
    value = values(datatype, *shape)
    as_bytes = data.draw(st.booleans())
    body, header_bytes = render_infer("m", "v", Infer("", {}, (), None if as_bytes else frozenset()), {"y": value})
    read = InferenceServerClient.parse_response_body(body, header_length=header_bytes)
    np.testing.assert_array_equal(as_texts(read.as_numpy("y")) if datatype == "BYTES" else read.as_numpy("y"), value)
